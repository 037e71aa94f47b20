"""Plain text: one line per segment."""

from __future__ import annotations

from api.formats.translated import in_translation
from api.speech import Transcript


def write(transcript: Transcript) -> bytes:
    return "".join(f"{segment.text}\n" for segment in in_translation(transcript).segments).encode()
