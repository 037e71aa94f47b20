"""Who of at most three speakers is active when in a window of 10 s, over ONNX Runtime.

The network gives each frame one class: nobody, one speaker alone, or two at once (a "powerset" of the speakers). See
export_scripts/speaker_segmentation.py for the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

WINDOW_SAMPLES = 10 * 16_000
FRAMES = 589  # of 270 samples each
SPEAKERS = 3
SPEAKERS_AT_ONCE = 2
# (7, 3): which speakers each class stands for, in the order ∅, 0, 1, 2, 01, 02, 12.
CLASSES = np.array(
    [
        [speaker in active for speaker in range(SPEAKERS)]
        for size in range(SPEAKERS_AT_ONCE + 1)
        for active in combinations(range(SPEAKERS), size)
    ],
    dtype=np.uint8,
)

Pcm = npt.NDArray[np.int16]
Activity = npt.NDArray[np.uint8]


class WindowError(ValueError):
    """One window cannot be processed; the others in its batch can."""


class SpeakerSegmentationEngine:
    def __init__(
        self,
        weights: Path,
        *,
        device: str = "cpu",
        device_index: int = 0,
        threads: int = 1,
        shortest_window_samples: int = WINDOW_SAMPLES,
    ) -> None:
        """`device` is cpu or cuda; without a GPU build of ONNX Runtime, cuda falls back to the CPU.

        Windows are padded to the shortest length or to 10 s: to few lengths, so that they share batches, and to fixed
        ones, so that an answer does not depend on its batch.
        """
        self._lengths = sorted({shortest_window_samples, WINDOW_SAMPLES})
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
        self._session = onnxruntime.InferenceSession(str(weights / "segmentation.onnx"), options, providers=providers)

    def segment(self, windows: Sequence[Pcm]) -> list[Activity | WindowError]:
        """Per window of 1 to 160,000 samples (16 kHz, mono) who is active when (589, 3), or that window's own error."""
        answers: list[Activity | WindowError] = [
            WindowError(f"PCM must hold 1 to {WINDOW_SAMPLES} samples; it holds {pcm.size}.") for pcm in windows
        ]
        shortest = 1
        for length in self._lengths:
            fitting = [index for index, pcm in enumerate(windows) if shortest <= pcm.size <= length]
            if fitting:
                for index, activity in zip(fitting, self._run([windows[i] for i in fitting], length), strict=True):
                    answers[index] = activity
            shortest = length + 1
        return answers

    def _run(self, windows: Sequence[Pcm], length: int) -> Activity:
        waveforms = np.zeros((len(windows), 1, length), dtype=np.float32)
        for row, pcm in enumerate(windows):
            waveforms[row, 0, : pcm.size] = pcm / np.float32(32768)
        (scores,) = self._session.run(["scores"], {"waveforms": waveforms})
        activity = np.zeros((len(windows), FRAMES, SPEAKERS), dtype=np.uint8)
        activity[:, : scores.shape[1]] = CLASSES[scores.argmax(axis=-1)]
        return activity
