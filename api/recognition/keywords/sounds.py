"""How alike two spellings are to the ear: by their letters, and by the classes of sounds that these stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from unicodedata import normalize

from api.speech import is_spoken

ACCENTS: Final = re.compile("[\u0300-\u036f]")
WITHOUT_ACCENT: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ə": "a"}
)

SPELLINGS: Final = {
    r"^[kgp](?=n)": "",
    r"^w(?=r)": "",
    r"^p(?=[st])": "",
    r"^x": "s",
    r"ph": "f",
    r"(?<=[aeiou])gh(?![aeiouy])": "",
    r"(?<=[bdgkrtw])h": "",
    r"ck|c(?![eiyh])|qu(?=[ei])|q": "k",
    r"c(?=[eiy])|z": "s",
    r"x": "ks",
    r"y": "i",
    r"w": "v",
}
"""Letters that sound alike as one of them, and none for those that are not heard. The Latin alphabet in many languages
at once: no rule is right in all of them, but both sides of a comparison go by the same."""
SOUNDS: Final = {
    r"tsch|tch|sch|ch|sh|ts|[szcj]|g(?=[ei])": "S",
    r"[kg]": "K",
    r"[bpfv]": "P",
    r"[dt]": "T",
    r"l": "L",
    r"[mn]": "N",
    r"r": "R",
    r"h": "",
    r"[aeiou]+": "A",
}
"""Of such spellings: classes of consonants much as in Soundex (Russell 1918), and one for all vowels."""

UNSPACED: Final = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
"""Characters of scripts that are written without spaces, where a recogniser's words are but a few characters."""
TWICE: Final = re.compile(r"([a-z])\1+", re.IGNORECASE)


def letters(text: str) -> str:
    """Only what is spoken of it, without case and without the accents of European scripts."""
    plain = ACCENTS.sub("", normalize("NFKD", text.casefold()))
    return "".join(filter(is_spoken, normalize("NFC", plain))).translate(WITHOUT_ACCENT)


def _respelled(rules: Mapping[str, str]) -> Callable[[str], str]:
    rule = re.compile("|".join(f"({pattern})" for pattern in rules))
    replacements = tuple(rules.values())
    return lambda word: TWICE.sub(r"\1", rule.sub(lambda match: replacements[(match.lastindex or 1) - 1], word))


_spelling, _sound = _respelled(SPELLINGS), _respelled(SOUNDS)


@lru_cache(maxsize=10_000)
def heard_as(word: str) -> tuple[str, str]:
    """A word, as `letters` gives it, in one spelling for all that sound alike, and the classes of its sounds. What is
    not in Latin letters stays as it is."""
    spelling = _spelling(word)
    return spelling, _sound(spelling)
