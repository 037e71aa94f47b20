"""pyannote's checkpoints: finding them by themselves or inside a pipeline, and loading them.

Only from whom you trust: a pyannote checkpoint is a pickle, and loading one runs what it says.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from export_scripts.artifact import ExportError
from export_scripts.torchaudio_extension import do_without_extension

CHECKPOINT_HELP = (
    "a checkpoint or a whole diarization pipeline, from which its own model is taken: a file, a folder, or a hub id "
    "such as %s; for a gated one the hub's library reads HF_TOKEN. "
    "Only from whom you trust: a pyannote checkpoint is a pickle, and loading one runs what it says."
)
MODEL_FILE = "pytorch_model.bin"
PIPELINE_FILE = "config.yaml"
HUB_FILES = ("*" + MODEL_FILE, "*" + PIPELINE_FILE, "*.npz")


@dataclass(frozen=True)
class Source:
    """A file or folder on this machine, which may be the copy of a hub repository at some revision."""

    name: str
    path: Path
    revision: str | None

    @property
    def origin(self) -> str:
        """For the manifest: the hub id, or of a local path as much as says nothing of this machine."""
        return self.name if self.revision else self.path.name


@dataclass(frozen=True)
class Pipeline:
    """The config.yaml of a diarization pipeline, and the folder that it speaks of as $model."""

    source: Source
    config: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the pipeline is made of; the numbers that were tuned for it are in config["params"]."""
        parameters: Mapping[str, Any] = self.config["pipeline"].get("params") or {}
        return parameters

    def part(self, name: str) -> Source:
        """The checkpoint that the pipeline uses for its segmentation, embedding or plda. Raises ExportError."""
        reference = self.parameters.get(name)
        if isinstance(reference, str):
            reference = {"checkpoint": reference}
        if not isinstance(reference, Mapping) or not isinstance(reference.get("checkpoint"), str):
            raise ExportError(f"The {PIPELINE_FILE} of {self.source.name} names no {name}.")
        where, _, revision = reference["checkpoint"].partition("@")
        revision = revision or reference.get("revision")
        if where.startswith("$model/"):
            root = fetch(self.source.name, revision) if revision else self.source
            return _inside(root, where.removeprefix("$model/"))
        beside = self.source.path / where
        found = Source(str(beside), beside, None) if beside.exists() else fetch(where, revision)
        return _inside(found, reference.get("subfolder") or "")


def fetch(name: str, revision: str | None = None) -> Source:
    """The file or folder `name`, or a copy of the hub repository of that id. Raises ExportError."""
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")):
        if not path.exists():
            raise ExportError(f"There is no {name}.")
        if revision:
            raise ExportError(f"{name} is on this machine, where there are no revisions: {revision} is not to be had.")
        return Source(name, path, None)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ExportError(
            f"{name} is neither on this machine nor a checkpoint that the hub gave: {error}\n"
            f"pyannote's are gated: accept the conditions at https://hf.co/{name} and set HF_TOKEN. "
            "Where no hub is in reach, copy the checkpoint's folder here and name that."
        ) from error
    return Source(name, snapshot, snapshot.name)


def read_pipeline(source: Source) -> Pipeline | None:
    """None where `source` is a model by itself. Raises ExportError."""
    file = source.path / PIPELINE_FILE if source.path.is_dir() else source.path
    if file.suffix not in {".yaml", ".yml"} or not file.exists():
        return None
    try:
        config = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExportError(f"{file} is not YAML: {error}") from error
    # Beside a model lies the config of its training, under the same name.
    if not isinstance(config, Mapping) or not isinstance(config.get("pipeline"), Mapping):
        return None
    return Pipeline(Source(source.name, file.parent, source.revision), config)


def load_model(source: Source) -> Any:
    """pyannote's own module, to be evaluated. Raises ExportError."""
    file = source.path / MODEL_FILE if source.path.is_dir() else source.path
    if not file.exists():
        raise ExportError(f"{source.path} has no {MODEL_FILE}.")
    audio = pyannote_audio()
    try:
        model = audio.Model.from_pretrained(file)
    except (
        *(OSError, EOFError, ImportError, AttributeError, LookupError, TypeError, ValueError, RuntimeError),
        *(pickle.UnpicklingError, audio.utils.dependencies.WrongDependencyVersion),
    ) as error:
        raise ExportError(f"{file} is not a pyannote checkpoint that loads: {error}") from error
    return model.eval()


@cache
def pyannote_audio() -> Any:
    """The package pyannote.audio. Raises ExportError where this environment has none."""
    # It reports every model that it loads to its makers; an exporter has nothing to report.
    os.environ["PYANNOTE_METRICS_ENABLED"] = "false"
    do_without_extension()
    try:
        with warnings.catch_warnings():
            # Of codecs that are not installed; no audio file is read here.
            warnings.simplefilter("ignore")
            return import_module("pyannote.audio")
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{error}. pyannote has an environment of its own: run `make pyannote`, and the exporter as\n"
            "    .venv-pyannote/bin/python -m export_scripts.speaker_segmentation … (or speaker_embedding)"
        ) from error


def _inside(source: Source, subfolder: str) -> Source:
    return Source(f"{source.name}/{subfolder}".rstrip("/"), source.path / subfolder, source.revision)


def run(main: Callable[[Sequence[str]], None]) -> None:
    """An exporter as a program of its own: this environment has no `tritone`."""
    try:
        main(sys.argv[1:])
    except ExportError as error:
        sys.exit(str(error))
