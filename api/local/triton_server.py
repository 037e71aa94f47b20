"""NVIDIA Triton out of the `nvidia-pytriton` wheel: no Docker, no GPU needed.

The wheel carries tritonserver, the Python backend and one stub per Python version, but no layout that tritonserver
starts from; this module makes that layout and the command line.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EXIT_TIMEOUT_S = 5
# By default OpenMP's threads spin while they wait for each other. Where something else wants the processors as well,
# that makes recognition and export ten times slower.
SHARED_PROCESSORS = {"OMP_WAIT_POLICY": "PASSIVE"}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions, not a place of ours


class TritonNotRunnable(Exception):
    """Something that tritonserver needs is missing; the message says what to install."""


@dataclass(frozen=True)
class TritonServer:
    """How to start it. Its ports have no authentication, so it listens on the loopback alone."""

    home: Path
    model_repository: Path | str
    grpc_port: int
    metrics_port: int

    @property
    def shared_memory_prefix(self) -> str:
        return f"tritone_{self.grpc_port}_"

    def check(self) -> None:
        """Raises TritonNotRunnable where something is missing, before anything is started."""
        self.command()
        self.environment()

    def command(self) -> list[str]:
        wheel = _wheel() / "tritonserver"
        return [
            str(wheel / "bin" / "tritonserver"),
            f"--model-repository={self.model_repository}",
            f"--backend-directory={_lay_out_backends(wheel, self.home / 'triton' / 'backends')}",
            # Models come and go by request, so that versions can be swapped under load; all there are at the start.
            "--model-control-mode=explicit",
            "--load-model=*",
            # The configurations are written by our exporters and complete; guessing would start each model twice.
            "--disable-auto-complete-config",
            # A model that does not load leaves the others in service. Of one model's versions at the start, one that
            # fails takes all with it: its config names only such as have been ready.
            "--strict-readiness=false",
            "--exit-on-error=false",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            "--allow-http=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory_prefix}",
        ]

    def environment(self, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The stub takes its packages from the first python3 on PATH and libpython from the loader's path."""
        libraries = [str(_wheel().parent / "nvidia_pytriton.libs"), *_libpython_directories()]
        return {
            **SHARED_PROCESSORS,
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
            "LD_LIBRARY_PATH": os.pathsep.join([*libraries, inherited.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep),
            "PYTHONUNBUFFERED": "1",
        }

    def clean_up(self) -> None:
        """Remove what a Triton that was killed left in shared memory."""
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)


def _wheel() -> Path:
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise TritonNotRunnable(
            "The package nvidia-pytriton, which carries Triton, is not installed: pip install 'tritone[local]'. "
            "With a Triton elsewhere, set TRITON_URL and run `tritone serve`."
        )
    return Path(found.origin).parent


def _lay_out_backends(wheel: Path, backends: Path) -> Path:
    """A backend directory with the Python backend and this Python's stub, linked out of the wheel."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        have = ", ".join(sorted(path.name for path in stub.parent.parent.iterdir()))
        raise TritonNotRunnable(f"The Triton wheel has no stub for Python {version}; use one of {have}.")
    python = backends / "python"
    python.mkdir(parents=True, exist_ok=True)
    for file in [*(wheel / "backends" / "python").iterdir(), stub]:
        link = python / file.name
        if file.is_file() and not (link.is_symlink() and link.resolve() == file.resolve()):
            link.unlink(missing_ok=True)
            link.symlink_to(file)
    return backends


def _libpython_directories() -> list[str]:
    """Where the shared libpython that the stub loads is; empty when the system's loader finds it by itself."""
    library = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    directories = [
        directory
        for directory in (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib")
        if directory and (Path(directory) / library).exists()
    ]
    if not directories:
        try:
            ctypes.CDLL(library)
        except OSError:
            package = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
            raise TritonNotRunnable(
                f"Triton needs {library}, which this machine lacks. Install it: `apt install {package}` on Debian and "
                f"Ubuntu, `dnf install python{sys.version_info.major}.{sys.version_info.minor}-libs` on Fedora; with "
                "pyenv, rebuild Python with PYTHON_CONFIGURE_OPTS=--enable-shared."
            ) from None
    return list(dict.fromkeys(directories))
