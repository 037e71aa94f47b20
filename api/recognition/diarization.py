"""Who spoke when: pure functions from what the models say of single windows to turns, and from turns to words.

The way of pyannote.audio (Bredin 2023; Plaquet and Bredin 2023): windows of 10 s that overlap each tell their own
speakers apart, `clustering` finds out which of them are the same person, and every frame then hears what most of the
windows around it say. Frames are counted from the start of the recording, 16.875 ms each.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from api.inference.base import Flags
from api.inference.contracts import (
    LOCAL_SPEAKERS,
    SPEAKER_FRAME_CENTRE,
    SPEAKER_FRAME_SAMPLES,
    SPEAKER_FRAMES,
)
from api.recognition.clustering import Labels
from api.speech import SAMPLE_RATE_HZ, Segment

FRAME_S = SPEAKER_FRAME_SAMPLES / SAMPLE_RATE_HZ
FIRST_FRAME_S = SPEAKER_FRAME_CENTRE / SAMPLE_RATE_HZ
TRUSTED_SHARE = 0.2
"""An embedding tells voices apart if its speaker is heard alone in so much of the window."""
LEAST_ALONE_FRAMES = 3
"""With fewer frames alone, a local speaker's embedding is taken from all its frames."""
WINDOWS_AT_ONCE = 256
AT_ONCE = 2
"""Speakers in one frame; the powerset of segmentation knows no more."""

Frames = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Turn:
    """Times in seconds; `speaker` counts from 0."""

    start: float
    end: float
    speaker: int


def embedding_masks(active: Flags) -> tuple[Flags, Indices]:
    """Of a window's activity (589, 3): the frames to hear its speakers in (speakers, 589), and which of the 3 they are.

    Frames in which they are heard alone, unless those are too few.
    """
    alone = _alone(active)
    masks = np.where(alone.sum(axis=0) >= LEAST_ALONE_FRAMES, alone, active).astype(np.uint8)
    who = np.flatnonzero(active.any(axis=0))
    return np.ascontiguousarray(masks.T[who]), who


def trusted(active: Flags) -> Frames:
    """Which of a window's speakers (3,) are heard alone for long enough to say who they are."""
    return np.asarray(_alone(active).sum(axis=0) >= TRUSTED_SHARE * len(active))


def _alone(active: Flags) -> Flags:
    """Where each is the only one who speaks."""
    return np.asarray(active * (active.sum(axis=1, keepdims=True) == 1))


class ActivityLog:
    """The activity (589, 3) of a recording's windows in order, a bit for each entry."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, active: Flags | None) -> None:
        """None of a window in which nobody speaks."""
        self._packed.append(b"" if active is None or not active.any() else np.packbits(active).tobytes())

    def windows(self, first: int, last: int) -> Flags:
        """(last - first, 589, 3)"""
        found = np.zeros((last - first, SPEAKER_FRAMES, LOCAL_SPEAKERS), dtype=np.uint8)
        for row, packed in enumerate(self._packed[first:last]):
            if packed:
                bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=SPEAKER_FRAMES * LOCAL_SPEAKERS)
                found[row] = bits.reshape(SPEAKER_FRAMES, LOCAL_SPEAKERS)
        return found


def turns_of(log: ActivityLog, labels: Labels, step_s: float, *, exclusive: bool) -> list[Turn]:
    """The turns of the speakers that `labels` (windows, 3) names, -1 being nobody; in order of their ends.

    `exclusive` leaves each frame to the one speaker who is heard most in it; that is what words go by.
    """
    speakers = int(labels.max(initial=-1)) + 1
    turns: list[Turn] = []
    since = np.full(speakers, -1)
    before = np.zeros(speakers, dtype=np.bool_)
    position = 0
    for active in _reconstructed(log, labels, step_s, speakers, 1 if exclusive else AT_ONCE):
        changes = np.diff(np.concatenate([before[None], active]).astype(np.int8), axis=0)
        for frame, speaker in np.argwhere(changes):
            if changes[frame, speaker] > 0:
                since[speaker] = position + frame
            else:
                turns.append(_turn(since[speaker], position + frame, speaker))
        before = active[-1]
        position += len(active)
    return turns + [_turn(since[speaker], position, speaker) for speaker in np.flatnonzero(before)]


def _turn(start: int, end: int, speaker: int) -> Turn:
    """Frames `start` up to, not including, `end`."""
    return Turn(FIRST_FRAME_S + start * FRAME_S, FIRST_FRAME_S + end * FRAME_S, int(speaker))


def _reconstructed(log: ActivityLog, labels: Labels, step_s: float, speakers: int, at_once: int) -> Iterator[Frames]:
    """Who speaks (frames, speakers), portion by portion: as many as the windows over a frame find, those found most."""
    starts = [_first_frame(window, step_s) for window in range(len(log) + 1)]
    votes = np.zeros((0, speakers + 2), dtype=np.float32)  # for each speaker; last, all of them and windows
    for first in range(0, len(log), WINDOWS_AT_ONCE):
        last = min(first + WINDOWS_AT_ONCE, len(log))
        end = starts[last - 1] - starts[first] + SPEAKER_FRAMES
        votes = np.concatenate([votes, np.zeros((max(0, end - len(votes)), speakers + 2), dtype=np.float32)])
        for window, active in zip(range(first, last), log.windows(first, last), strict=True):
            at = starts[window] - starts[first]
            heard = votes[at : at + SPEAKER_FRAMES]
            heard[:, speakers] += active.sum(axis=1)
            heard[:, speakers + 1] += 1
            for speaker in set(labels[window].tolist()) - {-1}:
                heard[:, speaker] += active[:, labels[window] == speaker].max(axis=1)
        done = end if last == len(log) else starts[last] - starts[first]
        yield _loudest(votes[:done], speakers, at_once)
        votes = votes[done:].copy()


def _first_frame(window: int, step_s: float) -> int:
    return round(window * step_s / FRAME_S)


def _loudest(votes: npt.NDArray[np.float32], speakers: int, at_once: int) -> Frames:
    windows = np.maximum(votes[:, speakers + 1], 1)
    count = np.minimum(np.rint(votes[:, speakers] / windows), at_once)
    rank = np.argsort(np.argsort(-votes[:, :speakers], axis=1, kind="stable"), axis=1)
    return np.asarray((rank < count[:, None]) & (votes[:, :speakers] > 0))


def told_apart(segments: Iterable[Segment], turns: Sequence[Turn]) -> tuple[list[Segment], list[str]]:
    """The segments, split where the speaker changes, each with its speaker's name; and the names, in order.

    Turns must be exclusive. Where there are none, all is one speaker's.
    """
    numbers: dict[int, int] = {}
    named: list[Segment] = []
    for speaker, part in split_by_speaker(segments, turns):
        number = numbers.setdefault(speaker, len(numbers) + 1)
        named.append(replace(part, speaker=speaker_name(number)))
    return named, [speaker_name(number) for number in numbers.values()]


def split_by_speaker(segments: Iterable[Segment], turns: Sequence[Turn]) -> Iterator[tuple[int, Segment]]:
    """The segments, split where the speaker changes, and whose each part is; of no turns, all is speaker 0's.

    A word belongs to whose exclusive turn holds most of it, or is nearest.
    """
    lookup = _Turns(turns)
    for segment in segments:
        yield from _split(segment, lookup)


def speaker_name(number: int) -> str:
    return f"Speaker {number}"


def _split(segment: Segment, turns: _Turns) -> Iterator[tuple[int, Segment]]:
    if not segment.words:
        yield turns.speaker(segment.start, segment.end), segment
        return
    spoken = [(turns.speaker(word.start, word.end), word) for word in segment.words]
    parts = [(speaker, [word for _, word in run]) for speaker, run in groupby(spoken, key=lambda one: one[0])]
    if len(parts) == 1:
        yield parts[0][0], segment
        return
    for speaker, words in parts:
        if (part := segment.part(words)) is not None:
            yield speaker, part


class _Turns:
    """Exclusive turns, to be asked whose a time is."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._starts = [turn.start for turn in self._turns]
        self._ends = [turn.end for turn in self._turns]

    def speaker(self, start: float, end: float) -> int:
        if not self._turns:
            return 0
        shares: dict[int, float] = {}
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        for turn in self._turns[first:last]:
            shares[turn.speaker] = shares.get(turn.speaker, 0.0) + min(end, turn.end) - max(start, turn.start)
        if shares:
            return max(shares, key=lambda speaker: shares[speaker])
        near = self._turns[max(0, first - 1) : first + 1]
        middle = (start + end) / 2
        return min(near, key=lambda turn: max(turn.start - middle, middle - turn.end)).speaker
