"""A language model's answer, as it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import msgspec
from tritonclient.grpc.aio import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed, InferenceUnavailable, PromptTooLong
from api.inference.base import ModelVersion
from api.inference.contracts import LANGUAGE_MODEL, PROMPT_TOO_LONG, CompletionChunk, CompletionRequest
from api.inference.triton.channel import Channel, strings
from api.inference.triton.fleet import RETRY_AFTER_S

MAX_ANSWER_CHARACTERS = 1_000_000  # of a language model; 8192 tokens of prose are some 40,000
# What is silent for so long in the middle of an answer has died: a dead model's streams just stay open.
LONGEST_SILENCE_S = 60.0
CLOSING_S = 2.0


class TritonLanguageModel:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._encoder = msgspec.json.Encoder()
        self._chunk_decoder = msgspec.json.Decoder(CompletionChunk)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[CompletionChunk, None]:
        """Patience is for the first chunk alone."""
        asked = strings("REQUEST", [self._encoder.encode(request)])
        characters = 0
        try:
            (stream, chunk), held = await self._channel.patiently(
                ModelVersion(LANGUAGE_MODEL, ""), partial(self._begin, asked)
            )
            with held:
                held.callback(stream.cancel)
                while not chunk.finish:
                    characters += len(chunk.text)
                    if characters > MAX_ANSWER_CHARACTERS:
                        raise InferenceFailed(f"The model {LANGUAGE_MODEL} does not come to an end.")
                    yield chunk
                    chunk = await self._next_chunk(stream, min(self._channel.timeout_s, LONGEST_SILENCE_S))
                await _closed(stream)
            yield chunk
        except InferenceServerException as error:
            message = str(error.message())
            if message.startswith(PROMPT_TOO_LONG):
                raise PromptTooLong(message.removeprefix(PROMPT_TOO_LONG)) from error
            raise self._channel.failure(LANGUAGE_MODEL, error) from error

    async def _begin(
        self, asked: InferInput, client: InferenceServerClient, version: str, headers: dict[str, str]
    ) -> tuple[Any, CompletionChunk]:
        """The stream of an answer, and its first chunk."""

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": LANGUAGE_MODEL, "model_version": version, "inputs": [asked]}

        stream = client.stream_infer(once(), headers=headers)
        try:
            return stream, await self._next_chunk(stream, self._channel.timeout_s)
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


async def _closed(stream: Any) -> None:
    """Wait until Triton has closed a stream of which all was read.

    One that is cancelled while it closes Triton counts as running for ever after, and unloads its model no more.
    """
    with suppress(TimeoutError, grpc.RpcError):
        async with asyncio.timeout(CLOSING_S):
            async for _ in stream:
                pass
