"""Cutting recordings into windows, over any course of speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.inference.base import Floats, Pcm
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, WINDOW_SAMPLES
from api.recognition.activity import SpeechWindow, SpeechWindows
from api.recognition.chunking import ChunkingPolicy, Span, WindowCutter

# Runs of one probability each, up to minutes long: speech, doubtful, pauses.
runs = st.lists(
    st.tuples(st.integers(1, 1500), st.sampled_from([0.0, 0.1, 0.34, 0.4, 0.49, 0.5, 0.9, 1.0])), max_size=25
)
POLICY = ChunkingPolicy()


def expand(course: list[tuple[int, float]]) -> list[float]:
    """The probabilities, each a little different from the others, so that the weakest frame is one."""
    flat = [probability for length, probability in course for _ in range(length)]
    return [
        probability - 0.001 * (n % 7) if probability not in (0.5, 0.35) else probability
        for n, probability in enumerate(flat)
    ]


def cut(probabilities: list[float], portions: list[int] | None = None) -> list[Span]:
    cutter = WindowCutter(POLICY)
    spans: list[Span] = []
    start = 0
    for size in [*(portions or []), len(probabilities)]:
        spans += cutter.push(probabilities[start : start + size])
        start += size
    return spans + list(cutter.flush())


@given(runs)
def test_windows_are_ordered_apart_and_short(course: list[tuple[int, float]]) -> None:
    probabilities = expand(course)
    spans = cut(probabilities)
    for span in spans:
        assert 0 <= span.start < span.end <= len(probabilities)
        assert (span.end - span.start) * ACTIVITY_FRAME_SAMPLES <= WINDOW_SAMPLES
    for before, after in pairwise(spans):
        assert before.end <= after.start


@given(runs)
def test_every_frame_of_speech_is_in_a_window(course: list[tuple[int, float]]) -> None:
    probabilities = expand(course)
    covered = np.zeros(len(probabilities), dtype=bool)
    for span in cut(probabilities):
        covered[span.start : span.end] = True
    run = 0
    for frame, probability in enumerate([*probabilities, 0.0]):
        if probability >= POLICY.onset:
            run += 1
        else:
            if run >= POLICY.min_speech:
                assert covered[frame - run : frame].all(), (frame - run, frame)
            run = 0


@given(runs)
def test_no_window_spans_a_long_pause(course: list[tuple[int, float]]) -> None:
    probabilities = expand(course)
    for span in cut(probabilities):
        pause = 0
        for probability in probabilities[span.start : span.end]:
            pause = pause + 1 if probability < POLICY.offset else 0
            # A click inside the pause ends our count of it, never the cutter's: so this can only be too lenient.
            assert pause <= POLICY.max_gap


@given(runs, st.lists(st.integers(0, 400), max_size=20))
def test_portions_do_not_matter(course: list[tuple[int, float]], portions: list[int]) -> None:
    probabilities = expand(course)
    assert cut(probabilities, portions) == cut(probabilities)


@given(runs, st.lists(st.integers(1, 400), max_size=20))
def test_nothing_settled_comes_back(course: list[tuple[int, float]], portions: list[int]) -> None:
    """What the cutter lets its caller forget is not in any later window, and it lets go of all but a minute or so."""
    probabilities = expand(course)
    cutter = WindowCutter(POLICY)
    settled = start = 0
    for size in [*portions, len(probabilities)]:
        for span in cutter.push(probabilities[start : start + size]):
            assert span.start >= settled
        start = min(start + size, len(probabilities))
        settled = cutter.settled
        assert start - settled <= 2 * POLICY.max_window + POLICY.max_gap
    for span in cutter.flush():
        assert span.start >= settled


@given(st.integers(400, 800), st.integers(POLICY.min_pause, 2 * POLICY.padding))
def test_a_pause_too_short_for_two_paddings_is_halved(length: int, pause: int) -> None:
    first, second = cut([1.0] * 600 + [0.0] * pause + [1.0] * length + [0.0] * 100)
    assert first.end == second.start == 600 + pause // 2


@given(st.integers(POLICY.max_window // 2, POLICY.max_window - 4 * POLICY.padding))
def test_speech_without_a_pause_is_cut_where_it_is_weakest(weakest: int) -> None:
    speech = [1.0] * 1500
    speech[weakest] = 0.6
    first, second, *_ = cut(speech)
    assert first.end == second.start == weakest


class Loudness:
    """Speech where the samples are not zero; counts what it is asked."""

    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        loud = np.abs(pcm.reshape(-1, ACTIVITY_FRAME_SAMPLES)).max(axis=1) > 0
        return loud.astype(np.float32), state


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from([1, 500, 20_000, 150_000, 400_000]), st.booleans()), max_size=8),
    st.lists(st.integers(1, 50_000), max_size=30),
)
def test_windows_hold_the_audio_of_their_place(course: list[tuple[int, bool]], portions: list[int]) -> None:
    """Whatever the blocks the audio came in, each window is the recording's own samples at its start."""
    audio = np.concatenate(
        [np.zeros(0, dtype=np.int16)]
        + [
            np.arange(1, n + 1, dtype=np.int64).astype(np.int16) | 1 if loud else np.zeros(n, dtype=np.int16)
            for n, loud in course
        ]
    ).astype(np.int16)

    async def blocks() -> AsyncIterator[Pcm]:
        start = 0
        for size in [*portions, *[16_000] * (audio.size // 16_000 + 1)]:
            if audio[start : start + size].size:
                yield audio[start : start + size]
            start += size

    async def collect() -> tuple[list[SpeechWindow], float]:
        windows = SpeechWindows(Loudness())
        return [window async for window in windows.of(blocks())], windows.duration_s

    found, duration_s = asyncio.run(collect())
    assert duration_s == audio.size / 16_000
    for window in found:
        np.testing.assert_array_equal(window.pcm, audio[window.start : window.start + window.pcm.size])
        assert window.pcm.size > 0
