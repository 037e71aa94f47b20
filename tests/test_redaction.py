"""Personal data in transcripts: which words it takes with it, and that it leaves nothing of itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from api.inference.contracts import Analysis, AnalysisOptions, Entity
from api.intelligence import redaction
from api.intelligence.redaction import Found, Redactor, pieces, redact_segment, redact_text, without_overlaps
from api.speech import Segment, Transcript, Word, text_of


def segment(*texts: str, speaker: str | None = None) -> Segment:
    words = tuple(Word(text, float(second), second + 0.5, 0.9) for second, text in enumerate(texts))
    return Segment(0, len(texts), text_of(words), 0.9, words, -0.1, 0, 1, speaker)


@st.composite
def found_in(draw: st.DrawFn, text: str) -> list[Found]:
    """Entities begin and end with something that can be seen."""
    spans = draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(1, 9)), max_size=4))
    cut = [(start, text[start : start + length]) for start, length in spans]
    trimmed = [(start + len(part) - len(part.lstrip()), part.strip()) for start, part in cut]
    return without_overlaps(Found("X", start, start + len(part), 1) for start, part in trimmed if part)


@given(st.data(), st.lists(st.from_regex(r"\A ?[ab,]{1,4}\Z"), min_size=1, max_size=8))
def test_words_say_what_the_text_says(data: st.DataObject, texts: list[str]) -> None:
    whole = segment(*texts)
    found = data.draw(found_in(whole.text))
    redacted = redact_segment(whole, found)
    assert text_of(redacted.words) == redacted.text == redact_text(whole.text, found)
    assert redacted.words[0].start == whole.words[0].start
    assert redacted.words[-1].end == whole.words[-1].end
    assert [word.start for word in redacted.words] == sorted({word.start for word in redacted.words})
    assert {word for word in redacted.words if "[" not in word.text} <= set(whole.words)


def test_what_is_one_thing_becomes_one_word() -> None:
    said = segment(" Mail", " me:", " john@x.com,", " or", " 4", " 1", " 1.", " Ok.")
    mail, number = said.text.index("john"), said.text.index("4 1")
    redacted = redact_segment(said, [Found("EMAIL", mail, mail + 10, 1), Found("PHONE", number, number + 5, 1)])
    assert [(word.text, word.start, word.end) for word in redacted.words[2:]] == [
        (" [EMAIL],", 2, 2.5),
        (" or", 3, 3.5),
        (" [PHONE].", 4, 6.5),
        (" Ok.", 7, 7.5),
    ]


def test_words_without_the_segment_s_text_are_not_kept() -> None:
    said = replace(segment(" call", " 555"), text="call five five five")
    redacted = redact_segment(said, [Found("PHONE", 5, 19, 1)])
    assert (redacted.text, redacted.words) == ("call [PHONE]", ())


class Finds:
    """Every run of digits and spaces in between that has at least so many digits."""

    def __init__(self, digits: int = 6) -> None:
        self.digits = digits
        self.longest = 0

    async def analyze(self, texts: Sequence[str], options: AnalysisOptions) -> Analysis:
        self.longest = max(self.longest, *map(len, texts))
        pattern = re.compile(rf"\d(?: ?\d){{{self.digits - 1},}}")
        found = [[Entity("PHONE", at.start(), at.end(), 1.0) for at in pattern.finditer(text)] for text in texts]
        return Analysis(found)


def test_across_segments_and_speakers() -> None:
    said = [
        segment(" it", " is", " 123", speaker="A"),
        segment(" 456", " thanks", speaker="A"),
        segment(" 12", " 34", speaker="B"),
        segment(" 56", speaker="999999"),
    ]
    transcript = Transcript("en", 1.0, 9.0, tuple(said), "m", ("A", "B", "999999"))
    redacted = asyncio.run(Redactor(Finds()).transcript(transcript))
    assert [one.text for one in redacted.segments] == ["it is [PHONE]", "[PHONE] thanks", "[PHONE]", "[PHONE]"]
    assert [one.words[-1].end for one in redacted.segments] == [2.5, 1.5, 1.5, 0.5]
    assert [one.speaker for one in redacted.segments] == ["A", "A", "B", "[PHONE]"]
    assert redacted.speakers == ("A", "B", "[PHONE]")


class FindsInSpanish:
    """Numbers, which are not known in other languages."""

    async def analyze(self, texts: Sequence[str], options: AnalysisOptions) -> Analysis:
        return await Finds().analyze(texts if options.language == "es" else [""] * len(texts), options)


def test_each_language_of_a_recording_is_looked_through() -> None:
    said = (replace(segment(" hello"), language="en"), replace(segment(" es", " 123 456"), language="es"))
    redacted = asyncio.run(Redactor(FindsInSpanish()).transcript(Transcript("en", 1.0, 9.0, said, "m")))
    assert [one.text for one in redacted.segments] == ["hello", "es [PHONE]"]


@given(st.lists(st.integers(1, 15_000), max_size=6), st.integers(0, 40))
def test_long_texts_are_read_in_pieces_that_cut_nothing(gaps: list[int], words: int) -> None:
    """Personal data at any place of a text much longer than a piece is found, once."""
    analyzer = Finds()
    text = "".join("word " * (gap + words) + "123 456 " for gap in gaps)
    with_small_pieces = list(pieces(text))
    found = asyncio.run(Redactor(analyzer).find(text, "en"))
    assert [text[one.start : one.end] for one in found] == ["123 456"] * len(gaps)
    assert analyzer.longest <= redaction.PIECE_CHARS
    assert all(text.startswith(piece, start) for start, piece in with_small_pieces)
