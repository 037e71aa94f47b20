"""Inference without a server: deterministic stand-ins for tests and for trying the API out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np

from api.inference.base import Deployment, Floats, Inference, Pcm
from api.inference.contracts import (
    ACTIVITY_FRAME_SAMPLES,
    DecodingOptions,
    ModelCard,
    Recognition,
    Segment,
    Word,
)

LOUD = 500  # mean magnitude from which a frame counts as speech


@dataclass
class FakeRecognizer:
    """Hears the word "tone" in every second of a window.

    `delay_s` is the time it takes for a window, `most_s` how much of one it can write down at once.
    """

    delay_s: float = 0.0
    most_s: float = 30.0
    calls: list[tuple[str, int, DecodingOptions]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def recognize(self, model: str, pcm: Pcm, options: DecodingOptions) -> Recognition:
        self.calls.append((model, pcm.size, options))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.running -= 1
        decoded_s = min(pcm.size / 16_000, self.most_s)
        words = [Word(" tone", float(s), s + 0.5, 0.9) for s in range(max(1, int(decoded_s)))]
        text = "".join(word.word for word in words).strip()
        segment = Segment(0.0, words[-1].end, text, words if options.word_timestamps else [])
        return Recognition(options.language or "en", 1.0, [segment], -0.1, 0.0, 1.0, 0.0, decoded_s)


class FakeVoiceActivity:
    """Loud is speech."""

    async def detect(self, pcm: Pcm, state: Floats) -> tuple[Floats, Floats]:
        frames = np.abs(pcm.reshape(-1, ACTIVITY_FRAME_SAMPLES).astype(np.float32)).mean(axis=1)
        return (frames > LOUD).astype(np.float32), state


@dataclass
class FakeRegistry:
    ids: tuple[str, ...] = ("small", "large-v3-turbo")
    languages: tuple[str, ...] = ("en", "es")
    min_window_frames: int = 3000

    async def deployments(self) -> list[Deployment]:
        whisper = [
            Deployment(
                f"whisper-{id_}",
                "1",
                True,
                ModelCard("whisper", f"Fake {id_}", list(self.languages), "very_fast", self.min_window_frames),
            )
            for id_ in self.ids
        ]
        return [*whisper, Deployment("voice_activity", "1", True, ModelCard("voice_activity", "Loudness"))]


def fake_inference(recognizer: FakeRecognizer | None = None, registry: FakeRegistry | None = None) -> Inference:
    return Inference(recognizer or FakeRecognizer(), FakeVoiceActivity(), registry or FakeRegistry())
