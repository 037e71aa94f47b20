"""A look-ahead limiter: no true peak above its ceiling, and as little change as that allows.

The gain that a moment needs is held for LOOK_S before and after it, and then smoothed over as long: so it has fallen
when the peak comes, falls and rises without a click, and is never more than the peak allows. Nothing in that is
recursive: what comes out depends on the samples within a few hundredths of a second alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from api.inference.base import Floats

LOOK_S: Final = 0.02
OVERSAMPLING: Final = 4
"""ITU-R BS.1770-4, annex 2: from 48 kHz on this finds peaks between samples to within some tenths of a dB."""
TAPS: Final = 24
"""Samples that one between them is computed from."""
KAISER_BETA: Final = 8.0
AT_ONCE_S: Final = 1.0


class Limiter:
    """Of a stream of one or two channels, which are made quieter together.

    It works on a grid of its own, a second at a time: how the stream is cut into blocks makes no difference.
    """

    def __init__(self, rate_hz: int, channels: int, ceiling: float) -> None:
        self._ceiling = ceiling
        self._look = round(rate_hz * LOOK_S)
        self._margin = 2 * self._look + TAPS
        self._at_once = round(rate_hz * AT_ONCE_S)
        self._held: list[Floats] = [np.zeros((self._margin, channels), dtype=np.float32)]
        self._owed = 0

    def push(self, samples: Floats) -> Floats:
        """(samples, channels) in, those that are ready out."""
        self._held.append(samples)
        self._owed += len(samples)
        audio = np.concatenate(self._held)
        ready = []
        while len(audio) >= self._at_once + 2 * self._margin:
            ready.append(self._limited(audio[: self._at_once + 2 * self._margin]))
            audio = audio[self._at_once :]
        self._held = [audio.copy()]
        found = np.concatenate(ready) if ready else audio[:0]
        self._owed -= len(found)
        return found

    def flush(self) -> Floats:
        """What is left of the stream at its end."""
        owed = self._owed
        silence = np.zeros((self._at_once + 2 * self._margin, self._held[0].shape[1]), dtype=np.float32)
        return self.push(silence)[:owed]

    def _limited(self, audio: Floats) -> Floats:
        """Of what comes with a margin on both sides."""
        middle = audio[self._margin : -self._margin]
        if np.abs(audio).max(initial=0) * overshoot() <= self._ceiling:
            return middle
        peaks = true_peaks(audio)
        if peaks.max() <= self._ceiling:
            return middle
        needed = self._ceiling / np.maximum(peaks, self._ceiling)
        held = sliding_minimum(needed, 2 * self._look + 1)
        gain = smoothed(smoothed(held, self._look + 1), self._look + 1)[TAPS : TAPS + len(middle)]
        limited: Floats = (middle * gain[:, None]).astype(np.float32)
        return limited


@cache
def between() -> npt.NDArray[np.float32]:
    """Windowed sinc filters for the moments between a sample and the next, (OVERSAMPLING - 1, TAPS): what they make of
    TAPS samples lies between the two in the middle."""
    window = np.kaiser(TAPS * OVERSAMPLING + 1, KAISER_BETA)
    places = np.arange(TAPS) - (TAPS // 2 - 1)
    rows = []
    for part in range(1, OVERSAMPLING):
        distance = places - part / OVERSAMPLING
        row = np.sinc(distance) * np.interp(distance * OVERSAMPLING, np.arange(window.size) - window.size // 2, window)
        rows.append(row / row.sum())
    return np.array(rows, dtype=np.float32)


@cache
def overshoot() -> float:
    """How much more than the largest sample a peak between samples can be."""
    return float(np.abs(between()).sum(axis=1).max())


def true_peaks(audio: Floats) -> Floats:
    """The largest magnitude of all channels at each sample and up to the next: (samples, channels) → (samples,)."""
    peaks: Floats = np.abs(audio).max(axis=1)
    size = len(audio) - TAPS + 1
    inner, found, part = peaks[TAPS // 2 - 1 :][:size], np.empty(size, np.float32), np.empty(size, np.float32)
    for channel in np.ascontiguousarray(audio.T):
        for weights in between():
            found.fill(0)
            for place, weight in enumerate(weights):  # faster than np.convolve
                np.add(found, np.multiply(channel[place : place + size], weight, out=part), out=found)
            np.maximum(inner, np.abs(found, out=found), out=inner)
    return peaks


def sliding_minimum(values: Floats, width: int) -> Floats:
    """Of each `width` neighbours: (n,) → (n - width + 1,)."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        values = np.minimum(values[:-step], values[step:])
        reach += step
    return values


def smoothed(values: npt.NDArray[Any], width: int) -> npt.NDArray[np.float64]:
    """The mean of each `width` neighbours: (n,) → (n - width + 1,)."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means: npt.NDArray[np.float64] = (sums[width:] - sums[:-width]) / width
    return means
