"""Speech enhancement by DeepFilterNet over ONNX Runtime: blocks of many recordings, each with its own state.

The graph (see export_scripts/deep_filter_graph.py) has the network's recurrent state and the frames that its
convolutions look back on as an input and an output. Together with what deep_filter.py needs of the past they are the
state that travels with the requests, so a recording in blocks of any length gives what it gives as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from deep_filter import DeepFilter, Layout, Past

MAX_S = 30
# Of one run of the graph, those of all its streams: what a CPU's cache holds.
RUN_FRAMES = 256
# Beyond full scale; what is louder is clipped there, so that no number grows out of its range.
LOUDEST = 8.0
LARGEST_STATE = 1e4

Floats = npt.NDArray[np.float32]


class EnhancementError(ValueError):
    """The audio or the state of one request cannot be processed; those of the others in its batch can."""


class SpeechEnhancerEngine:
    def __init__(
        self,
        weights: Path,
        *,
        device: str = "cpu",
        device_index: int = 0,
        threads: int = 1,
    ) -> None:
        """`device` is cpu or cuda; without a GPU build of ONNX Runtime, cuda falls back to the CPU."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads take the CPU from the other instances.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": str(device_index)}))
        self._session = onnxruntime.InferenceSession(str(weights / "network.onnx"), options, providers=providers)
        settings = json.loads((weights / "layout.json").read_text())
        self._layout = Layout(**{**settings, "band_widths": tuple(settings["band_widths"])})
        self._filter = DeepFilter(self._layout)
        (network,) = (tensor.shape[1] for tensor in self._session.get_inputs() if tensor.name == "state")
        self._state_shapes = [(network,), *self._layout.past_shapes]
        self.state_size = sum(int(np.prod(shape)) for shape in self._state_shapes)
        self.sample_rate = self._layout.sample_rate
        self.hop_samples = self._layout.hop
        self.delay_samples = self._layout.delay_samples

    def enhance(self, requests: Sequence[tuple[Floats, Floats]]) -> list[tuple[Floats, Floats] | EnhancementError]:
        """Enhanced audio and the next state per request of audio and state, or that request's own error.

        Requests of one length share the runs of the graph.
        """
        answers: list[tuple[Floats, Floats] | EnhancementError] = []
        of_length: dict[int, list[int]] = {}
        for index, (pcm, state) in enumerate(requests):
            problem = self._problem(pcm, state)
            if problem is None:
                of_length.setdefault(pcm.size, []).append(index)
            answers.append(EnhancementError(problem or "not processed"))
        for indices in of_length.values():
            audio, states = (np.stack([requests[index][part] for index in indices]) for part in (0, 1))
            for index, *answer in zip(indices, *self._enhance(audio, states), strict=True):
                answers[index] = (answer[0], answer[1])
        return answers

    def _enhance(self, audio: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Of (streams, samples) and (streams, state_size)."""
        audio = np.clip(audio, -LOUDEST, LOUDEST)
        states = np.clip(states, -LARGEST_STATE, LARGEST_STATE)
        samples = max(1, RUN_FRAMES // len(audio)) * self.hop_samples
        enhanced = []
        for start in range(0, audio.shape[1], samples):
            block, states = self._run(audio[:, start : start + samples], states)
            enhanced.append(block)
        return np.concatenate(enhanced, axis=1), states

    def _run(self, audio: Floats, states: Floats) -> tuple[Floats, Floats]:
        network, past = self._parted(states)
        spectra, last_audio = self._filter.analyse(audio, past.audio)
        levels, low_bins, mean_levels, magnitudes = self._filter.features(spectra, past)
        gains, coefficients, network = self._session.run(
            ["gains", "coefficients", "next_state"], {"levels": levels, "low_bins": low_bins, "state": network}
        )
        spectra = np.concatenate([past.spectra[..., 0] + 1j * past.spectra[..., 1], spectra], axis=1)
        enhanced, overlap = self._filter.synthesise(self._filter.filtered(spectra, gains, coefficients), past.overlap)
        last = spectra[:, spectra.shape[1] - self._layout.past_frames :]
        next_past = Past(last_audio, overlap, mean_levels, magnitudes, np.stack([last.real, last.imag], axis=-1))
        parts = [part.reshape(len(audio), -1) for part in (network, *next_past)]
        return enhanced, np.concatenate(parts, axis=1).astype(np.float32)

    def _parted(self, states: Floats) -> tuple[Floats, Past]:
        """The network's part of the states, and the rest."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self._state_shapes])
        network, *past = (
            part.reshape(len(states), *shape)
            for part, shape in zip(np.split(states, ends[:-1], axis=1), self._state_shapes, strict=True)
        )
        return network, Past(*past)

    def _problem(self, pcm: Floats, state: Floats) -> str | None:
        if pcm.size == 0 or pcm.size % self.hop_samples or pcm.size > MAX_S * self.sample_rate:
            return (
                f"PCM must hold a whole number of {self.hop_samples} samples, at least one and at most "
                f"{MAX_S * self.sample_rate // self.hop_samples} times; it holds {pcm.size} samples."
            )
        if state.size != self.state_size:
            return f"STATE must hold {self.state_size} numbers; it holds {state.size}."
        if not np.isfinite(pcm).all():
            return "PCM must hold finite numbers alone."
        if not np.isfinite(state).all():
            return "STATE must hold finite numbers alone: zeros, or the NEXT_STATE of the call before."
        return None
