"""The voice to clone: some seconds of it, and what is said in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import numpy as np

from api.audio.media import DecoderLimits, announced_s, decode
from api.errors import InvalidRequest, UnreadableMedia
from api.inference.base import Pcm
from api.telemetry.stages import place

SHORTEST_S: Final = 3.0
LONGEST_S: Final = 10.0
TOLERANCE_S: Final = 0.1
"""What an encoder may add to 10 s, or an editor take off 3 s."""
LEVEL_FRAME_S: Final = 0.02
LOUDEST_SHARE: Final = 0.05
SILENCE_DBFS: Final = -42.0
"""What F5-TTS' own inference takes for silence when it trims a reference."""
SLOWEST_BYTES_PER_S: Final = 3.0
FASTEST_BYTES_PER_S: Final = 80.0
"""Of UTF-8. People speak some 15 of them in a second of English or Chinese, and 40 of Hindi."""
RIGHT: Final = f"send {SHORTEST_S:g} to {LONGEST_S:g} s of one voice"


@dataclass(frozen=True, slots=True)
class Reference:
    pcm: Pcm
    rate_hz: int
    text: str

    @property
    def seconds(self) -> float:
        return self.pcm.size / self.rate_hz

    def bytes_per_s(self) -> float:
        """How fast the voice speaks. Raises InvalidRequest where it cannot be what is said."""
        speed = len(self.text.encode()) / self.seconds
        if not SLOWEST_BYTES_PER_S <= speed <= FASTEST_BYTES_PER_S:
            shown = self.text if len(self.text) <= 60 else f"{self.text[:60]}…"
            raise InvalidRequest(
                f"In {self.seconds:.1f} s of reference nobody says just this: {shown!r}. Send what is said in it, word "
                "for word, as reference_text, or a reference that is speech from its beginning to its end."
            )
        return speed


async def read_voice(source: int, rate_hz: int, limits: DecoderLimits, decoders: asyncio.Semaphore) -> Pcm:
    """The open file `source` at `rate_hz`; no more of it is decoded than a reference may be long.

    Raises UnreadableMedia, InvalidRequest.
    """
    most = round((LONGEST_S + TOLERANCE_S) * rate_hz)
    blocks, size = list[Pcm](), 0
    async with place("turn", decoders):
        async with decode(source, limits, rate_hz=rate_hz) as audio:
            async for block in audio.blocks:
                blocks.append(block)
                size += block.size
                if size > most:
                    break
        if size > most:
            whole_s = await announced_s(source, limits) or 0.0
            length = f"{whole_s:.1f} s long" if whole_s > LONGEST_S else f"longer than {LONGEST_S:g} s"
            raise UnreadableMedia(f"The reference is {length}; {RIGHT}.")
    if size < (SHORTEST_S - TOLERANCE_S) * rate_hz:
        raise UnreadableMedia(f"The reference is {size / rate_hz:.1f} s long; {RIGHT}.")
    pcm = np.concatenate(blocks)
    if level_dbfs(pcm, rate_hz) < SILENCE_DBFS:
        raise UnreadableMedia(f"The reference is silent; {RIGHT}.")
    return pcm


def level_dbfs(pcm: Pcm, rate_hz: int) -> float:
    """Of the loudest parts, a twentieth of all: clicks and pauses make no difference. A constant is no sound."""
    frame = round(LEVEL_FRAME_S * rate_hz)
    frames = pcm[: pcm.size // frame * frame].reshape(-1, frame).astype(np.float32) / 32768
    levels = frames.std(axis=1)
    return float(20 * np.log10(np.quantile(levels, 1 - LOUDEST_SHARE) + 1e-9))
