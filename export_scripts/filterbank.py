"""Kaldi's log-mel filterbank out of operations that ONNX has, so that a graph can begin at the waveform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SAMPLE_RATE_HZ = 16_000
SHIFT_SAMPLES = 160  # 10 ms
FRAME_SAMPLES = 400  # 25 ms: two and a half shifts
FFT_SIZE = 512
MEL_BINS = 80
LOWEST_HZ = 20.0
PRE_EMPHASIS = 0.97
SMALLEST_ENERGY = float(np.finfo(np.float32).eps)


class Filterbank(nn.Module):
    """Waveforms (batch, samples) in -1..1 → log-mel energies (batch, frames, 80) less their mean over the frames.

    The numbers are those of torchaudio.compliance.kaldi.fbank(32768 * waveform, window_type="hamming", dither=0) for
    80 mel bins. The samples must be a multiple of 160, and at least 480.
    """

    fourier: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fourier", torch.from_numpy(_fourier()))
        self.register_buffer("mel", torch.from_numpy(_mel()))

    def forward(self, waveforms: Tensor) -> Tensor:
        shifts = (32768.0 * waveforms).reshape(waveforms.shape[0], -1, SHIFT_SAMPLES)
        frames = torch.cat(
            [shifts[:, :-2], shifts[:, 1:-1], shifts[:, 2:, : FRAME_SAMPLES - 2 * SHIFT_SAMPLES]], dim=-1
        )
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.matmul(frames - PRE_EMPHASIS * before, self.fourier)
        cosines, sines = spectrum.chunk(2, dim=-1)
        energies = torch.matmul(cosines * cosines + sines * sines, self.mel)
        logs = torch.log(torch.clamp(energies, min=SMALLEST_ENERGY))
        return logs - logs.mean(dim=1, keepdim=True)


def _fourier() -> npt.NDArray[np.float32]:
    """(400, 512): Hamming window and Fourier transform in one; cosines, then sines, without the Nyquist frequency."""
    angles = 2 * np.pi / FFT_SIZE * np.outer(np.arange(FRAME_SAMPLES), np.arange(FFT_SIZE // 2))
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    windowed: npt.NDArray[np.float32] = (np.hamming(FRAME_SAMPLES)[:, None] * waves).astype(np.float32)
    return windowed


def _mel() -> npt.NDArray[np.float32]:
    """(256, 80): triangles that are of one width on Kaldi's mel scale; at the Nyquist frequency all are zero."""
    edges = np.linspace(_mels(np.array(LOWEST_HZ)), _mels(np.array(SAMPLE_RATE_HZ / 2)), MEL_BINS + 2)
    bins = _mels(np.arange(FFT_SIZE // 2) * SAMPLE_RATE_HZ / FFT_SIZE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles: npt.NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return triangles


def _mels(frequencies_hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    mels: npt.NDArray[np.float64] = 1127 * np.log1p(frequencies_hz / 700)
    return mels
