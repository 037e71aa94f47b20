"""Sentences of the demo speech grammar with their translations, and which of them no training sees."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export_scripts.demo.speech.grammar import ENGLISH, SPANISH, is_held_out
from export_scripts.demo.translation.agreement import capitalised, realise
from export_scripts.demo.translation.phrases import TO_ENGLISH, TO_SPANISH, Forms

# Pieces of sentences, as live speech and headings have them.
PIECES: Mapping[str, Forms] = {
    "the <thing>": "el»la <thing>",
    "the <quality> <thing>": "el»la <quality:2> <thing> <quality>",
    "the <thing> and the <thing>": "el»la <thing> y el»la <thing#2>",
    "my <thing>": "mi <thing>",
    "your <thing>": "tu <thing>",
    "<day>": "<day>",
    "in <month>": "en <month>",
    "<number>": "<number>",
    "<name>": "<name>",
    "yesterday": "ayer",
}
ENGLISH_SHARE = 0.6
"""Of the sentences, are ones of the English grammar; the others are of the much smaller Spanish one."""
PIECES_SHARE = 0.04
REFERENCE = re.compile(r"<([a-z ]+)(?:#(\d))?(?::(\d))?>")
ONE_WAY = "*"
"""Before a word that another one of the same meaning is translated back from."""


@dataclass(frozen=True)
class Pair:
    """`source` is in `language`, `target` in the other one."""

    language: str
    source: str
    target: str

    @property
    def other_language(self) -> str:
        return "es" if self.language == "en" else "en"


@dataclass(frozen=True)
class _Expansion:
    source: str
    forms: tuple[str, ...]


def training_pair(rng: random.Random) -> Pair:
    """Never one with a text on either side that `is_held_out` keeps for measuring."""
    while True:
        if rng.random() < PIECES_SHARE:
            pair = _turned(rng, *_piece(rng))
        elif rng.random() < ENGLISH_SHARE:
            pair = _turned(rng, *english_sentence(rng))
        else:
            pair = _of_spanish(rng)
        if not any(map(is_held_out, (pair.source, pair.target))):
            return pair


def held_out_pair(language: str, rng: random.Random) -> Pair:
    """A sentence of the language's speech grammar, of two words or more, that no training ever saw."""
    while True:
        if language == "en":
            source, target, _ = english_sentence(rng)
        else:
            source, _, target = spanish_sentence(rng)
        if is_held_out(source) and " " in source:
            return Pair(language, source, target)


def held_out_translation(rng: random.Random) -> Pair:
    """The Spanish of a sentence that no training saw in English, to be translated back."""
    while True:
        english, spanish, both_ways = english_sentence(rng)
        if both_ways and is_held_out(english) and " " in english:
            return Pair("es", spanish, english)


def english_sentence(rng: random.Random) -> tuple[str, str, bool]:
    """A sentence of the English grammar, its translation, and whether that would be translated back so."""
    return _finished(_expand("sentence", ENGLISH, TO_SPANISH, rng))


def spanish_sentence(rng: random.Random) -> tuple[str, str, str]:
    """A sentence of the Spanish grammar, the same with right agreement, and in English."""
    expansion = _expand("sentence", SPANISH, TO_ENGLISH, rng)
    right, english = map(realise, expansion.forms)
    return capitalised(expansion.source), right, english


def _of_spanish(rng: random.Random) -> Pair:
    spoken, right, english = spanish_sentence(rng)
    kind = rng.random()
    if kind < 0.5:
        return Pair("es", spoken, english)
    return Pair("es", right, english) if kind < 0.7 else Pair("en", english, right)


def _piece(rng: random.Random) -> tuple[str, str, bool]:
    expansion = _expand("piece", {**ENGLISH, "piece": tuple(PIECES)}, {**TO_SPANISH, "piece": PIECES}, rng)
    return _finished(expansion)


def _finished(expansion: _Expansion) -> tuple[str, str, bool]:
    spanish = expansion.forms[0]
    return capitalised(expansion.source), realise(spanish.replace(ONE_WAY, "")), ONE_WAY not in spanish


def _turned(rng: random.Random, english: str, spanish: str, both_ways: bool) -> Pair:
    return Pair("es", spanish, english) if both_ways and rng.random() < 0.5 else Pair("en", english, spanish)


def _expand(
    slot: str, grammar: Mapping[str, Sequence[str]], translations: Mapping[str, Mapping[str, Forms]], rng: random.Random
) -> _Expansion:
    """An alternative of the slot, with all that is in it, and each of its forms in the other language."""
    alternative = rng.choice(grammar[slot])
    parts: dict[tuple[str, int], _Expansion] = {}

    def source(reference: re.Match[str]) -> str:
        number = 1
        while (reference[1], number) in parts:
            number += 1
        parts[reference[1], number] = _expand(reference[1], grammar, translations, rng)
        return parts[reference[1], number].source

    def form(reference: re.Match[str]) -> str:
        return parts[reference[1], int(reference[2] or 1)].forms[int(reference[3] or 0)]

    of_source = REFERENCE.sub(source, alternative)
    forms = translations[slot][alternative]
    return _Expansion(
        of_source, tuple(REFERENCE.sub(form, of_form) for of_form in ((forms,) if isinstance(forms, str) else forms))
    )
