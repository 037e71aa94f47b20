"""A real Triton with a repository of a test's own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from api.local.triton_server import TritonServer
from tests.servers import die_with_us, free_ports, wait_until


@dataclass(frozen=True)
class Served:
    """`address` is that of gRPC."""

    address: str
    metrics_url: str

    def counted(self, metric: str) -> float:
        lines = httpx.get(self.metrics_url).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric + "{"))


@contextmanager
def served(repository: Path, model: str, folder: Path) -> Iterator[Served]:
    """From when the model is ready; what Triton needs beside the repository is in the folder."""
    grpc, metrics = free_ports(2)
    server = TritonServer(folder, repository, grpc, metrics)
    process = subprocess.Popen(
        server.command(),
        env=server.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_us(signal.SIGKILL),
    )
    address = f"127.0.0.1:{grpc}"

    def ready() -> bool:
        with InferenceServerClient(address) as client, suppress(InferenceServerException):
            return bool(client.is_model_ready(model))
        return False

    try:
        wait_until(process, ready)
        yield Served(address, f"http://127.0.0.1:{metrics}/metrics")
    finally:
        process.terminate()
        process.wait(60)
        server.clean_up()
