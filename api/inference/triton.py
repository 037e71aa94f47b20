"""Inference by NVIDIA Triton over gRPC. Nothing else imports tritonclient."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import msgspec
import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import Deployment, Flags, Floats, Inference, Pcm, Voices
from api.inference.contracts import (
    ACTIVITY_FRAME_SAMPLES,
    LOCAL_SPEAKERS,
    SPEAKER_EMBEDDING,
    SPEAKER_FRAMES,
    SPEAKER_SEGMENTATION,
    VOICE_ACTIVITY,
    DecodingOptions,
    ModelCard,
    Recognition,
)

log = logging.getLogger(__name__)

# Statuses after which the same call may well succeed: the server is starting, stopping, or loading the model.
TRANSIENT = {"StatusCode.UNAVAILABLE", "StatusCode.NOT_FOUND"}
# A model whose process has died is INTERNAL with these words, until Triton is started again; it still counts as ready.
STUB_GONE = "tub process"
# INTERNAL, too: the requests that are being worked on fill the memory that Triton shares with its models' processes.
NO_SHARED_MEMORY = "shared memory pool"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
RETRY_AFTER_S = 10
LIVE_PRIORITY = 1  # the highest of a model's priority levels
REGISTRY_TIMEOUT_S = 5.0
CRASH_REMEMBERED_S = 10.0  # longer than the pauses between the calls of a request that waits for the model

CHANNEL = [
    ("grpc.max_send_message_length", -1),  # what we send, we have bounded ourselves
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # gRPC's own pauses between attempts to reconnect grow to minutes; ours decide how long to wait.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
T = TypeVar("T")


class TritonInference:
    """All tasks over one gRPC channel.

    Calls that find Triton away are repeated until it is back or `patience_s` has passed; every call is bounded by
    `timeout_s`. Cancelling the caller cancels the call in Triton's queue as well.
    """

    def __init__(self, url: str, *, patience_s: float, timeout_s: float, max_windows: int) -> None:
        self._client = InferenceServerClient(url, channel_args=CHANNEL)
        self._url = url
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        # What waits here does not wait in Triton's queue, where waiting counts against the time a call may take.
        self._windows = asyncio.Semaphore(max_windows)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Recognition)
        self._cards: dict[tuple[str, str], ModelCard] = {}
        self._crashes: dict[str, float] = {}  # when a model's process was last found dead

    def inference(self) -> Inference:
        return Inference(self, self, self, self)

    async def close(self) -> None:
        await self._client.close()

    async def recognize(self, model: str, pcm: Pcm, options: DecodingOptions, *, live: bool = False) -> Recognition:
        inputs = [
            _input("PCM", pcm[None], "INT16"),
            _input("OPTIONS", np.array([[self._encoder.encode(options)]], dtype=np.object_), "BYTES"),
        ]
        async with self._place(live):
            result = await self._infer(model, inputs, ["RECOGNITION"], priority=LIVE_PRIORITY if live else 0)
        try:
            return self._decoder.decode(result.as_numpy("RECOGNITION").item())
        except msgspec.MsgspecError as error:
            raise InferenceFailed(
                f"The model {model} answered with something that is no recognition: {error}"
            ) from error

    async def detect(self, pcm: Pcm, state: Floats) -> tuple[Floats, Floats]:
        inputs = [_input("PCM", pcm[None], "INT16"), _input("STATE", state[None], "FP32")]
        result = await self._infer(VOICE_ACTIVITY, inputs, ["PROBABILITIES", "NEXT_STATE"])
        probabilities, next_state = result.as_numpy("PROBABILITIES"), result.as_numpy("NEXT_STATE")
        if probabilities.shape != (1, pcm.size // ACTIVITY_FRAME_SAMPLES) or next_state.shape != (1, state.size):
            raise InferenceFailed(f"The model {VOICE_ACTIVITY} answered with tensors of the wrong size.")
        return probabilities[0], next_state[0]

    async def segment(self, pcm: Pcm, *, live: bool = False) -> Flags:
        async with self._place(live):
            result = await self._infer(SPEAKER_SEGMENTATION, [_input("PCM", pcm[None], "INT16")], ["ACTIVITY"])
        active = result.as_numpy("ACTIVITY")
        if active.shape != (1, SPEAKER_FRAMES, LOCAL_SPEAKERS):
            raise InferenceFailed(f"The model {SPEAKER_SEGMENTATION} answered with a tensor of the wrong size.")
        of_window: Flags = active[0]
        return of_window

    async def embed(self, pcm: Pcm, masks: Flags, *, features: bool, live: bool = False) -> Voices:
        inputs = [_input("PCM", pcm[None], "INT16"), _input("MASKS", masks[None], "UINT8")]
        outputs = ["EMBEDDINGS", "PLDA"] if features else ["EMBEDDINGS"]
        async with self._place(live):
            result = await self._infer(SPEAKER_EMBEDDING, inputs, outputs)
        found: list[Floats] = [result.as_numpy(name)[0] for name in outputs]
        if not all(of.ndim == 2 and len(of) == len(masks) and np.isfinite(of).all() for of in found):
            raise InferenceFailed(
                f"The model {SPEAKER_EMBEDDING} answered with tensors of the wrong size, or no numbers."
            )
        return Voices(result.get_response().model_version, found[0], found[1] if features else None)

    def _place(self, live: bool) -> AbstractAsyncContextManager[Any]:
        """Live sessions have one window each at most, and their number has a bound of its own."""
        return nullcontext() if live else self._windows

    async def deployments(self) -> list[Deployment]:
        try:
            index = await self._client.get_model_repository_index(client_timeout=REGISTRY_TIMEOUT_S)
            models = [model for model in index.models if model.version]
            cards = await asyncio.gather(*map(self._card, models))
        except InferenceServerException as error:
            raise self._away(error) from error
        return [
            Deployment(model.name, model.version, model.state == "READY", card, self._crashed(model.name))
            for model, card in zip(models, cards, strict=True)
        ]

    async def _card(self, model: Any) -> ModelCard:
        """A version's card; asked for once, because a version's content does not change."""
        key = (model.name, model.version)
        if model.state != "READY":
            return self._cards.get(key, ModelCard())
        if key not in self._cards:
            answer = await self._client.get_model_config(*key, client_timeout=REGISTRY_TIMEOUT_S)
            parameters = answer.config.parameters
            try:
                card = msgspec.json.decode(parameters["card"].string_value or "{}", type=ModelCard)
            except msgspec.MsgspecError as error:
                log.warning("%s version %s has an unreadable card: %s", *key, error)
                card = ModelCard()
            self._cards[key] = card
        return self._cards[key]

    async def _infer(self, model: str, inputs: list[InferInput], outputs: list[str], priority: int = 0) -> Any:
        requested = [InferRequestedOutput(name) for name in outputs]
        try:
            return await self._patiently(
                model,
                lambda: self._client.infer(
                    model, inputs, outputs=requested, priority=priority, client_timeout=self._timeout_s
                ),
            )
        except InferenceServerException as error:
            if error.status() == "StatusCode.DEADLINE_EXCEEDED":
                raise InferenceUnavailable(
                    f"The model {model} did not answer within {self._timeout_s:.0f} s.", RETRY_AFTER_S
                ) from error
            if _transient(error):
                raise self._away(error) from error
            raise InferenceFailed(f"The model {model} failed: {error.message()}") from error

    async def _patiently(self, model: str, call: Callable[[], Awaitable[T]]) -> T:
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

    def _crashed(self, model: str) -> bool:
        return time.monotonic() - self._crashes.get(model, -math.inf) < CRASH_REMEMBERED_S

    def _away(self, error: InferenceServerException) -> InferenceUnavailable:
        log.warning("Triton at %s is away: %s", self._url, error)
        return InferenceUnavailable("The inference server is not available right now. Try again later.", RETRY_AFTER_S)


def _transient(error: InferenceServerException) -> bool:
    return error.status() in TRANSIENT or _process_died(error) or NO_SHARED_MEMORY in str(error.message())


def _process_died(error: InferenceServerException) -> bool:
    return STUB_GONE in str(error.message())


def _input(name: str, array: np.ndarray[Any, Any], datatype: str) -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor
