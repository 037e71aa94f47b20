"""Music for the model to say nothing to: chords, melodies and drums of random instruments."""

from __future__ import annotations

import numpy as np

from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Floats
from export_scripts.demo.speech.utterances import log_mel

PIECES = 60
PIECE_S = 30
SCALE = (0, 2, 4, 5, 7, 9, 11)


def make_music(seed: int) -> list[Floats]:
    """Log-mel pieces (frames, 80)."""
    rng = np.random.default_rng(seed)
    return [log_mel(compose(rng, PIECE_S)) for _ in range(PIECES)]


def compose(rng: np.random.Generator, seconds: float) -> Floats:
    """Samples at 16 kHz with a peak of one half: one to three instruments, drums under some of them."""
    mix = np.zeros(int(seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    beat = int(SAMPLE_RATE_HZ * rng.uniform(0.12, 0.7))
    root = rng.uniform(80, 260)
    for _ in range(int(rng.integers(1, 4))):
        partials = int(rng.integers(1, 12))
        levels = rng.uniform(0, 1, partials) / np.arange(1, partials + 1)
        octave, voices, decay = 2.0 ** rng.integers(0, 3), int(rng.integers(1, 4)), rng.uniform(1, 12)
        loudness = rng.uniform(0.3, 1)
        for start in range(0, mix.size, beat * int(rng.integers(1, 5))):
            length = min(mix.size - start, int(beat * rng.uniform(0.5, 4)))
            time = np.arange(length) / SAMPLE_RATE_HZ
            for _ in range(voices):
                pitch = root * octave * 2 ** (SCALE[rng.integers(len(SCALE))] / 12)
                tone = sum(
                    level * np.sin(2 * np.pi * pitch * (order + 1) * time)
                    for order, level in enumerate(levels)
                    if pitch * (order + 1) < SAMPLE_RATE_HZ / 2
                )
                mix[start : start + length] += loudness * np.exp(-decay * time) * tone
    if rng.random() < 0.5:
        for start in range(0, mix.size, beat):
            length = min(mix.size - start, SAMPLE_RATE_HZ // 10)
            mix[start : start + length] += rng.normal(0, 0.5, length) * np.exp(
                -np.arange(length) / rng.uniform(100, 600)
            )
    return (mix * (0.5 / max(float(np.abs(mix).max()), 1e-6))).astype(np.float32)
