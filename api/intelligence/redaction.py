"""Personal data taken out of texts and transcripts: where it was stands its type, as in [EMAIL_ADDRESS].

What is found is what the analyser's recognisers know; without an NER model these are patterns, and no names.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from api.inference.base import TextAnalyzer
from api.inference.contracts import AnalysisOptions, Entity
from api.intelligence.results import PiiSpan
from api.speech import Segment, Transcript, Word, text_of

PIECE_CHARS: Final = 20_000
"""What is analysed at once, so that others get their turn; pieces share OVERLAP_CHARS, which cut nothing in two."""
OVERLAP_CHARS: Final = 500
SPACE: Final = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Found:
    """In characters of the whole text; they do not overlap."""

    type: str
    start: int
    end: int
    score: float

    @property
    def placeholder(self) -> str:
        return f"[{self.type}]"


class Redactor:
    def __init__(self, analyzer: TextAnalyzer) -> None:
        self._analyzer = analyzer

    async def find(self, text: str, language: str) -> list[Found]:
        """In the order of the text. Raises what the analyser does."""
        found = list[Found]()
        for start, piece in pieces(text):  # one after another: the analyser is there for others, too
            (entities,) = await self._entities([piece], language)
            found += [_found(piece, entity, start) for entity in entities]
        return without_overlaps(found)

    async def _entities(self, texts: Sequence[str], language: str) -> list[list[Entity]]:
        return (await self._analyzer.analyze(texts, AnalysisOptions(("entities",), language))).entities

    async def text(self, text: str, language: str) -> str:
        """Without personal data."""
        return redact_text(text, await self.find(text, language))

    async def transcript(self, transcript: Transcript) -> Transcript:
        """All of its segments, words and speakers. What was said across segments is found, too, whoever spoke."""
        language, segments = transcript.language or "en", transcript.segments
        of_names = await self._entities(transcript.speakers, language) if transcript.speakers else []
        names = {
            name: redact_text(name, without_overlaps(_found(name, entity, 0) for entity in entities))
            for name, entities in zip(transcript.speakers, of_names, strict=True)
        }
        text, starts = joined([segment.text for segment in segments])
        languages = dict.fromkeys([language, *(segment.language or language for segment in segments)])
        found = without_overlaps([one for spoken in languages for one in await self.find(text, spoken)])
        redacted = []
        for segment, start in zip(segments, starts, strict=True):
            end = start + len(segment.text)
            first = bisect_right(found, start, key=lambda one: one.end)
            last = bisect_left(found, end, key=lambda one: one.start)
            inside = [
                replace(one, start=max(start, one.start) - start, end=min(end, one.end) - start)
                for one in found[first:last]
            ]
            speaker = names.get(segment.speaker or "", segment.speaker)
            # What was heard where a keyword stands is not looked through, so nobody gets to see it.
            words = tuple(replace(word, original=None) for word in segment.words)
            anonymous = replace(segment, speaker=speaker, translation=None, words=words)
            redacted.append(redact_segment(anonymous, inside) if inside else anonymous)
        speakers = tuple(dict.fromkeys(names.values()))
        return replace(transcript, segments=tuple(redacted), speakers=speakers, translated_into=None)


def _found(text: str, entity: Entity, offset: int) -> Found:
    """Without spaces around it; the text begins at `offset` of the whole."""
    seen = text[entity.start : entity.end]
    start = offset + entity.start + _indent(seen)
    return Found(entity.type, start, start + len(seen.strip()), entity.score)


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Where each begins, and the piece."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        end = start + PIECE_CHARS
        cut = max(text.rfind(" ", start + PIECE_CHARS // 2, end), text.rfind("\n", start + PIECE_CHARS // 2, end))
        end = cut if cut > 0 else end
        yield start, text[start:end]
        space = SPACE.search(text, end - OVERLAP_CHARS, end)
        start = space.end() if space else end - OVERLAP_CHARS
    yield start, text[start:]


def without_overlaps(found: Iterable[Found]) -> list[Found]:
    """Of those that overlap the longest stays."""
    kept = list[Found]()
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if kept and one.start < kept[-1].end:
            if one.end - one.start > kept[-1].end - kept[-1].start:
                kept[-1] = one
        else:
            kept.append(one)
    return kept


def redact_text(text: str, found: Sequence[Found]) -> str:
    """`found` in the order of the text, and without overlaps."""
    parts, end = list[str](), 0
    for one in found:
        parts += [text[end : one.start], one.placeholder]
        end = one.end
    return "".join(parts) + text[end:]


def spans(text: str, found: Iterable[Found]) -> list[PiiSpan]:
    return [
        PiiSpan(one.type, one.start, one.end, text[one.start : one.end], one.placeholder, one.score) for one in found
    ]


def redact_segment(segment: Segment, found: Sequence[Found]) -> Segment:
    """`found` is in characters of the segment's text. The words that it touches become one, with the time of all."""
    redacted = redact_text(segment.text, found)
    if text_of(segment.words) != segment.text:
        return replace(segment, text=redacted, words=())  # nothing says which of the words would tell
    words = list[Word]()
    run, start, end = list[Word](), 0, 0  # of words that share personal data, and where they are in the text
    at = -_indent("".join(word.text for word in segment.words))

    def close() -> None:
        inside = [
            replace(one, start=one.start - start, end=one.end - start) for one in found if start <= one.start < end
        ]
        text = run[0].text[: _indent(run[0].text)] + redact_text(segment.text[start:end], inside)
        words.append(replace(run[0], text=text, end=run[-1].end))
        run.clear()

    for word in segment.words:
        begin, at = at + _indent(word.text), at + len(word.text)
        if run and not any(one.start < end and one.end > begin for one in found):
            close()
        if run or any(one.start < at and one.end > begin for one in found):
            start = start if run else begin
            run.append(word)
            end = at
        else:
            words.append(word)
    if run:
        close()
    return replace(segment, text=redacted, words=tuple(words))


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def joined(texts: Sequence[str]) -> tuple[str, list[int]]:
    """With a space between them, and where each begins."""
    starts, at = list[int](), 0
    for text in texts:
        starts.append(at)
        at += len(text) + 1
    return " ".join(texts), starts
