"""Triton's view of a language model: a request becomes a stream of chunks, several of them one engine call.

`execute` hands its batch to a thread and returns when another thread is free. So several batches are worked on side by
side, never more than there are threads, and what arrives meanwhile gathers in Triton's queue into the next batch.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils
from chat_prompt import PromptTooLongError, RequestError
from engine import CompletionChunk, CompletionRequest, LanguageModelEngine, Prompt, together

PROMPT_TOO_LONG = "PROMPT_TOO_LONG: "  # how the API tells this error from others
NOBODY_WAITS = "The client has gone."
# Asking whether a client is there and sending to it take half a millisecond together, in which the whole batch stands
# still: nobody reads faster than this.
PAUSE_S = 0.03


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        version = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads((version / "parameters.json").read_text())
        parallel_batches = parameters["parallel_batches"]
        self._engine = LanguageModelEngine(
            version / "weights",
            device="cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            device_index=int(args["model_instance_device_id"]),
            compute_type=parameters["compute_type"],
            threads=parameters["cpu_threads"],
            parallel_batches=parallel_batches,
        )
        self._decoder = msgspec.json.Decoder(CompletionRequest)
        self._threads = ThreadPoolExecutor(parallel_batches)
        self._free = threading.Semaphore(parallel_batches)

    def execute(self, requests: list[Any]) -> None:
        prompts: list[Prompt] = []
        clients: list[Client] = []
        for request in requests:
            client = Client(request.get_response_sender())
            try:
                prompts.append(self._prompt(request))
                clients.append(client)
            except PromptTooLongError as error:
                client.fail(PROMPT_TOO_LONG + str(error), pb_utils.TritonError.INVALID_ARG)
            except RequestError as error:
                client.fail(str(error), pb_utils.TritonError.INVALID_ARG)
        for group in together(prompts):
            self._free.acquire()
            self._threads.submit(self._complete, [(prompts[index], clients[index]) for index in group])
        with self._free:
            pass

    def finalize(self) -> None:
        self._engine.stop()
        self._threads.shutdown()
        del self._engine  # here, with its threads, and not while Python comes to its end

    def _prompt(self, request: Any) -> Prompt:
        asked = pb_utils.get_input_tensor_by_name(request, "REQUEST").as_numpy()
        if asked.size != 1:
            raise RequestError(f"REQUEST: one at a time; this holds {asked.size}.")
        try:
            return self._engine.prepare(self._decoder.decode(asked.item()))
        except msgspec.ValidationError as error:
            raise RequestError(f"REQUEST: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(f"REQUEST is not JSON: {error}") from error

    def _complete(self, asked: Sequence[tuple[Prompt, Client]]) -> None:
        try:
            waiting = [(prompt, client) for prompt, client in asked if not client.has_gone()]
            if waiting:
                self._engine.complete(*zip(*waiting, strict=True))
        except Exception as error:  # nobody else would tell the clients, whatever it is
            for _, client in asked:
                client.fail(f"The answer broke off: {error}", pb_utils.TritonError.INTERNAL)
        finally:
            for _, client in asked:
                client.fail(NOBODY_WAITS, pb_utils.TritonError.CANCELLED)
            self._free.release()


class Client:
    """Whoever waits for one answer; what is said after its end is not sent."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender
        self._held = ""
        self._next = 0.0
        self._is_due = True
        self._gone = False
        self._ended = False

    def has_gone(self) -> bool:
        now = time.monotonic()
        self._is_due = now >= self._next
        if self._is_due:
            self._next = now + PAUSE_S
            self._gone = self._gone or bool(self._sender.is_cancelled())
        return self._gone

    def send(self, chunk: CompletionChunk) -> None:
        self._held += chunk.text
        if self._is_due or chunk.finish:
            payload = msgspec.json.encode(msgspec.structs.replace(chunk, text=self._held))
            self._held = ""
            tensor = pb_utils.Tensor("CHUNK", np.array([[payload]], dtype=np.object_))
            self._respond(chunk.finish is not None, output_tensors=[tensor])

    def fail(self, message: str, code: int) -> None:
        self._respond(True, error=pb_utils.TritonError(message, code))

    def _respond(self, is_last: bool, **content: Any) -> None:
        if self._ended:
            return
        self._ended = is_last
        flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if is_last else 0
        try:
            self._sender.send(pb_utils.InferenceResponse(**content), flags)
        except pb_utils.TritonModelException:
            self._gone = True
