"""Triton's view of voice cloning: the requests of a batch become one engine call, one answer or error each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import triton_python_backend_utils as pb_utils
from engine import (
    AbandonedError,
    Answer,
    Sampling,
    SpeechError,
    SpeechOptions,
    VoiceClonerEngine,
)
from spectra import Pcm

MAX_OPTIONS_BYTES = 32_768


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        self._engine = VoiceClonerEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            threads=parameters["cpu_threads"],
            sampling=Sampling(parameters["steps"], parameters["guidance"], parameters["sway"]),
        )
        self._decoder = msgspec.json.Decoder(SpeechOptions)

    def execute(self, requests: list[Any]) -> list[Any]:
        answers: list[Answer] = []
        batch: list[tuple[Pcm, SpeechOptions]] = []
        waiting: list[int] = []
        for request in requests:
            if request.is_cancelled():
                answers.append(AbandonedError())
                continue
            try:
                batch.append((_reference(request), self._options(request)))
                waiting.append(len(answers))
                answers.append(SpeechError("not processed"))
            except SpeechError as error:
                answers.append(error)
        spoken = self._engine.speak(batch, lambda index: bool(requests[waiting[index]].is_cancelled()))
        for index, answer in zip(waiting, spoken, strict=True):
            answers[index] = answer
        return [_response(answer) for answer in answers]

    def _options(self, request: Any) -> SpeechOptions:
        rows = pb_utils.get_input_tensor_by_name(request, "OPTIONS").as_numpy()
        if rows.size != 1 or len(rows.item()) > MAX_OPTIONS_BYTES:
            raise SpeechError(f"OPTIONS is one JSON object of at most {MAX_OPTIONS_BYTES} bytes.")
        try:
            return self._decoder.decode(rows.item())
        except msgspec.ValidationError as error:
            raise SpeechError(f"OPTIONS: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SpeechError(f"OPTIONS is not JSON: {error}") from error


def _reference(request: Any) -> Pcm:
    rows = pb_utils.get_input_tensor_by_name(request, "REFERENCE").as_numpy()
    if len(rows) != 1:
        raise SpeechError(f"REFERENCE: a request is one recording; this one holds {len(rows)}.")
    pcm: Pcm = rows[0]
    return pcm


def _response(answer: Answer) -> Any:
    if isinstance(answer, SpeechError):
        error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
    elif isinstance(answer, AbandonedError):
        error = pb_utils.TritonError("The client has gone.", pb_utils.TritonError.CANCELLED)
    elif isinstance(answer, Exception):
        error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INTERNAL)
    else:
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("SPEECH", answer[None])])
    return pb_utils.InferenceResponse(error=error)
