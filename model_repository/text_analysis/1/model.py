"""Triton's view of text analysis: one answer or error for each request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils

if not (Path(__file__).parent / "weights" / "ner").exists():
    # Where PyTorch is installed, spaCy imports it with itself: 300 MB, and seconds, that only some pipelines need.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    sys.modules.setdefault("transformers", None)  # type: ignore[arg-type]

from engine import Analysis, AnalysisOptions, Request, RequestError, TextAnalysisEngine


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self._engine = TextAnalysisEngine(Path(args["model_repository"]) / args["model_version"] / "weights")
        self._decoder = msgspec.json.Decoder(AnalysisOptions)
        self._encoder = msgspec.json.Encoder()

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._response(self._answer(request)) for request in requests]

    def _answer(self, request: Any) -> Analysis | Exception:
        if request.is_cancelled():
            return CancelledRequestError()
        try:
            (answer,) = self._engine.analyze([self._request(request)])
        except msgspec.ValidationError as error:
            return RequestError(f"OPTIONS: {error}")
        except msgspec.DecodeError as error:
            return RequestError(f"OPTIONS is not JSON: {error}")
        except UnicodeDecodeError:
            return RequestError("TEXTS must be UTF-8.")
        return answer

    def _request(self, request: Any) -> Request:
        texts = pb_utils.get_input_tensor_by_name(request, "TEXTS").as_numpy().reshape(-1)
        options = pb_utils.get_input_tensor_by_name(request, "OPTIONS").as_numpy().reshape(-1)
        return Request([text.decode() for text in texts], self._decoder.decode(options[0]))

    def _response(self, answer: Analysis | Exception) -> Any:
        if isinstance(answer, CancelledRequestError):
            error = pb_utils.TritonError("The client has gone.", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse(error=error)
        if isinstance(answer, Exception):
            error = pb_utils.TritonError(str(answer), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        payload = np.array([[self._encoder.encode(answer)]], dtype=np.object_)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("ANALYSIS", payload)])


class CancelledRequestError(Exception):
    """Nobody waits for this answer any more."""
