"""Triton's view of a translator: the requests of a batch share runs of the model, one answer or error each.

`execute` hands its batch to a thread and returns when another thread is free. So several batches are worked on side by
side, never more than there are threads, and what arrives meanwhile gathers in Triton's queue into the next batch.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from engine import RequestError, Tokenised, TranslatorEngine

NOBODY_WAITS = "The client has gone."


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        threads, parallel_batches = parameters["cpu_threads"], parameters["parallel_batches"]
        os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's; by default it takes every processor
        self._engine = TranslatorEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            compute_type=parameters["compute_type"],
            threads=threads,
            parallel_batches=parallel_batches,
            beam_size=parameters["beam_size"],
        )
        self._threads = ThreadPoolExecutor(parallel_batches)
        self._free = threading.Semaphore(parallel_batches)

    def execute(self, requests: list[Any]) -> None:
        prepared: list[list[Tokenised]] = []
        clients: list[Client] = []
        for request in requests:
            client = Client(request.get_response_sender())
            try:
                prepared.append(self._prepare(request))
                clients.append(client)
            except RequestError as error:
                client.fail(str(error), pb_utils.TritonError.INVALID_ARG)
        if clients:
            self._free.acquire()
            self._threads.submit(self._translate, prepared, clients)
        with self._free:
            pass

    def finalize(self) -> None:
        self._threads.shutdown()
        del self._engine  # here, with its threads, and not while Python comes to its end

    def _prepare(self, request: Any) -> list[Tokenised]:
        rows, options = (pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("TEXTS", "OPTIONS"))
        if len(rows) != 1:
            raise RequestError(f"TEXTS: a request is one row of texts; this one holds {len(rows)}.")
        return self._engine.prepare(rows[0].tolist(), options.item())

    def _translate(self, prepared: Sequence[Sequence[Tokenised]], clients: Sequence[Client]) -> None:
        try:
            for number, translations in self._engine.translate(prepared, lambda number: clients[number].has_gone()):
                clients[number].answer(translations)
        except Exception as error:  # nobody else would tell the clients, whatever it is
            for client in clients:
                client.fail(f"The translation broke off: {error}", pb_utils.TritonError.INTERNAL)
        finally:
            for client in clients:
                client.fail(NOBODY_WAITS, pb_utils.TritonError.CANCELLED)
            self._free.release()


class Client:
    """Whoever waits for one answer; what is said after it is not sent."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._answered = False

    def has_gone(self) -> bool:
        return bool(self._sender.is_cancelled())

    def answer(self, translations: Sequence[str]) -> None:
        row = np.array([[text.encode() for text in translations]], dtype=np.object_)
        self._respond(output_tensors=[pb_utils.Tensor("TRANSLATIONS", row)])

    def fail(self, message: str, code: int) -> None:
        self._respond(error=pb_utils.TritonError(message, code))

    def _respond(self, **content: Any) -> None:
        if not self._answered:
            self._answered = True
            self._sender.send(pb_utils.InferenceResponse(**content), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
