"""The embedding of any number of texts by Triton: cut into requests, sent side by side, put together again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, deserialize_bytes_tensor

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import Floats, TextVectors
from api.inference.contracts import TEXT_EMBEDDING
from api.inference.portions import EMBEDDED, portions
from api.inference.triton import TritonInference
from api.inference.triton.text import ALL_TEXTS_AT_ONCE, TEXTS_AT_ONCE
from tests.conftest import Stack
from tests.servers import free_ports


def long_text(text: str, times: int) -> str:
    return text * times


@given(st.lists(st.builds(long_text, st.text(), st.sampled_from([1, 1, 3000]))))
def test_portions_hold_every_text_once_and_are_bounded(texts: list[str]) -> None:
    cut = list(portions(texts, EMBEDDED))
    together = [text for portion in cut for text in portion]
    assert together == [text[: EMBEDDED.characters].encode(errors="replace") for text in texts]
    for portion in cut:
        assert 1 <= len(portion) <= EMBEDDED.texts
        assert sum(map(len, portion)) <= EMBEDDED.size


def test_portions_are_no_smaller_than_they_must_be() -> None:
    assert [len(portion) for portion in portions(["a"] * 70, EMBEDDED)] == [32, 32, 6]
    assert [len(portion) for portion in portions(["🎉" * 10_000] * 10, EMBEDDED)] == [8, 2]
    assert list(portions(["half \ud800"], EMBEDDED)) == [[b"half ?"]]


def as_texts(texts: Sequence[bytes]) -> Floats:
    """Of each its length, and its last letter."""
    return np.array([[len(text), text[-1]] for text in texts], dtype=np.float32)[None]


@dataclass
class SmallTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers each call by the next version of the list, the last one ever after."""

    versions: list[str]
    answer: Callable[[Sequence[bytes]], Floats] = as_texts
    wait_s: float = 0.0
    sizes: list[int] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def ModelInfer(self, request: Any, _: Any) -> Any:  # noqa: N802
        texts = deserialize_bytes_tensor(request.raw_input_contents[0])
        self.sizes.append(len(texts))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(self.wait_s)
        finally:
            self.running -= 1
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        embeddings = self.answer(texts)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=version)
        answer.outputs.add(name="EMBEDDINGS", datatype="FP32", shape=embeddings.shape)
        answer.raw_output_contents.append(embeddings.astype(np.float32).tobytes())
        return answer


def embed(triton: SmallTriton, *calls: Sequence[str]) -> list[TextVectors]:
    """What each of the calls gets that are made at the same time."""

    async def run() -> list[TextVectors]:
        (port,) = free_ports(1)
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(triton, server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        inference = TritonInference(f"127.0.0.1:{port}", patience_s=1, timeout_s=30, max_windows=1)
        try:
            return await asyncio.gather(*map(inference.inference.embedder.embed_texts, calls))
        finally:
            await inference.close()
            await server.stop(None)

    return asyncio.run(run())


def test_vectors_come_in_the_texts_order() -> None:
    texts = [f"{'x' * (n % 97)}{chr(ord('a') + n % 26)}" for n in range(1000)]
    triton = SmallTriton(["3"], wait_s=0.005)
    (vectors,) = embed(triton, texts)
    assert vectors.version == "3"
    np.testing.assert_array_equal(vectors.embeddings, as_texts([text.encode() for text in texts])[0])
    assert sorted(triton.sizes) == [1000 % 32] + [32] * (1000 // 32)
    assert 1 < triton.most_running <= TEXTS_AT_ONCE


def test_all_calls_together_are_bounded() -> None:
    triton = SmallTriton(["1"], wait_s=0.02)
    embed(triton, *[["a"] * 100] * 20)
    assert TEXTS_AT_ONCE < triton.most_running <= ALL_TEXTS_AT_ONCE


def test_no_texts_need_no_model() -> None:
    triton = SmallTriton(["1"])
    (vectors,) = embed(triton, [])
    assert (len(vectors.embeddings), triton.sizes) == (0, [])


def test_vectors_of_two_versions_are_not_mixed() -> None:
    (vectors,) = embed(SmallTriton(["1", "1", "2"]), ["a"] * 100)
    assert (vectors.version, len(vectors.embeddings)) == ("2", 100)
    with pytest.raises(InferenceUnavailable, match="is being replaced"):
        embed(SmallTriton([str(version) for version in range(100)]), ["a"] * 100)


@pytest.mark.parametrize(
    "answer",
    [
        lambda texts: as_texts(texts)[:, 1:],
        lambda texts: as_texts(texts)[0],
        lambda texts: np.stack([as_texts(texts)[0]] * 2),
        lambda texts: as_texts(texts) * np.where(len(texts) < 32, np.nan, 1),
    ],
    ids=["one less", "no batch", "two rows", "no numbers"],
)
def test_an_answer_that_is_none_fails(answer: Any) -> None:
    with pytest.raises(InferenceFailed, match="wrong size, or no numbers"):
        embed(SmallTriton(["1"], answer), ["a"] * 40)


def test_the_first_failure_ends_the_call() -> None:
    triton = SmallTriton(["1"], lambda texts: as_texts(texts) * np.nan, wait_s=0.005)
    with pytest.raises(InferenceFailed):
        embed(triton, ["a"] * 3200)
    assert len(triton.sizes) < 20


def test_a_bad_request_fails_by_itself(stack: Stack) -> None:
    """In the model as it is served, beside good ones that wait for the same batch."""
    option = "--grpc-port="
    port = next(word for word in stack.child("tritonserver").cmdline() if word.startswith(option)).removeprefix(option)
    cases: list[tuple[list[list[bytes]], str | None]] = [
        ([[b"one"] * 200], None),
        ([[b"one"] * 200], None),
        ([[b"\xff"]], "must be UTF-8"),
        ([[b"one", b"", b"nul\0", b"nul"]], None),
        ([[]], "it holds 0"),
        ([[b"a"] * 257], "it holds 257"),
        ([[b"a"], [b"b"]], "this one holds 2"),
        ([[b"one"]], None),
    ]

    async def ask(client: InferenceServerClient, rows: list[list[bytes]]) -> Any:
        texts = np.array(rows, dtype=np.object_)
        tensor = InferInput("TEXTS", list(texts.shape), "BYTES")
        tensor.set_data_from_numpy(texts)
        try:
            return (await client.infer(TEXT_EMBEDDING, [tensor])).as_numpy("EMBEDDINGS")
        except InferenceServerException as error:
            return str(error)

    async def ask_all() -> list[Any]:
        async with InferenceServerClient(f"127.0.0.1:{port}") as client:
            return await asyncio.gather(*(ask(client, rows) for rows, _ in cases))

    answers = asyncio.run(ask_all())
    for (rows, problem), answer in zip(cases, answers, strict=True):
        if problem is None:
            assert answer.shape == (1, len(rows[0]), 384)
            np.testing.assert_allclose(answer[0, 0], answers[0][0, 0], atol=1e-5)
        else:
            assert problem in answer
    assert np.abs(answers[3][0, 1] - answers[3][0, 0]).max() > 0.01
