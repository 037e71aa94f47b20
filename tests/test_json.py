"""The public JSON: what is always there, what only where it was asked for, and transcripts kept by earlier versions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from api.formats import FORMATS
from api.formats.json import write, write_verbose
from api.speech import LanguageDetection, Segment, Transcript, Word

OF_AN_EARLIER_VERSION = b"""{
    "language": "en", "language_probability": 0.98, "duration": 1.5, "model": "small", "speakers": ["Speaker 1"],
    "warnings": [], "id": null, "translated_into": null,
    "segments": [{
        "start": 0.1, "end": 0.6, "text": "Hello", "confidence": 0.9, "avg_logprob": -0.1, "no_speech_prob": 0.0,
        "compression_ratio": 1.0, "speaker": "Speaker 1", "translation": null,
        "words": [{"text": " Hello", "start": 0.1, "end": 0.6, "probability": 0.9}]
    }]
}"""
HEARD = Segment(0.0, 0.5, "Acme", 0.9, (Word(" Acme", 0.0, 0.5, 0.4, "akmi"),), -0.1, 0.0, 1.0, language="en")
SPANISH = replace(HEARD, text="hola", words=(Word(" hola", 0.0, 0.5, 0.9),), language="es", snr_db=12.34)
WORD = {"word": "hola", "start": 0.0, "end": 0.5, "speaker": None}


def transcript(*segments: Segment, **fields: Any) -> Transcript:
    return Transcript("en", 0.9, 1.0, segments, "small", **fields)


def read(body: bytes) -> Any:
    return json.loads(body)


def test_what_was_not_asked_for_is_not_there() -> None:
    segment = read(write(transcript(replace(SPANISH, language="en"))))["segments"][0]
    assert segment == {
        "start": 0.0, "end": 0.5, "text": "hola", "speaker": None, "confidence": 0.9, "words": [WORD]
    }  # fmt: skip


def test_keywords_and_languages_show() -> None:
    first, second = read(write(transcript(HEARD, SPANISH)))["segments"]
    assert (first["language"], second["language"]) == ("en", "es")
    assert first["words"] == [
        {"word": "Acme", "start": 0.0, "end": 0.5, "speaker": None, "boosted": True, "original": "akmi"}
    ]
    assert second["words"] == [WORD]


def test_verbose_json_has_everything() -> None:
    detection = LanguageDetection(False, ("en", "es"), 3)
    body = read(write_verbose(transcript(HEARD, SPANISH, snr_db=9.87, detection=detection)))
    assert body["languages"] == ["en", "es"]
    assert body["language_detection"] == {"given": False, "candidates": ["en", "es"], "calls": 3}
    assert (body["snr_db"], body["too_noisy"]) == (9.9, False)
    assert [(one["language"], one["code_switch"], one["snr_db"]) for one in body["segments"]] == [
        ("en", False, None), ("es", False, 12.3)
    ]  # fmt: skip
    assert body["words"] == [
        WORD | {"word": "Acme", "boosted": True, "original": "akmi", "probability": 0.4},
        WORD | {"probability": 0.9},
    ]


def test_a_transcript_of_an_earlier_version_is_read_and_written() -> None:
    kept = msgspec.json.decode(OF_AN_EARLIER_VERSION, type=Transcript)  # as api/transcripts/library.py does
    verbose = read(write_verbose(kept))
    assert (verbose["snr_db"], verbose["language_detection"], verbose["languages"]) == (None, None, [])
    assert "boosted" not in verbose["words"][0]
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Transcript) == kept


@pytest.mark.parametrize("format_", [name for name, format_ in FORMATS.items() if not format_.is_json])
def test_every_other_format_writes_the_keyword(format_: str) -> None:
    written = FORMATS[format_].write(transcript(HEARD)).decode()
    assert "Acme" in written
    assert "akmi" not in written
