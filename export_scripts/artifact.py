"""What every exporter shares: laying out a self-contained version directory, with its config and its manifest.

DIR/<name>/config.pbtxt           what Triton reads
DIR/<name>/<version>/model.py     the code, engine.py beside it
DIR/<name>/<version>/weights/     what the engine loads
DIR/<name>/<version>/config.pbtxt this version's own config, to put back when rolling back to it
DIR/<name>/<version>/manifest.json
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

MODEL_SOURCES = Path(__file__).resolve().parent.parent / "model_repository"
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
    instances: int
    max_batch_size: int

    @property
    def model_directory(self) -> Path:
        return self.directory / self.name


def add_target_arguments(parser: argparse.ArgumentParser, *, name: str | None, max_batch_size: int) -> None:
    """`name` is the default; without one it must be given."""
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the model repository to write into")
    default = "" if name is None else " (%(default)s)"
    parser.add_argument("--name", default=name, required=name is None, help=f"the model's name in Triton{default}")
    parser.add_argument("--version", type=int, default=1, help="the version to write (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="what it runs on (%(default)s)")
    parser.add_argument("--instances", type=int, default=1, help="instances per device (%(default)s)")
    parser.add_argument("--max-batch-size", type=int, default=max_batch_size, help="windows per batch (%(default)s)")


def target(arguments: argparse.Namespace) -> Target:
    if not NAME.fullmatch(arguments.name):
        raise ExportError(f"--name {arguments.name!r}: letters, digits, '.', '_' and '-' alone, at most 100.")
    for option in ("version", "instances", "max_batch_size"):
        if getattr(arguments, option) < 1:
            raise ExportError(f"--{option.replace('_', '-')} must be at least 1.")
    return Target(
        directory=arguments.to,
        name=arguments.name,
        version=arguments.version,
        device=arguments.device,
        instances=arguments.instances,
        max_batch_size=arguments.max_batch_size,
    )


def write_version(
    kind: str,
    to: Target,
    weights: Path,
    *,
    card: Mapping[str, Any],
    source: Mapping[str, Any],
    packages: Sequence[str],
    parameters: Mapping[str, str] | None = None,
) -> Path:
    """Move the folder `weights` into a new version directory and put code, config and manifest beside it.

    The version appears under its final name only when it is whole. Raises ExportError if it exists already.
    """
    final = to.model_directory / str(to.version)
    if final.exists():
        raise ExportError(f"{final} exists already: choose another --version, or remove it.")
    # A leading dot: Triton takes only numeric names for versions, so a half-written one is never served.
    partial = to.model_directory / f".{to.version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(MODEL_SOURCES / kind / "1", partial, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.move(weights, partial / "weights")

    card = {"kind": kind, **card}
    config = _config(kind, to, {**(parameters or {}), "card": json.dumps(card, ensure_ascii=False)})
    (partial / "config.pbtxt").write_text(config)
    manifest = {
        "name": to.name,
        "version": to.version,
        "card": card,
        "source": dict(source),
        "tools": {package: importlib.metadata.version(package) for package in packages},
        "sha256": {
            str(file.relative_to(partial)): _sha256(file) for file in sorted(partial.rglob("*")) if file.is_file()
        },
    }
    (partial / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    partial.rename(final)
    live = to.model_directory / ".config.pbtxt.partial"
    live.write_text(config)
    live.rename(to.model_directory / "config.pbtxt")
    return final


def _config(kind: str, to: Target, parameters: Mapping[str, str]) -> str:
    config = text_format.Parse((MODEL_SOURCES / kind / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config.name = to.name
    config.max_batch_size = to.max_batch_size
    group = config.instance_group[0]
    group.count = to.instances
    group.kind = group.KIND_GPU if to.device == "gpu" else group.KIND_CPU
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return str(text_format.MessageToString(config, as_utf8=True))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
