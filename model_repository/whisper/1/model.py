"""Triton's view of Whisper: the requests of a batch become one engine call, one answer or error per request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils
from engine import WhisperEngine, Window, WindowError
from payloads import DecodingOptions, Recognition
from smoke_check import is_first_instance, require_passed


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        self._engine = WhisperEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            compute_type=parameters["compute_type"],
            threads=parameters["cpu_threads"],
            min_window_frames=parameters["min_window_frames"],
        )
        if is_first_instance(args["model_instance_name"]):
            require_passed(version / "check", self._engine)
        self._decoder = msgspec.json.Decoder(DecodingOptions)
        self._encoder = msgspec.json.Encoder()

    def execute(self, requests: list[Any]) -> list[Any]:
        answers: list[Recognition | Exception] = []
        windows: list[Window] = []
        waiting: list[int] = []
        for request in requests:
            if request.is_cancelled():
                answers.append(CancelledRequestError())
                continue
            try:
                windows.append(self._window(request))
                waiting.append(len(answers))
                answers.append(WindowError("not processed"))
            except msgspec.ValidationError as error:
                answers.append(WindowError(f"OPTIONS: {error}"))
            except msgspec.DecodeError as error:
                answers.append(WindowError(f"OPTIONS is not JSON: {error}"))
        for index, answer in zip(waiting, self._engine.recognize(windows), strict=True):
            answers[index] = answer
        return [self._response(answer) for answer in answers]

    def _window(self, request: Any) -> Window:
        pcm = pb_utils.get_input_tensor_by_name(request, "PCM").as_numpy().reshape(-1)
        options = pb_utils.get_input_tensor_by_name(request, "OPTIONS").as_numpy().reshape(-1)
        return Window(pcm, self._decoder.decode(options[0]))

    def _response(self, answer: Recognition | Exception) -> Any:
        if isinstance(answer, CancelledRequestError):
            error = pb_utils.TritonError("The client has gone.", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse(error=error)
        if isinstance(answer, Exception):
            error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        payload = np.array([[self._encoder.encode(answer)]], dtype=np.object_)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("RECOGNITION", payload)])


class CancelledRequestError(Exception):
    """Nobody waits for this answer any more."""
