"""How a text is cut into what can be spoken at once, and how the pieces of speech become one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.audio.speech_joining import joined
from api.audio.speech_text import pieces
from api.inference.base import Floats
from api.speech import is_spoken

READABLE = st.text(st.one_of(st.sampled_from("abc   .,!?;:—'\n你好，。、한ة،़é1"), st.characters(codec="utf-8")))


@given(READABLE, st.sampled_from(["en", "zh", "hi", "haw"]), st.integers(4, 200))
def test_pieces_are_short_and_leave_nothing_out(text: str, language: str, most_bytes: int) -> None:
    cut = pieces(text, language, most_bytes)
    assert all(len(piece.encode()) <= most_bytes and any(map(is_spoken, piece)) for piece in cut)
    assert "".join(filter(is_spoken, "".join(cut))) == "".join(filter(is_spoken, text))


@pytest.mark.parametrize(
    ("text", "most_bytes", "expected"),
    [
        ("One is here. Two is here. Three.", 100, ["One is here. Two is here. Three."]),
        ("One is here. Two is here. Three.", 30, ["One is here. Two is here.", "Three."]),
        ("One is here. Two is here. Three.", 13, ["One is here.", "Two is here.", "Three."]),
        ("A heading\n\nAnd a sentence", 100, ["A heading And a sentence"]),
        ("A heading\n\nAnd  then\ta sentence", 20, ["A heading", "And then a sentence"]),
        ("Short. One, two and three, four and five.", 20, ["Short.", "One, two and three,", "four and five."]),
        ("Short. One, two and three, four and five.", 14, ["Short.", "One,", "two and three,", "four and five."]),
        ("Mr. Smith said so. He did.", 20, ["Mr. Smith said so.", "He did."]),
        ("你好，世界。我很好。", 18, ["你好，世界。", "我很好。"]),
        ("你好世界", 7, ["你好", "世界"]),
        ("ক্ষক্ষ", 7, ["ক্", "ষ", "ক্", "ষ"]),
        ("Yes. … !!!", 5, ["Yes."]),
        (" \n ?! 😀 ", 5, []),
    ],
)
def test_pieces_end_where_a_reader_would_pause(text: str, most_bytes: int, expected: list[str]) -> None:
    assert pieces(text, "zh" if text[0] > "\u2e80" else "en", most_bytes) == expected


@st.composite
def waves(draw: st.DrawFn) -> Floats:
    size, phase = draw(st.integers(1, 400)), draw(st.floats(0, 6))
    wave = draw(st.floats(0, 1)) * np.sin(np.arange(size) * draw(st.floats(0, 0.2)) + phase)
    return np.asarray(wave, dtype=np.float32)


def join(parts: list[Floats], fade: int) -> Floats:
    async def each() -> AsyncIterator[Floats]:
        for part in parts:
            yield part

    async def run() -> Floats:
        return np.concatenate([block async for block in joined(each(), fade)])

    return asyncio.run(run())


def steepest(wave: Floats) -> float:
    return float(np.abs(np.diff(wave)).max(initial=0))


@given(st.lists(waves(), min_size=1, max_size=6), st.integers(1, 100))
def test_pieces_meet_without_a_click(parts: list[Floats], fade: int) -> None:
    """Across a fade, what is heard moves from one piece to the other in even steps, and goes along with both."""
    overlaps = [min(fade, len(a) // 2, len(b) // 2) for a, b in pairwise(parts)]
    whole = join(parts, fade)
    assert len(whole) == sum(map(len, parts)) - sum(overlaps)
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    assert low - 1e-6 <= whole.min() <= whole.max() <= high + 1e-6
    step = (high - low) / (min(overlaps, default=0) + 1)
    assert steepest(whole) <= max(map(steepest, parts)) + step + 1e-6


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 100), st.floats(-1, 1, width=32))
def test_a_fade_keeps_what_both_say(sizes: list[int], fade: int, level: float) -> None:
    whole = join([np.full(size, level, dtype=np.float32) for size in sizes], fade)
    np.testing.assert_allclose(whole, level, atol=1e-6)


@given(st.lists(waves(), min_size=2, max_size=2), st.integers(0, 100))
def test_outside_of_a_fade_nothing_changes(parts: list[Floats], fade: int) -> None:
    overlap = min(fade, len(parts[0]) // 2, len(parts[1]) // 2)
    whole = join(parts, fade)
    np.testing.assert_array_equal(whole[: len(parts[0]) - overlap], parts[0][: len(parts[0]) - overlap])
    np.testing.assert_array_equal(whole[len(parts[0]) :], parts[1][overlap:])
