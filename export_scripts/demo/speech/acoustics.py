"""What rooms, microphones and codecs do to speech, on mel power (frames, 80), where adding is what the air does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export_scripts.demo.speech.espeak import Floats
from export_scripts.demo.speech.utterances import MEL_BINS, QUIETEST_LOG_POWER

BINS = np.arange(MEL_BINS, dtype=np.float32)

Rng = np.random.Generator


def reverberate(power: Floats, decay: float, level: float) -> None:
    """A tail behind every frame that falls by `decay` each 10 ms … 40 ms."""
    tail = power.copy()
    for lag in (1, 2, 4, 8):
        tail[lag:] += tail[:-lag] * decay**lag
    power += level * tail


def warped(mel: Floats, factor: float) -> Floats:
    """Vocal tract length perturbation (Jaitly and Hinton 2013), on the mel axis."""
    at = np.clip(BINS * np.float32(factor), 0, MEL_BINS - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, MEL_BINS - 1)
    share = at - low
    return np.asarray(mel[:, low] * (1 - share) + mel[:, high] * share, dtype=np.float32)


def smooth(rng: Rng, deviation: float) -> Floats:
    """A random curve over the mel bins, in log10."""
    return np.interp(BINS, np.linspace(0, MEL_BINS - 1, 6), rng.normal(0, deviation, 6)).astype(np.float32)


def compress(rng: Rng, power: Floats) -> None:
    """A lossy codec leaves out what is far below the loudest bin of its frame."""
    inaudible = power < power.max(axis=1, keepdims=True) * np.float32(10 ** -rng.uniform(2.5, 5.0))
    power[inaudible & (rng.random(power.shape) < rng.uniform(0.3, 1.0))] = 10**QUIETEST_LOG_POWER


def add_noise(rng: Rng, power: Floats, level: float) -> None:
    """Of a random colour, `level` being its mean in log10."""
    colour = 10 ** (smooth(rng, 0.5) + np.float32(level))
    # The power of noise in one bin of one frame is exponential; a mel bin averages about two.
    power += colour * rng.standard_exponential((2, *power.shape), dtype=np.float32).mean(axis=0)


def add_music(rng: Rng, power: Floats, content: int, music: Sequence[Floats], *, quiet: bool) -> None:
    piece = music[int(rng.integers(len(music)))]
    start = int(rng.integers(0, max(1, len(piece) - content)))
    part = piece[start : start + content]
    level = rng.uniform(-2.5, -1.3) if quiet else rng.uniform(-1.5, 0.3)
    power[: len(part)] += 10 ** (part + np.float32(level))
