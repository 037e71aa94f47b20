"""A Whisper checkpoint as a version that Triton serves through CTranslate2.

Takes a Hugging Face checkpoint or an already converted CTranslate2 one, from a local folder or by its hub id.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.converters import TransformersConverter
from faster_whisper.tokenizer import _LANGUAGE_CODES as KNOWN_LANGUAGES
from tokenizers import Tokenizer
from transformers.utils.logging import disable_progress_bar

from export_scripts.artifact import ExportError, add_target_arguments, place, target, write_version
from export_scripts.checkpoint import Checkpoint, find_checkpoint
from export_scripts.smoke_check import add_check_arguments, check_arguments, write_check
from export_scripts.window_length import FULL_FRAMES, compare_window_lengths

COMPUTE_TYPES = ("float32", "float16", "int8", "int8_float16")
BYTES_PER_WEIGHT = {"float32": 4, "float16": 2, "int8": 1, "int8_float16": 1}
BATCH_SIZE = 16
# A CPU gains nothing from batches of recordings, and live speech would wait for the one that is being worked on.
CPU_BATCH_SIZE = 1
# The classes of speed that the public API speaks of, by millions of parameters: small, medium and turbo, large.
SPEEDS = ((300, "very_fast"), (1000, "fast"))


def convert(checkpoint: Checkpoint, weights: Path, compute_type: str) -> None:
    """Write CTranslate2 weights with tokenizer.json and preprocessor_config.json into the new folder `weights`."""
    if not (checkpoint.folder / "tokenizer.json").exists():
        raise ExportError(
            f"{checkpoint.folder} has no tokenizer.json. With transformers, "
            "WhisperTokenizerFast.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it."
        )
    if checkpoint.converted:
        weights.mkdir()
        for file in checkpoint.folder.iterdir():
            if file.suffix in {".bin", ".json", ".txt"}:
                shutil.copy(file, weights)
    else:
        disable_progress_bar()
        try:
            TransformersConverter(str(checkpoint.folder)).convert(str(weights), quantization=compute_type)
        except (ValueError, OSError, KeyError) as error:
            raise ExportError(f"{checkpoint.folder} is not a Whisper checkpoint that converts: {error}") from error
        shutil.copy(checkpoint.folder / "tokenizer.json", weights)
    preprocessor = checkpoint.folder / "preprocessor_config.json"
    if preprocessor.exists():
        shutil.copy(preprocessor, weights)
    else:
        # Older conversions leave it out; everything but the number of mel bins is the same for every Whisper.
        mel_bins = ctranslate2.models.Whisper(str(weights), device="cpu").n_mels
        (weights / "preprocessor_config.json").write_text(json.dumps({"feature_size": mel_bins}))


def describe(weights: Path, name: str, speed: str | None, compute_type: str) -> dict[str, Any]:
    """What the API must know, read off the converted model itself."""
    model = ctranslate2.models.Whisper(str(weights), device="cpu")
    config = json.loads((weights / "config.json").read_text())
    if not config.get("alignment_heads"):
        raise ExportError("The checkpoint names no alignment heads, and without them words have no times.")
    vocabulary = Tokenizer.from_file(str(weights / "tokenizer.json"))
    if not model.is_multilingual:
        languages = ["en"]
    elif config.get("lang_ids"):
        languages = [str(vocabulary.id_to_token(token))[2:-2] for token in config["lang_ids"]]
    else:
        languages = [code for code in KNOWN_LANGUAGES if vocabulary.token_to_id(f"<|{code}|>") is not None]
    millions = (weights / "model.bin").stat().st_size / BYTES_PER_WEIGHT[compute_type] / 1e6
    return {
        "name": name,
        "languages": sorted(languages),
        "speed": speed or next((speed for limit, speed in SPEEDS if millions <= limit), "standard"),
        "mel_bins": model.n_mels,
    }


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tritone export whisper", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a folder, or a hub id such as openai/whisper-small")
    parser.add_argument("--revision", help="the hub revision to take")
    parser.add_argument("--compute-type", choices=COMPUTE_TYPES, help="float32 for CPU and float16 for GPU by default")
    parser.add_argument("--cpu-threads", type=int, help="per CPU instance; by default what suits this machine")
    parser.add_argument("--display-name", help="the name that /v1/models shows; made from --name by default")
    parser.add_argument("--speed", choices=("very_fast", "fast", "standard"), help="by the model's size by default")
    parser.add_argument(
        "--min-window-frames",
        type=int,
        default=FULL_FRAMES,
        help="the shortest window, in frames of 10 ms, that the checkpoint takes; below %(default)s it is measured",
    )
    parser.add_argument(
        "--recordings", type=Path, metavar="DIR", help="what to measure shorter windows on: files and a references.json"
    )
    parser.add_argument(
        "--without-prompts",
        action="store_true",
        help="the checkpoint was not trained on text from before the window, and makes more mistakes with it",
    )
    add_check_arguments(parser)
    add_target_arguments(parser, name=None, max_batch_size=BATCH_SIZE, cpu_batch_size=CPU_BATCH_SIZE)
    return parser


def main(argv: Sequence[str]) -> None:
    arguments = parser().parse_args(argv)
    to = target(arguments)
    if not to.name.startswith("whisper-"):
        raise ExportError(
            f"--name {to.name}: a Whisper model's name starts with whisper-, and the rest is its public id."
        )
    if not 1 <= arguments.min_window_frames <= FULL_FRAMES:
        raise ExportError(f"--min-window-frames must lie between 1 and {FULL_FRAMES}.")
    if arguments.min_window_frames < FULL_FRAMES and arguments.recordings is None:
        raise ExportError("--min-window-frames is measured before it is believed: give --recordings as well.")
    if arguments.cpu_threads is not None and arguments.cpu_threads < 1:
        raise ExportError("--cpu-threads must be at least 1.")
    check_arguments(arguments)
    compute_type = arguments.compute_type or ("float16" if to.device == "gpu" else "float32")
    checkpoint = find_checkpoint(arguments.checkpoint, arguments.revision)
    display_name = arguments.display_name or re.sub(r"[-_]+", " ", to.name).title()
    with tempfile.TemporaryDirectory() as work:
        weights = Path(work) / "weights"
        convert(checkpoint, weights, compute_type)
        card = {
            **describe(weights, display_name, arguments.speed, compute_type),
            "min_window_frames": arguments.min_window_frames,
            "prompts": not arguments.without_prompts,
        }
        measured = None
        if arguments.min_window_frames < FULL_FRAMES:
            comparison = compare_window_lengths(weights, arguments.min_window_frames, arguments.recordings.expanduser())
            measured = {"recordings": arguments.recordings.name, **asdict(comparison)}
        check = Path(work) / "check"
        checked = write_check(check, weights, arguments.min_window_frames, arguments)
        placement = place(to, weights, threads=arguments.cpu_threads)
        version = write_version(
            "whisper",
            to,
            weights,
            instances=placement.instances,
            card=card,
            source={
                "checkpoint": checkpoint.origin,
                "revision": checkpoint.revision,
                "converted": checkpoint.converted,
                "window_lengths": measured,
                "check": checked,
            },
            packages=("ctranslate2", "faster-whisper", "transformers", "torch", "tokenizers"),
            parameters={
                "compute_type": compute_type,
                "cpu_threads": placement.threads,
                "min_window_frames": arguments.min_window_frames,
            },
            check=check,
        )
    print(f"{to.name} version {to.version}: {version}")
