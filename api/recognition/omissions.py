"""Speech that no word covers: a recogniser now and then leaves out what it should have heard, most in long windows.

Pure: a window and its words in, what to listen to again out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from api.recognition.activity import SpeechWindow
from api.recognition.chunking import FRAME_S, FULL_WINDOWS, Span, frames
from api.speech import Segment, Word

# Shorter ones are pauses between words, or word times that are off.
LEAST_SPEECH = frames(1.0)
MARGIN = frames(0.1)


def omissions(words: Sequence[Word], window: SpeechWindow) -> list[Span]:
    """Where there is speech and no word, in frames from the window's start on."""
    last = len(window.activity)
    ends = [0, *(round((word.end - window.start_s) / FRAME_S) for word in words)]
    starts = [*(round((word.start - window.start_s) / FRAME_S) for word in words), last]
    return [
        Span(max(0, end), min(last, start))
        for end, start in zip(ends, starts, strict=True)
        if (window.activity[max(0, end) : max(0, start)] >= FULL_WINDOWS.onset).sum() >= LEAST_SPEECH
    ]


def widened(span: Span, window: SpeechWindow) -> Span:
    """With a little of the words around it, so that none at its edge is cut."""
    return Span(max(0, span.start - MARGIN), min(len(window.activity), span.end + MARGIN))


def filled_in(segments: Iterable[Segment], found: Segment, span: Span, window: SpeechWindow) -> list[Segment]:
    """The segments with what was found in the span, which splits the one that it lies in."""
    first, last = window.start_s + span.start * FRAME_S, window.start_s + span.end * FRAME_S
    inside = [word for word in found.words if first <= (word.start + word.end) / 2 <= last]
    known = list(segments)
    words = [word for segment in known for word in segment.words]
    earlier = [word for word in words if word.start < first]
    missed = found.part(_new(inside, earlier, words[len(earlier) :]))
    if missed is None:
        return known
    parts: list[Segment] = []
    for segment in known:
        for _, run in groupby(segment.words, key=lambda word: word.start < missed.start):
            part = segment.part(list(run))
            parts += [part] if part is not None else []
    return sorted([*parts, missed], key=lambda segment: segment.start)


def _new(found: Sequence[Word], earlier: Sequence[Word], later: Sequence[Word]) -> Sequence[Word]:
    """What of the words found is not said right before or after: those were only thought to be elsewhere."""
    keys = [word.key for word in found]
    before = max(n for n in range(len(keys) + 1) if keys[:n] == [word.key for word in earlier[len(earlier) - n :]])
    keys, found = keys[before:], found[before:]
    after = max(n for n in range(len(keys) + 1) if keys[len(keys) - n :] == [word.key for word in later[:n]])
    return found[: len(found) - after]
