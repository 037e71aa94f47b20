"""Speech that no word covers, and words that were only thought to be elsewhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.recognition.activity import SpeechWindow
from api.recognition.chunking import FRAME_S
from api.recognition.omissions import LEAST_SPEECH, filled_in, omissions
from api.speech import Segment, Word, text_of

START_S = 64.0
start_and_length = st.tuples(st.floats(0, 19), st.floats(0.05, 0.9))


def window(seconds: float = 20.0) -> SpeechWindow:
    """Speech all through."""
    frames = round(seconds / FRAME_S)
    return SpeechWindow(round(START_S * 16_000), np.zeros(512 * frames, np.int16), np.ones(frames, np.float32))


def said(text: str, start_s: float, end_s: float) -> list[Word]:
    """The words share the time evenly."""
    texts = text.split()
    times = np.linspace(START_S + start_s, START_S + end_s, len(texts) + 1)
    return [Word(f" {t}", float(a), float(b), 0.9) for t, a, b in zip(texts, times[:-1], times[1:], strict=True)]


def segment(words: list[Word]) -> Segment:
    return Segment(words[0].start, words[-1].end, text_of(words), 0.9, tuple(words), -0.1, 0.0, 1.0)


@given(st.lists(start_and_length, max_size=20))
def test_every_second_of_speech_without_a_word_is_found_and_no_other(times: list[tuple[float, float]]) -> None:
    words = [Word(" x", START_S + start, START_S + start + length, 0.9) for start, length in sorted(times)]
    covered = np.zeros(len(window().activity), dtype=bool)
    for word in words:
        covered[round((word.start - START_S) / FRAME_S) : round((word.end - START_S) / FRAME_S)] = True
    found = np.zeros_like(covered)
    for span in omissions(words, window()):
        assert span.end - span.start >= LEAST_SPEECH
        found[span.start : span.end] = True
    run = 0
    for frame, is_covered in enumerate([*covered, True]):
        if not is_covered:
            run += 1
            continue
        if run >= LEAST_SPEECH:
            assert found[frame - run : frame].all()
        run = 0


def test_silence_without_a_word_is_none() -> None:
    quiet = window()
    quiet.activity[100:500] = 0.1
    assert omissions(said("one two", 0, 3.2) + said("three", 16, 20), quiet) == []


def test_what_was_left_out_is_put_in_its_place() -> None:
    known = [segment(said("one two", 0, 2) + said("six seven.", 6, 8)), segment(said("Eight.", 9, 10))]
    (span,) = (s for s in omissions([w for k in known for w in k.words], window(10)) if s.start < 100)
    parts = filled_in(known, segment(said("two three four five six", 1.8, 6.2)), span, window(10))
    assert [part.text for part in parts] == ["one two", "three four five", "six seven.", "Eight."]


def test_words_that_were_thought_to_be_elsewhere_are_not_said_twice() -> None:
    """The times of `three four` were wrong, and where they should be there seemed to be no word."""
    known = [segment(said("one two three four", 0, 2) + said("five", 6, 7))]
    (span,) = omissions(known[0].words, window(7))
    assert filled_in(known, segment(said("Three, four.", 2.5, 5.5)), span, window(7)) == known
