"""WAV files of 16-bit PCM, written from the front to the back: the header says how long the rest will be."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from api.inference.base import Floats, Pcm

MEDIA_TYPE: Final = "audio/wav"
BYTES_PER_SAMPLE: Final = 2
MAX_BYTES: Final = 2**32 - 1
"""What the header can say of the file behind its first eight bytes."""
PCM: Final = 1  # WAVE_FORMAT_PCM
# Encoding, channels, frames and bytes a second, bytes a frame, bits a sample.
FORMAT: Final = struct.Struct("<HHIIHH")
FULL_SCALE: Final = 32767


def wav_header(rate_hz: int, channels: int, frames: int, info: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """What goes before so many frames of int16, little-endian, the samples of one or two channels in turn.

    `info` are words about the sound by their RIFF INFO ids (INAM a title, ICMT a comment, ISFT the software, …).
    Raises ValueError where the file would be longer than a WAV can be.
    """
    frame_bytes = channels * BYTES_PER_SAMPLE
    fmt = FORMAT.pack(PCM, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, 8 * BYTES_PER_SAMPLE)
    before = b"WAVE" + _chunk(b"fmt ", fmt) + _info(info)
    data_bytes = frames * frame_bytes
    size = len(before) + 8 + data_bytes
    if size > MAX_BYTES:
        raise ValueError(f"A WAV cannot have {size} bytes")
    return struct.pack("<4sI", b"RIFF", size) + before + struct.pack("<4sI", b"data", data_bytes)


def to_pcm(samples: Floats) -> Pcm:
    """-1 … 1 as int16; what is louder is as loud as can be."""
    scaled = np.rint(samples * FULL_SCALE)
    pcm: Pcm = np.clip(scaled, -FULL_SCALE, FULL_SCALE).astype("<i2")
    return pcm


def _info(info: Mapping[str, str]) -> bytes:
    """A LIST chunk, or nothing. Texts end with a NUL, and have none in them."""
    texts = b"".join(
        _chunk(name.encode("ascii"), text.replace("\0", " ").encode() + b"\0") for name, text in info.items() if text
    )
    return _chunk(b"LIST", b"INFO" + texts) if texts else b""


def _chunk(name: bytes, body: bytes) -> bytes:
    """Chunks begin at even places."""
    if len(name) != 4:
        raise ValueError(f"A RIFF id has four letters, not {name!r}")
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)
