"""What is talked about: key phrases, those first that are near to what the whole is about (as KeyBERT ranks them)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from api.inference.contracts import KeyPhrase
from api.intelligence.grammar import GRAMMARS
from api.intelligence.grammar.base import PLAIN
from api.intelligence.ranking import Floats, select
from api.intelligence.source import WORD

MOST_PHRASE_CHARS: Final = 40
LEAST_PHRASE_CHARS: Final = 3
ENOUGH_MENTIONS: Final = 4
NEARNESS, PLACE, FREQUENCY = 0.35, 0.35, 0.2
TERM, FRAGMENT = 0.1, -0.1
"""Several words are a term where they come together again, or one is a name; else rather a piece of a sentence."""
LEAST_SHARE = 0.55
"""Of the best topic's score."""
DIVERSITY: Final = 0.4
LINKS: Final = frozenset({"of", "de", "del"})


@dataclass(frozen=True, slots=True)
class Phrase:
    """`place` is from 1, the best of its list, down to 0; `sentences` are those that have it, in order."""

    text: str
    place: float
    sentences: tuple[int, ...]

    @property
    def words(self) -> frozenset[str]:
        return frozenset(word.casefold() for word in WORD.findall(self.text))


def phrases_of(
    lists: Sequence[Sequence[KeyPhrase]], texts: Sequence[str], language: str, no: Collection[str]
) -> list[Phrase]:
    """The phrases of all lists that may be topics, without repetition; `no` are names of speakers."""
    folded = [text.casefold() for text in texts]
    best = dict[str, tuple[float, str]]()
    for phrases in lists:
        for rank, phrase in enumerate(phrases):
            key, place = phrase.text.casefold(), 1 - rank / len(phrases)
            if may_be_topic(phrase.text, language, no) and place > best.get(key, (-1.0, ""))[0]:
                best[key] = place, phrase.text
    found = [Phrase(text, place, _naming(key, folded)) for key, (place, text) in best.items()]
    return [phrase for phrase in found if phrase.sentences]


def may_be_topic(text: str, language: str, no: Collection[str] = ()) -> bool:
    words = [word.casefold() for word in WORD.findall(text.translate(PLAIN))]
    grammar = GRAMMARS.get(language)
    stop = grammar.stop_words if grammar else frozenset[str]()
    names = {part.casefold() for name in no for part in name.split()}
    return (
        LEAST_PHRASE_CHARS <= len(text) <= MOST_PHRASE_CHARS
        and bool(words)
        and stop.isdisjoint([words[0], words[-1], *(word for word in words if word not in LINKS)])
        and not names.issuperset(words)
        and any(character.isalpha() for character in text)
        and not (grammar and grammar.no_topic.search(text.translate(PLAIN)))
        and not re.search(r"[<>\[\]{}|*_`#\\/:;?!\n]", text)
    )


def _naming(folded_phrase: str, folded: Sequence[str]) -> tuple[int, ...]:
    whole = re.compile(rf"(?<!\w){re.escape(folded_phrase)}(?!\w)")
    return tuple(at for at, text in enumerate(folded) if folded_phrase in text and whole.search(text))


def rank(phrases: Sequence[Phrase], vectors: Mapping[str, Floats], centre: Floats) -> list[tuple[Phrase, float]]:
    """With a score from 0 to 1, the best first. `centre` is of what it shall be near to, of unit length."""
    if not phrases:
        return []
    nearness = np.array([float(vectors[phrase.text] @ centre) for phrase in phrases])
    spread = max(float(np.ptp(nearness)), 1e-9)
    scores = [
        NEARNESS * (near - nearness.min()) / spread
        + PLACE * phrase.place
        + FREQUENCY * min(len(phrase.sentences), ENOUGH_MENTIONS) / ENOUGH_MENTIONS
        + _form(phrase)
        for near, phrase in zip(nearness, phrases, strict=True)
    ]
    order = sorted(range(len(phrases)), key=lambda place: (-scores[place], place))
    return [(phrases[place], float(np.clip(scores[place], 0, 1))) for place in order]


def _form(phrase: Phrase) -> float:
    if len(phrase.words) < 2:
        return 0.0
    is_name = any(word[0].isupper() for word in phrase.text.split()[1:])
    return TERM if is_name or len(phrase.sentences) > 1 else FRAGMENT


def distinct(
    ranked: Sequence[tuple[Phrase, float]], vectors: Mapping[str, Floats], most: int
) -> list[tuple[Phrase, float]]:
    """Those of them that say something different each; none whose words are all in another's."""
    if not ranked:
        return []
    matrix = np.stack([vectors[phrase.text] for phrase, _ in ranked])
    scores = np.array([score for _, score in ranked], np.float32)
    chosen = list[tuple[Phrase, float]]()
    weak = np.flatnonzero(scores < LEAST_SHARE * scores.max()).tolist()
    for place in select(matrix, scores, len(ranked), diversity=DIVERSITY, without=weak):
        words = ranked[place][0].words
        if len(chosen) < most and not any(words <= other.words or other.words <= words for other, _ in chosen):
            chosen.append(ranked[place])
    return chosen
