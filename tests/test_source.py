"""Texts and transcripts as sentences: nothing is lost, and who said it when is right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.intelligence.source import Source, from_text, from_transcript
from api.sentences import LONGEST_SENTENCE_CHARS
from api.speech import Segment, Transcript, Word, text_of

LANGUAGES = st.sampled_from(["en", "es", "ja", "th", "xx"])
PROSE = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters=":："),
        st.sampled_from(" .\n\r\t?!。'\"()[]…aA1-"),
    ),
    max_size=200,
)
SPEAKERS = st.sampled_from(["Maria", "Speaker 2", None])


def letters(text: str) -> str:
    return "".join(text.split())


def spoken(text: str, start: float = 0.0, speaker: str | None = None, *, words: bool = True) -> Segment:
    """Half a second for each word, and half a second between them."""
    timed = tuple(Word(f" {word}", start + i, start + i + 0.5, 0.8) for i, word in enumerate(text.split()))
    end = timed[-1].end if timed else start
    return Segment(start, end, text, 0.8, timed if words else (), -0.1, 0.0, 1.0, speaker)


def transcript(*segments: Segment, language: str | None = "en") -> Transcript:
    return Transcript(language, 0.9, 60.0, segments, "demo")


@given(PROSE, LANGUAGES)
def test_no_letter_of_a_text_is_lost(text: str, language: str) -> None:
    source = from_text(text, language)
    assert letters("".join(source.texts)) == letters(text)
    assert all(0 < len(one) <= LONGEST_SENTENCE_CHARS and one == " ".join(one.split()) for one in source.texts)


@given(st.lists(st.tuples(PROSE, SPEAKERS, st.booleans()), max_size=6), LANGUAGES)
def test_no_letter_of_a_transcript_is_lost(said: list[tuple[str, str | None, bool]], language: str) -> None:
    segments = [spoken(text, 100.0 * i, who, words=words) for i, (text, who, words) in enumerate(said)]
    source = from_transcript(transcript(*segments, language=language))
    assert letters("".join(source.texts)) == letters("".join(text for text, _, _ in said))
    for sentence in source.sentences:
        assert sentence.segment_order is not None
        first = segments[sentence.segment_order]
        assert sentence.speaker == first.speaker
        assert sentence.start is not None
        assert sentence.end is not None
        assert first.start <= sentence.start <= sentence.end
        assert sentence.text[0] in first.text
    starts = [sentence.start for sentence in source.sentences]
    assert starts == sorted(starts, key=lambda start: start or 0.0)


def test_a_sentence_goes_from_one_segment_to_the_next_of_the_same_speaker() -> None:
    source = from_transcript(
        transcript(
            spoken("We will move. The launch", 0, "Maria"),
            spoken("is in June.", 10, "Maria"),
            spoken("Is it?", 20, "Tom"),
        )
    )
    assert [(one.text, one.speaker, one.start, one.end, one.segment_order) for one in source.sentences] == [
        ("We will move.", "Maria", 0.0, 2.5, 0),
        ("The launch is in June.", "Maria", 3.0, 12.5, 0),
        ("Is it?", "Tom", 20.0, 21.5, 2),
    ]
    assert source.speakers == ["Maria", "Tom"]


def test_times_are_the_segments_where_words_do_not_make_up_its_text() -> None:
    corrected = replace(spoken("We will move. It is late.", 4), text="We move. It is late, I think.")
    assert [(one.start, one.end) for one in from_transcript(transcript(corrected)).sentences] == [(4.0, 9.5)] * 2


def test_without_punctuation_segments_are_sentences() -> None:
    source = from_transcript(transcript(spoken("can you hear me"), spoken("we should begin", 10)))
    assert source.texts == ["can you hear me", "we should begin"]


def test_words_of_a_language_without_spaces_join() -> None:
    words = tuple(Word(text, i, i + 1.0, 0.9) for i, text in enumerate(["これは", "一つ。", "二つ"]))
    one = Segment(0.0, 3.0, text_of(words), 0.9, words, -0.1, 0.0, 1.0)
    two = replace(one, start=5.0, end=6.0, text="目。", words=(Word("目。", 5.0, 6.0, 0.9),))
    source = from_transcript(transcript(one, two, language="ja"))
    assert [(sentence.text, sentence.start, sentence.end) for sentence in source.sentences] == [
        ("これは一つ。", 0.0, 2.0),
        ("二つ目。", 2.0, 6.0),
    ]


def test_lines_of_a_pasted_transcript_have_speakers_and_times() -> None:
    source = from_text("[00:12:03] Maria: We begin. Now.\nAnd more.\n\n(12:09) Speaker 2: Good: yes.\nMaria: Bye")
    assert [(one.text, one.speaker, one.start) for one in source.sentences] == [
        ("We begin.", "Maria", 723.0),
        ("Now.", "Maria", 723.0),
        ("And more.", "Maria", 723.0),
        ("Good: yes.", "Speaker 2", 729.0),
        ("Bye", "Maria", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Note: bring the keys.\nNote: lock the door.",  # no names
        "The rule is simple: be kind.\nIt was late.",  # one line, and no other of the kind
        "Milk: a litre.\nMix it all.\nTime: two hours.",  # each of them once, and other lines between
        "Visit https://example.com now.\nOr http://example.org then.",
        "He said this: no.\nShe is, however: yes.\nnobody: knows\nnobody: cares",  # small letters
    ],
)
def test_other_colons_make_no_speakers(text: str) -> None:
    source = from_text(text)
    assert source.speakers == []
    assert letters("".join(source.texts)) == letters(text)


def test_what_is_too_long_is_cut_between_words() -> None:
    texts = from_text(f"{'word ' * 900}{'x' * 2500}").texts
    assert " ".join(texts[:5]) == " ".join(["word"] * 900)
    assert len(texts) == 8
    assert "".join(texts[5:]) == "x" * 2500


def test_lines_are_borders_unless_one_is_wrapped() -> None:
    wrapped = "We looked at all of the numbers that we had from the\nlast year. It was fine"
    assert from_text(f"{wrapped}\nThe end").texts == [
        "We looked at all of the numbers that we had from the last year.",
        "It was fine",
        "The end",
    ]


def test_what_ends_in_me_or_no_ends_there() -> None:
    assert from_text("That would be me. I'll call. No. We see No. 5 in st. Ives.").texts == [
        "That would be me.",
        "I'll call.",
        "No.",
        "We see No. 5 in st. Ives.",
    ]


def test_nothing_is_no_sentence() -> None:
    assert from_text(" \n\t\n") == Source(())
    assert from_transcript(transcript(spoken(" "), language=None)) == Source(())
