"""Words that nobody spoke are left out, and no other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.recognition.inventions import MARGIN_S, without_inventions
from api.speech import Segment, Word

FRAME_S = 0.032
activities = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.9]), min_size=1, max_size=80)
texts = st.lists(
    st.tuples(st.floats(0, 3), st.floats(0, 0.5), st.sampled_from([0.1, 0.49, 0.5, 0.95])), min_size=1, max_size=8
)


def segment(words: list[tuple[float, float, float]], start_s: float) -> Segment:
    spoken = tuple(
        Word(f" w{n}", start_s + start, start_s + start + length, probability)
        for n, (start, length, probability) in enumerate(words)
    )
    text = "".join(word.text for word in spoken).strip()
    return Segment(spoken[0].start, spoken[-1].end, text, 0.5, spoken, -0.1, 0.0, 1.0)


@given(texts, activities, st.sampled_from([0.0, 1234.56]))
def test_only_unsure_words_in_silence_are_left_out(
    words: list[tuple[float, float, float]], activity: list[float], start_s: float
) -> None:
    said = segment(words, start_s)
    left = without_inventions(said, np.array(activity, dtype=np.float32), start_s)
    kept = left.words if left else ()
    assert left is None or left.text == "".join(word.text for word in kept).strip()
    for word in said.words:
        loudest = [
            probability
            for frame, probability in enumerate(activity)
            if word.start - start_s - MARGIN_S <= frame * FRAME_S <= word.end - start_s + MARGIN_S
        ]
        if word not in kept:
            assert word.probability < 0.5
            assert max(loudest, default=0.0) < 0.15
        elif word.probability < 0.5 and loudest:
            # Frames that are heard in part count as well.
            first = int(max(0.0, word.start - start_s - MARGIN_S) / FRAME_S)
            last = int((word.end - start_s + MARGIN_S) / FRAME_S) + 1
            assert max(activity[first:last]) >= 0.15


def test_a_phrase_invented_in_a_pause_disappears() -> None:
    silence = np.zeros(100, dtype=np.float32)
    assert without_inventions(segment([(1.0, 0.3, 0.2), (1.4, 0.3, 0.3)], 0.0), silence, 0.0) is None
    speech = np.full(100, 0.9, dtype=np.float32)
    said = segment([(1.0, 0.3, 0.2)], 0.0)
    assert without_inventions(said, speech, 0.0) is said
