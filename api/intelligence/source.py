"""What is worked on: a text or a transcript as sentences, each with who said it and when, as far as that is known."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise

from api.languages import base_of
from api.sentences import UNSPACED_LANGUAGES, sentence_spans, short_spans
from api.speech import Segment, Transcript

WRAPPED_LINE_CHARS = 50
"""A line of this length that breaks off in mid-sentence goes on in the next one."""
LONGEST_NAME_CHARS = 40
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)
"""Of scripts that are written without spaces: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han."""

TIME = r"(?:(?P<h>\d{1,2}):)?(?P<m>\d{1,2}):(?P<s>\d{2}(?:[.,]\d{1,3})?)"
NAME = rf"(?P<name>[^\W\d_][^:\[\]()<>/\"]{{0,{LONGEST_NAME_CHARS - 1}}}?)"
TURN = re.compile(rf"(?:[\[(]?{TIME}[\])]?\s*[-–—]?\s*)?{NAME}\s*[:：](?!//)\s*(?P<said>.*)")
MOST_WORDS_OF_NAME = 4
NO_NAMES = frozenset(
    [
        "action",
        "action item",
        "action items",
        "agenda",
        "attendees",
        "date",
        "decision",
        "decisions",
        "example",
        "important",
        "note",
        "notes",
        "subject",
        "summary",
        "tip",
        "title",
        "todo",
        "to-do",
        "topic",
        "topics",
        "warning",
        "acción",
        "acuerdo",
        "asunto",
        "decisión",
        "fecha",
        "nota",
        "resumen",
        "tarea",
        "tareas",
        "tema",
        "título",
    ]
)
WORD = re.compile(r"\w+(?:['’\-]\w+)*")
ENDS_SENTENCE = re.compile(r"[.!?…:;。！？।؟]")


def word_count(text: str) -> int:
    """Where words are not separated, two characters count as one."""
    unspaced = len(UNSPACED.findall(text))
    return len(WORD.findall(UNSPACED.sub(" ", text))) + (unspaced + 1) // 2


@dataclass(frozen=True, slots=True)
class Sentence:
    """`segment_order` is the place of the segment that it begins in."""

    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    segment_order: int | None = None


@dataclass(frozen=True)
class Source:
    """In the order in which it was said. `title` is empty where there is none."""

    sentences: tuple[Sentence, ...]
    language: str = "en"
    title: str = ""

    @cached_property
    def texts(self) -> list[str]:
        return [sentence.text for sentence in self.sentences]

    @cached_property
    def speakers(self) -> list[str]:
        """By first appearance."""
        return list(dict.fromkeys(sentence.speaker for sentence in self.sentences if sentence.speaker))


def from_text(text: str, language: str = "en", title: str = "") -> Source:
    """No sentence goes beyond its paragraph. Where lines begin with who speaks ("Maria: …", "[00:12:03] Tom: …"), that
    is taken for what it is, and the lines below are the same speaker's up to the next."""
    lines = list(_unwrapped(text))
    turns = [TURN.fullmatch(line) for line in lines]
    names = _names(turns)
    said_by = Sentence("")
    sentences = list[Sentence]()
    for line, turn in zip(lines, turns, strict=True):
        said = line
        if turn is not None and turn["name"] in names:
            said_by, said = Sentence("", turn["name"], _seconds(turn)), turn["said"]
        sentences += (replace(said_by, text=said[start:end]) for start, end in sentence_spans(language, said))
    return Source(tuple(sentences), language, title)


def _unwrapped(text: str) -> Iterator[str]:
    """Lines with single spaces and something in them."""
    held = ""
    for raw in text.splitlines():
        line = " ".join(raw.split())
        goes_on = len(held) >= WRAPPED_LINE_CHARS and not ENDS_SENTENCE.match(held[-1]) and line[:1].islower()
        if held and not goes_on:
            yield held
        held = f"{held} {line}" if goes_on else line
    if held:
        yield held


def _names(turns: Sequence[re.Match[str] | None]) -> set[str]:
    """Who speaks, if these are the lines of a transcript: all of them are turns, or somebody has more than one."""
    counts = Counter(turn["name"] for turn in turns if turn is not None and _may_be_name(turn["name"]))
    is_transcript = counts.total() > 1 and (counts.total() == len(turns) or max(counts.values()) > 1)
    return set(counts) if is_transcript else set()


def _may_be_name(name: str) -> bool:
    return (
        not name[0].islower()
        and len(name.split()) <= MOST_WORDS_OF_NAME
        and name.casefold() not in NO_NAMES
        and not re.search(r"[.,;!?]\s", name)
    )


def _seconds(turn: re.Match[str]) -> float | None:
    if turn["m"] is None:
        return None
    return 3600 * int(turn["h"] or 0) + 60 * int(turn["m"]) + float(turn["s"].replace(",", "."))


def from_transcript(transcript: Transcript, title: str = "") -> Source:
    """A sentence may begin in one segment and end in another, as long as nobody else speaks between."""
    language = transcript.language or "en"
    spoken = [(order, segment) for order, segment in enumerate(transcript.segments) if segment.text.strip()]
    runs = groupby(spoken, key=lambda one: one[1].speaker)
    sentences = (sentence for speaker, run in runs for sentence in _said(list(run), speaker, language))
    return Source(tuple(sentences), language, title)


@dataclass(frozen=True, slots=True)
class _Timed:
    """When a part of a text was said; `begin` and `stop` are its characters there."""

    begin: int
    stop: int
    start: float
    end: float
    order: int


def _said(run: Sequence[tuple[int, Segment]], speaker: str | None, language: str) -> Iterator[Sentence]:
    texts = [segment.text.strip() for _, segment in run]
    gap = "" if base_of(language) in UNSPACED_LANGUAGES else " "
    text = gap.join(texts)
    timed, borders = list[_Timed](), [0]
    for (order, segment), of_segment in zip(run, texts, strict=True):
        timed += _timed(segment, of_segment, order, borders[-1])
        borders.append(borders[-1] + len(of_segment) + len(gap))
    if ENDS_SENTENCE.search(text):
        spans = list(sentence_spans(language, text))
    else:  # without punctuation a segment is the nearest to a sentence that there is
        parts = (short_spans(text, begin, stop) for begin, stop in pairwise(borders))
        spans = [span for part in parts for span in part]
    for begin, stop in spans:
        first = timed[bisect_right(timed, begin, key=lambda part: part.stop)]
        last = timed[bisect_left(timed, stop, key=lambda part: part.begin) - 1]
        words = " ".join(text[begin:stop].split())
        yield Sentence(words, speaker, first.start, max(first.end, last.end), first.order)


def _timed(segment: Segment, text: str, order: int, at: int) -> Iterator[_Timed]:
    """Of the words, or of the segment where it has none that make up its text."""
    joined = "".join(word.text for word in segment.words)
    if joined.strip() != text:
        yield _Timed(at, at + len(text), segment.start, segment.end, order)
        return
    at -= len(joined) - len(joined.lstrip())
    for word in segment.words:
        yield _Timed(at, at + len(word.text), word.start, word.end, order)
        at += len(word.text)
