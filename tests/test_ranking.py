"""What is chosen out of a text, and where its chapters begin."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.inference.contracts import KeyPhrase
from api.inference.fake import FakeAnalyzer, FakeEmbedder
from api.intelligence.chapters import LEAST_S, LEAST_SENTENCES, MOST_CHAPTERS, chapter_starts
from api.intelligence.ranking import DUPLICATE, Floats, relevance, select, unit
from api.intelligence.reading import portions, read
from api.intelligence.source import Source, from_text
from api.intelligence.topics import distinct, phrases_of, rank
from bench.meetings import Meeting, Written, written
from bench.summaries import MiniLm, minilm

SEEDS = st.integers(0, 2**32 - 1)
SMALL_TALK = np.eye(1, 8, dtype=np.float32)


def unit_vectors(seed: int, count: int, dimensions: int = 8) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return np.stack([unit(vector) for vector in vectors]) if count else vectors


def kinds(vectors: Floats) -> int:
    """How many there are, of those that are alike only one, taken in order."""
    kept = list[int]()
    for place, vector in enumerate(vectors):
        if not any(vectors[other] @ vector >= DUPLICATE for other in kept):
            kept.append(place)
    return len(kept)


@given(SEEDS, st.integers(0, 30), st.integers(0, 40))
def test_as_many_different_sentences_are_chosen_as_there_are(seed: int, count: int, most: int) -> None:
    vectors = unit_vectors(seed, count)
    scores = relevance(vectors, SMALL_TALK, ["so many words of a sentence"] * count)
    chosen = select(vectors, scores, most)
    assert len(chosen) == len(set(chosen)) <= most
    assert all(0 <= place < count for place in chosen)
    if chosen:
        assert chosen[0] == scores.argmax()
    if kinds(vectors) == count:
        assert len(chosen) == min(most, count)


@given(SEEDS, st.integers(1, 10), st.lists(st.integers(0, 9), max_size=20))
def test_nothing_is_chosen_twice(seed: int, count: int, repeated: list[int]) -> None:
    vectors = unit_vectors(seed, count)
    doubled = np.concatenate([vectors, vectors[[place % count for place in repeated]]]) if repeated else vectors
    chosen = select(doubled, np.linspace(1, 0.5, len(doubled), dtype=np.float32), len(doubled))
    assert all(doubled[one] @ doubled[other] < DUPLICATE for one in chosen for other in chosen if one != other)
    assert kinds(doubled[chosen]) == len(chosen)
    left = set(range(len(doubled))) - set(chosen)
    assert all(max(doubled[one] @ doubled[other] for other in chosen) >= DUPLICATE for one in left)


def test_who_is_left_out_is_not_chosen() -> None:
    vectors = unit_vectors(1, 6)
    assert sorted(select(vectors, np.ones(6, np.float32), 9, without={0, 3})) == [1, 2, 4, 5]


LONG = "the price of the roof is much higher than we had all expected"


def test_questions_and_what_is_short_say_less_and_what_names_things_more() -> None:
    alike = np.repeat(np.eye(8, dtype=np.float32)[1:2], 4, axis=0)
    short, question, plain, named = relevance(
        alike, SMALL_TALK, ["the price", f"{LONG}?", LONG, f"{LONG}, says Maria on 12 May"]
    )
    assert named > plain > max(short, question)


def test_small_talk_says_less() -> None:
    chat, other = (unit(np.array([sign, 1, 0, 0, 0, 0, 0, 0], np.float32)) for sign in (1, -1))
    scores = relevance(np.stack([chat, other, other]), SMALL_TALK, [LONG] * 3)
    assert scores[0] < scores[2]


def test_what_is_decided_says_more() -> None:
    source = from_text("We saw the old roof of the house together. We decided the roof of the house is red.")
    scores = asyncio.run(read(source, FakeEmbedder(), FakeAnalyzer(), ())).scores
    undecided = Source(tuple(replace(one, text=one.text.replace("decided", "believe")) for one in source.sentences))
    other = asyncio.run(read(undecided, FakeEmbedder(), FakeAnalyzer(), ())).scores
    assert scores[1] / scores[0] > 1.1 * other[1] / other[0]


def test_topics_are_phrases_that_are_somewhere_each_of_its_own_words() -> None:
    texts = ["The tin roof leaks.", "A tin roof costs much.", "Maria likes the Hague."]
    given = [
        KeyPhrase(text, 0.5) for text in ["tin roof", "roof", "leaks", "leaks roof", "the Hague", "Maria", "costs <b>"]
    ]
    found = phrases_of([given], texts, "en", ["Maria"])
    assert [(phrase.text, phrase.sentences) for phrase in found] == [
        ("tin roof", (0, 1)),
        ("roof", (0, 1)),
        ("leaks", (0,)),
    ]
    vectors = {phrase.text: vector for phrase, vector in zip(found, np.eye(8, dtype=np.float32), strict=False)}
    chosen = distinct(rank(found, vectors, np.ones(8, np.float32)), vectors, 5)
    assert [phrase.text for phrase, _ in chosen] == ["tin roof"]


@given(SEEDS, st.integers(0, 120), st.booleans(), st.booleans())
def test_chapters_part_a_text_in_order(seed: int, count: int, timed: bool, announced: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit_vectors(seed, count)
    opens = (rng.random(count) < 0.3 * announced).tolist()
    times = np.cumsum(rng.random(count) * 10).tolist() if timed else None
    starts = chapter_starts(vectors, rng.random(count).astype(np.float32) + 0.01, opens, times)
    assert starts[:1] == [0][:count]
    assert len(starts) <= MOST_CHAPTERS
    lengths = [end - start for start, end in pairwise([*starts, count])]
    assert len(starts) <= 1 or min(lengths) >= LEAST_SENTENCES
    if times:
        assert all(times[end] - times[start] >= LEAST_S for start, end in pairwise(starts))


@given(SEEDS, st.integers(1, 6), st.integers(2 * LEAST_SENTENCES, 3000))
@settings(max_examples=30)
def test_subjects_that_have_nothing_in_common_are_chapters(seed: int, subjects: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    axes = np.eye(64, dtype=np.float32)[rng.permutation(64)[:subjects]]
    vectors = np.repeat(axes, length, axis=0) + 0.05 * rng.standard_normal((subjects * length, 64)).astype(np.float32)
    starts = chapter_starts(vectors, np.ones(len(vectors), np.float32), [False] * len(vectors))
    assert starts == [subject * length for subject in range(subjects)]


def test_a_long_text_has_no_more_than_so_many_chapters() -> None:
    vectors = np.repeat(unit_vectors(3, 60, 384), 8, axis=0)
    assert len(chapter_starts(vectors, np.ones(480, np.float32), [False] * 480)) == MOST_CHAPTERS


@given(st.lists(st.text(max_size=30), max_size=30), st.integers(1, 60))
def test_portions_are_all_of_it_and_not_too_much(texts: list[str], most_bytes: int) -> None:
    parts = list(portions(texts, most_bytes))
    assert [text for part in parts for text in part] == texts
    assert all(len(part) == 1 or sum(len(text.encode()) for text in part) <= most_bytes for part in parts)


@pytest.fixture(scope="module")
def embedder() -> MiniLm:
    return minilm()


@pytest.mark.parametrize("meeting", written(), ids=lambda meeting: meeting.title)
def test_a_summary_is_of_all_topics(meeting: Written, embedder: MiniLm) -> None:
    key = meeting.meeting()
    reading = asyncio.run(read(key.source, embedder, FakeAnalyzer(), ()))
    short, long = reading.best(3, 1000), reading.best(6, 2000)
    assert topics_of(key, range(3)) == set()
    assert len(topics_of(key, short)) >= 2
    assert topics_of(key, long) == {1, 2, 3}
    assert len(set(short) & set(key.key_facts)) >= 2


def topics_of(meeting: Meeting, places: object) -> set[int]:
    """Numbers from 1; what is said before the first is no topic."""
    return {sum(start <= place for start in meeting.topic_starts) for place in places} - {0}  # type: ignore[attr-defined]


@pytest.mark.parametrize("meeting", written(), ids=lambda meeting: meeting.title)
def test_a_meeting_is_parted_where_its_topics_begin(meeting: Written, embedder: MiniLm) -> None:
    key = meeting.meeting()
    starts = asyncio.run(read(key.source, embedder, FakeAnalyzer(), ())).starts
    assert all(min(abs(start - own) for own in starts) <= 1 for start in key.topic_starts)
    assert len(starts) <= len(key.topic_starts) + 2
