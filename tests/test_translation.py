"""Texts and transcripts taken apart into sentences and put together in another language."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.formats import FORMATS
from api.formats.translated import in_translation
from api.inference.base import Inference
from api.inference.contracts import TranslationOptions
from api.inference.deployments import Deployments
from api.inference.fake import FakeRegistry, FakeTranslator, fake_inference
from api.sentences import sentence_spans, words_of
from api.speech import Segment, Transcript
from api.translation.alignment import aligned, distributed, spoken_sentences
from api.translation.pieces import LONGEST_PIECE_CHARS, Role, pieces_of, put_together
from api.translation.service import Target, Translation
from api.translation.targets import find_target, nearest

TEXTS = st.text(st.sampled_from("abcé 。今日ไท.!?,1\n\r\t-*#>\u2028🎉"), max_size=200)
LETTER = """Dear Ms. Smith,

  - the first point. It has two sentences!
  - the second, at 12:30

1. Really?
---
12:30
> as you said
"""


@given(TEXTS)
def test_pieces_are_the_text(text: str) -> None:
    pieces = pieces_of(text, "en")
    assert "".join(piece.text for piece in pieces) == text
    for piece in pieces:
        if piece.role is Role.SENTENCE:
            assert 0 < len(piece.text.strip()) == len(piece.text) <= LONGEST_PIECE_CHARS
            assert not set("\n\r") & set(piece.text)
        else:
            assert piece.role is Role.OTHER or not piece.text.strip()


@given(TEXTS)
def test_what_is_translated_to_itself_is_the_text_again(text: str) -> None:
    """But for a space where sentences stand side by side without one."""
    pieces = pieces_of(text, "en")
    again = put_together(pieces, {piece.text: piece.text for piece in pieces}, "es")
    assert again.replace(" ", "") == text.replace(" ", "")
    assert len(again.splitlines()) == len(text.splitlines())


@given(TEXTS.map(lambda text: text * 40), st.sampled_from(["en", "ja"]), st.sampled_from([7, 1000]))
def test_sentences_of_long_texts_hold_all_of_them(text: str, language: str, longest: int) -> None:
    spans = list(sentence_spans(language, text, longest))
    assert "".join("".join(text[begin:stop].split()) for begin, stop in spans) == "".join(text.split())
    assert all(0 < stop - begin <= longest for begin, stop in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_sentences_that_a_window_cuts_are_whole() -> None:
    said = [f"This is sentence {number} of them all." for number in range(1000)]
    text = " ".join(said)
    assert [text[begin:stop] for begin, stop in sentence_spans("en", text)] == said


def test_paragraphs_lists_and_quotations_stay() -> None:
    pieces = pieces_of(LETTER, "en")
    sentences = [piece.text for piece in pieces if piece.role is Role.SENTENCE]
    assert sentences == [
        *("Dear Ms. Smith,", "the first point.", "It has two sentences!", "the second, at 12:30", "Really?"),
        "as you said",
    ]
    shouted = put_together(pieces, {sentence: sentence.upper() for sentence in sentences}, "es")
    assert shouted == LETTER.upper()


def test_what_nobody_punctuated_is_cut_between_words() -> None:
    text = "word " * 200
    pieces = [piece.text for piece in pieces_of(text, "en") if piece.role is Role.SENTENCE]
    assert [len(piece) for piece in pieces] == [LONGEST_PIECE_CHARS - 1] * 2 + [199]


def test_spaces_between_sentences_are_those_of_the_target() -> None:
    pieces = pieces_of("One. Two.\tThree.", "en")
    assert put_together(pieces, {"One.": "一。", "Two.": "二。", "Three.": "三。"}, "zh") == "一。二。\t三。"
    pieces = pieces_of("一。二。", "zh")
    assert put_together(pieces, {"一。": "One.", "二。": "Two."}, "en") == "One. Two."


MIXED = st.text(st.sampled_from("abc19 今日本ไทย.。,「」 "), max_size=60).map(str.strip)


@given(MIXED, st.sampled_from(["es", "zh", "th"]))
def test_words_are_the_text(text: str, language: str) -> None:
    words = words_of(text, language)
    assert "".join(words) == text
    assert all(word.strip() for word in words)


@given(MIXED, st.lists(st.integers(1, 50), min_size=1, max_size=8), st.sampled_from(["es", "zh", "th"]))
def test_a_translation_is_shared_out_in_order_and_whole(text: str, weights: list[int], target: str) -> None:
    parts = distributed(text, weights, target)
    assert len(parts) == len(weights)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert all(part in text for part in parts), "the spaces in it are kept"
    if len(words_of(text, target)) >= len(weights):
        assert all(parts)


def test_it_is_cut_where_the_original_is() -> None:
    assert distributed("uno dos tres cuatro", [7, 12], "es") == ["uno dos", "tres cuatro"]
    assert distributed("a b c d e f", [5, 5, 5], "es") == ["a b", "c d", "e f"]
    assert distributed("一二三四五六", [1, 2], "zh") == ["一二", "三四五六"]
    assert distributed("我用 Visual Studio", [1, 1], "zh") == ["我用 Visual", "Studio"]
    assert distributed("今年は2024年", [4, 3], "ja") == ["今年は", "2024年"]


def segment(text: str, start: float, speaker: str | None = None, length_s: float = 1.0) -> Segment:
    return Segment(start, start + length_s, text, 0.9, (), -0.1, 0.0, 1.0, speaker)


def transcript(*segments: Segment) -> Transcript:
    return Transcript("en", 1.0, segments[-1].end, segments, "small", ("A", "B"))


def test_sentences_go_on_in_the_next_segment_but_not_beyond_a_speaker_or_a_pause() -> None:
    segments = [
        segment("Hello there. How are", 0, "A"),
        segment("you today?", 1, "A"),
        segment("Fine, and", 2, "B"),
        segment("you?", 9, "B"),
        segment("no punctuation", 10, "A"),
        segment("none here", 11, "A"),
    ]
    sentences = spoken_sentences(segments, "en")
    assert [sentence.text for sentence in sentences] == [
        *("Hello there.", "How are you today?", "Fine, and", "you?", "no punctuation", "none here")
    ]
    assert [(share.place, share.chars) for share in sentences[1].shares] == [(0, 7), (1, 10)]


@given(st.lists(st.tuples(st.text("ab .", max_size=30), st.sampled_from("AB")), max_size=12))
def test_every_character_is_in_one_sentence(said: list[tuple[str, str]]) -> None:
    segments = [segment(text, place, speaker) for place, (text, speaker) in enumerate(said)]
    sentences = spoken_sentences(segments, "en")
    assert "".join(sentence.text for sentence in sentences).replace(" ", "") == "".join(
        text for text, _ in said
    ).replace(" ", "")
    for sentence in sentences:
        assert 0 <= len(sentence.text) - sum(share.chars for share in sentence.shares) < len(sentence.shares)


class Upper(FakeTranslator):
    async def translate(self, texts: Sequence[str], options: TranslationOptions) -> list[str]:
        await super().translate(texts, options)
        return [text.upper() for text in texts]


def translation(inference: Inference) -> Translation:
    return Translation(inference, Deployments(FakeRegistry()))


def translated(*segments: Segment) -> tuple[Transcript, FakeTranslator]:
    translator = Upper()
    inference = fake_inference(translator=translator)
    return asyncio.run(translation(inference).transcript(transcript(*segments), Target("es", "m"))), translator


def test_segments_have_their_parts_of_the_sentences() -> None:
    result, translator = translated(
        segment("Hello there. How are", 0, "A"), segment("you today? Hello there.", 1, "A"), segment(" ", 3, "B")
    )
    assert [one.translation for one in result.segments] == ["HELLO THERE. HOW ARE", "YOU TODAY? HELLO THERE.", ""]
    assert result.text == "Hello there. How are you today? Hello there.  "
    assert translator.calls == [(["Hello there.", "How are you today?"], TranslationOptions("es"))], "each once"


def test_numbers_marks_and_placeholders_are_not_translated() -> None:
    result, translator = translated(segment("Write to [EMAIL_ADDRESS] today.", 0), segment("42.", 1), segment("♪♪", 5))
    assert [one.translation for one in result.segments] == ["WRITE TO [EMAIL_ADDRESS] TODAY.", "42.", "♪♪"]
    assert translator.calls[0][0] == ["Write to", "today."]


def test_a_name_with_a_dot_is_one_word() -> None:
    text = "We use ASP.NET and www.Example.Com. It works."
    assert [piece.text for piece in pieces_of(text, "en") if piece.role is Role.SENTENCE] == [
        *("We use ASP.NET and www.Example.Com.", "It works.")
    ]
    long = "x" * 1000
    pieces = pieces_of(long, "en")
    assert put_together(pieces, {piece.text: piece.text for piece in pieces}, "es") == long


def test_english_words_in_chinese_keep_their_space() -> None:
    sentences = spoken_sentences([segment("我用 iPhone", 0), segment("Pro", 1), segment("很好。", 2)], "zh")
    assert [sentence.text for sentence in sentences] == ["我用 iPhone Pro很好。"]
    assert [share.chars for share in sentences[0].shares] == [9, 3, 3]


def test_a_sentence_that_becomes_one_word_is_in_its_first_segment() -> None:
    sentences = spoken_sentences([segment("You all", 0), segment("there! Yes.", 1)], "en")
    assert aligned(sentences, ["¡Vosotros!", "Sí."], "es", 2) == ["¡Vosotros!", "Sí."]


def test_what_shows_one_text_shows_the_translation() -> None:
    result, _ = translated(segment("Hello there.", 0, "A", 4.0), segment("Yes.", 5, "B"))
    assert FORMATS["txt"].write(result) == b"HELLO THERE.\nYES.\n"
    assert b"00:00:00,000 --> 00:00:04,000\nHELLO THERE.\n" in FORMATS["srt"].write(result)
    words = in_translation(result).segments[0].words
    assert [(word.text, word.start, word.end) for word in words] == [("HELLO", 0, 5 / 3), (" THERE.", 5 / 3, 4)]
    assert in_translation(result).language == "es"


def test_chinese_subtitles_are_broken_into_lines() -> None:
    chinese = "".join(chr(0x4E00 + place) for place in range(200)) + "。"
    with_translation = Transcript(
        "en", 1.0, 20, (Segment(0, 20, "x", 0.9, (), 0, 0, 1, None, chinese),), "m", translated_into="zh"
    )
    lines = [line for line in FORMATS["srt"].write(with_translation).decode().splitlines() if line[:1] > "9"]
    assert "".join(lines) == chinese
    assert max(map(len, lines)) <= 42


CODES = [
    "de",
    "en",
    "en_xx_simple",
    "es",
    "fr",
    "fr_CA",
    "no",
    "pt",
    "sr",
    "zh",
    "zh_Hans",
    "zh_Hant",
    "zxx_xx_dtynoise",
]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("es", "es"),
        ("ES", "es"),
        ("spa", "es"),
        ("es-MX", "es"),
        ("pt_BR", "pt"),
        ("zh-TW", "zh_Hant"),
        *(("zh_Hans", "zh_Hans"), ("zh-hans", "zh_Hans"), ("fr-CA", "fr_CA"), ("fr-BE", "fr"), (" es ", "es")),
    ],
)
def test_a_language_by_another_code(asked: str, code: str) -> None:
    assert find_target(asked, CODES) == code


@pytest.mark.parametrize("asked", ["Spanish", "español", "日本語", "🎉", "xx", "und", "<2fr>", "mul", "e" * 60_000])
def test_what_is_no_code_is_not_taken_for_one(asked: str) -> None:
    with pytest.raises(InvalidRequest):
        find_target(asked, CODES)


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        *(("spanish", "es"), ("español", "es"), ("Portugese", "pt"), ("sr-Latn", "sr"), ("da", "no"), ("ess", "es")),
        ("nb", "no"),
    ],
)
def test_the_nearest_are_named(asked: str, near: str) -> None:
    assert near in nearest(asked, CODES)
    with pytest.raises(InvalidRequest, match=rf"Did you mean .*\b{near} \("):
        find_target(asked, CODES)


def test_what_is_no_language_is_near_to_none() -> None:
    assert nearest("unknown language", ["es", "zxx_xx_dtynoise"]) == []


def test_few_languages_are_all_named() -> None:
    with pytest.raises(InvalidRequest, match=r"Did you mean en \(English\) or es \(Spanish\)\?"):
        find_target("xx", ["en", "es"])


@given(st.text(max_size=60))
@example("\0")
@example("ا")
def test_whatever_is_asked_for_is_a_code_or_an_error(asked: str) -> None:
    try:
        found = find_target(asked, CODES)
    except InvalidRequest as error:
        found = str(error)
    assert found in CODES or "/v1/translate/languages" in found
