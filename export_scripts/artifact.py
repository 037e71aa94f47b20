"""What every exporter shares: laying out a self-contained version directory, with its config and its manifest.

DIR/<name>/config.pbtxt                what Triton reads
DIR/<name>/<version>/model.py          the code, engine.py beside it
DIR/<name>/<version>/weights/          what the engine loads
DIR/<name>/<version>/parameters.json   how it is loaded
DIR/<name>/<version>/check/            what it must pass before it serves, where the kind has a check
DIR/<name>/<version>/config.pbtxt      what Triton would read if this were the only version
DIR/<name>/<version>/manifest.json     where it comes from, and the digest and size of every file

All versions that are served beside each other share one config.pbtxt; so what differs is in their directories.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

MODEL_SOURCES = Path(__file__).resolve().parent.parent / "model_repository"
# A model up to this size runs on one thread an instance.
SMALL_MODEL_BYTES = 200_000_000
LARGE_MODEL_THREADS = 4
MAX_INSTANCES = 8
# Of the machine's memory, for the instances of one model; each needs its process and twice its weights.
MEMORY_SHARE = 0.25
INSTANCE_BYTES = 300_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ExportError(Exception):
    """The checkpoint or the arguments do not make a deployable model; the message says why."""


@dataclass(frozen=True)
class Target:
    """Where a version goes and on what it will run."""

    directory: Path
    name: str
    version: int
    device: str  # "cpu" or "gpu"
    instances: int | None  # None: chosen by `place`
    max_batch_size: int

    @property
    def model_directory(self) -> Path:
        return self.directory / self.name


def add_target_arguments(
    parser: argparse.ArgumentParser, *, name: str | None, max_batch_size: int, cpu_batch_size: int | None = None
) -> None:
    """`name` is the default; without one it must be given. `cpu_batch_size` differs where live speech may wait."""
    sizes = {"gpu": max_batch_size, "cpu": cpu_batch_size or max_batch_size}
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the model repository to write into")
    default = "" if name is None else " (%(default)s)"
    parser.add_argument("--name", default=name, required=name is None, help=f"the model's name in Triton{default}")
    parser.add_argument("--version", type=int, default=1, help="the version to write (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="what it runs on (%(default)s)")
    parser.add_argument("--instances", type=int, help="per GPU, 1 by default; on a CPU, by default as many as suit it")
    default = str(max_batch_size) if cpu_batch_size is None else f"{max_batch_size}, on a CPU {cpu_batch_size}"
    parser.add_argument("--max-batch-size", type=int, help=f"requests per batch ({default})")
    parser.set_defaults(batch_sizes=sizes)


def target(arguments: argparse.Namespace) -> Target:
    if not NAME.fullmatch(arguments.name):
        raise ExportError(f"--name {arguments.name!r}: letters, digits, '.', '_' and '-' alone, at most 100.")
    for option in ("version", "instances", "max_batch_size"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise ExportError(f"--{option.replace('_', '-')} must be at least 1.")
    return Target(
        directory=arguments.to,
        name=arguments.name,
        version=arguments.version,
        device=arguments.device,
        instances=arguments.instances,
        max_batch_size=arguments.max_batch_size or arguments.batch_sizes[arguments.device],
    )


@dataclass(frozen=True)
class Placement:
    """How a model runs: copies of it side by side, each with so many threads of its own where it runs on a CPU."""

    instances: int
    threads: int


def place(to: Target, weights: Path, *, threads: int | None = None) -> Placement:
    """What was asked for, and for the rest what suits this machine."""
    if to.device == "gpu":
        return Placement(to.instances or 1, threads or 1)
    return choose_placement(
        sum(file.stat().st_size for file in weights.rglob("*") if file.is_file()),
        len(os.sched_getaffinity(0)),
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        instances=to.instances,
        threads=threads,
    )


def choose_placement(size: int, cores: int, memory: int, *, instances: int | None, threads: int | None) -> Placement:
    """For a model of `size` bytes on a CPU with so many cores and bytes of memory.

    A small model gains less from a second thread than from a second instance. A large one would keep a lone client
    waiting on one thread, and every instance loads its own weights.
    """
    if threads is None and instances is None:
        threads = 1 if size <= SMALL_MODEL_BYTES else min(cores, LARGE_MODEL_THREADS)
    if threads is None:
        threads = max(1, cores // (instances or 1))
    fitting = int(memory * MEMORY_SHARE) // (INSTANCE_BYTES + 2 * size)
    return Placement(instances or max(1, min(cores // threads, fitting, MAX_INSTANCES)), threads)


def write_version(
    kind: str,
    to: Target,
    weights: Path,
    *,
    instances: int,
    card: Mapping[str, Any],
    source: Mapping[str, Any],
    packages: Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    check: Path | None = None,
) -> Path:
    """Move the folder `weights`, and `check` if there is one, into a new version directory and put code, config and
    manifest beside it. `parameters` are those of the kind's parameters.json that are not as they are there.

    A config by which certain versions are served, as `tritone models deploy` writes it, is left as it is. The version
    appears under its final name only when it is whole; of one that could not be written, because the disk is full say,
    nothing stays. Raises ExportError, also if the version exists already.
    """
    final = to.model_directory / str(to.version)
    if final.exists():
        raise ExportError(f"{final} exists already: choose another --version, or remove it.")
    # A leading dot: Triton takes only numeric names for versions, so a half-written one is never served.
    partial = to.model_directory / f".{to.version}.partial"
    live = to.model_directory / ".config.pbtxt.partial"
    card = {"kind": kind, **card}
    config = _config(kind, to, instances, json.dumps(card, ensure_ascii=False))
    is_deployed = _names_versions(to.model_directory / "config.pbtxt")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(MODEL_SOURCES / kind / "1", partial, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        shutil.move(weights, partial / "weights")
        if check is not None:
            shutil.move(check, partial / "check")
        if parameters:
            _overlay(partial / "parameters.json", parameters)
        (partial / "config.pbtxt").write_text(config)
        files = [file for file in sorted(partial.rglob("*")) if file.is_file()]
        manifest = {
            "name": to.name,
            "version": to.version,
            "card": card,
            "source": dict(source),
            "tools": {package: importlib.metadata.version(package) for package in packages},
            "sha256": {str(file.relative_to(partial)): _sha256(file) for file in files},
            "bytes": {str(file.relative_to(partial)): file.stat().st_size for file in files},
        }
        (partial / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
        # A file where Python would keep what it compiles: a version directory that changes is loaded again by Triton
        # whenever another version is loaded beside it.
        (partial / "__pycache__").touch()
        if not is_deployed:
            live.write_text(config)
        partial.rename(final)
        if not is_deployed:
            live.rename(to.model_directory / "config.pbtxt")
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        live.unlink(missing_ok=True)
        raise ExportError(f"{final} could not be written: {_reason(error)}") from error
    if is_deployed:
        print(f"Other versions are served: deploy it with `tritone models deploy {to.name} --version {to.version}`.")
    return final


def _names_versions(config: Path) -> bool:
    """Whether it says which versions are served, instead of the newest. Raises ExportError."""
    if not config.exists():
        return False
    try:
        served = text_format.Parse(config.read_text(), model_config_pb2.ModelConfig())
        return bool(served.version_policy.HasField("specific"))
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ExportError(f"{config} is no model configuration: {error}") from error


def _overlay(file: Path, parameters: Mapping[str, Any]) -> None:
    known = json.loads(file.read_text())
    assert parameters.keys() <= known.keys(), f"the kind knows no {sorted(parameters.keys() - known.keys())}"
    file.write_text(json.dumps({**known, **parameters}, indent=2) + "\n")


def _reason(error: OSError) -> str:
    """shutil collects the errors of many files into one; the first says enough."""
    return str(error.args[0][0][2]) if isinstance(error, shutil.Error) else str(error)


def _config(kind: str, to: Target, instances: int, card: str) -> str:
    config = text_format.Parse((MODEL_SOURCES / kind / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config.name = to.name
    config.max_batch_size = to.max_batch_size
    group = config.instance_group[0]
    group.count = instances
    group.kind = group.KIND_GPU if to.device == "gpu" else group.KIND_CPU
    if to.device == "cpu":
        # A CPU gains nothing from a batch, so nothing is gained by waiting for one to fill; what arrives while the
        # instances are busy still shares the next.
        config.dynamic_batching.max_queue_delay_microseconds = 0
    config.parameters["card"].string_value = card
    return str(text_format.MessageToString(config, as_utf8=True))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
