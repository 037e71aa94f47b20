"""Triton's view of voice activity detection: tensors in and out, one answer or error per request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from engine import StreamError, VoiceActivityEngine


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        self._engine = VoiceActivityEngine(
            version / "weights" / "silero_vad.onnx",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        streams = [
            (
                pb_utils.get_input_tensor_by_name(request, "PCM").as_numpy().reshape(-1),
                pb_utils.get_input_tensor_by_name(request, "STATE").as_numpy().reshape(-1),
            )
            for request in requests
        ]
        return [_response(answer) for answer in self._engine.detect(streams)]


def _response(answer: tuple[Any, Any] | StreamError) -> Any:
    if isinstance(answer, StreamError):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG))
    probabilities, state = answer
    return pb_utils.InferenceResponse(
        output_tensors=[
            pb_utils.Tensor("PROBABILITIES", probabilities[None]),
            pb_utils.Tensor("NEXT_STATE", state[None]),
        ]
    )
