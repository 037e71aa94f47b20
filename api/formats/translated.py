"""A translated transcript as if it had been spoken in the other language: for the formats that show one text only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, pairwise

from api.sentences import words_of
from api.speech import Segment, Transcript, Word


def in_translation(transcript: Transcript) -> Transcript:
    """The same one where it is not translated. A word has of its segment's time what its letters have of the text."""
    target = transcript.translated_into
    if target is None:
        return transcript
    segments = (
        replace(segment, text=segment.translation or "", words=tuple(_words(segment, target)), translation=None)
        for segment in transcript.segments
    )
    return replace(transcript, language=target, segments=tuple(segments), translated_into=None)


def _words(segment: Segment, language: str) -> Iterator[Word]:
    texts = words_of(segment.translation or "", language)
    letters = max(1, sum(map(len, texts)))
    ends = accumulate(map(len, texts), initial=0)
    times = (segment.start + (segment.end - segment.start) * end / letters for end in ends)
    for text, (start, end) in zip(texts, pairwise(times), strict=True):
        yield Word(text, start, end, segment.confidence)
