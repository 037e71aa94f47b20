"""What people correct in a transcript. Times stay where they are known: those of every word that stays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from api.errors import InvalidRequest
from api.speech import Segment, Transcript, Word, text_of

# Scripts that are written without spaces, as Unicode blocks: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han. Like
# Whisper, which has a word for each of its tokens there, we take what the segment had as one word for one, and
# single characters besides.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
MAX_COMPARISONS = 64 * 64
"""Of words from the first that differs to the last, before × after; beyond, they are one replacement."""


def correct(segment: Segment, text: str) -> Segment:
    """The segment with this text, which is not blank; white space in it is single spaces.

    A word that stays, but for case and punctuation, keeps its times and probability. Others share the time of what they
    replace, or of the gap that they are put into, and are certain.
    """
    text = " ".join(text.split())
    if text == segment.text or not segment.words:
        return replace(segment, text=text)
    before = segment.words
    after = [Word(spoken, 0.0, 0.0, 1.0) for spoken in _split(text, before)]
    words = list[Word]()
    i = j = 0
    for kept, stays in [*_kept([word.key for word in before], [word.key for word in after]), (len(before), len(after))]:
        words += _timed(after[j:stays], *_span(segment, i, kept))
        if kept < len(before):
            words.append(replace(before[kept], text=after[stays].text))
        i, j = kept + 1, stays + 1
    confidence = sum(word.probability for word in words) / len(words)
    return replace(segment, text=text_of(words), words=tuple(words), confidence=confidence)


def rename(transcript: Transcript, names: Mapping[str, str]) -> Transcript:
    """All at once, so that two can swap their names; two that get the same name become one speaker.

    Raises InvalidRequest where there is no such speaker.
    """
    if unknown := [name for name in names if name not in transcript.speakers]:
        there = ", ".join(transcript.speakers) or "none"
        raise InvalidRequest(f"There is no speaker {unknown[0]!r}; there are: {there}.")
    return replace(
        transcript,
        speakers=tuple(dict.fromkeys(names.get(name, name) for name in transcript.speakers)),
        segments=tuple(
            segment
            if segment.speaker is None
            else replace(segment, speaker=names.get(segment.speaker, segment.speaker))
            for segment in transcript.segments
        ),
    )


def correct_segments(transcript: Transcript, texts: Mapping[int, str]) -> Transcript:
    """By their place in the transcript, from 0. Raises InvalidRequest where there is no such place."""
    segments = list(transcript.segments)
    for order, text in texts.items():
        if order >= len(segments):
            there = f"they go from 0 to {len(segments) - 1}" if segments else "there are none"
            raise InvalidRequest(f"There is no segment with segment_order {order}; {there}.")
        segments[order] = correct(segments[order], text)
    return replace(transcript, segments=tuple(segments))


def _split(text: str, before: Sequence[Word]) -> list[str]:
    """Words with the spaces before them, as `Word.text` has them."""
    known = {re.sub(r"^\W+|\W+$", "", word.text) for word in before}
    unspaced = sorted((word for word in known if re.search(f"[{UNSPACED}]", word)), key=len, reverse=True)
    # Neither marks nor punctuation are \w: they belong to the character before them.
    character = "|".join([*map(re.escape, unspaced), f"[{UNSPACED}]"])
    words = re.findall(rf"\s*(?:(?:{character})[^\w\s]*|[^\s{UNSPACED}]+)", text)
    leading = before[0].text[: len(before[0].text) - len(before[0].text.lstrip())]
    return [leading + words[0], *words[1:]] if words else []


def _kept(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places of words that stay, before and after: a longest common subsequence."""
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    yield from ((place, place) for place in range(start))
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if len(old) * len(new) <= MAX_COMPARISONS:
        yield from ((start + i, start + j) for i, j in _longest(old, new))
    yield from ((len(before) - place, len(after) - place) for place in range(end, 0, -1))


def _common(before: Sequence[str], after: Sequence[str]) -> int:
    """How many they have in common at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))


def _longest(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int]]:
    lengths = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in reversed(range(len(old))):
        word, row, below = old[i], lengths[i], lengths[i + 1]
        for j in reversed(range(len(new))):
            if word == new[j]:
                row[j] = below[j + 1] + 1
            else:
                row[j] = below[j] if below[j] > row[j + 1] else row[j + 1]
    i = j = 0
    while i < len(old) and j < len(new):
        if old[i] == new[j]:
            yield i, j
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1


def _span(segment: Segment, i: int, kept: int) -> tuple[float, float]:
    """The time of the words before `kept`, from `i` on, or the gap where there are none."""
    words = segment.words
    if i < kept:
        return words[i].start, words[kept - 1].end
    return words[i - 1].end if i else segment.start, words[kept].start if kept < len(words) else segment.end


def _timed(words: Sequence[Word], start: float, end: float) -> Iterable[Word]:
    """The words, each with the same share of the time."""
    edges = [min(start + (end - start) * place / len(words), end) for place in range(len(words))]
    return [
        replace(word, start=from_, end=to) for word, from_, to in zip(words, edges, [*edges[1:], end], strict=False)
    ]
