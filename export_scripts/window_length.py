"""Is a Whisper checkpoint as right on windows of their own length as on windows padded to 30 s?

Encoding costs more than proportionally to the window's length, so short windows are the largest saving there is on a
CPU. But Whisper was trained on full windows only, and most checkpoints fall apart on others. So a shortest window goes
into a model's config only after it was measured, on recordings like those to come.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import soundfile

from export_scripts.artifact import ExportError
from export_scripts.engines import load_engine
from export_scripts.scoring import word_error_rate

FULL_FRAMES = 3000
SAMPLE_RATE_HZ = 16_000
BATCH = 8
# More errors than this on top of those of full windows, as a share of the words, and the length is refused.
MAX_WORSE = 0.01


@dataclass(frozen=True)
class Comparison:
    """Word error rates of the same recordings, each one window, padded to 30 s and at its own length."""

    clips: int
    full_wer: float
    own_length_wer: float


def compare_window_lengths(weights: Path, frames: int, recordings: Path) -> Comparison:
    """Raises ExportError where windows of `frames` and more are worse than full ones by more than `MAX_WORSE`.

    `recordings` is a folder of files of at most 30 s at 16 kHz, mono, with a references.json: a list of objects with
    `file` and `text`.
    """
    engine = load_engine("whisper")
    clips = _clips(recordings)
    wers = []
    for shortest in (FULL_FRAMES, frames):
        recogniser = engine.WhisperEngine(weights, min_window_frames=shortest)
        windows = [engine.Window(soundfile.read(file, dtype="int16")[0], engine.DecodingOptions()) for file, _ in clips]
        answers = [
            answer
            for start in range(0, len(windows), BATCH)
            for answer in recogniser.recognize(windows[start : start + BATCH])
        ]
        texts = [" ".join(segment.text for segment in answer.segments) for answer in answers]
        wers.append(word_error_rate([text for _, text in clips], texts))
    comparison = Comparison(len(clips), round(wers[0], 4), round(wers[1], 4))
    if comparison.own_length_wer > comparison.full_wer + MAX_WORSE:
        raise ExportError(
            f"With windows from {frames} frames on, {comparison.own_length_wer:.1%} of the words in {recordings} are "
            f"wrong, with full windows {comparison.full_wer:.1%}: this checkpoint needs longer ones. "
            f"Leave --min-window-frames out, or try a larger number."
        )
    return comparison


def _clips(recordings: Path) -> list[tuple[Path, str]]:
    try:
        references = json.loads((recordings / "references.json").read_text())
        clips = [(recordings / reference["file"], str(reference["text"])) for reference in references]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{recordings} has no list of recordings in references.json: {error!r}") from error
    if not clips:
        raise ExportError(f"{recordings}/references.json lists no recording.")
    for file, _ in clips:
        try:
            found = soundfile.info(file)
        except (OSError, soundfile.LibsndfileError) as error:
            raise ExportError(f"{file} cannot be read: {error}") from error
        if found.samplerate != SAMPLE_RATE_HZ or found.channels != 1 or not 0 < found.duration <= 30:
            raise ExportError(f"{file} must be mono at 16 kHz and last at most 30 s.")
    return clips
