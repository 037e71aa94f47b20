"""What is handed out of a stored transcript: complete, literal, legible in every script, and made at a bounded cost."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docx as word
import manimgx_fonts
import msgspec
import psutil
import pytest
from docx.oxml.ns import qn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from pypdf.generic import ContentStream

from api.errors import DocumentFailed, FontMissing
from api.formats import EXPORTS, docx, json, pdf
from api.formats.csv import HEADER
from api.formats.document import COLOURS, FAINT, INK, NOTHING_SAID, Document, clock, page_of, printable
from api.formats.render import Renderer
from api.speech import Segment, Transcript, Word

CREATED = datetime(2026, 3, 9, 8, 5, tzinfo=UTC)
# What no font may have, or no file may hold: symbols, marks, unassigned and control characters, lone surrogates.
ODDITIES = st.characters(categories=["S", "P", "Z", "Me", "Cc", "Cf", "Cn", "Co", "Cs"])
ANYTHING = st.text(st.characters(max_codepoint=0x36F) | ODDITIES, max_size=60)


def said(start: float, end: float, text: str, speaker: str | None = None) -> Segment:
    return Segment(start, end, text, 0.9, (Word(f" {text}", start, end, 0.9),), -0.1, 0.0, 1.0, speaker)


def document(*segments: Segment, title: str = "Review", language: str | None = "en") -> Document:
    speakers = tuple(dict.fromkeys(segment.speaker for segment in segments if segment.speaker))
    duration = segments[-1].end if segments else 0.0
    return Document(Transcript(language, 0.99, duration, segments, "demo", speakers), title, CREATED)


MEETING = document(
    said(0, 3, "Good morning.", "Anna"),
    said(3.2, 6, "Shall we begin?", "Anna"),
    said(6.1, 9, "Yes, with the budget.", "Ben"),
    said(14, 16, "It has grown.", "Ben"),
    said(3675, 3680, "Thank you all.", "Anna"),
    title="Budget review",
)


def pages(written: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(written)).pages)


def in_order(text: str, *parts: str) -> bool:
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def glyphs(page: Any, reader: PdfReader) -> Iterator[bytes]:
    """Two bytes each: the numbers in the embedded fonts, where 0 is the empty box."""
    for operands, operator in ContentStream(page.get_contents(), reader).operations:
        for shown in operands[0] if operator == b"TJ" else operands if operator == b"Tj" else ():
            if hasattr(shown, "original_bytes"):
                codes = shown.original_bytes
                yield from (codes[at : at + 2] for at in range(0, len(codes), 2))


def test_the_exports_are_those_that_are_promised() -> None:
    assert list(EXPORTS) == ["txt", "srt", "vtt", "json", "csv", "docx", "pdf"]
    assert EXPORTS["json"].write(MEETING) == json.write_verbose(MEETING.transcript)
    assert EXPORTS["txt"].write(MEETING).decode().splitlines()[1] == "Shall we begin?"
    assert EXPORTS["srt"].write(MEETING).startswith(b"1\n00:00:00,000 --> ")
    assert EXPORTS["vtt"].write(MEETING).startswith(b"WEBVTT\n")
    assert EXPORTS["docx"].write(MEETING).startswith(b"PK")
    assert EXPORTS["pdf"].write(MEETING).startswith(b"%PDF")


def test_what_one_person_says_is_one_paragraph_up_to_a_pause_or_a_fair_length() -> None:
    read = [(paragraph.time, paragraph.speaker, paragraph.text) for paragraph in page_of(MEETING).paragraphs]
    assert read == [
        ("00:00:00", "Anna", "Good morning. Shall we begin?"),
        ("00:00:06", "Ben", "Yes, with the budget."),
        ("00:00:14", "Ben", "It has grown."),
        ("01:01:15", "Anna", "Thank you all."),
    ]
    flow = [said(5 * number, 5 * number + 5, f"And {number}" + "." * (number == 10)) for number in range(40)]
    starts = [paragraph.time for paragraph in page_of(document(*flow)).paragraphs]
    assert starts == ["00:00:00", "00:00:55", "00:02:25"]  # after a sentence; then, without one, after 90 s


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [("你好。", "再见。", "你好。再见。"), ("안녕", "하세요", "안녕 하세요"), ("see 北京", "soon", "see 北京 soon")],
)
def test_chinese_is_joined_without_spaces_and_korean_with_them(first: str, second: str, joined: str) -> None:
    assert page_of(document(said(0, 1, first), said(1, 2, second))).paragraphs[0].text == joined


def test_the_pdf_holds_everything_in_order() -> None:
    reader = PdfReader(io.BytesIO(pdf.write(MEETING)))
    text = "\n".join(page.extract_text() for page in reader.pages)
    assert in_order(text, "Budget review", "9 March 2026, 08:05 UTC", "01:01:20", "English", "Speakers", "Anna", "Ben")
    read = [part for paragraph in page_of(MEETING).paragraphs for part in (paragraph.time, paragraph.text)]
    assert in_order(text, *read, "1 / 1")
    assert reader.metadata is not None
    assert reader.metadata.title == "Budget review"
    assert [round(float(side) / 72 * 25.4) for side in reader.pages[0].mediabox[2:]] == [210, 297]


def test_the_docx_holds_everything_in_order() -> None:
    written = word.Document(io.BytesIO(docx.write(MEETING)))
    assert [paragraph.text for paragraph in written.paragraphs] == [
        "Budget review",
        "Date\t9 March 2026, 08:05 UTC",
        "Duration\t01:01:20",
        "Language\tEnglish",
        "Speakers\tAnna   Ben",
        *("Anna   00:00:00", "Good morning. Shall we begin?"),
        *("Ben   00:00:06", "Yes, with the budget."),
        *("Ben   00:00:14", "It has grown."),
        *("Anna   01:01:15", "Thank you all."),
    ]
    names = [paragraph.runs[0].font for paragraph in written.paragraphs if paragraph.text.startswith(("Anna", "Ben"))]
    assert all(font.bold for font in names)
    assert [f"#{font.color.rgb}".lower() for font in names] == [COLOURS[number] for number in (0, 1, 1, 0)]
    assert written.core_properties.title == "Budget review"
    assert word.Document(io.BytesIO(docx.write(document(title="x" * 300)))).paragraphs[0].text == "x" * 300


@pytest.mark.parametrize("write", [pdf.write, docx.write])
def test_without_speakers_none_are_named_and_without_speech_that_is_said(write: Any) -> None:
    def text_of(document: Document) -> str:
        written = write(document)
        if write is pdf.write:
            return pages(written)
        return "\n".join(paragraph.text for paragraph in word.Document(io.BytesIO(written)).paragraphs)

    nobody = text_of(document(said(0, 3, "Good morning."), title=""))
    assert in_order(nobody, "Transcript", "00:00:00", "Good morning.")
    assert "Speakers" not in nobody
    assert "None" not in nobody
    assert NOTHING_SAID in text_of(document(language=None))
    assert NOTHING_SAID not in nobody


@pytest.mark.parametrize("colour", [*COLOURS, FAINT, INK])
def test_every_colour_can_be_read_on_white(colour: str) -> None:
    """Relative luminance and contrast as WCAG 2.2 defines them."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert 1.05 / (luminance + 0.05) >= 4.5


CELLS = st.text(st.sampled_from("=+-@＝＠\t\r\n;,'\" \u200ba1") | st.characters(exclude_categories=["Cs"]), max_size=12)


@given(CELLS, CELLS)
@example("=1+1", "\t=1+1")
@example("\ta", "\rb")
@example("x;=HYPERLINK(1)", ' "＝1')
def test_csv_loses_nothing_and_no_cell_is_a_formula(text: str, speaker: str) -> None:
    written = EXPORTS["csv"].write(document(said(1.5, 2.25, text, speaker), said(3, 4, "second"))).decode("utf-8")
    assert written.startswith("\ufeffsegment,start,end,speaker,text,confidence\r\n")
    assert written.endswith("2,3.00,4.00,,second,0.900\r\n")
    header, first, _ = csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""), strict=True)
    assert tuple(header) == HEADER
    assert [first[0], first[1], first[2], first[5]] == ["1", "1.50", "2.25", "0.900"]
    assert first[3].replace("'", "") == speaker.replace("'", "")
    assert first[4].replace("'", "") == text.replace("'", "")
    for cell in (first[3], first[4]):
        assert not cell.startswith(("\t", "\r", "\n"))
        assert not any(re.match('[\\s"\u200b]*[=+@＝＋－＠-]', part) for part in re.split("[;\t\r\n]", cell))


MARKUP = [
    '#import "x"',
    "$a^2$",
    "*b*",
    "_c_",
    "\\",
    "\\u{41}",
    "`d`",
    "@e",
    "<f>",
    "//",
    "/*",
    "#sys.inputs",
    "[",
    "{",
]
MARKUP += ["= g", "- h", "~", "---", "...", '"', "'", "&amp;", "</w:t>", "https://x.example", "#panic()", "]", "}"]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(MARKUP), min_size=1), st.lists(st.sampled_from(MARKUP), min_size=1))
def test_text_is_never_markup(words: list[str], names: list[str]) -> None:
    text, name = " ".join(words), " ".join(names)
    spoken = document(said(0, 1, text, name), title=name)
    shown = "".join(pages(pdf.write(spoken, system_fonts=False)).split())
    assert in_order(shown, *("".join(part.split()) for part in (name, "English", "00:00:00", name, text)))
    assert [paragraph.text for paragraph in word.Document(io.BytesIO(docx.write(spoken))).paragraphs][-1] == text


@settings(max_examples=40)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_whatever_is_said_there_is_a_document(text: str, speaker: str, title: str) -> None:
    spoken = document(said(0, 1, text, speaker), title=title)
    written = word.Document(io.BytesIO(docx.write(spoken)))
    clean = printable(spoken)
    assert written.paragraphs[0].text == clean.title or not clean.title
    assert written.paragraphs[-1].text == clean.transcript.segments[0].text or not clean.transcript.segments[0].text
    assert pdf.write(spoken, system_fonts=False).startswith(b"%PDF")


SCRIPTS = [
    ("ar", "مرحبا بكم في اجتماع Google اليوم", "NotoSansArabic"),
    ("he", "שלום לכולם", "NotoSansHebrew"),
    ("hi", "क्षेत्रीय विद्यार्थी", "NotoSansDevanagari"),
    ("bn", "বিজ্ঞপ্তি শ্রীমতী", "NotoSansBengali"),
    ("ta", "ஸ்ரீ கௌரி கொடுத்தார்", "NotoSansTamil"),
    ("te", "శ్రీకృష్ణుడు క్షేత్రం", "NotoSansTelugu"),
    ("gu", "ક્ષમા શ્રી", "NotoSansGujarati"),
    ("kn", "ಕ್ಷೇತ್ರ ಶ್ರೀ", "NotoSansKannada"),
    ("ml", "ക്ഷേത്രം എല്ലാവർക്കും", "NotoSansMalayalam"),
    ("pa", "ਸਤ ਸ੍ਰੀ ਅਕਾਲ", "NotoSansGurmukhi"),
    ("si", "ශ්‍රී ලංකාව", "NotoSansSinhala"),
    ("th", "ที่นี่น้ำท่วม", "NotoSansThai"),
    ("zh", "直角。骨头。", "NotoSansCJKsc"),
    ("ja", "直角、カタカナ。", "NotoSansCJKjp"),
    ("ko", "안녕하세요", "NotoSansCJKkr"),
]


@pytest.mark.parametrize(("language", "text", "font"), SCRIPTS)
def test_every_script_has_a_font_without_one_on_the_system(language: str, text: str, font: str) -> None:
    spoken = document(said(0, 2, text, text[:3]), title=text, language=language)
    reader = PdfReader(io.BytesIO(pdf.write(spoken, system_fonts=False)))
    (page,) = reader.pages
    resources: Any = page["/Resources"]
    families = {re.split("[+-]", each["/BaseFont"])[1] for each in resources["/Font"].values()}
    assert font in families
    shown = list(glyphs(page, reader))
    assert len(shown) > len(text)
    assert b"\0\0" not in shown


def test_a_script_without_a_font_is_an_error_that_names_it(tmp_path: Path) -> None:
    packaged = [Path(manimgx_fonts.__file__).parent]
    for text, folders, script in (
        ("Hello", [tmp_path], "Latin"),
        ("Hello 直角", packaged, "Han"),
        ("བོད་ཡིག 😀 \ue000", pdf.FOLDERS, "Tibetan"),
    ):
        with pytest.raises(FontMissing, match=f"^No font for {script} is installed .* take docx") as caught:
            pdf.write(document(said(0, 1, text)), folders, system_fonts=False)
        assert caught.value.retry_after_s > 0


def test_only_symbols_are_replaced() -> None:
    text = "One \ue000 two \U0001fbff three 😀 four α\u20d7 five a\u064b b\u064b كتابًا"  # letters with foreign marks
    shown = pages(pdf.write(document(said(0, 1, text), title="α\u20d7"), system_fonts=False))
    assert in_order(shown, "α\ufffd", "One \ufffd two \ufffd three 😀 four α\ufffd five a\ufffd b\ufffd ")
    assert "\u064b" in shown


def test_hebrew_with_english_words_runs_both_ways() -> None:
    hebrew, english = "העליתי את הקובץ ל-", "GitHub docs"
    spoken = document(said(0, 2, f"{hebrew}{english} אתמול.", "דנה"), said(2, 3, "Hello.", "James"), language="he")
    written = word.Document(io.BytesIO(docx.write(spoken)))
    right, left = written.paragraphs[-3], written.paragraphs[-1]
    assert [(run.text, bool(run.font.rtl)) for run in right.runs] == [
        (hebrew, True),
        (english, False),
        (" אתמול.", True),
    ]
    assert right._p.xpath("w:pPr/w:bidi")
    assert not left._p.xpath("w:pPr/w:bidi")
    (defaults,) = written.styles.element.xpath("w:docDefaults/w:rPrDefault/w:rPr")
    assert defaults.find(qn("w:lang")).get(qn("w:bidi")) == "he"
    assert defaults.find(qn("w:rFonts")).get(qn("w:cs"))


def test_the_libraries_of_documents_stay_out_of_the_service() -> None:
    code = "import sys, api.formats.render; print({name.split('.')[0] for name in sys.modules} & {'docx', 'typst'})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_a_process_of_its_own_writes_the_same() -> None:
    broken = document(said(0, 1, "\ud800Well\x00.", "A\udfffnna"))
    assert asyncio.run(Renderer().write("pdf", MEETING)) == pdf.write(MEETING)
    assert "Well." in pages(asyncio.run(Renderer().write("pdf", broken)))
    assert asyncio.run(Renderer().write("csv", MEETING)) == EXPORTS["csv"].write(MEETING)


def test_what_is_wrong_in_the_other_process_is_said_here() -> None:
    with pytest.raises(FontMissing, match="No font for Han"):  # of an ideograph that not even fonts for scholars have
        asyncio.run(Renderer().write("pdf", document(said(0, 1, "\U0003134a"))))


def test_a_process_that_takes_too_much_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DocumentFailed, match="could not be made"):
        asyncio.run(Renderer(memory_bytes=64 << 20).write("pdf", MEETING))
    assert "pdf: status" in caplog.text
    before = psutil.Process().children()
    with pytest.raises(DocumentFailed, match="took more than"):
        asyncio.run(Renderer(timeout_s=0.01).write("pdf", MEETING))
    assert "pdf: not made" in caplog.text
    assert psutil.Process().children() == before


def test_few_run_at_once_and_none_goes_on_for_nobody() -> None:
    async def leave_three() -> int:
        renderer = Renderer(max_processes=1)
        writing = [asyncio.create_task(renderer.write("docx", MEETING)) for _ in range(3)]
        while not (running := [child for child in psutil.Process().children() if child not in before]):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        for child in running:
            child.suspend()  # by itself it would never end
        await asyncio.sleep(0.1)
        for task in writing:
            task.cancel()
        async with asyncio.timeout(20):
            await asyncio.gather(*writing, return_exceptions=True)
        return len(running)

    before = psutil.Process().children()
    assert asyncio.run(leave_three()) == 1
    assert psutil.Process().children() == before


def test_a_document_crosses_to_the_other_process_unchanged() -> None:
    packed = msgspec.msgpack.encode(printable(MEETING))
    assert msgspec.msgpack.decode(packed, type=Document) == printable(MEETING)
    assert clock(MEETING.transcript.duration) == "01:01:20"
