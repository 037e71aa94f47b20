"""Plain text: one line per segment."""

from __future__ import annotations

from api.speech import Transcript


def write(transcript: Transcript) -> bytes:
    return "".join(f"{segment.text}\n" for segment in transcript.segments).encode()
