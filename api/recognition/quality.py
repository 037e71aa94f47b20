"""How far speech is above the noise around it, when neither is known by itself. Pure and incremental.

What is meant by the signal-to-noise ratio: the mean power of speech while somebody speaks over the mean power of what
else is heard then, both without a constant offset, from 0 to 8 kHz.

A ratio of powers by voice activity. As in ITU-T P.56, speech counts only while it is active; as in spectral subtraction
(Boll 1979, "Suppression of Acoustic Noise in Speech Using Spectral Subtraction"), what is heard in pauses is the noise,
and the power of speech what is more than that. bench/snr.py compares it with others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from api.inference.base import Floats, Pcm
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES
from api.recognition.chunking import FULL_WINDOWS, Span, frames

LEAST_DB, MOST_DB = -20.0, 60.0
CONTEXT: Final = frames(10)
"""How far before a window to look for its noise,"""
ENOUGH: Final = frames(2)
"""no further than for this much of it: what is nearest is most like what lies under the speech."""
FEWEST: Final = frames(0.25)
PERHAPS_SPEECH: Final = 0.1
GUARDS: Final = ((frames(0.1), frames(0.2)), (1, 2))
"""Before and after what is perhaps speech nothing counts as noise, since sounds begin softly, and rooms go on sounding.
Where that leaves too little, the second pair."""
SOFTEST_SHARE: Final = 0.1
"""Of speech without a pause: its frames that are hardly louder than the noise."""
BELOW_NOISE_SHARE: Final = 1 / 3
"""Of a window's frames, no more are softer than its noise."""
QUANTIZATION_POWER: Final = 1 / 12
"""Of rounding to whole numbers; no recording has less noise."""

Powers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Levels:
    """The energy of the frames in which somebody speaks, and how much of it is noise: as they are, and differentiated.
    A recording's are the sum of its windows', so what counts is the noise while somebody speaks, also where it comes
    and goes."""

    whole: float = 0.0
    noise: float = 0.0
    treble: float = 0.0
    treble_noise: float = 0.0

    def __add__(self, other: Levels) -> Levels:
        return Levels(
            self.whole + other.whole,
            self.noise + other.noise,
            self.treble + other.treble,
            self.treble_noise + other.treble_noise,
        )

    @property
    def snr_db(self) -> float | None:
        """From -20 to 60, in tenths; None where nobody speaks."""
        return _snr_db(self.whole, self.noise) if self.noise else None

    def is_below(self, floor_db: float | None) -> bool:
        """Whether noise drowns the speech: rumble, hum and wind do not, being lower than what words are told apart by.
        So it is what is below the floor differentiated too."""
        if floor_db is None or not self.noise:
            return False
        return max(_snr_db(self.whole, self.noise), _snr_db(self.treble, self.treble_noise)) < floor_db


def _snr_db(whole: float, noise: float) -> float:
    ratio = max(whole / noise - 1, 1e-9)
    return round(min(max(10 * math.log10(ratio), LEAST_DB), MOST_DB), 1)


class LevelMeter:
    """The power of each frame of a stream, as long as it can matter. What is measured does not depend on how the stream
    was portioned."""

    def __init__(self) -> None:
        self._start = 0  # the frame that the first of these is of
        self._powers: Powers = np.zeros((0, 2))
        self._speech: Floats = np.zeros(0, dtype=np.float32)

    def hear(self, pcm: Pcm, speech: Floats) -> None:
        """The stream's next samples, whole frames but for its last ones, and the probability of speech in each frame.
        What is no whole frame does not count."""
        powers = _powers(pcm)
        self._powers = np.concatenate([self._powers, powers])
        self._speech = np.concatenate([self._speech, speech[: len(powers)]])

    def levels(self, window: Span) -> Levels:
        """Of a window of speech, by what was heard up to its end."""
        first, start, end = (
            frame - self._start for frame in (max(0, window.start - CONTEXT), window.start, window.end)
        )
        spoken = self._powers[start:end][self._speech[start:end] >= FULL_WINDOWS.onset]
        if not spoken.size:
            return Levels()
        whole = spoken.sum(axis=0)
        noise = len(spoken) * _noise_powers(self._powers[first:end], self._speech[first:end], start - first)
        return Levels(float(whole[0]), float(noise[0]), float(whole[1]), float(noise[1]))

    def forget(self, before_frame: int) -> None:
        """No window that is asked about begins before this frame any more."""
        past = max(0, before_frame - CONTEXT - self._start)
        self._powers, self._speech = self._powers[past:].copy(), self._speech[past:].copy()
        self._start += past


def _powers(pcm: Pcm) -> Powers:
    """Of each whole frame: its variance, and the mean square of the differences in it. They are exact, being made of
    whole numbers below 2**53."""
    whole = pcm.size - pcm.size % ACTIVITY_FRAME_SAMPLES
    samples = pcm[:whole].reshape(-1, ACTIVITY_FRAME_SAMPLES).astype(np.float64)
    differences = np.diff(samples, axis=1)
    variances = ACTIVITY_FRAME_SAMPLES * _squares(samples) - samples.sum(axis=1) ** 2
    return np.stack([variances / ACTIVITY_FRAME_SAMPLES**2, _squares(differences) / differences.shape[1]], axis=1)


def _squares(frames: Powers) -> Powers:
    squares: Powers = np.einsum("ij,ij->i", frames, frames)
    return squares


def _noise_powers(powers: Powers, speech: Floats, start: int) -> Powers:
    """Of the noise under the window that begins at frame `start`, given what comes before it too."""
    window = powers[start:]
    pauses = _pauses(speech)
    near = max(ENOUGH, int(np.count_nonzero(pauses >= start)))
    heard = powers[pauses[-near:]].mean(axis=0) if pauses.size else np.quantile(window, SOFTEST_SHARE, axis=0)
    # A door that slams in a pause, or music before somebody speaks, is no noise that the speech is in.
    noise: Powers = np.maximum(np.minimum(heard, np.quantile(window, BELOW_NOISE_SHARE, axis=0)), QUANTIZATION_POWER)
    return noise


def _pauses(speech: Floats) -> npt.NDArray[np.intp]:
    """The frames in which surely nobody speaks."""
    perhaps: npt.NDArray[np.bool_] = speech >= PERHAPS_SPEECH
    pauses = np.zeros(0, dtype=np.intp)
    for before, after in GUARDS:
        near = perhaps.copy()
        for distance in range(1, before + 1):
            near[:-distance] |= perhaps[distance:]
        for distance in range(1, after + 1):
            near[distance:] |= perhaps[:-distance]
        pauses = np.flatnonzero(~near)
        if pauses.size >= FEWEST:
            break
    return pauses
