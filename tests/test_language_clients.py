"""The clients of language models against servers that do what no good one does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from api.errors import InferenceFailed, InferenceUnavailable, PromptTooLong
from api.inference import openai
from api.inference.base import LanguageModel
from api.inference.contracts import PROMPT_TOO_LONG, CompletionChunk, CompletionRequest, Message
from api.inference.openai import OpenAiLanguageModel
from api.inference.triton import TritonInference, completion
from api.settings import SettingsError, from_env
from tests.servers import free_ports

ASKED = CompletionRequest([Message("system", "Be brief."), Message("user", "Wie geht's?")], 50, 0.5, 0.9)


async def chunks_of(model: Any) -> list[CompletionChunk]:
    return [chunk async for chunk in model.complete(ASKED)]


async def texts_until_failure(model: Any) -> tuple[list[str], Exception]:
    """What came before it, and the failure."""
    texts: list[str] = []

    async def read() -> None:
        async for chunk in model.complete(ASKED):
            texts.extend([chunk.text])

    with pytest.raises((InferenceFailed, InferenceUnavailable)) as failure:
        await read()
    return texts, failure.value


@dataclass
class Endpoint:
    """Answers each request with the next of `answers`, the last again and again, and ends the connection behind it.

    None within an answer: it says nothing more, and waits until the client has gone.
    """

    answers: list[Sequence[bytes | None]]
    requests: list[tuple[str, Any]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    connections: list[Any] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        with suppress(ConnectionError):
            await self.talk(reader, writer)
            writer.close()
            await writer.wait_closed()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        self.requests.append((head, json.loads(await reader.readexactly(length))))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        for part in answer:
            if part is None:
                await reader.read()
                self.gone.set()
            else:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    endpoint: Endpoint, path: str = "/v1", timeout_s: float = 5, **options: Any
) -> AsyncIterator[OpenAiLanguageModel]:
    server = await asyncio.start_server(endpoint, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    model = OpenAiLanguageModel(f"http://127.0.0.1:{port}{path}", "qwen", timeout_s=timeout_s, **options)
    try:
        yield model
    finally:
        await model.aclose()
        server.close()
        await asyncio.gather(*endpoint.connections)


def http(status: str, body: str = "", *headers: str) -> list[bytes]:
    return ["\r\n".join((f"HTTP/1.1 {status}", *headers, "Connection: close", "", body)).encode()]


def stream(*events: object) -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return (head + "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)).encode()


def delta(content: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}}
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/chat/completions?api-version=3"])
def test_an_answer_comes_in_pieces(path: str) -> None:
    """Whatever pieces the network makes of them, and whatever else the server says."""
    said = stream({"choices": [{"delta": {"role": "assistant"}}]}, delta(""), delta("Gut,"), delta(" 谢谢"))
    said += b": still here\r\n\r\nevent: x\rdata:" + json.dumps(delta(None, "length")).encode() + b"\n\n"
    said += stream(USAGE).partition(b"\r\n\r\n")[2] + DONE + b"data: nothing that matters\n\n"
    endpoint = Endpoint([[bytes([byte]) for byte in said]])

    async def run() -> list[CompletionChunk]:
        async with serving(endpoint, path, api_key="sk-secret") as model:
            return await chunks_of(model)

    *pieces, last = asyncio.run(run())
    assert pieces == [CompletionChunk("Gut,"), CompletionChunk(" 谢谢")]
    assert last == CompletionChunk("", "length", 12, 3)
    ((head, body),) = endpoint.requests
    query = path.partition("?")[2]
    assert head.startswith(f"POST /v1/chat/completions{'?' + query if query else ''} HTTP/1.1\r\n")
    assert "authorization: bearer sk-secret" in head.lower()
    assert body == {
        "model": "qwen",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Wie geht's?"}],
        **{"max_tokens": 50, "temperature": 0.5, "top_p": 0.9},
        **{"stream": True, "stream_options": {"include_usage": True}},
    }


def test_whoever_leaves_ends_the_connection() -> None:
    async def run(leave: Callable[[Any], Any]) -> None:
        endpoint = Endpoint([[stream(delta("One")), None]])
        async with serving(endpoint) as model, aclosing(model.complete(ASKED)) as chunks:
            assert (await anext(chunks)).text == "One"
            await leave(chunks)
            await asyncio.wait_for(endpoint.gone.wait(), 10)

    async def cancelled(chunks: Any) -> None:
        waiting = asyncio.create_task(anext(chunks))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run(lambda chunks: chunks.aclose()))
    asyncio.run(run(cancelled))


TOO_LONG = '{"error": {"message": "This model\'s maximum context length is 8192 tokens.", "code": 400}}'
OPENAI_TOO_LONG = '{"error": {"message": "too much", "code": "context_length_exceeded"}}'


@pytest.mark.parametrize(
    ("answer", "error", "message", "retry_after_s"),
    [
        (http("400 Bad Request", TOO_LONG), PromptTooLong, "longer than", None),
        (http("400 Bad Request", OPENAI_TOO_LONG), PromptTooLong, "longer than", None),
        (http("400 Bad Request", '{"error": "no sk-secret, please"}'), InferenceFailed, '400.*"no …, please"', None),
        (http("401 Unauthorized", "not sk-secret"), InferenceUnavailable, "LLM_API_KEY", 3600),
        (http("403 Forbidden"), InferenceUnavailable, "LLM_API_KEY", 3600),
        (http("404 Not Found"), InferenceUnavailable, "LLM_URL and LLM_MODEL", 3600),
        (http("307 Moved", "", "Location: http://127.0.0.1:1/"), InferenceUnavailable, "LLM_URL and LLM_MODEL", 3600),
        (http("429 Slow Down", "", "Retry-After: 7"), InferenceUnavailable, "429", 7),
        (http("503 Busy", "", "Retry-After: Fri, 31 Dec 2027 23:59:59 GMT"), InferenceUnavailable, "503", 10),
        (http("500 Oh", "x" * 10**6), InferenceUnavailable, "500", 10),
        ([b""], InferenceUnavailable, "not available right now", 10),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], InferenceUnavailable, "not available right now", 10),
        ([None], InferenceUnavailable, "within 1 s", 10),
    ],
)
def test_a_refusal_says_what_to_do(
    answer: list[bytes | None], error: type[Exception], message: str, retry_after_s: int | None
) -> None:
    endpoint = Endpoint([answer])

    async def run() -> None:
        async with serving(endpoint, timeout_s=1 if None in answer else 5, api_key="sk-secret") as model:
            await chunks_of(model)

    with pytest.raises(error, match=message) as refusal:
        asyncio.run(run())
    assert "sk-secret" not in str(refusal.value)
    assert getattr(refusal.value, "retry_after_s", None) == retry_after_s
    assert len(endpoint.requests) == 1


def test_no_server_at_all() -> None:
    (port,) = free_ports(1)

    async def run() -> None:
        await chunks_of(OpenAiLanguageModel(f"http://127.0.0.1:{port}", "qwen", timeout_s=5))

    with pytest.raises(InferenceUnavailable, match="not available"):
        asyncio.run(run())


BROKEN_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + stream(delta("One")).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ([stream(delta("One"))], InferenceFailed, "has no end"),
        ([stream(delta("One")) + DONE], InferenceFailed, "has no end"),
        ([stream(delta("One"), {"error": {"message": "out of memory"}})], InferenceFailed, "out of memory"),
        ([stream(delta("One")) + b"data: {\n\n"], InferenceFailed, "no chunk"),
        ([stream(delta("One"), ["a list"])], InferenceFailed, "no chunk"),
        (
            [stream(delta("One")) + b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n'],
            InferenceFailed,
            "no chunk",
        ),
        ([stream(delta("One")) + b"data: " + b"x" * 2 * openai.MAX_LINE_BYTES], InferenceFailed, "too large"),
        ([stream(delta("One"))] + [b":" + b"x" * 10**6 + b"\n"] * 40, InferenceFailed, "too large"),
        ([BROKEN_OFF], InferenceUnavailable, "not available right now"),
        ([stream(delta("One")), None], InferenceUnavailable, "within 1 s"),
    ],
)
def test_an_answer_that_goes_wrong(answer: list[bytes | None], error: type[Exception], message: str) -> None:
    async def run() -> tuple[list[str], Exception]:
        async with serving(Endpoint([answer]), timeout_s=1 if None in answer else 20) as model:
            return await texts_until_failure(model)

    texts, failure = asyncio.run(run())
    assert texts == ["One"]
    assert isinstance(failure, error)
    assert message in str(failure)


def test_settings_of_an_endpoint() -> None:
    chosen = from_env(
        {"LLM_URL": "https://llm.internal/v1", "LLM_API_KEY": "sk-1", "TRITONE_LLM_CONTEXT_TOKENS": "4096"}
    )
    assert (chosen.llm_url, chosen.llm_api_key, chosen.llm_context_tokens) == ("https://llm.internal/v1", "sk-1", 4096)
    with pytest.raises(SettingsError, match="LLM_URL"):
        from_env({"LLM_URL": "llm.internal"})
    with pytest.raises(SettingsError, match="LLM_API_KEY=…"):
        from_env({"LLM_API_KEY": "sk-1\r\nHost: elsewhere"})


@dataclass
class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Does in a stream what each of `doings` says, one for each request."""

    doings: list[Sequence[str | Exception | None]]
    asked: int = 0

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 (as gRPC names it)
        await anext(aiter(requests))
        doing = self.doings[min(self.asked, len(self.doings) - 1)]
        self.asked += 1
        for part in doing:
            if part is None:
                await asyncio.sleep(60)
            elif isinstance(part, ConnectionError):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Server is stopping")
            elif isinstance(part, Exception):
                yield service_pb2.ModelStreamInferResponse(error_message=str(part))
            else:
                yield chunk_response(part)


def chunk_response(payload: str) -> Any:
    answer = service_pb2.ModelInferResponse(model_name="language_model")
    tensor = answer.outputs.add(name="CHUNK", datatype="BYTES", shape=[1, 1])
    data = payload.encode()
    answer.raw_output_contents.append(len(data).to_bytes(4, "little") + data)
    assert tensor.name
    return service_pb2.ModelStreamInferResponse(infer_response=answer)


@asynccontextmanager
async def serving_triton(
    fake: FakeTriton, patience_s: float = 5, timeout_s: float = 20
) -> AsyncIterator[LanguageModel]:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    inference = TritonInference(f"127.0.0.1:{port}", patience_s=patience_s, timeout_s=timeout_s, max_windows=1)
    try:
        yield inference.inference.language_model
    finally:
        await inference.close()
        await server.stop(None)


ONE, END = '{"text":"One"}', '{"finish":"stop","prompt_tokens":5,"completion_tokens":1}'
AWAY = ConnectionError()


@pytest.mark.parametrize(
    ("doing", "error", "message"),
    [
        ([ONE, AWAY], InferenceUnavailable, "not available right now"),
        (
            [ONE, RuntimeError("Stub process 'language_model_0_0' is not healthy.")],
            InferenceUnavailable,
            "not available",
        ),
        ([ONE, RuntimeError("CUDA out of memory")], InferenceFailed, "CUDA out of memory"),
        ([ONE], InferenceFailed, "broke off"),
        ([ONE, "{}garbage"], InferenceFailed, "no chunk"),
        ([ONE, None], InferenceUnavailable, "silent for 1 s"),
    ],
)
def test_a_stream_that_goes_wrong_is_not_repeated(
    doing: list[str | Exception | None], error: type[Exception], message: str
) -> None:
    fake = FakeTriton([doing])

    async def run() -> tuple[list[str], Exception]:
        async with serving_triton(fake, timeout_s=1 if None in doing else 20) as model:
            return await texts_until_failure(model)

    texts, failure = asyncio.run(run())
    assert texts == ["One"]
    assert isinstance(failure, error)
    assert message in str(failure)
    assert fake.asked == 1


def test_a_stream_that_does_not_begin_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = RuntimeError("Request for unknown model: 'language_model' is not found")
    fake = FakeTriton([[AWAY], [unknown], [ONE, END]])

    async def run() -> list[CompletionChunk]:
        async with serving_triton(fake) as model:
            return await chunks_of(model)

    assert asyncio.run(run()) == [CompletionChunk("One"), CompletionChunk("", "stop", 5, 1)]
    assert fake.asked == 3

    too_long = FakeTriton([[RuntimeError(f"{PROMPT_TOO_LONG}9000 tokens, and 8190 are read.")]])
    monkeypatch.setattr(completion, "MAX_ANSWER_CHARACTERS", 100)
    endless = FakeTriton([[ONE] * 100])

    async def fail(fake: FakeTriton) -> None:
        async with serving_triton(fake) as model:
            await chunks_of(model)

    with pytest.raises(PromptTooLong, match="9000 tokens"):
        asyncio.run(fail(too_long))
    with pytest.raises(InferenceFailed, match="does not come to an end"):
        asyncio.run(fail(endless))
