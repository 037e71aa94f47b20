"""A transcript's sentences, which may begin in one segment and end in another, and what each segment has of theirs
in translation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from api.languages import base_of
from api.sentences import UNSPACED_SENTENCES, gap_between, sentence_spans, words_of
from api.speech import Segment
from api.translation.pieces import LONGEST_PIECE_CHARS

PAUSE_S: Final = 2.0
"""After a longer one nobody goes on with a sentence."""
ENDS_SENTENCE: Final = re.compile(r"[.!?…。！？।؟۔։።]")


@dataclass(frozen=True, slots=True)
class Share:
    """So many of a sentence's characters are in the segment at this place."""

    place: int
    chars: int


@dataclass(frozen=True, slots=True)
class SpokenSentence:
    text: str
    shares: tuple[Share, ...]


def spoken_sentences(segments: Sequence[Segment], language: str) -> list[SpokenSentence]:
    """Each is one person's, without a long pause in it. Where a run of them has no punctuation, a segment is one."""
    return [sentence for run in _runs(segments) for sentence in _of_run(segments, run, language)]


def _runs(segments: Sequence[Segment]) -> Iterator[list[int]]:
    """The places of segments in which one person speaks on."""
    run = list[int]()
    for place, segment in enumerate(segments):
        if not segment.text.strip():
            continue
        if run:
            before = segments[run[-1]]
            if segment.speaker != before.speaker or segment.start - before.end > PAUSE_S:
                yield run
                run = []
        run.append(place)
    if run:
        yield run


def _of_run(segments: Sequence[Segment], run: Sequence[int], language: str) -> Iterator[SpokenSentence]:
    whole, borders = _joined([segments[place].text for place in run], language)
    if ENDS_SENTENCE.search(whole):
        spans = list(sentence_spans(language, whole, LONGEST_PIECE_CHARS))
    else:
        spans = [
            (start + begin, start + stop)
            for start, end in borders
            for begin, stop in sentence_spans(language, whole[start:end], LONGEST_PIECE_CHARS)
        ]
    first = 0
    for begin, stop in spans:
        while borders[first][1] <= begin:
            first += 1
        shares = list[Share]()
        for place, (start, end) in zip(run[first:], borders[first:], strict=True):
            if start >= stop:
                break
            shares.append(Share(place, min(stop, end) - max(begin, start)))
        yield SpokenSentence(whole[begin:stop], tuple(shares))


def _joined(texts: Iterable[str], language: str) -> tuple[str, list[tuple[int, int]]]:
    """As one text, and where in it each begins and ends."""
    parts, borders, length = list[str](), list[tuple[int, int]](), 0
    for text in (" ".join(text.split()) for text in texts):
        gap = gap_between(parts[-1], text, language) if parts else ""
        start = length + len(gap)
        length = start + len(text)
        parts += [gap, text]
        borders.append((start, length))
    return "".join(parts), borders


def aligned(sentences: Sequence[SpokenSentence], translations: Sequence[str], target: str, segments: int) -> list[str]:
    """The translation of each segment: of a sentence that several share, each has as much as it has of the original."""
    gap = "" if base_of(target) in UNSPACED_SENTENCES else " "
    parts: list[list[str]] = [[] for _ in range(segments)]
    for sentence, translation in zip(sentences, translations, strict=True):
        cut = distributed(translation, [share.chars for share in sentence.shares], target)
        for share, part in zip(sentence.shares, cut, strict=True):
            if part:
                parts[share.place].append(part)
    return [gap.join(of_segment) for of_segment in parts]


def distributed(text: str, weights: Sequence[int], target: str) -> list[str]:
    """The text in as many parts as there are weights, cut between words, nearest to where the weights would cut it.

    None is empty as long as there are enough words.
    """
    words = words_of(text.strip(), target)
    ends = list(accumulate(map(len, words), initial=0))
    parts, first, weight, all_weights = list[str](), 0, 0, sum(weights)
    for place, share in enumerate(weights):
        weight += share
        left = len(weights) - place - 1
        last = len(words)
        if left:
            wanted = ends[-1] * weight / all_weights
            nearest = min(range(len(ends)), key=lambda count: abs(ends[count] - wanted))
            last = max(min(nearest, len(words) - left), min(first + 1, len(words)))
        parts.append("".join(words[first:last]).strip())
        first = last
    return parts
