"""Transcript → bytes: one small writer per format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from api.formats import csv, json, subtitles, text
from api.formats.document import Document
from api.speech import Transcript


@dataclass(frozen=True, slots=True)
class Format:
    """How a transcript is written, and whether that needs the words' times."""

    media_type: str
    write: Callable[[Transcript], bytes]
    needs_words: bool = True

    @property
    def is_json(self) -> bool:
        return self.media_type == "application/json"


_TEXT = Format("text/plain", text.write, needs_words=False)

FORMATS: Final[dict[str, Format]] = {
    "json": Format("application/json", json.write),
    "verbose_json": Format("application/json", json.write_verbose),
    "txt": _TEXT,
    "text": _TEXT,
    "srt": Format("application/x-subrip; charset=utf-8", subtitles.write_srt),
    "vtt": Format("text/vtt", subtitles.write_vtt),
}


@dataclass(frozen=True, slots=True)
class Export:
    """How a stored transcript is written. One that is written `apart` costs too much for the API's own process."""

    media_type: str
    extension: str
    write: Callable[[Document], bytes]
    apart: bool = False


# Their libraries are imported where the document is written: in a process of its own, see render.py.
def _write_docx(document: Document) -> bytes:
    from api.formats import docx

    return docx.write(document)


def _write_pdf(document: Document) -> bytes:
    from api.formats import pdf

    return pdf.write(document)


WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

EXPORTS: Final[dict[str, Export]] = {
    "txt": Export("text/plain", "txt", lambda document: text.write(document.transcript)),
    "srt": Export(FORMATS["srt"].media_type, "srt", lambda document: subtitles.write_srt(document.transcript)),
    "vtt": Export("text/vtt", "vtt", lambda document: subtitles.write_vtt(document.transcript)),
    "json": Export("application/json", "json", lambda document: json.write_verbose(document.transcript)),
    "csv": Export("text/csv", "csv", lambda document: csv.write(document.transcript)),
    "docx": Export(WORD, "docx", _write_docx, apart=True),
    "pdf": Export("application/pdf", "pdf", _write_pdf, apart=True),
}
