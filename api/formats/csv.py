"""One row a segment, for spreadsheets: RFC 4180, with the mark by which Excel knows UTF-8."""

from __future__ import annotations

import csv
import io
import re

from api.speech import Transcript

HEADER = ("segment", "start", "end", "speaker", "text", "confidence")
# What a spreadsheet may run as a formula, at the start of a cell and behind what it may take for the end of one (where
# commas are decimal marks, Excel splits at semicolons), with anything invisible before it. OWASP, "CSV Injection".
FORMULA = re.compile(
    r"(^|[;\t\r\n])(?=[\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2060\ufeff\"]*[=+\-@＝＋－＠])|^(?=[\t\r\n])"
)


def write(transcript: Transcript) -> bytes:
    table = io.StringIO(newline="")
    rows = csv.writer(table, lineterminator="\r\n")
    is_translated = transcript.translated_into is not None
    rows.writerow((*HEADER, "translation") if is_translated else HEADER)
    rows.writerows(
        (
            number,
            f"{segment.start:.2f}",
            f"{segment.end:.2f}",
            harmless(segment.speaker or ""),
            harmless(segment.text),
            f"{segment.confidence:.3f}",
            *([harmless(segment.translation or "")] if is_translated else []),
        )
        for number, segment in enumerate(transcript.segments, start=1)
    )
    return table.getvalue().encode("utf-8-sig", errors="ignore")  # the errors are lone surrogates


def harmless(text: str) -> str:
    return FORMULA.sub(r"\1'", text)
