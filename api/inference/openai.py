"""A language model behind an OpenAI-compatible endpoint: a hosted one, or vLLM, llama.cpp, Ollama and their like."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import httpx
import msgspec

from api.errors import InferenceFailed, InferenceUnavailable, PromptTooLong, TritoneError
from api.inference.contracts import CompletionChunk, CompletionRequest

log = logging.getLogger(__name__)

RETRY_AFTER_S, LONGEST_RETRY_AFTER_S = 10, 3600
CONNECT_TIMEOUT_S = 10.0
MAX_LINE_BYTES = 1024**2
MAX_STREAM_BYTES = 32 * 1024**2  # 8192 tokens, each an event of 300 bytes, are 3 MB
MAX_ERROR_BYTES, SHOWN_ERROR_CHARACTERS = 64 * 1024, 200
COMPLETIONS: Final = "/chat/completions"
# OpenAI: context_length_exceeded; vLLM: maximum context length; llama.cpp: the available context size.
TOO_LONG = re.compile(r"context[ _](length|size|window)|too many tokens", re.IGNORECASE)


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Event(msgspec.Struct):
    """A chat.completion.chunk, as far as it is needed; or an error in its place."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: object = None


class OpenAiLanguageModel:
    """`url` is what OpenAI's clients call the base URL, such as https://api.openai.com/v1.

    `timeout_s` bounds the wait for the beginning of an answer and for each piece of it.
    """

    def __init__(self, url: str, model: str, *, api_key: str = "", timeout_s: float) -> None:
        base = httpx.URL(url)
        self._url = base.copy_with(path=base.path.rstrip("/").removesuffix(COMPLETIONS) + COMPLETIONS)
        self._model = model
        self._api_key = api_key
        self._timeout_s = timeout_s
        # What is not compressed cannot unpack to more than was read.
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
            follow_redirects=False,
        )
        self._decoder = msgspec.json.Decoder(Event)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[CompletionChunk, None]:
        asked = {
            **msgspec.to_builtins(request),
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        finish, usage = "", Usage()
        async with aclosing(self._events(asked)) as events:
            while (event := await self._next(events)) is not None:
                if event.error is not None:
                    raise InferenceFailed("The language model broke off", self._shown(str(event.error)))
                usage = event.usage or usage
                for choice in event.choices[:1]:
                    finish = choice.finish_reason or finish
                    if choice.delta and choice.delta.content:
                        yield CompletionChunk(choice.delta.content)
        if not finish:
            raise InferenceFailed("The language model's answer has no end.")
        yield CompletionChunk(
            "", "length" if finish == "length" else "stop", usage.prompt_tokens, usage.completion_tokens
        )

    async def _next(self, events: AsyncIterator[Event]) -> Event | None:
        """The next event; None at the end."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await anext(events, None)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise InferenceUnavailable(
                f"The language model did not answer within {self._timeout_s:.0f} s.", RETRY_AFTER_S
            ) from error
        except httpx.TransportError as error:
            log.warning("The language model at %s is away: %s", self._url, error)
            raise InferenceUnavailable(
                "The language model is not available right now. Try again later.", RETRY_AFTER_S
            ) from error

    async def _events(self, asked: dict[str, object]) -> AsyncGenerator[Event, None]:
        """What the server sends up to [DONE], or until it closes the connection."""
        async with self._client.stream("POST", self._url, json=asked) as response:
            if response.status_code != httpx.codes.OK:
                raise await self._refusal(response)
            async with aclosing(_lines(response)) as lines:
                async for line in lines:
                    field, _, value = line.partition(b":")
                    data = value.strip()
                    if field != b"data":
                        continue  # a comment, which keeps the connection open, or a field that says nothing here
                    if data == b"[DONE]":
                        return
                    try:
                        yield self._decoder.decode(data)
                    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                        raise InferenceFailed(
                            f"The language model sent what is no chunk of an answer: {error}"
                        ) from error

    async def _refusal(self, response: httpx.Response) -> TritoneError:
        status = response.status_code
        said = await _beginning(response)
        log.warning("The language model at %s answered %s", self._url, status)
        if status in (401, 403):
            return InferenceUnavailable(
                "The language model does not accept this service's key: LLM_API_KEY is wrong or missing.",
                LONGEST_RETRY_AFTER_S,
            )
        if status == 404 or 300 <= status < 400:
            return InferenceUnavailable(
                "There is no such language model where this service looks for it: check LLM_URL and LLM_MODEL.",
                LONGEST_RETRY_AFTER_S,
            )
        if status == 429 or status >= 500:
            return InferenceUnavailable(
                f"The language model is not available right now (status {status}). Try again later.",
                _retry_after_s(response),
            )
        if status in (400, 413, 422) and TOO_LONG.search(said):
            return PromptTooLong("The text is longer than the language model can read at once.")
        return InferenceFailed(f"The language model refused the request (status {status})", self._shown(said))

    def _shown(self, said: str) -> str:
        """Fit for answers: short, and without the key, which some servers repeat."""
        hidden = said.replace(self._api_key, "…") if self._api_key else said
        return " ".join(hidden.split())[:SHOWN_ERROR_CHARACTERS]


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Lines that are not empty, of at most 1 MiB, 32 MiB together. Raises InferenceFailed where there is more."""
    line = b""
    read = 0
    async for part in response.aiter_raw():
        read += len(part)
        *whole, line = re.split(rb"\r\n|\r|\n", line + part)
        for one in whole:
            if one:
                yield one
        if len(line) > MAX_LINE_BYTES or read > MAX_STREAM_BYTES:
            raise InferenceFailed("The language model's answer is too large.")
    if line:
        yield line


async def _beginning(response: httpx.Response) -> str:
    said = b""
    async for part in response.aiter_raw():
        said += part
        if len(said) > MAX_ERROR_BYTES:
            break
    return said[:MAX_ERROR_BYTES].decode(errors="replace")


def _retry_after_s(response: httpx.Response) -> int:
    given = response.headers.get("Retry-After", "")
    seconds = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else RETRY_AFTER_S
    return min(max(seconds, 1), LONGEST_RETRY_AFTER_S)
