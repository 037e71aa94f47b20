"""Other ways to estimate a signal-to-noise ratio, which need no voice activity: what bench/snr.py compares with.

Each takes the samples (n,) of a recording at 16 kHz, in steps of 16 bits, and gives decibels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from bench.mixtures import Samples

FRAME = 512
LEAST_DB, MOST_DB = -20, 60
GAMMA_SHAPE = 0.4
DRAWN = 1_000_000
SOFTEST = 1 / 3
"""What rounding makes of silence: amplitudes below a half are 0, whose logarithm there is none of."""


def wada(samples: Samples) -> float:
    """Kim and Stern 2008, "Robust Signal-to-Noise Ratio Estimation Based on Waveform Amplitude Distribution Analysis":
    how the amplitudes of all samples are distributed tells how much Gaussian noise is under speech, whose own ones are
    taken to follow a Gamma distribution. It knows the ratio of the whole recording's powers, pauses included."""
    amplitudes = np.maximum(np.abs(samples - samples.mean()), SOFTEST)
    spread = np.log(amplitudes.mean()) - np.log(amplitudes).mean()
    ratios, spreads = _wada_table()
    return float(np.interp(spread, spreads, ratios))


@cache
def _wada_table() -> tuple[Samples, Samples]:
    """The spread of amplitudes at each ratio, of drawn ones."""
    rng = np.random.default_rng(0)
    speech = rng.gamma(GAMMA_SHAPE, size=DRAWN) * rng.choice([-1, 1], DRAWN)
    speech /= np.sqrt(np.mean(speech**2))
    noise = rng.normal(size=DRAWN)
    ratios = np.arange(LEAST_DB, MOST_DB + 1)
    mixed = (np.abs(speech + noise * 10 ** (-ratio / 20)) for ratio in ratios)
    return ratios, np.array([np.log(one.mean()) - np.log(one).mean() for one in mixed])


def quantiles(samples: Samples) -> float:
    """In the manner of NIST's STNR: the loudest frames over the softest, 95 % being softer and 10 %."""
    loudest, softest = np.quantile(_powers(samples), [0.95, 0.1])
    return _decibels(loudest - softest, softest)


def minimum_statistics(samples: Samples) -> float:
    """After Martin 2001, "Noise Power Spectral Density Estimation Based on Optimal Smoothing and Minimum Statistics",
    of all frequencies together: the noise is the least smoothed power within 1.5 s on either side."""
    powers = _powers(samples)
    smooth = np.array([powers[max(0, frame - 3) : frame + 1].mean() for frame in range(len(powers))])
    least = [smooth[max(0, frame - 47) : frame + 48].min() for frame in range(len(smooth))]
    noise = min(float(np.mean(least)), float(powers.mean()))
    loud = max(1, int(np.count_nonzero(powers > 4 * noise)))
    return _decibels((powers.sum() - len(powers) * noise) / loud, noise)


def _powers(samples: Samples) -> Samples:
    whole = samples[: samples.size // FRAME * FRAME].astype(np.float64)
    return np.asarray(whole.reshape(-1, FRAME).var(axis=1))


def _decibels(speech: float, noise: float) -> float:
    return float(np.clip(10 * np.log10(max(speech, 1e-9) / max(noise, 1 / 12)), LEAST_DB, MOST_DB))


OTHERS: Final[dict[str, Callable[[Samples], float]]] = {
    "WADA-SNR": wada,
    "quantiles": quantiles,
    "minimum statistics": minimum_statistics,
}
