"""The connection to a Triton: calls that outlast its restarts, and what its errors mean."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed, InferenceUnavailable, InvalidRequest, TritoneError
from api.inference.contracts import TEXT_ANALYSIS, TRANSLATOR, VOICE_CLONER

log = logging.getLogger(__name__)

# Statuses after which the same call may well succeed: the server is starting, stopping, or loading the model.
TRANSIENT = {"StatusCode.UNAVAILABLE", "StatusCode.NOT_FOUND"}
# A model whose process has died is INTERNAL with these words, until Triton is started again; it still counts as ready.
STUB_GONE = "tub process"
# INTERNAL, too: the requests that are being worked on fill the memory that Triton shares with its models' processes.
NO_SHARED_MEMORY = "shared memory pool"
# In a stream errors have no status, and a model that is not loaded is known by these words.
NOT_LOADED = "Request for unknown model"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
RETRY_AFTER_S = 10
CRASH_REMEMBERED_S = 10.0  # longer than the pauses between the calls of a request that waits for the model
# What these refuse is wrong with what was sent, in a way that only they can see.
JUDGES = {TEXT_ANALYSIS, TRANSLATOR, VOICE_CLONER}

CHANNEL = [
    ("grpc.max_send_message_length", -1),  # what we send, we have bounded ourselves
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # gRPC's own pauses between attempts to reconnect grow to minutes; ours decide how long to wait.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
T = TypeVar("T")


class Channel:
    """One gRPC channel.

    Calls that find Triton away are repeated until it is back or `patience_s` has passed; every call is bounded by
    `timeout_s`. Cancelling the caller cancels the call in Triton's queue as well.
    """

    def __init__(self, url: str, *, patience_s: float, timeout_s: float) -> None:
        self.client = InferenceServerClient(url, channel_args=CHANNEL)
        self.timeout_s = timeout_s
        self._url = url
        self._patience_s = patience_s
        self._crashes: dict[str, float] = {}  # when a model's process was last found dead

    async def infer(self, model: str, inputs: list[InferInput], outputs: list[str], priority: int = 0) -> Any:
        requested = [InferRequestedOutput(name) for name in outputs]
        try:
            return await self.patiently(
                model,
                lambda: self.client.infer(
                    model, inputs, outputs=requested, priority=priority, client_timeout=self.timeout_s
                ),
            )
        except InferenceServerException as error:
            raise self.failure(model, error) from error

    async def patiently(self, model: str, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat the call while the server is away, with growing pauses; the last failure is raised as it is.

        Patience is spent on pauses alone: a call that was long in the queue of a server that died has all of it left.
        """
        waited, pause = 0.0, FIRST_PAUSE_S
        while True:
            try:
                result = await call()
                self._crashes.pop(model, None)
                return result
            except InferenceServerException as error:
                if _process_died(error):
                    self._crashes[model] = time.monotonic()
                if not _transient(error) or waited + pause > self._patience_s:
                    raise
            # Jitter, so that the requests of a whole outage do not come back as one.
            jittered = pause * random.uniform(0.5, 1.0)
            await asyncio.sleep(jittered)
            waited += jittered
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def failure(self, model: str, error: InferenceServerException) -> TritoneError:
        if error.status() == "StatusCode.DEADLINE_EXCEEDED":
            return InferenceUnavailable(
                f"The model {model} did not answer within {self.timeout_s:.0f} s.", RETRY_AFTER_S
            )
        if _transient(error):
            return self.away(error)
        if model in JUDGES and error.status() == "StatusCode.INVALID_ARGUMENT":
            return InvalidRequest(str(error.message()))
        return InferenceFailed(f"The model {model} failed: {error.message()}")

    def crashed(self, model: str) -> bool:
        return time.monotonic() - self._crashes.get(model, -math.inf) < CRASH_REMEMBERED_S

    def away(self, error: InferenceServerException) -> InferenceUnavailable:
        log.warning("Triton at %s is away: %s", self._url, error)
        return InferenceUnavailable("The inference server is not available right now. Try again later.", RETRY_AFTER_S)


def tensor(name: str, array: np.ndarray[Any, Any], datatype: str) -> InferInput:
    filled = InferInput(name, list(array.shape), datatype)
    filled.set_data_from_numpy(array)
    return filled


def strings(name: str, values: Sequence[bytes]) -> InferInput:
    """A batch of one with so many strings."""
    return tensor(name, np.array([values], dtype=np.object_), "BYTES")


def _transient(error: InferenceServerException) -> bool:
    message = str(error.message())
    known = message.startswith(NOT_LOADED) or NO_SHARED_MEMORY in message
    return error.status() in TRANSIENT or _process_died(error) or known


def _process_died(error: InferenceServerException) -> bool:
    return STUB_GONE in str(error.message())
