"""Sound as log-mel spectra, and spectra as sound: what lies before and behind the networks, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 24_000
FFT_SAMPLES = 1024
HOP_SAMPLES = 256
BINS = FFT_SAMPLES // 2 + 1
MELS = 100
SMALLEST = 1e-5  # below it magnitudes are cut before the logarithm
# What pydub's detect_leading_silence looks at, and what f5_tts.infer.utils_infer takes for silence.
BLOCK_SAMPLES = SAMPLE_RATE_HZ // 100
SILENCE_RMS = 32768 * 10 ** (-42 / 20)
# Hann's window, whose period is its length.
WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SAMPLES) / FFT_SAMPLES)).astype(np.float32)

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]


def without_silent_edges(pcm: Pcm) -> Pcm:
    """Without the blocks of 10 ms before the first and behind the last that are louder than -42 dBFS.

    They are counted from the beginning and from the end, so that only whole ones go.
    """
    start = _silent_blocks(pcm) * BLOCK_SAMPLES
    rest = pcm[start:]
    return rest[: rest.size - _silent_blocks(rest[::-1]) * BLOCK_SAMPLES]


def _silent_blocks(pcm: Pcm) -> int:
    """From the beginning on."""
    blocks = pcm[: pcm.size // BLOCK_SAMPLES * BLOCK_SAMPLES].reshape(-1, BLOCK_SAMPLES).astype(np.float64)
    loud = np.sqrt(np.square(blocks).mean(axis=1)) >= SILENCE_RMS
    return int(loud.argmax()) if loud.any() else len(loud)


def log_mel(samples: Floats, filterbank: Floats) -> Floats:
    """(frames, mels); frame n is around sample 256 n, with mirrors at the edges. `filterbank` is (bins, mels)."""
    padded = np.pad(samples, FFT_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    magnitudes = np.abs(np.fft.rfft(frames * WINDOW, axis=-1)).astype(np.float32)
    mels: Floats = np.log(np.maximum(magnitudes @ filterbank, np.float32(SMALLEST)))
    return mels


def waveform(spectrum: Floats) -> Floats:
    """The inverse of a short-time Fourier transform whose frame n was around sample 256 n; (2, bins, frames): the real
    and imaginary parts. The half frames before the first and behind the last centre are left out."""
    frames = np.fft.irfft(spectrum[0] + 1j * spectrum[1], n=FFT_SAMPLES, axis=0).T * WINDOW
    overlap = FFT_SAMPLES // HOP_SAMPLES
    added = np.zeros((len(frames) + overlap - 1, HOP_SAMPLES))
    weights = np.zeros_like(added)
    for part in range(overlap):
        hop = slice(part * HOP_SAMPLES, (part + 1) * HOP_SAMPLES)
        added[part : part + len(frames)] += frames[:, hop]
        weights[part : part + len(frames)] += np.square(WINDOW[hop])
    whole = slice(FFT_SAMPLES // 2, added.size - FFT_SAMPLES // 2)
    samples: Floats = (added.reshape(-1)[whole] / weights.reshape(-1)[whole]).astype(np.float32)
    return samples
