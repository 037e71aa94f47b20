"""Triton's view of speech enhancement: the requests of a batch become one engine call, one answer or error each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from engine import EnhancementError, Floats, SpeechEnhancerEngine


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        self._engine = SpeechEnhancerEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            threads=parameters["cpu_threads"],
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        answers: list[tuple[Floats, Floats] | Exception] = []
        batch: list[tuple[Floats, Floats]] = []
        waiting: list[int] = []
        for request in requests:
            if request.is_cancelled():
                answers.append(CancelledRequestError())
                continue
            try:
                batch.append((_row(request, "PCM"), _row(request, "STATE")))
                waiting.append(len(answers))
                answers.append(EnhancementError("not processed"))
            except EnhancementError as error:
                answers.append(error)
        for index, answer in zip(waiting, self._engine.enhance(batch), strict=True):
            answers[index] = answer
        return [_response(answer) for answer in answers]


def _row(request: Any, name: str) -> Floats:
    rows: Floats = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    if len(rows) != 1:
        raise EnhancementError(f"{name}: a request is one row; this one holds {len(rows)}.")
    row: Floats = rows[0]
    return row


def _response(answer: tuple[Floats, Floats] | Exception) -> Any:
    if isinstance(answer, CancelledRequestError):
        error = pb_utils.TritonError("The client has gone.", pb_utils.TritonError.CANCELLED)
        return pb_utils.InferenceResponse(error=error)
    if isinstance(answer, Exception):
        error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    enhanced, state = answer
    return pb_utils.InferenceResponse(
        output_tensors=[pb_utils.Tensor("ENHANCED", enhanced[None]), pb_utils.Tensor("NEXT_STATE", state[None])]
    )


class CancelledRequestError(Exception):
    """Nobody waits for this answer any more."""
