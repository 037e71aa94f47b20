"""eSpeak NG in this process: text in, samples and the times of its words out.

The library comes from the package espeakng-loader. It keeps its state in globals, so one process has one `Espeak`.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE_HZ = 16_000
# From speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
CHARS_UTF8 = 1
EVENT_END, EVENT_WORD = 0, 1
RATE, PITCH, PITCH_RANGE, WORD_GAP = 1, 3, 4, 7

Floats = npt.NDArray[np.float32]


class SpeechError(Exception):
    """eSpeak NG refused a voice or a text."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # counted from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class Manner:
    """How to speak: words a minute, pitch and its range from 0 to 99, the gap between words in 10 ms."""

    rate: int = 175
    pitch: int = 50
    pitch_range: int = 50
    gap: int = 0


class Espeak:
    """Speaks with the built-in voices and with the `variants` given, name by text of the variant file."""

    def __init__(self, data: Path, variants: Mapping[str, str]) -> None:
        """`data` is a new folder for the library's own files, to which the variants are added."""
        shutil.copytree(espeakng_loader.get_data_path(), data / "espeak-ng-data")
        for name, text in variants.items():
            (data / "espeak-ng-data" / "voices" / "!v" / name).write_text(text)
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), 0)
        if rate <= 0:
            raise SpeechError(f"eSpeak NG does not start with its data in {data}.")
        self._rate_hz = int(rate)
        self._samples: list[npt.NDArray[np.int16]] = []
        self._words: dict[int, float] = {}
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        # The library keeps only the address, so the object must live as long as it.
        self._callback = kind(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, manner: Manner) -> tuple[Floats, dict[int, float]]:
        """Samples (n,) at 16 kHz, and for the words that eSpeak reports: index of the first character → start in s."""
        self._samples.clear()
        self._words.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechError(f"eSpeak NG has no voice {voice}.")
        for parameter, value in (
            (RATE, manner.rate),
            (PITCH, manner.pitch),
            (PITCH_RANGE, manner.pitch_range),
            (WORD_GAP, manner.gap),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if not self._samples:
            raise SpeechError(f"eSpeak NG had nothing to say for {text!r} with the voice {voice}.")
        samples = np.concatenate(self._samples).astype(np.float32) / 32768
        return soxr.resample(samples, self._rate_hz, SAMPLE_RATE_HZ), dict(self._words)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != EVENT_END:
            event = events[index]
            if event.type == EVENT_WORD and event.length > 0:
                self._words[event.text_position - 1] = event.audio_position / 1000
            index += 1
        return 0
