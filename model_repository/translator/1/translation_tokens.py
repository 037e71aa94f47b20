"""Text to the tokens that the model was trained to read, with the one of the target language before them, and back.

weights/tokenizer.json has no control tokens (see export_scripts/translator.py), so no text can have one in it: "<2fr>"
in a text is read as the five characters that it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer


class Layout(msgspec.Struct, frozen=True):
    """tokens.json: a source is `lead`, the token of the target language, those of the text, `end`."""

    languages: dict[str, int]
    lead: list[int]
    end: int
    control: list[int]
    """What a translation may have in it that stands for no text."""


class Tokens:
    def __init__(self, weights: Path) -> None:
        self._tokenizer: Any = Tokenizer.from_file(str(weights / "tokenizer.json"))
        self._layout = msgspec.json.decode((weights / "tokens.json").read_bytes(), type=Layout)
        self._control = frozenset(self._layout.control)
        self.languages = list(self._layout.languages)

    def encode(self, text: str) -> list[int]:
        """Nothing where there is nothing to read in it."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def source(self, tokens: list[int], target: str) -> list[int]:
        """Raises KeyError for a target that is none of `languages`."""
        return [*self._layout.lead, self._layout.languages[target], *tokens, self._layout.end]

    def decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode([token for token in tokens if token not in self._control])
        return text.strip()
