"""Text out of tokens while they come, such that the pieces together are what decoding all tokens at once would give."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

REPLACEMENT = "\ufffd"  # what decoders write for bytes that are no character, or no whole one yet


class Detokenizer:
    """One answer's. A token is decoded with some before it, because where a text begins decoders drop a space.

    `byte_tokens` are those of tokenizers that spell rare characters as <0xE2><0x82><0xAC>: what a row of them says is
    known at its end.
    """

    def __init__(self, tokenizer: Any, byte_tokens: Container[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._byte_tokens = byte_tokens
        self._before: list[int] = []  # decoded and given out; what follows is decoded behind them
        self._tokens: list[int] = []

    def push(self, token: int) -> str:
        """What this token adds; nothing while it ends within a character."""
        self._tokens.append(token)
        # A token without a text of its own ends no row of bytes, and what follows it is no beginning.
        if token in self._byte_tokens or not self._decode([token]):
            return ""
        text = self._new_text()
        if text.endswith(REPLACEMENT):
            return ""
        self._before, self._tokens = self._tokens, []
        return text

    def rest(self) -> str:
        """What was held back, at the end."""
        return self._new_text()

    def _new_text(self) -> str:
        return self._decode(self._before + self._tokens)[len(self._decode(self._before)) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
