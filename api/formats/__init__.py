"""Transcript → bytes: one small writer per format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from api.formats import json, subtitles, text
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
