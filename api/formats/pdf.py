"""PDF by Typst: shaped, bidirectional, tagged for screen readers.

Typst refuses to write PDF/UA with a character that no font has, and names it. So nothing is handed out with an empty
box where a letter should be: a script without a font is an error, and a lone symbol is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from unicodedata import category, name

import manimgx_fonts
import manimgx_fonts_cjk
import msgspec
import typst

from api.errors import DocumentFailed, FontMissing
from api.formats.document import FAINT, INK, NOTHING_SAID, Document, Page, Paragraph, page_of
from api.languages import base_of

TEMPLATE = Path(__file__).with_name("transcript.typ")
# Noto, under the SIL Open Font License, for the scripts of every language that Whisper knows, but for Tibetan.
FOLDERS = [Path(package.__file__).parent for package in (manimgx_fonts, manimgx_fonts_cjk)]
LATIN = "Noto Sans"
# One code point, several shapes: what is right in Chinese looks foreign in Japanese.
HAN = {"ja": "Noto Sans CJK JP", "ko": "Noto Sans CJK KR", "yue": "Noto Sans CJK HK", "zh": "Noto Sans CJK SC"}
REFUSED = re.compile(r'the text `"((?:[^"\\]|\\.)*)"` could not be displayed')
ESCAPED = re.compile(r"\\u\{([0-9a-f]+)\}|\\(.)")
INVISIBLE = re.compile("VARIATION SELECTOR|ZERO WIDTH|TAG ")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def write(document: Document, folders: Sequence[Path] = FOLDERS, *, system_fonts: bool = True) -> bytes:
    """Raises FontMissing where neither the folders nor the system have a font for a script in the document."""
    page = page_of(document)
    text = msgspec.json.encode(page).decode()
    fonts, replacements = _fonts_for(page, set(text), folders, system_fonts)
    text = text.translate(replacements)
    written, refused = _compile(text, page.language, fonts, document.created_at)
    if refused:
        # Each has a font, but none has both a letter and the mark of another script that stands on it.
        marks = {ord(character): REPLACEMENT for character in refused if category(character)[0] == "M"}
        clusters = f"[{''.join(map(re.escape, sorted(refused)))}]{{2,}}"
        text = re.sub(clusters, lambda cluster: cluster[0].translate(marks), text)
        written, refused = _compile(text, page.language, fonts, document.created_at)
    if refused:
        raise DocumentFailed(f"No font has all of {sorted(refused)} at once.")
    return written


def _fonts_for(
    page: Page, characters: set[str], folders: Sequence[Path], system_fonts: bool
) -> tuple[typst.Fonts, dict[int, str]]:
    """Fonts that have all of the characters, each by itself, but those to be replaced. Tried with nothing else."""
    one_by_one = tuple(Paragraph("", None, character, False) for character in sorted(characters))
    sample = replace(page, title="-", paragraphs=one_by_one, speakers={})
    text = msgspec.json.encode(sample).decode()
    # The system's fonts are looked at only where they are needed: a document is to be the same on every machine.
    for with_system_fonts in (False, True) if system_fonts else (False,):
        fonts = typst.Fonts(with_system_fonts, include_embedded_fonts=False, font_paths=list(folders))
        _, refused = _compile(text, page.language, fonts, timestamp=0)
        if not refused:
            break
    return fonts, _replacements(refused)


def _compile(text: str, language: str, fonts: typst.Fonts, timestamp: datetime | int) -> tuple[bytes, set[str]]:
    """The PDF, or the characters for which Typst refuses to write one."""
    if not fonts.families():  # then, and only then, it writes a page without a letter
        return b"", set(text)
    base = base_of(language)
    families = (HAN[base], LATIN) if base in HAN else (LATIN, HAN["zh"])
    layout = {
        "fonts": families,  # for all others Typst chooses one
        "lang": base if re.fullmatch("[a-z]{2,3}", base) else "en",
        "ink": INK,
        "faint": FAINT,
        "nothing": NOTHING_SAID,
    }
    try:
        return typst.compile(
            TEMPLATE,
            font_paths=fonts,
            sys_inputs={"page": text, "layout": msgspec.json.encode(layout).decode()},
            pdf_standards=["ua-1"],
            timestamp=timestamp.replace(microsecond=0) if isinstance(timestamp, datetime) else timestamp,
        ), set()
    except typst.TypstError as error:
        refused = REFUSED.findall(error.diagnostic)
        if not refused:
            raise
        return b"", set("".join(ESCAPED.sub(_unescaped, text) for text in refused))


def _unescaped(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 16)) if escaped[1] else escaped[2]


def _replacements(missing: set[str]) -> dict[int, str]:
    """What stands for symbols that cannot be printed. Raises FontMissing where there is a letter among them."""
    if letters := list(filter(_is_letter, missing)):
        script = name(min(letters, key=lambda letter: (not letter.isalpha(), letter))).split()[0].capitalize()
        raise FontMissing(
            f"No font for {'Han' if script == 'Cjk' else script} is installed on the server: "
            "install fonts-noto-core and fonts-noto-cjk (Debian), or take docx."
        )
    return {ord(symbol): "" if INVISIBLE.match(name(symbol, "")) else REPLACEMENT for symbol in missing}


def _is_letter(character: str) -> bool:
    """Marks count where they are a script's own. So does all of ASCII, in which the page's data is written."""
    return (
        character.isascii()
        or category(character)[0] in "LN"
        or (category(character) in {"Mn", "Mc"} and not re.match("COMBINING|VARIATION", name(character)))
    )
