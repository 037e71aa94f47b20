"""The signal processing around DeepFilterNet's network: spectra, what it sees of them, what its answer does to them.

Schröter et al. 2023, "DeepFilterNet: Perceptually Motivated Real-Time Speech Enhancement": a gain for each of 32 bands,
and below 5 kHz a filter of 5 taps over the frames of each bin. Everything is for streams side by side, and nothing
depends on where a stream is cut into blocks: what a block needs of those before it is in `Past`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

# What the running means start from, first to last band or bin: in dB, and as magnitudes.
FIRST_LEVELS_DB = (-60.0, -90.0)
FIRST_MAGNITUDES = (1e-3, 1e-4)
LEVEL_SCALE_DB = 40.0
QUIETEST_POWER = 1e-10
QUIETEST_MAGNITUDE = 1e-12


@dataclass(frozen=True)
class Layout:
    """Of a checkpoint. A frame is two hops long; `lookahead` and `filter_lookahead` are frames."""

    sample_rate: int
    hop: int
    band_widths: tuple[int, ...]
    filtered_bins: int
    taps: int
    filter_lookahead: int
    lookahead: int
    decay: float
    """Of the running means, per frame."""

    @property
    def bins(self) -> int:
        return self.hop + 1

    @property
    def delay_samples(self) -> int:
        """A frame is whole one hop after it began."""
        return (1 + self.lookahead) * self.hop

    @property
    def past_frames(self) -> int:
        return self.lookahead + self.taps - 1 - self.filter_lookahead

    @property
    def past_shapes(self) -> list[tuple[int, ...]]:
        """Of the parts of Past, without its streams."""
        spectra = (self.past_frames, self.bins, 2)
        return [(self.hop,), (self.hop,), (len(self.band_widths),), (self.filtered_bins,), spectra]


class Past(NamedTuple):
    """What a block needs of those before it; zeros where there are none. The means are less what they start from."""

    audio: Floats
    overlap: Floats
    levels: Floats
    magnitudes: Floats
    spectra: Floats
    """The last frames, real and imaginary parts."""


class DeepFilter:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        centres = (np.arange(2 * layout.hop) + 0.5) / (2 * layout.hop)
        self._window = np.sin(np.pi / 2 * np.sin(np.pi * centres) ** 2)  # Vorbis: squares of two that overlap add to 1
        self._bands = np.repeat(np.arange(len(layout.band_widths)), layout.band_widths)
        self._band_starts = np.cumsum([0, *layout.band_widths[:-1]])
        self._first_levels = np.linspace(*FIRST_LEVELS_DB, len(layout.band_widths))
        self._first_magnitudes = np.linspace(*FIRST_MAGNITUDES, layout.filtered_bins)

    def analyse(self, audio: Floats, past: Floats) -> tuple[Complexes, Floats]:
        """Spectra (streams, past_frames + frames, bins) with those of the past, and the audio that the next needs."""
        hop = self._layout.hop
        whole = np.concatenate([past, audio], axis=1)
        frames = np.lib.stride_tricks.sliding_window_view(whole, 2 * hop, axis=1)[:, ::hop]
        spectra: Complexes = np.fft.rfft(frames * self._window) / (2 * hop)
        return spectra, whole[:, -hop:]

    def features(self, spectra: Complexes, past: Past) -> tuple[Floats, Floats, Floats, Floats]:
        """What the network sees: levels (streams, 1, frames, bands) and the low bins (streams, 2, frames, bins), each
        against its running mean; and those means."""
        layout = self._layout
        power = np.add.reduceat(np.abs(spectra) ** 2, self._band_starts, axis=2) / layout.band_widths
        levels = 10 * np.log10(power + QUIETEST_POWER)
        mean_levels = running_mean(levels, self._first_levels + past.levels, layout.decay)
        low = spectra[:, :, : layout.filtered_bins]
        magnitudes = running_mean(np.abs(low), self._first_magnitudes + past.magnitudes, layout.decay)
        low = low / np.sqrt(np.maximum(magnitudes, QUIETEST_MAGNITUDE))
        return (
            ((levels - mean_levels) / LEVEL_SCALE_DB)[:, None].astype(np.float32),
            np.stack([low.real, low.imag], axis=1).astype(np.float32),
            (mean_levels[:, -1] - self._first_levels).astype(np.float32),
            (magnitudes[:, -1] - self._first_magnitudes).astype(np.float32),
        )

    def filtered(self, spectra: Complexes, gains: Floats, coefficients: Floats) -> Complexes:
        """Spectra (streams, frames, bins) without the noise, `lookahead` frames late.

        `spectra` begin with the frames of the past. `gains` (streams, 1, frames, bands), `coefficients` (streams,
        frames, low bins, taps times real and imaginary part).
        """
        layout = self._layout
        frames = gains.shape[2]
        start = layout.past_frames - layout.lookahead
        noisy = spectra[:, start : start + frames]
        clean: Complexes = noisy * gains[:, 0][:, :, self._bands]
        taps = coefficients[..., 0::2] + 1j * coefficients[..., 1::2].astype(np.complex128)
        low = slice(layout.filtered_bins)
        clean[:, :, low] = sum(taps[..., tap] * spectra[:, tap : tap + frames, low] for tap in range(layout.taps))
        return clean

    def synthesise(self, spectra: Complexes, overlap: Floats) -> tuple[Floats, Floats]:
        """Audio (streams, frames times hop), and what of it overlaps with the next frame."""
        hop = self._layout.hop
        frames = np.fft.irfft(spectra * (2 * hop)) * self._window
        ends = np.concatenate([overlap[:, None], frames[:, :-1, hop:]], axis=1)
        audio = (frames[:, :, :hop] + ends).reshape(len(frames), -1)
        return audio.astype(np.float32), frames[:, -1, hop:].astype(np.float32)


def running_mean(values: Doubles, before: Doubles, decay: float) -> Doubles:
    """Over the frames (streams, frames, n), exponentially weighted, `before` (streams, n) being the mean so far."""
    ages = np.arange(values.shape[1])
    shares = np.tril(decay ** np.abs(ages[:, None] - ages)) * (1 - decay)
    mean: Doubles = shares @ values + (decay ** (ages + 1))[:, None] * before[:, None]
    return mean
