"""The analysis of texts by Triton, from the client's side: what is sent, and what it believes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, deserialize_bytes_tensor, serialize_byte_tensor

from api.errors import InferenceFailed, InvalidRequest
from api.inference.contracts import TEXT_ANALYSIS, Analysis, AnalysisOptions, Entity, KeyPhrase, Sentiment
from api.inference.triton import TritonInference
from tests.conftest import Stack
from tests.servers import free_ports

EVERYTHING = AnalysisOptions(("entities", "sentiment", "key_phrases"))
TEXTS = ["Write to a@b.com 🎉", "", "half \ud800"]
MOOD = {"compound": 0.5, "positive": 0.25, "neutral": 0.75, "negative": 0.0}
FOUND = {"type": "EMAIL_ADDRESS", "start": 9, "end": 16, "score": 1.0}
ANSWER = {
    "entities": [[FOUND], [], []],
    "sentiment": [MOOD] * 3,
    "key_phrases": [{"text": "half", "relevance": 0.5}],
}


@dataclass
class SmallTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers every call with the same, or refuses it."""

    answer: bytes | str = b""
    texts: list[bytes] | None = None
    options: bytes = b""

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.texts, (self.options,) = (list(deserialize_bytes_tensor(tensor)) for tensor in request.raw_input_contents)
        if isinstance(self.answer, str):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.answer)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        answer.outputs.add(name="ANALYSIS", datatype="BYTES", shape=[1, 1])
        answer.raw_output_contents.append(serialize_byte_tensor(np.array([self.answer], dtype=np.object_)).item())
        return answer


def analyze(triton: SmallTriton, texts: list[str], options: AnalysisOptions = EVERYTHING) -> Analysis:
    async def run() -> Analysis:
        (port,) = free_ports(1)
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        inference = TritonInference(f"127.0.0.1:{port}", patience_s=1, timeout_s=30, max_windows=1)
        try:
            return await inference.inference.analyzer.analyze(texts, options)
        finally:
            await inference.close()
            await server.stop(None)

    return asyncio.run(run())


def test_texts_and_options_are_sent_and_the_answer_is_read() -> None:
    triton = SmallTriton(json.dumps(ANSWER).encode())
    mood = Sentiment(0.5, 0.25, 0.75, 0.0)
    assert analyze(triton, TEXTS) == Analysis(
        [[Entity("EMAIL_ADDRESS", 9, 16, 1.0)], [], []], [mood] * 3, [KeyPhrase("half", 0.5)]
    )
    assert triton.texts == ["Write to a@b.com 🎉".encode(), b"", b"half ?"]
    assert json.loads(triton.options) == {"tasks": ["entities", "sentiment", "key_phrases"], "language": "en"}


def test_no_texts_need_no_model() -> None:
    triton = SmallTriton()
    assert analyze(triton, []) == Analysis()
    assert triton.texts is None


def test_what_the_model_refuses_is_the_caller_s_to_change() -> None:
    with pytest.raises(InvalidRequest, match=r"^Sentiment is known of English alone\.$"):
        analyze(SmallTriton("Sentiment is known of English alone."), TEXTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entities": [[]]}, "other texts"),
        ({"sentiment": [MOOD] * 4}, "other texts"),
        ({"entities": [[], [FOUND], []]}, "other texts"),
        ({"entities": [[FOUND | {"end": 19}], [], []]}, "other texts"),
        ({"entities": [[FOUND | {"start": -1}], [], []]}, "other texts"),
        ({"entities": [[FOUND | {"end": 9}], [], []]}, "other texts"),
        ({"entities": [[FOUND | {"score": "high"}], [], []]}, "no analysis"),
    ],
)
def test_an_answer_that_is_none_fails(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InferenceFailed, match=message):
        analyze(SmallTriton(json.dumps(ANSWER | change).encode()), TEXTS)


def test_what_is_not_json_fails() -> None:
    for answer in (b"", b"{", b"\xff"):
        with pytest.raises(InferenceFailed, match="no analysis"):
            analyze(SmallTriton(answer), TEXTS)


def test_what_was_not_asked_for_is_not_taken() -> None:
    triton = SmallTriton(json.dumps(ANSWER).encode())
    with pytest.raises(InferenceFailed, match="other texts"):
        analyze(triton, TEXTS, AnalysisOptions(("entities", "sentiment")))


def test_a_bad_request_fails_by_itself(stack: Stack) -> None:
    """In the model as it is served, beside good ones."""
    option = "--grpc-port="
    port = next(word for word in stack.child("tritonserver").cmdline() if word.startswith(option)).removeprefix(option)
    good = b'{"tasks": ["entities", "sentiment", "key_phrases"]}'
    cases: list[tuple[list[bytes], bytes, str | None]] = [
        ([b"Mail john at example dot com about the launch plan"], good, None),
        ([b"\xff"], good, "must be UTF-8"),
        ([b"a"], b"{", "not JSON"),
        ([b"a"], b'{"tasks": []}', "length >= 1"),
        ([b"a"], b'{"tasks": ["entities"], "x": 1}', "unknown field `x`"),
        (["Está bien".encode()], b'{"tasks": ["sentiment"], "language": "es"}', "English alone"),
        ([b"a"] * 20_001, good, "20,000 at most"),
        (["Mándalo a a@b.com 🎉".encode(), b"", b"nul\0"], b'{"tasks": ["entities"], "language": "es"}', None),
    ]

    async def ask(client: InferenceServerClient, texts: list[bytes], options: bytes) -> Any:
        tensors = []
        for name, content in (("TEXTS", texts), ("OPTIONS", [options])):
            array = np.array([content], dtype=np.object_)
            tensors.append(InferInput(name, list(array.shape), "BYTES"))
            tensors[-1].set_data_from_numpy(array)
        try:
            return json.loads((await client.infer(TEXT_ANALYSIS, tensors)).as_numpy("ANALYSIS").item())
        except InferenceServerException as error:
            return str(error)

    async def ask_all() -> list[Any]:
        async with InferenceServerClient(f"127.0.0.1:{port}") as client:
            return await asyncio.gather(*(ask(client, texts, options) for texts, options, _ in cases))

    answers = asyncio.run(ask_all())
    for (_, _, problem), answer in zip(cases, answers, strict=True):
        assert isinstance(answer, dict) if problem is None else problem in answer
    assert [found["type"] for found in answers[0]["entities"][0]] == ["EMAIL_ADDRESS"]
    assert len(answers[0]["sentiment"]) == 1
    assert "launch plan" in {phrase["text"] for phrase in answers[0]["key_phrases"]}
    assert [(found["start"], found["end"]) for text in answers[-1]["entities"] for found in text] == [(10, 17)]
