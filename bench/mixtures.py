"""Speech in noise, of which it is known how far the one is above the other: for bench/snr.py and the tests.

Samples are (n,) at 16 kHz, from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import lfilter

from api.inference.base import Pcm
from bench.enhancement import NOISE

SAMPLE_RATE_HZ = 16_000
RMS = 0.05
"""Of speech while it is active."""
LONG_S, PAUSE_S = 60, 0.6
P56_RISE_S, P56_HANGOVER_S, P56_MARGIN_DB = 0.03, 0.2, 15.9

Samples = npt.NDArray[Any]


def pcm_of(samples: Samples) -> Pcm:
    pcm: Pcm = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    return pcm


def active_power(speech: Samples) -> float:
    """ITU-T P.56, method B: the mean power while the envelope is above a threshold that lies 15.9 dB below it."""
    decay = np.exp(-1 / (P56_RISE_S * SAMPLE_RATE_HZ))
    envelope = np.abs(speech)
    for _ in range(2):
        envelope = lfilter([1 - decay], [1, -decay], envelope)
    hangover, energy = int(P56_HANGOVER_S * SAMPLE_RATE_HZ), float(np.sum(speech.astype(np.float64) ** 2))
    power = energy / speech.size
    for threshold in 2.0 ** np.arange(-15, 1, 0.25):
        above = np.flatnonzero(envelope >= threshold)
        if not above.size:
            break
        gaps = np.minimum(np.diff(above, append=speech.size), hangover)
        power = energy / int(gaps.sum())
        if 10 * np.log10(power / threshold**2) <= P56_MARGIN_DB:
            break
    return power


def levelled(speech: Samples) -> Samples:
    return np.asarray(speech * RMS / np.sqrt(active_power(speech)))


def with_noise(recordings: Sequence[Samples], name: str, ratio_db: float) -> list[Samples]:
    """Of recordings at the same active level."""
    mixed = []
    for index, speech in enumerate(recordings):
        noise = NOISES[name](np.random.default_rng(index), index, recordings)
        share = RMS * 10 ** (-ratio_db / 20) / np.sqrt(np.mean(noise**2))
        mixed.append(speech + share * noise)
    return mixed


def _coloured(rng: np.random.Generator, size: int, falls_with: Callable[[Samples], Samples]) -> Samples:
    spectrum, frequencies = np.fft.rfft(rng.normal(size=size)), np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    return np.fft.irfft(spectrum * falls_with(frequencies), size)


def _pink(rng: np.random.Generator, index: int, recordings: Sequence[Samples]) -> Samples:
    return _coloured(rng, recordings[index].size, lambda hz: (hz >= 20) / np.sqrt(np.maximum(hz, 20)))


def _rumble(rng: np.random.Generator, index: int, recordings: Sequence[Samples]) -> Samples:
    """As in a car: 12 dB less an octave from 80 Hz on."""
    return _coloured(rng, recordings[index].size, lambda hz: 1 / (1 + (hz / 80) ** 2))


def _music(rng: np.random.Generator, index: int, recordings: Sequence[Samples]) -> Samples:
    """Chords of three struck strings."""
    music = np.zeros(recordings[index].size)
    for start in range(0, music.size, SAMPLE_RATE_HZ // 4):
        at_s = np.arange(min(SAMPLE_RATE_HZ // 2, music.size - start)) / SAMPLE_RATE_HZ
        for pitch_hz in 220 * 2 ** (rng.integers(0, 24, 3) / 12):
            tones = sum(np.sin(2 * np.pi * pitch_hz * order * at_s) / order for order in (1, 2, 3))
            music[start : start + at_s.size] += tones * np.exp(-3 * at_s)
    return music


def _tone(rng: np.random.Generator, index: int, recordings: Sequence[Samples]) -> Samples:
    return np.asarray(np.sin(2 * np.pi * 440 / SAMPLE_RATE_HZ * np.arange(recordings[index].size)))


NOISES: Final[dict[str, Callable[[np.random.Generator, int, Sequence[Any]], Any]]] = {
    "white": NOISE["white"],
    "pink": _pink,
    "hum": NOISE["hum"],
    "babble": NOISE["babble"],
    "rumble": _rumble,
    "music": _music,
    "tone": _tone,
}


def telephone(speech: Samples) -> Samples:
    """8 kHz without what is below 300 Hz, in the 8 bits of μ-law."""
    spectrum = np.fft.rfft(soxr.resample(speech, SAMPLE_RATE_HZ, 8000))
    spectrum[: int(300 / 4000 * len(spectrum))] = 0
    narrow = np.fft.irfft(spectrum)
    coded = np.round(127 * np.sign(narrow) * np.log1p(255 * np.minimum(np.abs(narrow), 1)) / np.log(256)) / 127
    return np.asarray(soxr.resample(np.sign(coded) * (256 ** np.abs(coded) - 1) / 255, 8000, SAMPLE_RATE_HZ))


def in_a_room(speech: Samples, seconds: float) -> Samples:
    """One that sounds on for so long until it is 60 dB softer."""
    size = int(seconds * SAMPLE_RATE_HZ)
    echoes = np.random.default_rng(7).normal(size=size) * 10 ** (-3 * np.arange(size) / size) / 20
    echoes[0] = 1
    length = speech.size + size
    return levelled(np.fft.irfft(np.fft.rfft(speech, length) * np.fft.rfft(echoes, length), length)[: speech.size])


def behind_music(speech: Samples) -> Samples:
    """5 s of it, 12 dB louder than who speaks 0.3 s later."""
    music = _music(np.random.default_rng(3), 0, [np.zeros(5 * SAMPLE_RATE_HZ)])
    louder = 4 * RMS * music / np.sqrt(np.mean(music**2))
    return np.concatenate([louder, np.zeros(int(0.3 * SAMPLE_RATE_HZ)), speech])


def strung(recordings: Sequence[Samples], seed: int) -> Samples:
    """A minute of them, in another order for each seed."""
    rng, parts, size = np.random.default_rng(seed), [np.zeros(SAMPLE_RATE_HZ // 2)], 0
    while size < LONG_S * SAMPLE_RATE_HZ:
        parts += [recordings[rng.integers(len(recordings))], np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ))]
        size += parts[-2].size + parts[-1].size
    return np.concatenate(parts)
