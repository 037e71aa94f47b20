"""Where to cut speech that has no pause: between two words, where the sound between them is weakest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from api.inference.contracts import ACTIVITY_FRAME_SAMPLES
from api.recognition.activity import SpeechWindow
from api.recognition.chunking import FRAME_S, frames
from api.speech import Segment, Word

# What is before the cut is settled, what is behind it heard again: enough to begin with, and not all of it.
EARLIEST_SHARE = 0.5
LEAST_AFTER = frames(0.6)
MARGIN = 2
"""Frames by which the times of words are off."""


def cut_frame(words: Sequence[Word], window: SpeechWindow) -> int:
    """The frame of the stream to cut the window at, in its second half; where no word ends, the weakest there is."""
    first = window.start // ACTIVITY_FRAME_SAMPLES
    whole = window.pcm.size // ACTIVITY_FRAME_SAMPLES
    by_frame = window.pcm[: whole * ACTIVITY_FRAME_SAMPLES].reshape(whole, ACTIVITY_FRAME_SAMPLES)
    energy = (by_frame.astype(np.float32) ** 2).mean(axis=1)
    possible = range(int(whole * EARLIEST_SHARE), whole - LEAST_AFTER)
    between = {
        frame - first
        for before, after in pairwise(words)
        for frame in range(int(before.end / FRAME_S) - MARGIN, int(after.start / FRAME_S) + MARGIN + 1)
    }
    return first + min(between.intersection(possible) or possible, key=lambda frame: float(energy[frame]))


def before(frame: int, segments: Iterable[Segment]) -> list[Segment]:
    """What was said before the frame: words that lie mostly before it."""
    parts = [
        segment.part([word for word in segment.words if (word.start + word.end) / 2 < frame * FRAME_S])
        for segment in segments
    ]
    return [part for part in parts if part is not None]
