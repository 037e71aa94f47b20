"""Any number of texts as requests to a model, none of them large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Portion:
    """How large a request may be. Of each text, what lies behind `characters` is not sent."""

    texts: int
    characters: int
    size: int = 256 * 1024


# More at once are no faster, and a lone question would wait longer behind them.
EMBEDDED: Final = Portion(32, 8192)  # a sentence encoder reads 256 to 512 tokens, of about four characters in English
TRANSLATED: Final = Portion(16, 8192)


def portions(texts: Sequence[str], most: Portion) -> Iterator[list[bytes]]:
    """All texts in their order, in UTF-8."""
    portion: list[bytes] = []
    size = 0
    for text in texts:
        encoded = text[: most.characters].encode(errors="replace")  # half a surrogate pair has no UTF-8
        if portion and (len(portion) == most.texts or size + len(encoded) > most.size):
            yield portion
            portion, size = [], 0
        portion.append(encoded)
        size += len(encoded)
    if portion:
        yield portion
