"""What a person corrects in a transcript: names of speakers, texts of segments, and the times of words that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.speech import Segment, Transcript, Word, text_of
from api.transcripts.correction import MAX_COMPARISONS, correct, correct_segments, rename


def spoken(text: str, start: float = 0.0, speaker: str | None = None) -> Segment:
    """Half a second for each word, and half a second between them."""
    words = tuple(Word(f" {word}", start + i, start + i + 0.5, 0.8) for i, word in enumerate(text.split()))
    return Segment(words[0].start, words[-1].end, text_of(words), 0.8, words, -0.1, 0.0, 1.0, speaker)


MEETING = Transcript(
    "en",
    0.9,
    20.0,
    (spoken("Hello everyone", 0, "Speaker 1"), spoken("Good morning", 5, "Speaker 2"), spoken("Bye", 9, "Speaker 1")),
    "demo",
    ("Speaker 1", "Speaker 2"),
)


def test_speakers_swap_and_merge() -> None:
    swapped = rename(MEETING, {"Speaker 1": "Speaker 2", "Speaker 2": "Speaker 1"})
    assert swapped.speakers == ("Speaker 2", "Speaker 1")
    assert [segment.speaker for segment in swapped.segments] == ["Speaker 2", "Speaker 1", "Speaker 2"]
    assert rename(MEETING, {"Speaker 2": "Speaker 1"}).speakers == ("Speaker 1",)


# Words of people, and words that nobody said, so that it is plain which stay.
HEARD = ["so", "the", "cat's", "sat", "naïve", "дом", "40"]
WRITTEN = ["Xa", "Yb", "Zc"]


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Words in order, within the segment, with and without pauses."""
    clock = start = draw(st.integers(0, 50))
    clock += draw(st.integers(0, 3))
    words = []
    for text in draw(st.lists(st.sampled_from(HEARD), min_size=1, max_size=8)):
        length = draw(st.integers(0, 9))
        words.append(Word(f" {text}", clock / 7, (clock + length) / 7, draw(st.floats(0, 1))))
        clock += length + draw(st.integers(0, 4))
    return Segment(start / 7, clock / 7, text_of(words), 0.5, tuple(words), -0.1, 0.0, 1.0)


def assert_sound(before: Segment, after: Segment, text: str) -> None:
    assert after.text == text_of(after.words) == " ".join(text.split())
    assert (after.start, after.end) == (before.start, before.end)
    times = [before.start, *(time for word in after.words for time in (word.start, word.end)), before.end]
    assert times == sorted(times)
    assert after.confidence == pytest.approx(sum(word.probability for word in after.words) / len(after.words))
    assert after.words[0].text[0].isspace() == before.words[0].text[0].isspace()


@given(segments(), st.text(st.sampled_from("so the cat\t\u3000,.-–'«你好世界ทีนี่แล้ว👩‍👧é\u0301Я"), max_size=60))
def test_any_text_is_a_sound_correction(segment: Segment, text: str) -> None:
    assume(text.strip())
    assert_sound(segment, correct(segment, text), text)


@given(segments(), st.data())
def test_words_that_stay_keep_their_times(segment: Segment, data: st.DataObject) -> None:
    expected = list[Word]()
    written = st.lists(st.sampled_from(WRITTEN), max_size=3)
    texts = list[str]()
    gap_start, replaced = segment.start, list[Word]()

    def put(end: float) -> None:
        new = data.draw(written)
        texts.extend(new)
        span = (replaced[0].start, replaced[-1].end) if replaced else (gap_start, end)
        share = (span[1] - span[0]) / (len(new) or 1)
        expected.extend(Word("", span[0] + share * i, span[0] + share * (i + 1), 1.0) for i in range(len(new)))

    for word in segment.words:
        if data.draw(st.booleans()):
            put(word.start)
            texts.append(data.draw(st.sampled_from([word.text.upper(), word.text.title(), word.text])).strip() + ",")
            expected.append(word)
            gap_start, replaced = word.end, []
        else:
            replaced.append(word)
    put(segment.end)
    assume(texts)
    # Of equal words it is not plain which one stays.
    assume(len({word.key for word in segment.words}) == len(segment.words))
    text = " ".join(texts)
    after = correct(segment, text)
    assert_sound(segment, after, text)
    for word, wanted in zip(after.words, expected, strict=True):
        if wanted.text:
            assert word == replace(wanted, text=word.text)
        else:
            assert (word.start, word.end, word.probability) == pytest.approx((wanted.start, wanted.end, 1.0))


def test_new_words_share_the_time_evenly() -> None:
    after = correct(spoken("I scream now"), "Ice cream sundae now")
    assert [(word.text, round(word.start, 3), round(word.end, 3), word.probability) for word in after.words] == [
        (" Ice", 0.0, 0.5, 1.0),
        (" cream", 0.5, 1.0, 1.0),
        (" sundae", 1.0, 1.5, 1.0),
        (" now", 2.0, 2.5, 0.8),
    ]
    assert [word.start for word in correct(spoken("go home"), "go right back home").words] == [0.0, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["我们", "去", "北京", "。"], "我们去南京吧。", ["我们", "去", "南", "京", "吧。"]),
        (["東京", "タワー"], "東京 GPU タワー、", ["東京", " GPU", " タワー、"]),
        (["ที่", "นี่"], "ที่ไหนนี่", ["ที่", "ไ", "ห", "น", "นี่"]),
        ([" Hello"], "안녕하세요 여러분", [" 안녕하세요", " 여러분"]),
    ],
)
def test_words_of_scripts_without_spaces(words: list[str], text: str, expected: list[str]) -> None:
    heard = tuple(Word(word, float(i), i + 1.0, 0.5) for i, word in enumerate(words))
    before = Segment(0.0, float(len(heard)), text_of(heard), 0.5, heard, -0.1, 0.0, 1.0)
    after = correct(before, text)
    assert [word.text for word in after.words] == expected
    assert_sound(before, after, text)
    for word in heard:
        if word.text.strip() in (new.text.strip() for new in after.words):
            assert any((new.start, new.end) == (word.start, word.end) for new in after.words)


def test_a_segment_without_words_stays_without() -> None:
    before = replace(spoken("Hello"), words=())
    assert correct(before, " Good  bye ") == replace(before, text="Good bye")


def test_the_same_text_is_no_correction() -> None:
    words = (Word(" well-", 0.0, 0.5, 0.5), Word("known", 0.5, 1.0, 0.9))
    before = replace(spoken("well-known"), words=words)
    assert correct(before, " well-known ") == before


def test_much_text_is_bounded_work() -> None:
    before = spoken("p q " * (MAX_COMPARISONS // 2))
    text = "p r " * (MAX_COMPARISONS // 2)
    after = correct(before, text)
    assert_sound(before, after, text)
    assert [word.probability for word in after.words[:3]] == [0.8, 1.0, 1.0]  # the third would stay, too


def test_segments_are_numbered_from_zero() -> None:
    after = correct_segments(MEETING, {0: "Hi", 2: "Ciao"})
    assert [segment.text for segment in after.segments] == ["Hi", "Good morning", "Ciao"]
    with pytest.raises(InvalidRequest, match="0 to 2"):
        correct_segments(MEETING, {3: "?"})
    with pytest.raises(InvalidRequest, match="none"):
        correct_segments(replace(MEETING, segments=()), {0: "?"})
