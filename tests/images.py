"""What the Dockerfiles and the compose files say, the latter as Compose itself reads them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

from tests.running import PROJECT

DOCKERFILES = sorted(PROJECT.glob("docker/*.Dockerfile"))
COMPOSE, COMPOSE_CPU = PROJECT / "docker-compose.yml", PROJECT / "docker-compose.cpu.yml"
ENV_EXAMPLE = PROJECT / ".env.example"
REQUIRED = {"POSTGRES_PASSWORD": "aPassword", "TRITONE_SECRET": "aSecret"}


class Image:
    """What a Dockerfile says of the image that it makes, which its last stage is."""

    def __init__(self, name: str) -> None:
        structure = DockerfileParser(path=str(PROJECT / "docker" / f"{name}.Dockerfile")).structure
        self.steps: list[tuple[str, str]] = [(step["instruction"], step["value"]) for step in structure]
        last = max(index for index, (instruction, _) in enumerate(self.steps) if instruction == "FROM")
        self.last = self.steps[last:]

    def value(self, instruction: str) -> str:
        (value,) = [value for name, value in self.last if name == instruction]
        return value

    def command(self, instruction: str) -> list[str]:
        """In its exec form, as which signals reach the program itself."""
        command: list[str] = json.loads(self.value(instruction))
        return command

    @property
    def health_command(self) -> list[str]:
        command: list[str] = json.loads(self.value("HEALTHCHECK").partition("CMD ")[2])
        return command

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for name, value in self.last if name == "ENV" for pair in shlex.split(value))

    @property
    def copied(self) -> list[str]:
        """From the project."""
        copies = [shlex.split(value) for name, value in self.steps if name == "COPY" and "--from" not in value]
        return [source for words in copies for source in words[:-1]]


IMAGES = {file.stem: Image(file.stem) for file in DOCKERFILES}
API, TRITON, EXPORTER = IMAGES["api"], IMAGES["triton"], IMAGES["exporter"]


def compose_config(given: Mapping[str, str], *files: Path) -> subprocess.CompletedProcess[str]:
    """What Compose makes of the files, all profiles included, with the example's variables and those that are given."""
    named = [word for file in files for word in ("-f", str(file))]
    command = [str(Path(sys.executable).with_name("docker-compose")), "--env-file", str(ENV_EXAMPLE), "--profile", "*"]
    environment = {"PATH": os.defpath, "HOME": "/nowhere", **given}
    return subprocess.run(
        [*command, *named, "config", "--format=json"], capture_output=True, text=True, env=environment
    )


def services_of(*files: Path) -> dict[str, Any]:
    read = compose_config(REQUIRED, *files)
    assert read.returncode == 0, read.stderr
    services: dict[str, Any] = json.loads(read.stdout)["services"]
    return services


SERVICES = services_of(COMPOSE)
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def image_of(service: Mapping[str, Any]) -> Image:
    return IMAGES[Path(service["build"]["dockerfile"]).stem]


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """Of its image and its own, as the container has it."""
    own = {key: value for key, value in service.get("environment", {}).items() if value is not None}
    return {**image_of(service).environment, **own}
