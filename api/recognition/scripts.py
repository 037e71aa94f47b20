"""Each language in its own script: Hindi that was heard in Latin letters, Latin that was heard in Devanagari.

A word in Latin letters is Hindi if it reads like one of the commonest Hindi words; all others stay, for they may be
English or a name. The other way there is nothing to decide: who reads a Latin-written language reads no Devanagari.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, NamedTuple

from api.languages import base_of
from api.recognition.romanization import romanized
from api.speech import Segment, text_of

IN_DEVANAGARI: Final = frozenset({"hi", "mr", "ne", "sa", "mai", "bho", "kok", "doi"})
IN_LATIN: Final = frozenset({
    "en", "de", "es", "fr", "pt", "tr", "pl", "ca", "nl", "sv", "it", "id", "fi", "vi", "ms", "cs", "ro", "da", "no",
    "hr", "lt", "la", "mi", "cy", "sk", "lv", "az", "sl", "et", "br", "eu", "is", "bs", "sq", "sw", "gl", "sn", "yo",
    "so", "af", "oc", "uz", "fo", "ht", "tk", "nn", "mt", "lb", "tl", "mg", "haw", "ln", "ha", "jw", "su",
})  # fmt: skip
DEVANAGARI: Final = re.compile("[\u0900-\u097f](?:[\u0900-\u097f\u200c\u200d]*[\u0900-\u097f])?")
WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
LATIN: Final = re.compile("[a-z]+", re.IGNORECASE)
LEXICON: Final = Path(__file__).with_name("hindi.toml")
SENTENCE_ENDS: Final = frozenset({"", ".", "?", "!", "।"})
CH: Final = re.compile("(?:c|ch)*chh?")

Reading = Literal["hindi", "either", "other"]


def in_own_script(segments: Sequence[Segment], terms: Sequence[str] = ()) -> list[Segment]:
    """Segments in languages that are written in Devanagari or in Latin letters; others are as they were. So are
    keywords that stand in a word's place, and the words of `terms`."""
    kept = frozenset(word.casefold() for term in terms for word in term.split())
    return [_segment(segment, kept) for segment in segments]


def _segment(segment: Segment, kept: Collection[str]) -> Segment:
    language = base_of(segment.language or "")
    if language in IN_DEVANAGARI and LATIN.search(segment.text):
        write = _in_devanagari
    elif language in IN_LATIN and DEVANAGARI.search(segment.text):
        write = _in_latin
    else:
        return segment
    if text_of(segment.words) != segment.text:
        return replace(segment, text=" ".join(write(segment.text.split(), kept, frozenset())))
    keywords = frozenset(place for place, word in enumerate(segment.words) if word.original is not None)
    texts = write([word.text for word in segment.words], kept, keywords)
    words = tuple(replace(word, text=text) for word, text in zip(segment.words, texts, strict=True))
    return replace(segment, text=text_of(words), words=words)


def _in_latin(texts: Sequence[str], kept: Collection[str], keywords: Collection[int]) -> list[str]:
    return [
        text
        if place in keywords or _core(text) in kept
        else DEVANAGARI.sub(lambda found: romanized(found[0]) or found[0], text)
        for place, text in enumerate(texts)
    ]


def _in_devanagari(texts: Sequence[str], kept: Collection[str], keywords: Collection[int]) -> list[str]:
    cores = [_core(text) for text in texts]
    readings: list[Reading] = [
        "other" if place in keywords or core in kept else _reading(text, core, before[-1:] in SENTENCE_ENDS)
        for place, (before, text, core) in enumerate(zip(["", *texts], texts, cores, strict=False))
    ]
    return [
        LATIN.sub(_lexicon().words[_folded(core)], text, count=1) if reading == "hindi" else text
        for text, core, reading in zip(texts, cores, _decided(readings), strict=True)
    ]


def _reading(text: str, core: str, is_first: bool) -> Reading:
    """Of one word in Latin letters; whatever else it is stays. A capital is that of a name, but for that of a
    sentence's first word, which says nothing."""
    if not LATIN.fullmatch(core) or core in _lexicon().english or _folded(core) not in _lexicon().words:
        return "other"
    has_capital = any(map(str.isupper, text))
    if core in _lexicon().ambiguous or has_capital:
        return "either" if is_first or not has_capital else "other"
    return "hindi"


def _decided(readings: Sequence[Reading]) -> list[Reading]:
    """What can be either is Hindi between Hindi words in Latin letters, or between one and the segment's border."""
    decided = list[Reading]()
    for reading, run in groupby(readings):
        length = sum(1 for _ in run)
        end = len(decided) + length
        around = {*readings[max(0, len(decided) - 1) : len(decided)], *readings[end : end + 1]}
        decided += ["hindi" if reading == "either" and around == {"hindi"} else reading] * length
    return decided


def _core(text: str) -> str:
    """Its only word, in lower case; nothing where it has several."""
    words = WORD.findall(text)
    return words[0].casefold() if len(words) == 1 else ""


class Lexicon(NamedTuple):
    """`words` are in Devanagari, by how they are written in Latin letters, folded."""

    words: dict[str, str]
    english: frozenset[str]
    ambiguous: frozenset[str]


@cache
def _lexicon() -> Lexicon:
    data = tomllib.loads(LEXICON.read_text(encoding="utf-8"))
    words = dict[str, str]()
    for word in data["common"].split():
        words.setdefault(_folded(romanized(word)), word)
    for word, spellings in data["spellings"].items():
        words.update((_folded(latin), word) for latin in spellings.split())
    return Lexicon(words, frozenset(data["english"].split()), frozenset(data["ambiguous"].split()))


def _folded(latin: str) -> str:
    """What people spell now so, now so: aap, ap; wala, vala; accha, achchha, acha."""
    return CH.sub("ch", latin.replace("aa", "a").replace("w", "v"))
