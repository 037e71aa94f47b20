"""Any number of texts as requests to the text embedding, none of them large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

PORTION_TEXTS: Final = 32
"""More at once are no faster, and a lone question would wait longer behind them."""
PORTION_BYTES: Final = 256 * 1024
TEXT_CHARACTERS: Final = 8192
"""What lies behind is not sent. A sentence encoder reads 256 to 512 tokens, of about four characters in English."""


def portions(texts: Sequence[str]) -> Iterator[list[bytes]]:
    """All texts in their order, each cut at TEXT_CHARACTERS and in UTF-8."""
    portion: list[bytes] = []
    size = 0
    for text in texts:
        encoded = text[:TEXT_CHARACTERS].encode(errors="replace")  # half a surrogate pair has no UTF-8
        if portion and (len(portion) == PORTION_TEXTS or size + len(encoded) > PORTION_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(encoded)
        size += len(encoded)
    if portion:
        yield portion
