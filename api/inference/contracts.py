"""Names, tensors and payloads that the service shares with model_repository.

Each model's config.pbtxt and engine.py state the same from the other side; the two are kept equal by a test, not by an
import, because what is served must stand by itself.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

WHISPER_PREFIX: Final = "whisper-"
"""A Triton model whisper-X is offered under the public id X."""
VOICE_ACTIVITY: Final = "voice_activity"

TENSORS: Final = {
    "whisper": {
        "inputs": {"PCM": ("INT16", [-1]), "OPTIONS": ("STRING", [1])},
        "outputs": {"RECOGNITION": ("STRING", [1])},
    },
    VOICE_ACTIVITY: {
        "inputs": {"PCM": ("INT16", [-1]), "STATE": ("FP32", [320])},
        "outputs": {"PROBABILITIES": ("FP32", [-1]), "NEXT_STATE": ("FP32", [320])},
    },
}

WINDOW_SAMPLES: Final = 30 * 16_000
ACTIVITY_FRAME_SAMPLES: Final = 512
ACTIVITY_STATE_SIZE: Final = 320


class DecodingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to decode one window. `language` None means: detect it."""

    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    hotwords: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    segment_timestamps: bool = True
    """False asks for text without time stamps: a window is one segment then."""
    word_timestamps: bool = True
    beam_size: Annotated[int, msgspec.Meta(ge=1, le=16)] = 5
    temperatures: Annotated[
        tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...], msgspec.Meta(min_length=1, max_length=8)
    ] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Word(msgspec.Struct, frozen=True):
    """A word with the punctuation that belongs to it; times in seconds from the window's start."""

    word: str
    start: float
    end: float
    probability: float


class Segment(msgspec.Struct, frozen=True):
    start: float
    end: float
    text: str
    words: list[Word]


class Recognition(msgspec.Struct, frozen=True):
    """What was said in one window, and how sure the model is of it.

    `decoded_s` is the window's length, or less where it held more words than the model can write at once.
    """

    language: str
    language_probability: float
    segments: list[Segment]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    decoded_s: float


class ModelCard(msgspec.Struct, frozen=True):
    """What an exporter found out about a checkpoint; it travels in the model's config."""

    kind: str = ""
    name: str = ""
    languages: list[str] = []
    speed: str = "standard"
    min_window_frames: int = 3000
