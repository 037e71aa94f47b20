"""One utterance: a text spoken by eSpeak NG, trimmed, with its words' times, and its log-mel frames."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from export_scripts.demo.speech.espeak import SAMPLE_RATE_HZ, Espeak, Floats, Manner, SpeechError

MEL_BINS = 80
HOP_SAMPLES = 160
FFT_SAMPLES = 400
QUIETEST_LOG_POWER = -10.0
# What is softer than this, of a peak of one half, is trimmed off both ends, but for a margin.
TRIM_LEVEL = 0.008
TRIM_LEAD_S, TRIM_TAIL_S = 0.02, 0.03


@dataclass(frozen=True)
class Spoken:
    """One utterance: samples (n,) at 16 kHz, trimmed, and when each word of `text` starts, in s."""

    text: str
    language: str
    voice: str
    samples: Floats
    word_starts: list[float]


def random_manner(rng: random.Random) -> Manner:
    return Manner(rng.randint(110, 215), rng.randint(20, 85), rng.randint(20, 80), rng.choice((0, 0, 0, 0, 1, 2)))


def speak(espeak: Espeak, text: str, language: str, voice: str, manner: Manner) -> Spoken:
    """Raises SpeechError where the voice gives no sound worth the name."""
    samples, reported = espeak.speak(text, voice, manner)
    peak = float(np.abs(samples).max())
    if peak < 0.01:
        raise SpeechError(f"The voice {voice} is silent on {text!r}.")
    samples = samples * np.float32(0.5 / peak)
    loud = np.flatnonzero(np.abs(samples) > TRIM_LEVEL)
    first = max(0, int(loud[0]) - int(TRIM_LEAD_S * SAMPLE_RATE_HZ))
    last = min(samples.size, int(loud[-1]) + int(TRIM_TAIL_S * SAMPLE_RATE_HZ))
    starts = _word_starts(text, reported, samples.size / SAMPLE_RATE_HZ)
    offset_s = first / SAMPLE_RATE_HZ
    return Spoken(text, language, voice, samples[first:last], [max(0.0, start - offset_s) for start in starts])


def _word_starts(text: str, reported: dict[int, float], duration_s: float) -> list[float]:
    """Of each word; those that eSpeak runs into the word before get their share of its time, by letters."""
    words = text.split()
    positions = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    known = {index: reported[position] for index, position in enumerate(positions) if position in reported}
    known[0] = known.get(0, 0.0)
    at = [positions[index] for index in known] + [len(text)]
    times = [*known.values(), duration_s]
    order = np.argsort(at)
    return [float(t) for t in np.interp(positions, np.array(at)[order], np.array(times)[order])]


def log_mel(samples: Floats) -> npt.NDArray[np.float32]:
    """log10 mel power (frames, 80), one frame each 10 ms, before any scaling."""
    padded = np.pad(samples, FFT_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32), axis=-1)
    power = np.abs(spectrum).astype(np.float32) ** 2
    filters = FeatureExtractor().mel_filters.astype(np.float32)
    return np.asarray(np.log10(np.maximum(power @ filters.T, 10**QUIETEST_LOG_POWER)), dtype=np.float32)
