"""Triton's view of speaker segmentation: the requests of a batch become one engine call, one answer or error each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from engine import Activity, Pcm, SpeakerSegmentationEngine, WindowError


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        self._engine = SpeakerSegmentationEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            threads=parameters["cpu_threads"],
            shortest_window_samples=parameters["shortest_window_samples"],
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        answers: list[Activity | Exception] = []
        windows: list[Pcm] = []
        waiting: list[int] = []
        for request in requests:
            if request.is_cancelled():
                answers.append(CancelledRequestError())
                continue
            try:
                windows.append(_window(request))
                waiting.append(len(answers))
                answers.append(WindowError("not processed"))
            except WindowError as error:
                answers.append(error)
        for index, answer in zip(waiting, self._engine.segment(windows), strict=True):
            answers[index] = answer
        return [_response(answer) for answer in answers]


def _window(request: Any) -> Pcm:
    windows = pb_utils.get_input_tensor_by_name(request, "PCM").as_numpy()
    if len(windows) != 1:
        raise WindowError(f"PCM: a request is one window; this one holds {len(windows)}.")
    pcm: Pcm = windows[0]
    return pcm


def _response(answer: Activity | Exception) -> Any:
    if isinstance(answer, CancelledRequestError):
        error = pb_utils.TritonError("The client has gone.", pb_utils.TritonError.CANCELLED)
        return pb_utils.InferenceResponse(error=error)
    if isinstance(answer, Exception):
        error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("ACTIVITY", answer[None])])


class CancelledRequestError(Exception):
    """Nobody waits for this answer any more."""
