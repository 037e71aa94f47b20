"""What the way from the API to a model costs: gRPC as the service uses it, against Triton's system shared memory.

    .venv/bin/python -m bench.transfer

Starts a Triton of its own with a model that takes a window's PCM and gives nothing but its size, so that nothing is
measured but the way. CPU time is that of this process and of Triton's together.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tritonclient.utils.shared_memory as system
from tritonclient.grpc.aio import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from api.inference.triton.endpoint import CHANNEL
from api.local.triton_server import TritonServer

GRPC_PORT, METRICS_PORT = 18301, 18302
START_TIMEOUT_S = 60
WINDOWS_S = (1, 5, 30)
CONCURRENCY = (1, 16)
REQUESTS = 400
ROUNDS = 3
CONFIG = """
name: "sink"
backend: "python"
max_batch_size: 16
input [ { name: "PCM" data_type: TYPE_INT16 dims: [ -1 ] allow_ragged_batch: true } ]
output [ { name: "SIZE" data_type: TYPE_INT32 dims: [ 1 ] } ]
dynamic_batching { }
instance_group [ { count: 1, kind: KIND_CPU } ]
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        sizes = [pb_utils.get_input_tensor_by_name(request, "PCM").as_numpy().size for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SIZE", np.array([[n]], dtype=np.int32))]) for n in sizes]
"""

Call = Callable[[int], Awaitable[Any]]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models" / "sink" / "1").mkdir(parents=True)
        (home / "models" / "sink" / "config.pbtxt").write_text(CONFIG)
        (home / "models" / "sink" / "1" / "model.py").write_text(MODEL)
        server = TritonServer(home, home / "models", GRPC_PORT, METRICS_PORT)
        process = psutil.Popen(
            server.command(), env=server.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            async with InferenceServerClient(f"127.0.0.1:{GRPC_PORT}", channel_args=CHANNEL) as client:
                await _ready(client)
                await _tables(client, process)
        finally:
            process.terminate()
            process.wait()
            server.clean_up()


async def _tables(client: InferenceServerClient, process: psutil.Process) -> None:
    print("| window | at a time | gRPC: p50 | CPU | shared memory: p50 | CPU |")
    print("|---|---|---|---|---|---|")
    for seconds in WINDOWS_S:
        pcm = np.random.default_rng(0).integers(-(2**15), 2**15, (1, seconds * 16_000)).astype(np.int16)
        for concurrency in CONCURRENCY:
            async with shared_memory(client, pcm.nbytes, concurrency) as send_shared:
                best: dict[str, tuple[float, float]] = {}
                for _ in range(ROUNDS):
                    for name, send in (("gRPC", _by_grpc(client, pcm)), ("shared", send_shared(pcm))):
                        measured = await _measure(send, concurrency, process)
                        best[name] = min(best.get(name, measured), measured)
            cells = [f"{1000 * value:.2f} ms" for name in ("gRPC", "shared") for value in best[name]]
            print(f"| {seconds} s | {concurrency} | {' | '.join(cells)} |", flush=True)


def _by_grpc(client: InferenceServerClient, pcm: Any) -> Call:
    async def send(_: int) -> Any:
        tensor = InferInput("PCM", list(pcm.shape), "INT16")
        tensor.set_data_from_numpy(pcm)
        return await client.infer("sink", [tensor])

    return send


@contextlib.asynccontextmanager
async def shared_memory(client: InferenceServerClient, size: int, regions: int) -> AsyncIterator[Callable[[Any], Call]]:
    """A region for each request that is under way; the samples are copied into it, Triton copies them out."""
    handles = [system.create_shared_memory_region(f"r{n}", f"/tritone_bench_{n}", size) for n in range(regions)]
    for number in range(regions):
        await client.register_system_shared_memory(f"r{number}", f"/tritone_bench_{number}", size)

    def by_shared_memory(pcm: Any) -> Call:
        async def send(number: int) -> Any:
            system.set_shared_memory_region(handles[number], [pcm])
            tensor = InferInput("PCM", list(pcm.shape), "INT16")
            tensor.set_shared_memory(f"r{number}", size)
            return await client.infer("sink", [tensor])

        return send

    try:
        yield by_shared_memory
    finally:
        await client.unregister_system_shared_memory()
        for handle in handles:
            system.destroy_shared_memory_region(handle)


async def _measure(send: Call, concurrency: int, triton: psutil.Process) -> tuple[float, float]:
    """Median seconds a request waits, and CPU seconds it costs in all processes."""
    left = iter(range(REQUESTS))
    times: list[float] = []

    async def client(number: int) -> None:
        for _ in left:
            started = time.perf_counter()
            await send(number)
            times.append(time.perf_counter() - started)

    processes = [psutil.Process(), triton, *triton.children(recursive=True)]
    before = _cpu_s(processes)
    await asyncio.gather(*(client(number) for number in range(concurrency)))
    return statistics.median(times), (_cpu_s(processes) - before) / REQUESTS


def _cpu_s(processes: list[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


async def _ready(client: InferenceServerClient) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(InferenceServerException):
            if await client.is_model_ready("sink"):
                return
        if time.monotonic() > give_up:
            raise SystemExit("Triton does not start.")
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
