"""DOCX, to be read and edited in a word processor, which brings the fonts."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import accumulate, groupby
from typing import Final
from unicodedata import bidirectional

import docx
from docx.document import Document as WordDocument
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.oxml.xmlchemy import BaseOxmlElement
from docx.shared import Cm, Pt, RGBColor
from docx.styles.style import ParagraphStyle
from docx.text.paragraph import Paragraph

from api.formats.document import FAINT, INK, NOTHING_SAID, Document, Page, page_of
from api.languages import base_of

LABELS_CM = 2.4
TITLE_CHARS = 255  # of the title in the properties of a file
# A word processor has three fonts and languages, and chooses by the characters: Latin, East Asian, and "complex", which
# is all that is shaped or written from right to left. The fonts are those that come with Office.
LATIN = "Calibri"
EAST_ASIAN: Final = {"ja": "Yu Gothic", "ko": "Malgun Gothic", "yue": "Microsoft JhengHei", "zh": "Microsoft YaHei"}
COMPLEX: Final = {
    **dict.fromkeys(("ar", "fa", "he", "ps", "sd", "ur", "yi"), "Arial"),
    **dict.fromkeys(("as", "bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "sa", "si", "ta", "te"), "Nirmala UI"),
    **dict.fromkeys(("km", "lo", "th"), "Leelawadee UI"),
}
STRONG: Final = {"L": False, "R": True, "AL": True}


def write(document: Document) -> bytes:
    page = page_of(document)
    word = docx.Document()
    _set_up(word, page, document)

    _write(_paragraph(word, _style(word, "Title", 21, after_pt=14, bold=True), page.title_rtl), page.title)
    fact = _style(word, "Fact", 10.5, after_pt=2)
    fact.paragraph_format.left_indent = Cm(LABELS_CM)
    fact.paragraph_format.first_line_indent = Cm(-LABELS_CM)
    for name, value in page.facts.items():
        _small(_paragraph(word, fact, page.rtl), f"{name}\t").add_run(value)
    if len(page.speakers) > 1:
        legend = _small(_paragraph(word, fact, page.rtl), "Speakers")
        for number, (name, colour) in enumerate(page.speakers.items()):
            legend.add_run("   " if number else "\t")
            _write(legend, name, colour)
    word.paragraphs[-1].paragraph_format.space_after = Pt(20)

    turn = _style(word, "Turn", 10.5, after_pt=1)
    turn.paragraph_format.keep_with_next = True
    said = _style(word, "Said", 10.5, after_pt=11)
    if not page.paragraphs:
        _write(_paragraph(word, said, rtl=False), NOTHING_SAID)
    for paragraph in page.paragraphs:
        head = _paragraph(word, turn, paragraph.rtl)
        if paragraph.speaker:
            _write(head, paragraph.speaker, page.speakers[paragraph.speaker])
            head.add_run("   ")
        _small(head, paragraph.time)
        _write(_paragraph(word, said, paragraph.rtl), paragraph.text)

    file = io.BytesIO()
    word.save(file)
    return file.getvalue()


def _set_up(word: WordDocument, page: Page, document: Document) -> None:
    properties = word.core_properties
    properties.title, properties.language = page.title[:TITLE_CHARS], page.language
    properties.author = properties.comments = properties.last_modified_by = ""
    properties.created = properties.modified = document.created_at

    defaults = word.styles.element.xpath("w:docDefaults/w:rPrDefault/w:rPr")[0]
    defaults.clear()
    base = base_of(page.language)
    east_asian, complex_ = EAST_ASIAN.get(base, EAST_ASIAN["zh"]), COMPLEX.get(base, "Arial")
    _append(defaults, "rFonts", ascii=LATIN, hAnsi=LATIN, eastAsia=east_asian, cs=complex_)
    kind = "eastAsia" if base in EAST_ASIAN else "bidi" if base in COMPLEX else "val"
    _append(defaults, "lang", **{"val": "en-GB", kind: page.language})

    section = word.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(2.3)
    footer = section.footer.paragraphs[0]
    footer.alignment = WD_ALIGN_PARAGRAPH.CENTER
    _append(footer._p, "fldSimple", instr="PAGE")


def _style(word: WordDocument, name: str, size_pt: float, *, after_pt: float, bold: bool = False) -> ParagraphStyle:
    """The style of that name, new or as if it were; sizes and weight hold for complex scripts, too."""
    style = word.styles[name] if name in word.styles else word.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
    assert isinstance(style, ParagraphStyle)
    properties = style.element.get_or_add_rPr()
    properties.clear()
    for weight in ("b", "bCs") if bold else ():
        _append(properties, weight)
    _append(properties, "color", val=INK[1:])
    _append_size(properties, size_pt)
    style.element.get_or_add_pPr().clear()
    style.paragraph_format.space_after = Pt(after_pt)
    style.paragraph_format.line_spacing = 1.2
    return style


def _paragraph(word: WordDocument, style: ParagraphStyle, rtl: bool) -> Paragraph:
    paragraph = word.add_paragraph()
    paragraph._p.style = style.style_id  # what `style=` does takes longer than all the rest
    if rtl:
        _append(paragraph._p.get_or_add_pPr(), "bidi")
    return paragraph


def _write(paragraph: Paragraph, text: str, colour: str | None = None) -> None:
    """In runs of one direction each, as a word processor wants them; a name is bold and in its colour."""
    base = paragraph._p.pPr is not None and bool(paragraph._p.pPr.xpath("w:bidi"))
    for rtl, characters in groupby(zip(_directions(text, base), text, strict=True), key=lambda pair: pair[0]):
        run = paragraph.add_run("".join(character for _, character in characters))
        if colour:
            run.font.bold = run.font.cs_bold = True
            run.font.color.rgb = RGBColor.from_string(colour[1:])
        if rtl:
            run.font.rtl = True


def _directions(text: str, base: bool) -> list[bool]:
    """Right to left or not. What has no direction takes that around it, where both sides agree (UAX 9, N1 and N2)."""
    strong = [STRONG.get(bidirectional(character)) for character in text]
    before, after = _carried(strong, base), _carried(reversed(strong), base)[::-1]
    return [one if one == other else base for one, other in zip(before, after, strict=True)]


def _carried(strong: Iterable[bool | None], base: bool) -> list[bool]:
    return list(accumulate(strong, lambda last, this: last if this is None else this, initial=base))[1:]


def _small(paragraph: Paragraph, text: str) -> Paragraph:
    run = paragraph.add_run(text)
    run.font.color.rgb = RGBColor.from_string(FAINT[1:])
    _append_size(run._r.get_or_add_rPr(), 8.5)
    return paragraph


def _append_size(properties: BaseOxmlElement, size_pt: float) -> None:
    for script in ("sz", "szCs"):
        _append(properties, script, val=f"{2 * size_pt:g}")  # in half points


def _append(parent: BaseOxmlElement, tag: str, **attributes: str) -> None:
    """The caller minds the order: the schema has one."""
    element = OxmlElement(f"w:{tag}")
    for name, value in attributes.items():
        element.set(qn(f"w:{name}"), value)
    parent.append(element)
