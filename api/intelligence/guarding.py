"""What a language model wrote in the place of what was heard: taken over only where it says the same.

It may drop fillers, change punctuation, spaces and case, and write a name that it was told where something alike was
heard. All else leaves a segment as it was heard: a word where there was none, one that is gone, another number, day or
negation, another script, a placeholder of personal data that is changed. Not even one letter may be another: employer
and employee are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import compress, pairwise
from typing import Final
from unicodedata import category, name, normalize

from rapidfuzz.fuzz import ratio

from api.intelligence.guarded_words import FILLERS, FIXED, HESITATIONS
from api.languages import base_of
from api.sentences import words_of
from api.speech import Segment, Word, text_of

PUNCTUATION: Final = ".,;:!?…-–—‐'’‘\"“”„«»‹›¿¡。、！？，；：「」『』・।॥،؟؛"
MARKS: Final = str.maketrans("", "", PUNCTUATION)
NUMBER_ENDS: Final = ".,;:!?…'’‘\"“”„«»。、！？，；：।،؟؛"
"""Around a number; within it, and before it, marks mean something."""
SENTENCE_END: Final = re.compile(r"[.!?…।。！？]\W*$")
PLACEHOLDER: Final = re.compile(r"[\[<][A-Z_]+[\]>]")
SET_APART: Final = re.compile(r"[,.?!…،、，]\W*$|^$")
"""At its end something ends; so does what is before the first word."""
ADDRESS: Final = re.compile(r"@|\w\.[^\W\d_]{2}")
"""As example.com, in which marks mean something."""
LONE_DASH: Final = re.compile(r"\s*[-‐–—−]\s*")

CHANGED_SHARE: Final = 0.3
"""Of a segment's words, that may be written otherwise."""
FEWEST_CHANGED: Final = 2
"""May be, however short the segment is."""
MOST_TOGETHER: Final = 6
"""Words that one name is heard as."""
MOST_WORDS: Final = 400
SHORTEST_NAME_CHARS: Final = 4
LIKE_A_NAME: Final = 50.0
"""Of rapidfuzz' ratio, in percent: "exwhyzed farmer" and "XYZ Pharma" have 52, unrelated words 30 to 40."""
MUCH_LIKE_IT: Final = 75.0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words that may stand where something alike was heard: `names` surely are some, `likely` perhaps."""

    names: frozenset[str]
    likely: frozenset[str]

    @classmethod
    def of(cls, context: str, terms: Iterable[str]) -> Vocabulary:
        """Names are terms, and what has a capital within a sentence of the context. At the beginning of one all words
        have, and many scripts have none: those are likely."""
        names = {key for term in terms for key in map(_key, term.split())}
        likely = set[str]()
        for before, word in pairwise([".", *context.split()]):
            key = _key(word)
            if word == word.lower() != word.upper() or len(key) < SHORTEST_NAME_CHARS:
                continue
            (likely if word == word.upper() == word.lower() or SENTENCE_END.search(before) else names).add(key)
        return cls(frozenset(names - {""}), frozenset(likely - names))


@dataclass(frozen=True, slots=True)
class Unit:
    """Words of a segment that belong together, because the recogniser cut them where no space is; or one of several
    words, as a keyword may be."""

    text: str
    words: tuple[Word, ...]

    @property
    def key(self) -> str:
        return _key(self.text) or self.text.strip()

    def written(self, text: str) -> list[Word]:
        """In one piece, if it is not as it was."""
        if text == self.text:
            return list(self.words)
        first, last = self.words[0], self.words[-1]
        return [replace(first, text=text, end=last.end, probability=_mean(self.words))]


def refined(segment: Segment, answer: str, vocabulary: Vocabulary, language: str | None = None) -> Segment | None:
    """The segment in the words of the answer, each with the times and probability of what it stands for; None where the
    answer says anything else. `language` is the recording's, for a segment that has none of its own."""
    language = base_of(segment.language or language or "")
    text = " ".join(answer.split())
    if text == segment.text:
        return segment
    text = normalize("NFC", text)
    has_words = text_of(segment.words) == segment.text
    if segment.words and not has_words:
        return None
    if not text or len(text) > 2 * len(segment.text) + 40 or _specials(text) != _specials(segment.text):
        return None
    if PLACEHOLDER.findall(text) != PLACEHOLDER.findall(segment.text):
        return None
    if _fixed(segment.text, language) != _fixed(text, language):
        return None
    before = list(_units(segment, language))
    after = _with_phrases(words_of(text, language), before)
    if max(len(before), len(after)) > MOST_WORDS:
        return None
    words = _Guard(vocabulary, language).aligned(before, after)
    if words is None:
        return None
    leading = before[0].text[: len(before[0].text) - len(before[0].text.lstrip())]
    words[0] = replace(words[0], text=leading + words[0].text.lstrip())
    if text_of(words) != text:
        return None
    if not has_words:
        return replace(segment, text=text)
    return replace(segment, text=text, words=tuple(words), confidence=_mean(words))


class _Guard:
    def __init__(self, vocabulary: Vocabulary, language: str) -> None:
        self._vocabulary = vocabulary
        self._language = language
        self._changed = 0

    def aligned(self, before: Sequence[Unit], after: Sequence[str]) -> list[Word] | None:
        """The words that the answer consists of; None where one of them may not be."""
        keys = [_key(text) or text.strip() for text in after]
        words = list[Word]()
        texts = [unit.text for unit in before]
        said = [not self._may_go(unit, behind) for behind, unit in zip(["", *texts], before, strict=False)]
        matcher = SequenceMatcher(None, [unit.key for unit in before], keys, autojunk=False)
        for operation, i, end_i, j, end_j in matcher.get_opcodes():
            if operation == "equal":
                pairs = zip(before[i:end_i], after[j:end_j], strict=True)
                if any(_is_keyword(unit) and _core(unit.text) != _core(text) for unit, text in pairs):
                    return None
                for unit, text in zip(before[i:end_i], after[j:end_j], strict=True):
                    words += unit.written(text)
                continue
            heard = list(compress(before[i:end_i], said[i:end_i]))
            written = _without_lone_marks(after[j:end_j], words)
            if written is None or not self._may_stand_for(heard, written):
                return None
            words += _in_the_time_of(heard, written)
        return words if words and self._changed <= max(FEWEST_CHANGED, CHANGED_SHARE * sum(said)) else None

    def _may_go(self, unit: Unit, behind: str) -> bool:
        """A filler, which stands behind something; or marks alone, which nobody heard."""
        text, key = unit.text.strip(), _key(unit.text)
        if _is_keyword(unit) or not key:
            return not key and not _specials(text)
        if len(key) > 1 and text.translate(MARKS).isupper():
            return False  # the ER
        if key in HESITATIONS.get(self._language, ()):
            return SET_APART.search(text) is not None and SET_APART.search(behind) is not None
        filler = FILLERS.get(self._language)
        return filler is not None and filler.fullmatch(key) is not None

    def _may_stand_for(self, heard: Sequence[Unit], written: Sequence[str]) -> bool:
        if not heard or not written:
            return not heard and not written
        old, new = [unit.key for unit in heard], list(map(_key, written))
        if "".join(old).replace(" ", "") == "".join(new):
            return True  # spaces and hyphens
        if len(old) > MOST_TOGETHER or len(new) > MOST_TOGETHER or any(map(_is_keyword, heard)):
            return False
        self._changed += min(len(old), len(new))
        if len(old) == len(new) and all(self._is_like([one], [other]) for one, other in zip(old, new, strict=True)):
            return True
        return self._is_like(old, new)

    def _is_like(self, old: Sequence[str], new: Sequence[str]) -> bool:
        """What was heard is no name itself, and the new words are names that sound alike."""
        names, likely = self._vocabulary.names, self._vocabulary.likely
        heard, written = "".join(old), "".join(new)
        if heard == written:
            return True
        if names.intersection(old) or _specials(heard) or not _scripts(written) <= _scripts(heard):
            return False
        likeness, shorter = ratio(heard, written), min(len(heard), len(written))
        if shorter >= SHORTEST_NAME_CHARS and names.issuperset(new) and likeness >= LIKE_A_NAME:
            return True
        much_like_it = heard[0] == written[0] and likeness >= MUCH_LIKE_IT
        return shorter >= SHORTEST_NAME_CHARS and (names | likely).issuperset(new) and much_like_it


def _key(text: str) -> str:
    """What of a word may not change with its punctuation and case."""
    text = normalize("NFC", text.strip()).casefold()
    if ADDRESS.search(text) or any(category(character)[0] == "N" for character in text):
        return text.strip(NUMBER_ENDS)
    return text.translate(MARKS)


def _core(text: str) -> str:
    return text.strip().strip(PUNCTUATION)


def _is_keyword(unit: Unit) -> bool:
    return any(word.original is not None for word in unit.words)


def _specials(text: str) -> list[str]:
    """What is neither letter, mark, number, space nor punctuation, in its order: of markup, addresses, placeholders."""
    return [
        character
        for character in text
        if not (category(character)[0] in "LMN" or character.isspace() or character in PUNCTUATION)
    ]


def _fixed(text: str, language: str) -> list[str]:
    """Numbers, negations and days, in their order, and dashes that stand before numbers: they may be signs."""
    known = FIXED.get(language, frozenset[str]())
    fixed = list[str]()
    for before, word in pairwise(["", *words_of(text, language)]):
        for key in _parts(word):
            has_digits = any(category(character)[0] == "N" for character in key)
            fixed += ["-"] * (has_digits and LONE_DASH.fullmatch(before) is not None)
            fixed += [key] * (has_digits or key in known)
    return fixed


def _parts(word: str) -> list[str]:
    """Twenty-one has two, and so has it without the hyphen; -21 has one."""
    key = _key(word)
    if any(category(character)[0] == "N" for character in key):
        return [key]
    return [_key(part) for part in re.split("[-–‐]", word)]


def _scripts(text: str) -> set[str]:
    return {name(character, "").partition(" ")[0] for character in text if category(character)[0] in "LM"}


def _units(segment: Segment, language: str) -> Iterator[Unit]:
    """As fine as the cuts between words are where there are cuts between the text's words, too."""
    words = segment.words or tuple(
        Word(text, segment.start, segment.end, segment.confidence) for text in words_of(segment.text, language)
    )
    whole = "".join(word.text for word in words)
    cuts, at = set[int](), 0
    for text in words_of(whole, language):
        cuts.add(at)
        at += len(text)
    held, at = list[Word](), 0
    for word in words:
        if held and at in cuts:
            yield _unit(held)
            held = []
        held.append(word)
        at += len(word.text)
    if held:
        yield _unit(held)


def _unit(words: Sequence[Word]) -> Unit:
    return Unit("".join(word.text for word in words), tuple(words))


def _with_phrases(texts: Sequence[str], units: Sequence[Unit]) -> list[str]:
    """Words that are one unit of several words, as one."""
    phrases = {tuple(map(_key, unit.text.split())) for unit in units if len(unit.text.split()) > 1}
    joined, place = list[str](), 0
    while place < len(texts):
        longest = max(
            (len(phrase) for phrase in phrases if tuple(map(_key, texts[place : place + len(phrase)])) == phrase),
            default=1,
        )
        joined.append("".join(texts[place : place + longest]))
        place += longest
    return joined


def _without_lone_marks(texts: Sequence[str], before: list[Word]) -> list[str] | None:
    """Marks that stand by themselves belong to the word before them; None where there is none."""
    joined = list[str]()
    for text in texts:
        if _key(text):
            joined.append(text)
        elif joined:
            joined[-1] += text
        elif before:
            before[-1] = replace(before[-1], text=before[-1].text + text)
        else:
            return None
    return joined


def _in_the_time_of(heard: Sequence[Unit], written: Sequence[str]) -> list[Word]:
    if not heard:
        return []
    if len(heard) == 1:
        return heard[0].written("".join(written))
    if len(heard) == len(written):
        return [word for unit, text in zip(heard, written, strict=True) for word in unit.written(text)]
    words = [word for unit in heard for word in unit.words]
    start, end, share = words[0].start, words[-1].end, 1 / len(written)
    edges = [start + (end - start) * place * share for place in range(len(written))]
    return [
        Word(text, min(begin, end), min(until, end), _mean(words))
        for text, begin, until in zip(written, edges, [*edges[1:], end], strict=True)
    ]


def _mean(words: Sequence[Word]) -> float:
    return sum(word.probability for word in words) / len(words)
