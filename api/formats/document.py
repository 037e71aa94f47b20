"""A transcript as a person reads it: who speaks when, in paragraphs. What the PDF and the DOCX have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import cycle
from typing import Final
from unicodedata import bidirectional, east_asian_width

from api.formats.translated import in_translation
from api.languages import LANGUAGES, name_of
from api.speech import Segment, Transcript

PAUSE_S = 2.0
LONG_ENOUGH_S = 45.0  # some hundred words: from here on, the next end of a sentence ends the paragraph
TOO_LONG_S = 90.0  # and here any segment does
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "॥", "؟", "۔", "።", "។", "။")
NOTHING_SAID = "Nothing was said in this recording."
UNTITLED = "Transcript"
INK = "#1a2230"
FAINT = "#5b6675"
# Readable on white, also in small print: WCAG 2.2 asks for a contrast of 4.5 : 1.
COLOURS: Final = ("#1c5fa8", "#b3261e", "#1b6e3c", "#7b3fa0", "#8f5200", "#00696f", "#a3306b", "#4a5568")
# XML 1.0 can hold none of these, but for white space; C1 controls it can, though nobody can see them.
ILLEGAL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A stored transcript, as it is handed out."""

    transcript: Transcript
    title: str
    created_at: datetime  # aware


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What one person, named or not, says without a long pause."""

    time: str
    speaker: str | None
    text: str
    rtl: bool


@dataclass(frozen=True, slots=True)
class Page:
    """What is printed. `language` is a tag of BCP 47; `speakers` are names and their colours."""

    title: str
    title_rtl: bool
    facts: dict[str, str]
    language: str
    rtl: bool
    speakers: dict[str, str]
    paragraphs: tuple[Paragraph, ...]


def page_of(document: Document) -> Page:
    document = printable(replace(document, transcript=in_translation(document.transcript)))
    transcript = document.transcript
    title = document.title or UNTITLED
    language = (transcript.language or "").replace("_", "-")
    language = {"jw": "jv"}.get(language, language)  # Whisper's code is an old one
    created = document.created_at.astimezone(UTC)
    paragraphs = tuple(_paragraphs(transcript.segments))
    names = dict.fromkeys((*transcript.speakers, *(segment.speaker for segment in transcript.segments)))
    return Page(
        title=title,
        title_rtl=is_rtl(title),
        facts={
            "Date": f"{created.day} {created:%B %Y, %H:%M} UTC",
            "Duration": clock(transcript.duration),
            "Language": (LANGUAGES.get(language, "").title() or name_of(language)) if language else "–",
        },
        language=language or "en",
        rtl=sum(paragraph.rtl for paragraph in paragraphs) * 2 > len(paragraphs),
        speakers=dict(zip(filter(None, names), cycle(COLOURS), strict=False)),
        paragraphs=paragraphs,
    )


def printable(document: Document) -> Document:
    """Without what no page shows: the times of words, white space that is more than a space, illegal characters."""
    transcript = document.transcript
    return replace(
        document,
        title=_clean(document.title),
        transcript=replace(
            transcript,
            speakers=tuple(map(_clean, transcript.speakers)),
            segments=tuple(
                replace(segment, text=_clean(segment.text), speaker=_clean(segment.speaker or "") or None, words=())
                for segment in transcript.segments
            ),
        ),
    )


def _clean(text: str) -> str:
    return ILLEGAL.sub("", " ".join(text.split()))


def _paragraphs(segments: Iterable[Segment]) -> Iterator[Paragraph]:
    spoken: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        if spoken and _ends(spoken, segment):
            yield _paragraph(spoken)
            spoken = []
        spoken.append(segment)
    if spoken:
        yield _paragraph(spoken)


def _ends(spoken: list[Segment], following: Segment) -> bool:
    first, last = spoken[0], spoken[-1]
    length_s = last.end - first.start
    return (
        following.speaker != last.speaker
        or following.start - last.end >= PAUSE_S
        or (length_s >= LONG_ENOUGH_S and last.text.endswith(SENTENCE_ENDS))
        or length_s >= TOO_LONG_S
    )


def _paragraph(spoken: list[Segment]) -> Paragraph:
    parts = [spoken[0].text]
    for segment in spoken[1:]:
        parts += ["" if _unspaced(parts[-1][-1]) and _unspaced(segment.text[0]) else " ", segment.text]
    text = "".join(parts)
    return Paragraph(clock(spoken[0].start), spoken[0].speaker, text, is_rtl(text))


def _unspaced(character: str) -> bool:
    """Chinese and Japanese are written without spaces; Korean, as wide as they are, is not."""
    return east_asian_width(character) in "WF" and not HANGUL.match(character)


def is_rtl(text: str) -> bool:
    """By the majority of its letters: an Arabic sentence may well begin with an English name."""
    directions = [bidirectional(character) for character in text]
    return directions.count("R") + directions.count("AL") > directions.count("L")


def clock(time: float) -> str:
    return f"{int(time) // 3600:02d}:{int(time) // 60 % 60:02d}:{int(time) % 60:02d}"
