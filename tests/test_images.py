"""The images and the compose files, held against the project. What they run is started in test_image_health.py."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from api import __version__
from api.cli import _parser
from api.http.health import READY_WITHIN_S
from api.local.triton_server import SHARED_PROCESSORS, TritonServer
from api.settings import Settings, environment_name, from_env
from tests.conftest import Stack
from tests.images import (
    API,
    COMPOSE,
    COMPOSE_CPU,
    DOCKERFILES,
    ENV_EXAMPLE,
    EXPORTER,
    IMAGES,
    OURS,
    REQUIRED,
    SERVICES,
    TRITON,
    compose_config,
    environment_of,
    image_of,
    services_of,
)
from tests.running import PROJECT

# What is set beside the settings of the API, for Python, OpenMP, the hub of checkpoints and `tritone models`.
OTHERS = {"HF_TOKEN", "HOME", "OMP_WAIT_POLICY", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
OTHERS |= {"TRITONE_MODEL_REPOSITORY"}
SETTINGS = {environment_name(field) for field in Settings.__struct_fields__}
MACHINE_LEARNING = {"ctranslate2", "faster-whisper", "onnxruntime", "onnxruntime-gpu", "spacy", "torch", "transformers"}


def test_the_linter_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([hadolint, *DOCKERFILES], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_what_is_copied_is_there_and_is_sent() -> None:
    patterns = (PROJECT / ".dockerignore").read_text().splitlines()

    def is_sent(path: str) -> bool:
        """The last pattern that fits it, or a folder that it is in, decides."""
        names = [path, *map(str, Path(path).parents)]
        sent = True
        for pattern in patterns:
            if pattern and not pattern.startswith("#") and any(fnmatch(name, pattern.lstrip("!")) for name in names):
                sent = pattern.startswith("!")
        return sent

    copied = {source for image in IMAGES.values() for source in image.copied}
    assert all((PROJECT / source).exists() for source in copied)
    assert [source for source in copied if not is_sent(source)] == []
    assert [
        path
        for path in (".env", ".git", ".venv", "tests", "api/__pycache__", "model_repository/x/1/.mypy_cache")
        if is_sent(path)
    ] == []
    sent = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert sent == {Path(source).parts[0] for source in copied}  # and nothing for nothing


def test_bases_are_pinned() -> None:
    """To a tag by default, and by a build argument to what else is wanted, such as a digest."""
    for image in IMAGES.values():
        arguments = dict(value.split("=", 1) for name, value in image.steps if name == "ARG" and "=" in value)
        for base in (value.split()[0] for name, value in image.steps if name == "FROM"):
            pinned = arguments[base.strip("${}")]
            assert re.fullmatch(r"[a-z./]+:\d[\w.-]*\d[\w.-]*", pinned), pinned
    for name, service in SERVICES.items():
        tag = service["image"].rpartition(":")[2]
        assert tag == __version__ if name in OURS else re.match(r"\d", tag), service["image"]


def test_nothing_runs_as_root_or_may_become_it() -> None:
    users = {image.value("USER") for image in IMAGES.values()}
    assert len(users) == 1  # what one image writes into a volume, the others read
    uid, gid = map(int, users.pop().split(":"))
    assert 0 not in (uid, gid)
    for image in IMAGES.values():
        installed = [value for name, value in image.last if name == "RUN" and "install -d" in value]
        assert all(f"-o {uid} -g {gid}" in value for value in installed)
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert name in OURS or service["user"] not in ("root", "0"), name
        assert service.get("read_only") or service["restart"] == "no", name


def test_ports() -> None:
    defaults, flags = Settings(), dict(flag.split("=", 1) for flag in TRITON.command("CMD") if "=" in flag)
    grpc, metrics = flags["--grpc-port"], flags["--metrics-port"]
    assert API.value("EXPOSE") == str(defaults.port) == API.environment["PORT"]
    assert API.environment["HOST"] == "0.0.0.0"
    assert defaults.triton_url.endswith(f":{grpc}")
    assert TRITON.value("EXPOSE").split() == [grpc, metrics]
    for service in ("api", "toolbox"):
        assert SERVICES[service]["environment"]["TRITON_URL"] == f"triton:{grpc}"
    assert f"127.0.0.1:{grpc}" in (PROJECT / "docker" / "triton_health.py").read_text()
    (published,) = SERVICES["api"]["ports"]
    assert (published["host_ip"], published["target"]) == ("127.0.0.1", defaults.port)


def test_triton_is_started_as_on_a_machine_without_docker(tmp_path: Path) -> None:
    here = {"--model-repository", "--backend-directory", "--grpc-address", "--metrics-address", "--backend-config"}
    local = TritonServer(tmp_path, tmp_path / "models", 8001, 8002).command()[1:]
    assert {flag for flag in TRITON.command("CMD") if flag.partition("=")[0] not in here} == {
        flag for flag in local if flag.partition("=")[0] not in here
    }
    mounted = {volume["target"]: volume["read_only"] for volume in SERVICES["triton"]["volumes"]}
    assert "--model-repository=/models" in TRITON.command("CMD")
    assert mounted == {"/models": True}
    for image in (TRITON, EXPORTER):
        assert SHARED_PROCESSORS.items() <= image.environment.items()


def tritone_commands() -> Iterator[list[str]]:
    for name, service in OURS.items():
        image = image_of(service)
        if image is not TRITON:
            assert image.command("ENTRYPOINT") == ["tritone"]
            if name != "toolbox":  # which is given one
                yield service["command"] or image.command("CMD")
    written = (PROJECT / "docs" / "deployment.md").read_text() + (PROJECT / "README.md").read_text()
    documented = re.findall(r"docker compose (?:exec api tritone|run --rm toolbox) ([^\n`]+)", written)
    yield from map(shlex.split, documented)


@pytest.mark.parametrize("command", list(tritone_commands()), ids=" ".join)
def test_the_commands_are_ours(command: list[str]) -> None:
    _, rest = _parser().parse_known_args(command)
    assert not rest or command[0] == "export"  # the exporters have arguments of their own


def test_the_demo_export_of_compose_is_the_one_of_make(stack: Stack, models: Path) -> None:
    """It knows what was exported, and leaves it as it is."""
    before = {file: file.stat().st_mtime_ns for file in models.rglob("*.json")}
    command = [str(models) if word == "/models" else word for word in SERVICES["export"]["command"]]
    subprocess.run([Path(sys.executable).with_name("tritone"), *command], check=True)
    assert before == {file: file.stat().st_mtime_ns for file in models.rglob("*.json")}
    assert str(models) in command
    (volume,) = SERVICES["export"]["volumes"]
    assert volume["source"] == SERVICES["triton"]["volumes"][0]["source"]


def test_variables_are_settings() -> None:
    for name, service in OURS.items():
        given = {*image_of(service).environment, *service.get("environment", {})}
        assert given <= SETTINGS | OTHERS, name
    api = environment_of(SERVICES["api"])
    settings = from_env(api)
    assert set(settings.model_aliases.values()) == {"demo"}
    assert settings.drain_s < float(SERVICES["api"]["stop_grace_period"].removesuffix("s"))
    volumes = {volume["target"] for volume in SERVICES["api"]["volumes"]}
    assert settings.spool_dir in volumes  # its root file system is read-only
    assert set(SERVICES["migrate"]["environment"].items()) <= set(api.items())


def test_the_example_of_an_environment_is_complete() -> None:
    text = COMPOSE.read_text()
    passed_on = {
        variable
        for service in yaml.safe_load(text)["services"].values()
        for variable, value in (service.get("environment") or {}).items()
        if value is None
    }
    taken = passed_on | set(re.findall(r"\$\{(\w+)", text + COMPOSE_CPU.read_text()))
    listed = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", ENV_EXAMPLE.read_text(), re.MULTILINE)
    assert sorted(variable for variable, _ in listed) == sorted(taken)
    assert {variable for variable, value in listed if not value} == {*REQUIRED, "HF_TOKEN", "LLM_API_KEY"}


@pytest.mark.parametrize("missing", REQUIRED)
def test_without_a_secret_nothing_starts(missing: str) -> None:
    refused = compose_config({name: value for name, value in REQUIRED.items() if name != missing}, COMPOSE)
    assert refused.returncode != 0
    assert f"Set {missing} in .env" in refused.stderr


def test_who_waits_for_whom_and_who_reaches_whom() -> None:
    for name, service in SERVICES.items():
        for before, how in service.get("depends_on", {}).items():
            once = SERVICES[before]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if once else "service_healthy"), name
            own = "healthcheck" in SERVICES[before]
            assert once or own or "HEALTHCHECK" in dict(image_of(SERVICES[before]).last), before
    assert set(SERVICES["api"]["depends_on"]) == {"migrate", "redis", "triton"}
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    networks = yaml.safe_load(COMPOSE.read_text())["networks"]
    assert networks["inside"]["internal"]
    for name in ("triton", "redis", "postgres"):
        assert set(SERVICES[name]["networks"]) == {"inside"}


def test_the_api_is_healthy_for_as_long_as_requests_wait_for_triton() -> None:
    asked = SERVICES["api"]["healthcheck"]
    settings = from_env({**environment_of(SERVICES["api"]), "REDIS_URL": ""})
    assert asked["retries"] * int(asked["interval"].removesuffix("s")) >= settings.triton_patience_s
    assert int(asked["timeout"].removesuffix("s")) > READY_WITHIN_S


def test_without_a_gpu() -> None:
    with_gpu, without = SERVICES["triton"], services_of(COMPOSE, COMPOSE_CPU)["triton"]
    (device,) = with_gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert not without.get("deploy")
    devices = [service["build"]["args"]["DEVICE"] for service in (with_gpu, without)]
    assert devices == ["gpu", "cpu"]
    assert with_gpu["image"] != without["image"]
    assert ("ARG", "DEVICE=gpu") in TRITON.steps


def reachable(extra: str = "") -> set[str]:
    """The distributions that the project's own dependencies bring, or the packages of one of its extras."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    pending = [
        (Requirement(line), "")
        for line in (project["optional-dependencies"][extra] if extra else project["dependencies"])
    ]
    found: set[tuple[str, str]] = set()
    while pending:
        requirement, of_extra = pending.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras} - {extra for known, extra in found if known == name}:
            found.add((name, wanted))
            pending += [(Requirement(line), wanted) for line in requires(name) or []]
    return {name for name, _ in found}


def test_the_api_brings_no_machine_learning() -> None:
    assert "litestar" in reachable()
    assert reachable() & MACHINE_LEARNING == set()
    (install,) = [value for name, value in API.steps if name == "RUN" and "install -c" in value]
    assert install.endswith("install -c constraints.txt .")


def test_triton_has_what_the_models_import() -> None:
    packages = reachable("models") | {"grpcio"}
    (install,) = [value for name, value in TRITON.steps if name == "RUN" and "models.txt" in value]
    assert "['models'], 'grpcio'" in install
    distributions = packages_distributions()
    for file in [*PROJECT.glob("model_repository/*/1/*.py"), PROJECT / "docker" / "triton_health.py"]:
        beside = {other.stem for other in file.parent.glob("*.py")} | {"triton_python_backend_utils"}
        for imported in imports(file) - beside - set(sys.stdlib_module_names):
            assert {canonicalize_name(name) for name in distributions[imported]} & packages, (file, imported)


def imports(file: Path) -> set[str]:
    """Top-level names, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_everything_that_is_installed_is_pinned() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    extras = ["", "models", "export", "operate", "recipe"]
    installed = {name for extra in extras for name in reachable(extra)} | {"grpcio"}
    assert installed - pinned <= {"setuptools"}
    assert "'.[export,operate,recipe]'" in " ".join(value for name, value in EXPORTER.steps if name == "RUN")
