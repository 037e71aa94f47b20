"""How loud a recording is, by ITU-R BS.1770-4, as EBU R 128 asks for it: integrated loudness in LUFS.

It is found out while the recording passes by; what is kept of it is one number for each 100 ms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from api.inference.base import Floats

STEP_S: Final = 0.1
STEPS_OF_A_BLOCK: Final = 4
"""Gating blocks are 400 ms long, and three quarters of each are the end of the one before."""
STEPS_AT_ONCE: Final = 10
ABSOLUTE_GATE_LUFS: Final = -70.0
RELATIVE_GATE_LU: Final = -10.0
OFFSET_LU: Final = -0.691
SILENT: Final = float("-inf")
# The two stages of K-weighting as analogue filters, whose bilinear transforms at 48 kHz are the standard's tables.
SHELF_HZ, SHELF_Q, SHELF_DB, SHELF_SLOPE = 1681.974450955533, 0.7071752369554196, 3.999843853973347, 0.4996667741545416
HIGH_PASS_HZ, HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773


class LoudnessMeter:
    """Measures a recording of one or two channels, block by block.

    K-weighting is done by FFT on a grid of its own, so that blocks of any length give the same result to the last bit:
    a second at a time with the 100 ms before it, in which the filters' answer to what was earlier has died away
    (the high pass loses 180 dB in that time).
    """

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._step = round(rate_hz * STEP_S)
        self._weights = weighting(rate_hz, (1 + STEPS_AT_ONCE) * self._step)
        self._held: list[Floats] = [np.zeros((self._step, channels), dtype=np.float32)]
        self._size = self._step
        self._energies: list[npt.NDArray[np.float64]] = []

    def push(self, samples: Floats) -> None:
        """The next of it, (samples, channels)."""
        self._held.append(samples)
        self._size += len(samples)
        if self._size < (1 + STEPS_AT_ONCE) * self._step:
            return
        audio = np.concatenate(self._held)
        while len(audio) >= (1 + STEPS_AT_ONCE) * self._step:
            self._energies.append(self._measure(audio[: (1 + STEPS_AT_ONCE) * self._step]))
            audio = audio[STEPS_AT_ONCE * self._step :]
        self._held, self._size = [audio.copy()], len(audio)

    def integrated(self) -> float:
        """The loudness of what was pushed so far, in LUFS; SILENT where all of it is below -70 LUFS."""
        return gated(self.powers())

    def powers(self) -> npt.NDArray[np.float64]:
        """The mean square of each gating block, weighted, the channels added up.

        A step that is not full does not count; but of a recording of less than 400 ms, all of it is one block.
        """
        rest = np.concatenate(self._held)
        padded = np.zeros(((1 + STEPS_AT_ONCE) * self._step, rest.shape[1]), dtype=np.float32)
        padded[: len(rest)] = rest
        last = self._measure(padded)
        energies = np.concatenate([*self._energies, last[: len(rest) // self._step - 1]])
        if len(energies) < STEPS_OF_A_BLOCK:
            length = len(energies) + (len(rest) % self._step) / self._step
            blocks = np.concatenate([*self._energies, last]).sum(keepdims=True) / max(length, 1e-9)
        else:
            blocks = np.lib.stride_tricks.sliding_window_view(energies, STEPS_OF_A_BLOCK).mean(axis=1)
        powers: npt.NDArray[np.float64] = blocks / self._step
        return powers

    def _measure(self, audio: Floats) -> npt.NDArray[np.float64]:
        """The energy of all channels in each step of a second that comes with the step before it."""
        spectrum = np.fft.rfft(audio.T)
        spectrum *= self._weights
        weighted = np.fft.irfft(spectrum, len(audio))[:, self._step :].reshape(-1, STEPS_AT_ONCE, self._step)
        energies: npt.NDArray[np.float64] = np.einsum("ijk,ijk->j", weighted, weighted)
        return energies


def share_kept(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], least_db: float) -> float:
    """Of the gating blocks in which something was heard before, the share that became quieter by less than that."""
    heard = before > _power(ABSOLUTE_GATE_LUFS)
    kept = heard & (after > before * 10 ** (-least_db / 10))
    return float(kept.sum() / max(1, heard.sum()))


def gated(powers: npt.NDArray[np.float64]) -> float:
    """The loudness of gating blocks with these mean squares: of those that are not too quiet beside the others."""
    heard = powers[powers > _power(ABSOLUTE_GATE_LUFS)]
    if not heard.size:
        return SILENT
    loud = heard[heard > heard.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
    return float(OFFSET_LU + 10 * np.log10(loud.mean()))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LU) / 10))


@lru_cache(maxsize=8)
def weighting(rate_hz: int, size: int) -> npt.NDArray[np.complex128]:
    """What K-weighting does to each frequency of a real FFT of so many samples: (size // 2 + 1,)."""
    tangent = 1j * np.tan(np.pi * np.fft.rfftfreq(size))
    k = np.tan(np.pi * SHELF_HZ / rate_hz)
    s, high = tangent / k, 10 ** (SHELF_DB / 20)
    shelf = (high * s**2 + high**SHELF_SLOPE / SHELF_Q * s + 1) / (s**2 + s / SHELF_Q + 1)
    k = np.tan(np.pi * HIGH_PASS_HZ / rate_hz)
    s = tangent / k
    # The factor is what the standard's numerator, 1 - 2/z + 1/z², has more than that of the transform.
    high_pass = s**2 / (s**2 + s / HIGH_PASS_Q + 1) * (1 + k / HIGH_PASS_Q + k**2)
    weights: npt.NDArray[np.complex128] = shelf * high_pass
    return weights
