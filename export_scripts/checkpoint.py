"""Where a checkpoint of Hugging Face's layout is: a folder here, or a repository of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export_scripts.artifact import ExportError

# What is taken from a hub repository: the weights sharded or whole, converted to CTranslate2 or not, and all settings.
HUB_FILES = ("*.json", "*.txt", "*.jinja", "model.safetensors", "model-*.safetensors", "model.bin")


@dataclass(frozen=True)
class Checkpoint:
    folder: Path
    origin: str
    revision: str | None

    @property
    def converted(self) -> bool:
        return (self.folder / "model.bin").exists()


def find_checkpoint(source: str, revision: str | None, files: Sequence[str] = HUB_FILES) -> Checkpoint:
    """The folder `source`, or a copy of the hub repository of that id, of its `files`. Raises ExportError."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Checkpoint(folder, folder.name, revision)
    if source.startswith((".", "/", "~")):
        raise ExportError(f"There is no folder {source}.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot = Path(snapshot_download(source, revision=revision, allow_patterns=list(files)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ExportError(
            f"{source} is neither a folder nor a checkpoint that the hub gave: {error}\n"
            "Where no hub is in reach, copy the checkpoint's folder here and name that."
        ) from error
    return Checkpoint(snapshot, source, snapshot.name)
