"""SubRip and WebVTT: cues of at most two lines that a person can read in the time they stand.

The limits are those of common subtitling guides (BBC, Netflix): 42 characters a line, two lines, 7 s a cue.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from api.formats.translated import in_translation
from api.speech import Segment, Transcript, Word

LINE_CHARS = 42
CUE_LINES = 2
CUE_MAX_S = 7.0
CUE_MIN_S = 1.0
CLOSEST_S = 0.001  # what the clock of a subtitle resolves
READING_CHARS_PER_S = 17.0
PAUSE_S = 0.8  # where nobody speaks for this long, no cue goes on
SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")

Group = tuple[list[Word], str | None]
"""Words that fit one cue, and who says them."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Times in seconds; what one person says, named or not."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None = None


def write_srt(transcript: Transcript) -> bytes:
    cues = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues_of(transcript), start=1)
    ]
    return "\n".join(cues).encode()


def write_vtt(transcript: Transcript) -> bytes:
    several = len(transcript.speakers) > 1
    cues = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n"
        + (f"<v {cue.speaker}>" if several else "")
        + "\n".join(html.escape(line, quote=False) for line in cue.lines)
        + "\n"
        for cue in cues_of(transcript)
    ]
    return "\n".join(["WEBVTT\n", *cues]).encode()


def cues_of(transcript: Transcript) -> list[Cue]:
    """The cues in order of their starts; those of one person do not overlap, and each word stands in one of them."""
    transcript = in_translation(transcript)
    groups = _in_order(
        (group, segment.speaker) for segment in transcript.segments for group in _groups(_words(segment))
    )
    cues = []
    following = transcript.duration
    for words, speaker in reversed(groups):
        lines = _wrap(words)
        start, spoken_until = words[0].start, words[-1].end
        readable_until = start + max(CUE_MIN_S, sum(map(len, lines)) / READING_CHARS_PER_S)
        # A cue that is short for its text stays on into the pause behind it, but never into the next cue: only those
        # who speak at the same time may be read at the same time.
        end = max(spoken_until, min(readable_until, start + CUE_MAX_S, following))
        cues.append(Cue(start, end, tuple(lines), speaker))
        following = start
    return cues[::-1]


def _in_order(groups: Iterable[Group]) -> list[Group]:
    """By their starts, which are different for one speaker: a group that begins with the one before it joins that."""
    ordered: list[Group] = []
    last: dict[str | None, list[Word]] = {}
    for words, speaker in sorted(groups, key=lambda group: group[0][0].start):
        if speaker in last and words[0].start - last[speaker][0].start < CLOSEST_S:
            last[speaker].extend(words)
        else:
            ordered.append((words, speaker))
            last[speaker] = words
    return ordered


def _words(segment: Segment) -> Sequence[Word]:
    """The segment's words; where it was recognised without their times, they share its time evenly."""
    if segment.words:
        return [word for word in segment.words if word.text.strip()]
    texts = segment.text.split()
    step = (segment.end - segment.start) / max(1, len(texts))
    times = [segment.start + step * number for number in range(len(texts) + 1)]
    return [
        Word(f" {text}", start, end, segment.confidence)
        for text, (start, end) in zip(texts, pairwise(times), strict=True)
    ]


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Runs of words that fit one cue, broken at pauses, after sentences, and else where the cue is full."""
    group: list[Word] = []
    for word in words:
        if group and (
            word.start - group[-1].end >= PAUSE_S
            or word.end - group[0].start > CUE_MAX_S
            or len(_wrap([*group, word])) > CUE_LINES
            or (group[-1].text.endswith(SENTENCE_ENDS) and len(_joined(group)) > LINE_CHARS)
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _wrap(words: Sequence[Word]) -> list[str]:
    """Whole words in lines of at most 42 characters; a longer word has a line of its own."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1] + word.text.rstrip()) <= LINE_CHARS:
            lines[-1] += word.text.rstrip()
        else:
            lines.append(word.text.strip())
    return lines


def _joined(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words).strip()


def _clock(seconds: float, decimal_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    return (
        f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}:{milliseconds // 1000 % 60:02d}"
        f"{decimal_mark}{milliseconds % 1000:03d}"
    )
