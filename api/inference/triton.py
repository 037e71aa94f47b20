"""Inference by NVIDIA Triton over gRPC. Nothing else imports tritonclient."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, TypeVar

import grpc
import msgspec
import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed, InferenceUnavailable, InvalidRequest, PromptTooLong, TritoneError
from api.inference.base import Deployment, Flags, Floats, Inference, Pcm, TextVectors, Voices
from api.inference.contracts import (
    ACTIVITY_FRAME_SAMPLES,
    LANGUAGE_MODEL,
    LOCAL_SPEAKERS,
    PROMPT_TOO_LONG,
    SPEAKER_EMBEDDING,
    SPEAKER_FRAMES,
    SPEAKER_SEGMENTATION,
    TEXT_ANALYSIS,
    TEXT_EMBEDDING,
    VOICE_ACTIVITY,
    Analysis,
    AnalysisOptions,
    CompletionChunk,
    CompletionRequest,
    DecodingOptions,
    ModelCard,
    Recognition,
)
from api.inference.portions import portions

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
MAX_ANSWER_CHARACTERS = 1_000_000  # of a language model; 8192 tokens of prose are some 40,000
# What is silent for so long in the middle of an answer has died: a dead model's streams just stay open.
LONGEST_SILENCE_S = 60.0
CLOSING_S = 2.0
# Requests with texts that are with Triton at the same time: of one call, so that others find room, and of all calls.
TEXTS_AT_ONCE, ALL_TEXTS_AT_ONCE = 4, 32
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
        self._texts = asyncio.Semaphore(ALL_TEXTS_AT_ONCE)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Recognition)
        self._analysis_decoder = msgspec.json.Decoder(Analysis)
        self._chunk_decoder = msgspec.json.Decoder(CompletionChunk)
        self._cards: dict[tuple[str, str], ModelCard] = {}
        self._crashes: dict[str, float] = {}  # when a model's process was last found dead

    def inference(self) -> Inference:
        return Inference(self, self, self, self, self, self, self)

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

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[CompletionChunk, None]:
        """Patience is for the first chunk alone."""
        asked = _input("REQUEST", np.array([[self._encoder.encode(request)]], dtype=np.object_), "BYTES")
        stream = None
        characters = 0
        try:
            stream, chunk = await self._patiently(LANGUAGE_MODEL, lambda: self._begin(LANGUAGE_MODEL, asked))
            while not chunk.finish:
                characters += len(chunk.text)
                if characters > MAX_ANSWER_CHARACTERS:
                    raise InferenceFailed(f"The model {LANGUAGE_MODEL} does not come to an end.")
                yield chunk
                chunk = await self._next_chunk(stream, min(self._timeout_s, LONGEST_SILENCE_S))
            await _closed(stream)
            yield chunk
        except InferenceServerException as error:
            message = str(error.message())
            if message.startswith(PROMPT_TOO_LONG):
                raise PromptTooLong(message.removeprefix(PROMPT_TOO_LONG)) from error
            raise self._failure(LANGUAGE_MODEL, error) from error
        finally:
            if stream is not None:
                stream.cancel()

    async def _begin(self, model: str, asked: InferInput) -> tuple[Any, CompletionChunk]:
        """The stream of an answer, and its first chunk."""

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": model, "inputs": [asked]}

        stream = self._client.stream_infer(once())
        try:
            return stream, await self._next_chunk(stream, self._timeout_s)
        except BaseException:
            stream.cancel()
            raise

    async def _next_chunk(self, stream: Any, timeout_s: float) -> CompletionChunk:
        """Raises InferenceServerException as the client's other calls do, and InferenceUnavailable after a silence."""
        try:
            async with asyncio.timeout(timeout_s):
                result, error = await anext(stream)
        except TimeoutError as silence:
            raise InferenceUnavailable(
                f"The model {LANGUAGE_MODEL} was silent for {timeout_s:.0f} s.", RETRY_AFTER_S
            ) from silence
        except grpc.RpcError as failure:
            raise InferenceServerException(str(failure.details()), str(failure.code())) from failure
        except StopAsyncIteration:
            raise InferenceServerException("the answer broke off") from None
        if error is not None:
            await _closed(stream)
            raise error
        try:
            return self._chunk_decoder.decode(result.as_numpy("CHUNK").item())
        except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
            raise InferenceServerException(f"something that is no chunk: {wrong}") from wrong

    async def embed_texts(self, texts: Sequence[str]) -> TextVectors:
        requests = list(portions(texts))
        if not requests:
            return TextVectors("", np.zeros((0, 0), dtype=np.float32))
        for _ in range(2):  # while one version takes the place of another, both answer for a moment
            answers = await self._embed_portions(requests)
            if len({(answer.version, answer.embeddings.shape[1]) for answer in answers}) == 1:
                return TextVectors(answers[0].version, np.concatenate([answer.embeddings for answer in answers]))
        raise InferenceUnavailable(f"The model {TEXT_EMBEDDING} is being replaced. Try again later.", RETRY_AFTER_S)

    async def _embed_portions(self, requests: list[list[bytes]]) -> list[TextVectors]:
        places = asyncio.Semaphore(TEXTS_AT_ONCE)

        async def one(texts: list[bytes]) -> TextVectors:
            async with places, self._texts:
                return await self._embed_portion(texts)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(texts)) for texts in requests]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _embed_portion(self, texts: list[bytes]) -> TextVectors:
        inputs = [_input("TEXTS", np.array([texts], dtype=np.object_), "BYTES")]
        result = await self._infer(TEXT_EMBEDDING, inputs, ["EMBEDDINGS"])
        embeddings = result.as_numpy("EMBEDDINGS")
        if embeddings.ndim != 3 or embeddings.shape[:2] != (1, len(texts)) or not np.isfinite(embeddings).all():
            raise InferenceFailed(
                f"The model {TEXT_EMBEDDING} answered with a tensor of the wrong size, or no numbers."
            )
        return TextVectors(result.get_response().model_version, embeddings[0])

    async def analyze(self, texts: Sequence[str], options: AnalysisOptions) -> Analysis:
        if not texts:
            return Analysis()
        encoded = [text.encode(errors="replace") for text in texts]  # a lone surrogate becomes one character, too
        inputs = [
            _input("TEXTS", np.array([encoded], dtype=np.object_), "BYTES"),
            _input("OPTIONS", np.array([[self._encoder.encode(options)]], dtype=np.object_), "BYTES"),
        ]
        async with self._texts:
            result = await self._infer(TEXT_ANALYSIS, inputs, ["ANALYSIS"])
        try:
            analysis = self._analysis_decoder.decode(result.as_numpy("ANALYSIS").item())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InferenceFailed(
                f"The model {TEXT_ANALYSIS} answered with something that is no analysis: {error}"
            ) from error
        if not _fits(analysis, texts, options):
            raise InferenceFailed(f"The model {TEXT_ANALYSIS} answered about other texts than these.")
        return analysis

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
            raise self._failure(model, error) from error

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

    def _failure(self, model: str, error: InferenceServerException) -> TritoneError:
        if error.status() == "StatusCode.DEADLINE_EXCEEDED":
            return InferenceUnavailable(
                f"The model {model} did not answer within {self._timeout_s:.0f} s.", RETRY_AFTER_S
            )
        if _transient(error):
            return self._away(error)
        if model == TEXT_ANALYSIS and error.status() == "StatusCode.INVALID_ARGUMENT":
            return InvalidRequest(str(error.message()))
        return InferenceFailed(f"The model {model} failed: {error.message()}")

    def _crashed(self, model: str) -> bool:
        return time.monotonic() - self._crashes.get(model, -math.inf) < CRASH_REMEMBERED_S

    def _away(self, error: InferenceServerException) -> InferenceUnavailable:
        log.warning("Triton at %s is away: %s", self._url, error)
        return InferenceUnavailable("The inference server is not available right now. Try again later.", RETRY_AFTER_S)


def _fits(analysis: Analysis, texts: Sequence[str], options: AnalysisOptions) -> bool:
    """Whether there is an entry for each text where one was asked for, and every span lies within its text."""
    asked = {task: len(texts) if task in options.tasks else 0 for task in ("entities", "sentiment")}
    return (
        (len(analysis.entities), len(analysis.sentiment)) == (asked["entities"], asked["sentiment"])
        and ("key_phrases" in options.tasks or not analysis.key_phrases)
        and all(
            0 <= entity.start < entity.end <= len(text)
            for text, entities in zip(texts, analysis.entities, strict=False)
            for entity in entities
        )
    )


async def _closed(stream: Any) -> None:
    """Wait until Triton has closed a stream of which all was read.

    One that is cancelled while it closes Triton counts as running for ever after, and unloads its model no more.
    """
    with suppress(TimeoutError, grpc.RpcError):
        async with asyncio.timeout(CLOSING_S):
            async for _ in stream:
                pass


def _transient(error: InferenceServerException) -> bool:
    message = str(error.message())
    known = message.startswith(NOT_LOADED) or NO_SHARED_MEMORY in message
    return error.status() in TRANSIENT or _process_died(error) or known


def _process_died(error: InferenceServerException) -> bool:
    return STUB_GONE in str(error.message())


def _input(name: str, array: np.ndarray[Any, Any], datatype: str) -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor
