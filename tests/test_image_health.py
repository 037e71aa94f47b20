"""No image is built here. What they run, runs here by the same command lines, and their health checks are asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from api.local.triton_server import TritonServer
from tests.conftest import Stack
from tests.images import API, SERVICES, TRITON, environment_of
from tests.running import PROJECT
from tests.servers import PostgresServer, free_ports, program

START_TIMEOUT_S = 60


def is_healthy(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    return subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode == 0


def wait_until_healthy(process: subprocess.Popen[bytes], command: Sequence[str], environment: dict[str, str]) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while not is_healthy(command, environment):
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert time.monotonic() < give_up, f"{process.args!r} is not healthy"
        time.sleep(0.2)


def test_triton_is_healthy_when_one_model_is_loaded_and_another_fails(tmp_path: Path) -> None:
    """By the flags and the health check of the image, over the Triton from pip."""
    write_model(tmp_path / "models" / "broken", "raise RuntimeError('This version fails.')\n")
    write_model(tmp_path / "models" / "sound", "class TritonPythonModel:\n    def execute(self, requests): ...\n")
    with triton_of_the_image(tmp_path) as (process, address):
        health = health_of(address, *TRITON.health_command[2:])
        wait_until_healthy(process, health, {})
        assert is_healthy(health_of(address, "--loaded=sound"))
        assert not is_healthy(health_of(address, "--loaded=sound", "--loaded=broken"))
        assert not is_healthy(health_of(address, "--loaded=absent"))
    assert not is_healthy(health)


def test_triton_is_not_healthy_without_a_model(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "broken", "raise RuntimeError('This version fails.')\n")
    with triton_of_the_image(tmp_path) as (process, address):
        wait_until_healthy(process, health_of(address), {})
        assert not is_healthy(health_of(address, *TRITON.health_command[2:]))


def write_model(model: Path, program: str) -> None:
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(program)
    (model / "config.pbtxt").write_text(f'name: "{model.name}"\nbackend: "python"\n')


def health_of(address: str, *options: str) -> list[str]:
    assert TRITON.health_command[:2] == ["python3", "/opt/tritone/health.py"]
    assert ("COPY", "docker/triton_health.py /opt/tritone/health.py") in TRITON.steps
    return [sys.executable, str(PROJECT / "docker" / "triton_health.py"), address, *options]


@contextmanager
def triton_of_the_image(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """It, and the address of its gRPC."""
    grpc, metrics = free_ports(2)
    local = TritonServer(tmp_path, tmp_path / "models", grpc, metrics)
    other = {"--grpc-port": grpc, "--metrics-port": metrics, "--model-repository": tmp_path / "models"}
    flags = [
        f"{name}={other.get(name, value)}" if value else name for name, _, value in map(split, TRITON.command("CMD"))
    ]
    kept = [flag for flag in local.command() if split(flag)[0] in ("--backend-directory", "--backend-config")]
    command = [local.command()[0], *flags, *kept, "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1"]
    assert not is_healthy(health_of(f"127.0.0.1:{grpc}"))
    process = subprocess.Popen(command, env=local.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process, f"127.0.0.1:{grpc}"
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)
        local.clean_up()


def split(flag: str) -> tuple[str, str, str]:
    return flag.partition("=")


def test_the_api_is_healthy_while_it_runs(stack: Stack, tmp_path: Path) -> None:
    """By the commands and health checks of the image and of compose, which also asks for a Triton."""
    (port,) = free_ports(1)
    (address,) = [line.removeprefix("triton gRPC ") for line in stack.lines if line.startswith("triton gRPC ")]
    here = {
        **{"HOST": "127.0.0.1", "PORT": str(port), "TRITON_URL": address, "HOME": str(tmp_path)},
        **{"DATABASE_URL": f"sqlite:///{tmp_path}/tritone.db", "TRITONE_SPOOL_DIR": str(tmp_path), "REDIS_URL": ""},
        **{"PATH": f"{Path(sys.executable).parent}:{os.defpath}"},
    }
    environment = {**environment_of(SERVICES["api"]), **here}
    tritone = [str(Path(sys.executable).with_name(API.command("ENTRYPOINT")[0]))]
    subprocess.run([*tritone, *SERVICES["migrate"]["command"]], env=environment, cwd="/", check=True)
    live, ready = API.health_command, SERVICES["api"]["healthcheck"]["test"][1:]
    assert not is_healthy(live, environment)
    process = subprocess.Popen([*tritone, *API.command("CMD")], env=environment, cwd="/", stderr=subprocess.DEVNULL)
    try:
        wait_until_healthy(process, live, environment)
        wait_until_healthy(process, ready, environment)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)
    assert not is_healthy(live, environment)
    assert not is_healthy(ready, environment)


def test_a_live_api_without_triton_is_not_ready(tmp_path: Path) -> None:
    port, nobody = free_ports(2)
    own = {"HOST": "127.0.0.1", "PORT": str(port), "TRITON_URL": f"127.0.0.1:{nobody}", "TRITONE_HOME": str(tmp_path)}
    environment = {**API.environment, **own, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("tritone"), *API.command("CMD")],
        env={**environment, "TRITONE_SPOOL_DIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_healthy(process, API.health_command, environment)
        assert not is_healthy(SERVICES["api"]["healthcheck"]["test"][1:], environment)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def test_redis_and_postgresql_are_healthy_while_they_run(postgres_server: PostgresServer) -> None:
    port, nobody = map(str, free_ports(2))
    server, client = program("redis-server", "redis-server"), program("redis-cli", "redis-tools")
    _, *options = SERVICES["redis"]["command"]
    with subprocess.Popen([server, *options, "--port", port], cwd="/", stdout=subprocess.DEVNULL) as process:
        _, _, *ping = SERVICES["redis"]["healthcheck"]["test"]
        wait_until_healthy(process, [client, "-p", port, *ping], {})
        with Redis(port=int(port)) as redis:
            assert redis.config_get("save") == {"save": ""}
        process.terminate()
    assert not is_healthy([client, "-p", port, *ping])
    is_ready = program("pg_isready", "postgresql", "/usr/lib/postgresql/*/bin")
    _, _, *asked = SERVICES["postgres"]["healthcheck"]["test"]
    (there,) = re.findall(r":(\d+)/", postgres_server.url)
    assert is_healthy([is_ready, *asked, "--port", there])
    assert not is_healthy([is_ready, *asked, "--port", nobody])
