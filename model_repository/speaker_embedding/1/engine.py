"""The voices in a window of 10 s as vectors, over ONNX Runtime.

The graph (see export_scripts/speaker_embedding.py) holds the filterbank as well and looks at a window once, however
many of its speakers are asked for. Where the checkpoint brings a PLDA, embeddings can also be had in its space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

WINDOW_SAMPLES = 10 * 16_000
FRAMES = 589  # of 270 samples each
SPEAKERS = 3
# A CPU is no faster on a batch than on its windows one by one, and every window in it holds 50 MB at once.
CPU_RUN_WINDOWS = 1

Pcm = npt.NDArray[np.int16]
Masks = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class WindowError(ValueError):
    """One window cannot be processed; the others in its batch can."""


@dataclass(frozen=True)
class Window:
    """Audio of 1 to 160,000 samples (16 kHz, mono) and a mask of 0 and 1 per speaker (speakers, 589)."""

    pcm: Pcm
    masks: Masks
    plda: bool = False


@dataclass(frozen=True)
class Voices:
    """A row per mask: (speakers, dimension), and in the PLDA's space (speakers, its dimension) where asked for."""

    embeddings: Floats
    plda: Floats | None


class Plda:
    """Probabilistic linear discriminant analysis: embeddings made comparable, with speakers' variances on the axes."""

    def __init__(self, file: Path) -> None:
        arrays = np.load(file)
        self._mean, self._lda, self._lda_mean, self._plda_mean, self._plda = (
            arrays[name].astype(np.float64) for name in ("mean", "lda", "lda_mean", "plda_mean", "plda")
        )

    def __call__(self, embeddings: Floats) -> Floats:
        """(n, dimension) → (n, PLDA dimension), as in pyannote.audio.utils.vbx.vbx_setup."""
        dimension, reduced = self._lda.shape
        centred = np.sqrt(dimension) * _unit(embeddings.astype(np.float64) - self._mean)
        discriminant = np.sqrt(reduced) * _unit(centred @ self._lda - self._lda_mean)
        turned: Floats = ((discriminant - self._plda_mean) @ self._plda).astype(np.float32)
        return turned


class SpeakerEmbeddingEngine:
    def __init__(self, weights: Path, *, device: str = "cpu", device_index: int = 0, threads: int = 1) -> None:
        """`device` is cpu or cuda; without a GPU build of ONNX Runtime, cuda falls back to the CPU."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The arena keeps the largest batch ever seen, and spinning threads take the CPU from the other instances.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            # Trying every algorithm, the default, would hold up the first batch of every size.
            cuda = {"device_id": str(device_index), "cudnn_conv_algo_search": "HEURISTIC"}
            providers.insert(0, ("CUDAExecutionProvider", cuda))
        self._session = onnxruntime.InferenceSession(str(weights / "embedding.onnx"), options, providers=providers)
        on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        self._run_windows = None if on_gpu else CPU_RUN_WINDOWS
        plda = weights / "plda.npz"
        self._plda = Plda(plda) if plda.exists() else None

    def embed(self, windows: Sequence[Window]) -> list[Voices | WindowError]:
        """The voices of each window, or that window's own error."""
        answers: list[Voices | WindowError] = []
        good: list[int] = []
        for window in windows:
            problem = self._problem(window)
            if problem is None:
                good.append(len(answers))
            answers.append(WindowError(problem or "not processed"))
        at_once = self._run_windows or max(1, len(good))
        for start in range(0, len(good), at_once):
            run = good[start : start + at_once]
            for index, answer in zip(run, self._run([windows[index] for index in run]), strict=True):
                answers[index] = answer
        return answers

    def _run(self, windows: Sequence[Window]) -> list[Voices]:
        waveforms = np.zeros((len(windows), 1, WINDOW_SAMPLES), dtype=np.float32)
        masks = np.zeros((len(windows), SPEAKERS, FRAMES), dtype=np.float32)
        for row, window in enumerate(windows):
            waveforms[row, 0, : window.pcm.size] = window.pcm / np.float32(32768)
            masks[row, : len(window.masks)] = window.masks
        (embeddings,) = self._session.run(["embeddings"], {"waveforms": waveforms, "masks": masks})
        voices = []
        for window, padded in zip(windows, embeddings, strict=True):
            of_window = padded[: len(window.masks)]
            voices.append(Voices(of_window, self._plda(of_window) if window.plda and self._plda else None))
        return voices

    def _problem(self, window: Window) -> str | None:
        if not 1 <= window.pcm.size <= WINDOW_SAMPLES:
            return f"PCM must hold 1 to {WINDOW_SAMPLES} samples; it holds {window.pcm.size}."
        if window.masks.ndim != 2 or not 1 <= len(window.masks) <= SPEAKERS or window.masks.shape[1] != FRAMES:
            return f"MASKS must be 1 to {SPEAKERS} rows of {FRAMES} frames; its shape is {window.masks.shape}."
        if window.masks.max() > 1:
            return "MASKS may hold 0 and 1 alone."
        if not window.masks.any(axis=1).all():
            return "Every row of MASKS must have a frame in it."
        if window.plda and self._plda is None:
            return "This checkpoint has no PLDA: ask for EMBEDDINGS alone."
        return None


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each row at length 1."""
    unit: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
