"""Real Tritons, each with a repository of a test's own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from api.local.triton_server import TritonServer
from bench.service import cpu_seconds, listener
from tests.servers import PR_SET_PDEATHSIG, free_ports, wait_until

# Not by a preexec_fn: that forks, which a process with open gRPC channels does not survive. Those who start it from a
# thread see it die with that thread.
DYING_WITH_US = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {signal.SIGKILL:d})
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Served:
    """`address` is that of gRPC."""

    address: str
    metrics_url: str

    def counted(self, metric: str) -> float:
        lines = httpx.get(self.metrics_url).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(metric + "{"))

    def worked_s(self) -> float:
        """Processor time of the server and its models."""
        server = listener(int(self.address.rpartition(":")[2]))
        return cpu_seconds([server, *server.children(recursive=True)])


class Triton:
    """One that can be killed, started again where it was, and stopped for a while. What it needs beside the repository
    is in the folder."""

    def __init__(self, repository: Path | str, folder: Path) -> None:
        grpc, metrics = free_ports(2)
        self._server = TritonServer(folder, repository, grpc, metrics)
        self._process: subprocess.Popen[bytes] | None = None
        self.served = Served(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{metrics}/metrics")

    @property
    def address(self) -> str:
        return self.served.address

    def start(self, *models: str) -> None:
        """Until these are ready; without any it does not wait."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", DYING_WITH_US, *self._server.command()],
            env=self._server.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.wait_for(*models)

    def wait_for(self, *models: str) -> None:
        assert self._process is not None
        wait_until(self._process, lambda: all(map(self._has_ready, models)))

    def _has_ready(self, model: str) -> bool:
        with InferenceServerClient(self.address) as client, suppress(InferenceServerException):
            return bool(client.is_model_ready(model))
        return False

    def kill(self) -> None:
        """As if the machine were gone: its models' processes die with it."""
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)
        self._ended()

    def pause(self) -> None:
        """It still accepts connections, and answers nothing."""
        for process in self._processes():
            process.suspend()

    def resume(self) -> None:
        for process in self._processes():
            process.resume()

    def stop(self) -> None:
        if self._process is not None:
            self.resume()  # a paused process does not stop
            self._process.terminate()
            self._process.wait(60)
            self._ended()

    def processes_of(self, model: str) -> list[psutil.Process]:
        """Those that run this model."""
        return [process for process in self._processes() if f"/{model}/" in " ".join(process.cmdline()[1:])]

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _ended(self) -> None:
        if self._process is not None:
            self._process.wait(60)
        self._process = None
        self._server.clean_up()


@contextmanager
def served(repository: Path | str, model: str, folder: Path) -> Iterator[Served]:
    """From when the model is ready; what Triton needs beside the repository, a folder or a bucket, is in the folder."""
    triton = Triton(repository, folder)
    try:
        triton.start(model)
        yield triton.served
    finally:
        triton.stop()
