"""Live audio as telephones and browsers send it: μ-law or linear, at their own rates, cut anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from api.audio.resampling import FULL_SCALE, Resampler
from api.inference.base import Pcm

Encoding = Literal["linear", "mulaw"]
SAMPLE_BYTES: Final[dict[Encoding, int]] = {"linear": 2, "mulaw": 1}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """`linear` is signed 16-bit little-endian, `mulaw` that of G.711; one channel."""

    encoding: Encoding
    rate_hz: int


def _mu_law() -> Pcm:
    """Of each byte its sample. ITU-T G.711: the bits come inverted; they are a sign, an exponent of three and a
    mantissa of four, of a magnitude that 33 was added to. It has 14 bits there, and is moved up to 16 here."""
    bits = ~np.arange(256, dtype=np.int32)
    exponent, mantissa = (bits >> 4) & 7, bits & 15
    magnitude = ((2 * mantissa + 33) << exponent) - 33
    return (4 * np.where(bits & 0x80, -magnitude, magnitude)).astype(np.int16)


MU_LAW: Final = _mu_law()


class AudioReader:
    """Audio of one format becomes that of a session: signed 16-bit little-endian samples at `to_hz`."""

    def __init__(self, format_: AudioFormat, to_hz: int) -> None:
        self.format = format_
        self._rest = b""
        self._resampler = Resampler(format_.rate_hz, to_hz) if format_.rate_hz != to_hz else None

    def read(self, data: bytes) -> Iterator[bytes]:
        """The next bytes of the stream, any number; out come those of at most a second at a time. What is half a sample
        waits for its other half."""
        data, size = self._rest + data, SAMPLE_BYTES[self.format.encoding]
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        step = self.format.rate_hz * size
        for start in range(0, whole, step):
            samples = self._samples(data[start : min(whole, start + step)])
            if self._resampler is not None:
                samples = self._resampler.push((samples / np.float32(FULL_SCALE))[:, None])
            if len(samples):
                yield samples.astype("<i2", copy=False).tobytes()

    def flush(self) -> bytes:
        """The last of it; nothing more can be read."""
        return b"" if self._resampler is None else self._resampler.flush().astype("<i2", copy=False).tobytes()

    def _samples(self, data: bytes) -> Pcm:
        if self.format.encoding == "mulaw":
            return MU_LAW[np.frombuffer(data, dtype=np.uint8)]
        return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)
