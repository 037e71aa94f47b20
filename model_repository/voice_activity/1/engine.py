"""Silero voice activity detection over ONNX Runtime, for many streams in one call.

The exported graph (see export_scripts/voice_activity.py) encodes the frames of all streams side by side and runs its
recurrent part over (steps, streams), so streams of any length share one call; each one's length keeps its state exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

FRAME_SAMPLES = 512  # 32 ms at 16 kHz, fixed by the checkpoint
CONTEXT_SAMPLES = 64  # each frame is seen together with the end of the one before
HIDDEN = 128
STATE_SIZE = 2 * HIDDEN + CONTEXT_SAMPLES  # LSTM hidden, LSTM cell, audio context
MAX_SAMPLES = 60 * 16_000

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]


class StreamError(ValueError):
    """One stream's audio or state cannot be processed; the others in its batch can."""


class VoiceActivityEngine:
    def __init__(self, weights: Path, *, device: str = "cpu", device_index: int = 0, threads: int = 1) -> None:
        """`device` is cpu or cuda; without a GPU build of ONNX Runtime, cuda falls back to the CPU."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The arena keeps the largest batch ever seen; frames are small enough to do without it.
        options.enable_cpu_mem_arena = False
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(device_index)}))
        self._session = onnxruntime.InferenceSession(str(weights), options, providers=providers)

    def detect(self, streams: Sequence[tuple[Pcm, Floats]]) -> list[tuple[Floats, Floats] | StreamError]:
        """Speech probabilities (frames,) and the next state (320,) per stream, or that stream's own error.

        Each stream is int16 audio (frames * 512,) with the state (320,) its previous call returned, zeros at first.
        """
        answers: list[tuple[Floats, Floats] | StreamError] = []
        good: list[int] = []
        for pcm, state in streams:
            problem = _problem(pcm, state)
            if problem is None:
                good.append(len(answers))
            answers.append(StreamError(problem or "not processed"))
        if good:
            for index, answer in zip(good, self._run([streams[index] for index in good]), strict=True):
                answers[index] = answer
        return answers

    def _run(self, streams: list[tuple[Pcm, Floats]]) -> list[tuple[Floats, Floats]]:
        states = np.stack([state for _, state in streams])
        frames = [_frames(pcm, state[2 * HIDDEN :]) for pcm, state in streams]
        lengths = np.array([len(of_stream) for of_stream in frames], dtype=np.int32)
        ends = np.cumsum(lengths)
        # Row t, column s: where frame t of stream s stands among all frames; past a stream's end, anywhere.
        steps = np.arange(lengths.max())[:, None] + (ends - lengths)[None, :]
        probabilities, hidden, cell = self._session.run(
            ["probabilities", "next_hidden", "next_cell"],
            {
                "frames": np.concatenate(frames),
                "steps": np.minimum(steps, ends[-1] - 1).astype(np.int64),
                "lengths": lengths,
                "hidden": states[None, :, :HIDDEN],
                "cell": states[None, :, HIDDEN : 2 * HIDDEN],
            },
        )
        next_states = np.concatenate([hidden[0], cell[0], [last[-1, -CONTEXT_SAMPLES:] for last in frames]], axis=1)
        return [
            (probabilities[stream, :length], next_states[stream].astype(np.float32))
            for stream, length in enumerate(lengths)
        ]


def _frames(pcm: Pcm, context: Floats) -> Floats:
    """The frames of one stream (frames, 576), each with the 64 samples before it."""
    audio = np.concatenate([context, pcm.astype(np.float32) / 32768.0])
    return np.lib.stride_tricks.sliding_window_view(audio, CONTEXT_SAMPLES + FRAME_SAMPLES)[::FRAME_SAMPLES]


def _problem(pcm: Pcm, state: Floats) -> str | None:
    if pcm.size == 0 or pcm.size % FRAME_SAMPLES:
        return (
            f"PCM must hold a whole number of {FRAME_SAMPLES}-sample frames, at least one; it holds {pcm.size} samples."
        )
    if pcm.size > MAX_SAMPLES:
        return f"PCM may hold at most {MAX_SAMPLES} samples; it holds {pcm.size}."
    if state.size != STATE_SIZE or not np.isfinite(state).all():
        return f"STATE must hold {STATE_SIZE} finite numbers: zeros, or the NEXT_STATE of the call before."
    return None
