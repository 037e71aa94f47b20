"""Pieces of speech as one, without a click where they meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import numpy as np

from api.inference.base import Floats

CROSS_FADE_S: Final = 0.15
"""As F5-TTS' own inference has it."""


async def joined(pieces: AsyncIterator[Floats], fade: int) -> AsyncIterator[Floats]:
    """The same sound in blocks, where each piece begins while the one before it ends: `fade` samples long, or half of
    the shorter one.

    The fade is linear: what sounds there lies between the two pieces at every moment, so it is never louder than both.
    """
    held = np.zeros(0, dtype=np.float32)  # the end of what was there, which the next piece may fade into
    async for piece in pieces:
        overlap = min(held.size, piece.size // 2)
        hold = min(fade, piece.size // 2)
        rising = np.arange(1, overlap + 1, dtype=np.float32) / (overlap + 1)
        before, after = held[: held.size - overlap], held[held.size - overlap :]
        yield np.concatenate([before, after + rising * (piece[:overlap] - after), piece[overlap : piece.size - hold]])
        held = piece[piece.size - hold :]
    yield held
