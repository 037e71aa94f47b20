"""The clip that a Whisper version must transcribe before it serves, and how many mistakes it may make.

model_repository/whisper/1/smoke_check.py asks it of the version wherever that is loaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import soundfile

from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine

CLIP = Path(__file__).resolve().parent.parent / "examples" / "meeting.flac"
TEXT = (
    "Welcome to the important review. Maria will check the phone on Tuesday. "
    "The budget is eighty six and the price is fifty one."
)
LANGUAGE = "en"
SAMPLE_RATE_HZ = 16_000
# Above what was measured: another processor, compute type or library rounds otherwise.
MARGIN_WER = 0.1
PROVES_LITTLE_WER = 0.5


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the clip that it must transcribe before it serves")
    group.add_argument("--check-clip", type=Path, metavar="FILE", help=f"mono, 16 kHz, at most 30 s ({CLIP.name})")
    group.add_argument("--check-text", metavar="TEXT", help="what is said in it")
    group.add_argument("--check-language", metavar="CODE", help="the language that it is said in")
    group.add_argument(
        "--max-wer",
        type=float,
        metavar="X",
        help=f"the largest word error rate that passes; by default what is measured now, and {MARGIN_WER} more",
    )


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises ExportError where they do not go together."""
    given = (arguments.check_clip, arguments.check_text, arguments.check_language)
    if any(given) and not all(given):
        raise ExportError("--check-clip, --check-text and --check-language belong together: give all three, or none.")
    if arguments.max_wer is not None and not 0 <= arguments.max_wer <= 1:
        raise ExportError("--max-wer must lie between 0 and 1.")


def write_check(folder: Path, weights: Path, min_window_frames: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the new folder, with the error rate that the weights have here; what it says. Raises ExportError."""
    clip = arguments.check_clip.expanduser() if arguments.check_clip else CLIP
    text, language = arguments.check_text or TEXT, arguments.check_language or LANGUAGE
    pcm = _read(clip)
    folder.mkdir()
    soundfile.write(folder / "clip.wav", pcm, SAMPLE_RATE_HZ, subtype="PCM_16")
    check = load_engine("whisper", "smoke_check")
    try:
        heard = check.transcribed(
            check.WhisperEngine(weights, min_window_frames=min_window_frames),
            check.read_clip(folder / "clip.wav"),
            language,
        )
    except check.CheckFailedError as error:
        own = "" if arguments.check_clip else " Give a clip in a language that it knows with --check-clip."
        raise ExportError(f"{error}{own}") from error
    wer = round(check.word_error_rate(text, heard, language), 4)
    bound = round(wer + MARGIN_WER, 4) if arguments.max_wer is None else arguments.max_wer
    if wer > bound:
        raise ExportError(
            f"The word error rate on {clip.name} is {wer:.3f}, above the --max-wer of {bound:.3f}. Heard: {heard!r}"
        )
    if wer > PROVES_LITTLE_WER:
        print(f"The word error rate on {clip.name} is {wer:.2f}: this check proves little. Give one with --check-clip.")
    contents = check.Check(text, language, bound, wer)
    (folder / "check.json").write_bytes(msgspec.json.format(msgspec.json.encode(contents)) + b"\n")
    return {"clip": clip.name, **msgspec.to_builtins(contents)}


def _read(clip: Path) -> Any:
    try:
        pcm, rate_hz = soundfile.read(clip, dtype="int16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise ExportError(f"--check-clip {clip} cannot be read: {error}") from error
    if rate_hz != SAMPLE_RATE_HZ or pcm.ndim != 1 or not 0 < pcm.size <= 30 * SAMPLE_RATE_HZ:
        raise ExportError(f"--check-clip {clip} must be mono at 16 kHz and last at most 30 s.")
    return pcm
