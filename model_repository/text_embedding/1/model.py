"""Triton's view of text embedding: the requests of a batch become one engine call, one answer or error each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils
from engine import Floats, TextEmbeddingEngine, TextError


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        threads = parameters["cpu_threads"]
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's; by default it takes every processor
        self._engine = TextEmbeddingEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            threads=threads,
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        answers: list[Floats | Exception] = []
        batch: list[list[bytes]] = []
        waiting: list[int] = []
        for request in requests:
            if request.is_cancelled():
                answers.append(CancelledRequestError())
                continue
            try:
                batch.append(_texts(request))
                waiting.append(len(answers))
                answers.append(TextError("not processed"))
            except TextError as error:
                answers.append(error)
        for index, answer in zip(waiting, self._engine.embed(batch), strict=True):
            answers[index] = answer
        return [_response(answer) for answer in answers]


def _texts(request: Any) -> list[bytes]:
    rows = pb_utils.get_input_tensor_by_name(request, "TEXTS").as_numpy()
    if len(rows) != 1:
        raise TextError(f"TEXTS: a request is one row of texts; this one holds {len(rows)}.")
    texts: list[bytes] = rows[0].tolist()
    return texts


def _response(answer: Floats | Exception) -> Any:
    if isinstance(answer, CancelledRequestError):
        error = pb_utils.TritonError("The client has gone.", pb_utils.TritonError.CANCELLED)
        return pb_utils.InferenceResponse(error=error)
    if isinstance(answer, Exception):
        error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("EMBEDDINGS", answer[None])])


class CancelledRequestError(Exception):
    """Nobody waits for this answer any more."""
