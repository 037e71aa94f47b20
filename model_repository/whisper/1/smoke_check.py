"""A version transcribes a clip before it may serve: Triton never calls one ready that makes too many mistakes.

check/clip.wav    mono, 16 bit, 16 kHz, at most 30 s
check/check.json  {"text": "what is said in it", "language": "en", "max_wer": 0.1}
"""

from __future__ import annotations

import re
import unicodedata
import wave
from pathlib import Path

import msgspec
import numpy as np
from engine import SAMPLE_RATE_HZ, Pcm, WhisperEngine, Window, WindowError
from payloads import DecodingOptions
from rapidfuzz.distance import Levenshtein

# Of these a character counts as a word, because they are written without spaces.
WITHOUT_SPACES = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})


class CheckFailedError(ValueError):
    """The version may not serve; the message says why."""


class Check(msgspec.Struct, frozen=True):
    """`max_wer` is the largest word error rate that passes; `measured_wer` what it was when the version was made."""

    text: str
    language: str
    max_wer: float
    measured_wer: float | None = None


def is_first_instance(name: str) -> bool:
    """Triton numbers the instances of a group from 0: model_0_0, model_0_1. All have the same weights."""
    return re.search(r"_[1-9]\d*$", name) is None


def require_passed(folder: Path, engine: WhisperEngine) -> None:
    """Raises CheckFailedError."""
    try:
        check = msgspec.json.decode((folder / "check.json").read_bytes(), type=Check)
        pcm = read_clip(folder / "clip.wav")
    except (OSError, EOFError, wave.Error, msgspec.MsgspecError) as error:
        raise CheckFailedError(f"The smoke check cannot be read: {error}") from error
    heard = transcribed(engine, pcm, check.language)
    wer = word_error_rate(check.text, heard, check.language)
    if wer > check.max_wer:
        raise CheckFailedError(
            f"The smoke check failed: its word error rate is {wer:.3f}, above the bound of {check.max_wer:.3f}. "
            f"Heard: {heard[:300]!r}; said: {check.text[:300]!r}"
        )


def read_clip(file: Path) -> Pcm:
    """Raises OSError, EOFError, wave.Error."""
    with wave.open(str(file)) as clip:
        if (clip.getnchannels(), clip.getsampwidth(), clip.getframerate()) != (1, 2, SAMPLE_RATE_HZ):
            raise wave.Error(f"{file.name} must be mono, 16 bit, {SAMPLE_RATE_HZ} Hz.")
        return np.frombuffer(clip.readframes(clip.getnframes()), dtype="<i2")


def transcribed(engine: WhisperEngine, pcm: Pcm, language: str) -> str:
    """Raises CheckFailedError where the engine takes no such window, or does not know the language."""
    (answer,) = engine.recognize([Window(pcm, DecodingOptions(language=language))])
    if isinstance(answer, WindowError):
        raise CheckFailedError(f"The smoke check's clip cannot be recognised: {answer}")
    return " ".join(segment.text for segment in answer.segments)


def word_error_rate(reference: str, hypothesis: str, language: str) -> float:
    """Substituted, missing and added words over those of the reference; case and punctuation do not count."""
    said, heard = _words(reference, language), _words(hypothesis, language)
    if not said:
        return float(bool(heard))
    return Levenshtein.distance(said, heard) / len(said)


def _words(text: str, language: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Marks belong to the letters that they are written with; an apostrophe joins what stands on both sides of it.
    spoken = "".join(
        character if unicodedata.category(character)[0] in "LMN" else "" if character in "'’" else " "
        for character in folded
    )
    return list(spoken.replace(" ", "")) if language in WITHOUT_SPACES else spoken.split()
