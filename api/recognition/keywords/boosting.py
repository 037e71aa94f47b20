"""Keywords in the place of words that were hardly understood and sound like them.

Spans of words are compared with every term; of matches that overlap, those are taken that explain the most together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import sqrt
from typing import Final

from api.recognition.keywords.matching import Spoken, Term, difference, likeliest, spoken, terms_of
from api.recognition.keywords.sounds import heard_as, letters
from api.recognition.keywords.terms import Keyword
from api.speech import Segment, Word, is_spoken, text_of

SURE: Final = 0.85
"""A word of this probability is what was said."""
LONGEST_PAUSE_S: Final = 0.5
"""Within a term. So long a pause ends a phrase of live speech, too."""
JOINERS: Final = frozenset({"", "-", "‐", "–"})
SPELT: Final = JOINERS | {".", ",", ".,"}
"""What may stand behind a letter that is spelt out."""
POSSESSIVE: Final = ("'s", "’s", "'S", "’S")


class Heard:
    """A word, and what it is compared by. `behind` begins with the 's of a possessive, which `stem` is without."""

    def __init__(self, word: Word) -> None:
        text = word.text
        spoken = [place for place, character in enumerate(text) if is_spoken(character)] or [len(text)]
        start, end = spoken[0], min(len(text), spoken[-1] + 1)
        self.word = word
        self.letters = letters(text)
        self.spelling, self.sound = heard_as(self.letters)
        self.before, self.after = text[:start].strip(), text[end:].strip()
        if text[start:end].endswith(POSSESSIVE) and end - start > len("'s"):
            end -= len("'s")
        self.lead, self.core, self.behind = text[:start], text[start:end], text[end:]
        self.stem = letters(self.core)
        self.is_fixed = word.probability >= SURE or word.original is not None

    def leads_to(self, other: Heard) -> bool:
        """Both may be parts of one term."""
        allowed = SPELT if len(self.letters) == 1 else JOINERS
        pause_s = other.word.start - self.word.end
        return pause_s <= LONGEST_PAUSE_S and self.after in allowed and other.before in JOINERS


@dataclass(frozen=True)
class Span:
    """Words of a phrase, by their places."""

    phrase: int
    start: int
    end: int


@dataclass(frozen=True)
class Change:
    """Words of a phrase, by their places, and what is written instead of them."""

    start: int
    end: int
    words: Sequence[Word]


@dataclass(frozen=True)
class Match:
    """`gain` is what the term explains of its span: as many of its letters as may be different, less those that are."""

    start: int
    end: int
    gain: float
    changes: Sequence[Change]


def boosted(segments: Sequence[Segment], keywords: Sequence[Keyword]) -> list[Segment]:
    """The segments with keywords in the place of words that were hardly understood and sound like them.

    Each segment is one speaker's; no keyword reaches from one into the next, or over a long pause. A word of which the
    recogniser was sure stays as it is.
    """
    terms = terms_of(keywords)
    phrases = [[Heard(word) for word in segment.words] for segment in segments] if terms else []
    matches = defaultdict[int, list[Match]](list)
    for span, term in _candidates(phrases, terms):
        match = _match(phrases[span.phrase], span, term)
        if match is not None:
            matches[span.phrase].append(match)
    return [_rewritten(segment, _best(matches[place])) for place, segment in enumerate(segments)]


def _candidates(phrases: Sequence[Sequence[Heard]], terms: Sequence[Term]) -> Iterator[tuple[Span, Term]]:
    """Spans and what they may be."""
    if not terms:
        return
    most_words = max(term.most_words for term in terms)
    most_letters = 2 * max(len(term.letters) for term in terms)
    exact = {term.letters for term in terms}
    places = defaultdict[Spoken, list[Span]](list)
    for phrase, words in enumerate(phrases):
        for start in range(len(words)):
            before, spelling, sounds, is_fixed = "", "", "", True
            for end in range(start, min(len(words), start + most_words)):
                word = words[end]
                goes_on = end == start or words[end - 1].leads_to(word)
                if not word.letters or len(before) > most_letters or not goes_on:
                    break
                is_fixed = is_fixed and word.is_fixed
                if not is_fixed or before + word.stem in exact:
                    last = heard_as(word.stem)
                    places[spelling + last[0], sounds + last[1]].append(Span(phrase, start, end + 1))
                before, spelling, sounds = before + word.letters, spelling + word.spelling, sounds + word.sound
    spans = list(places)
    for place, term in likeliest(spans, terms):
        for span in places[spans[place]]:
            yield span, terms[term]


def _match(phrase: Sequence[Heard], span: Span, term: Term) -> Match | None:
    """None where the term is too different, or a word would change that must not."""
    words = phrase[span.start : span.end]
    if len(words) > term.most_words:
        return None
    keys = [*(word.letters for word in words[:-1]), words[-1].stem]
    changes, cost = list[Change](), 0.0
    stretches = list(_stretches(keys, term.keys))
    confirmed = any(keys[start:end] == term.keys[from_:to] for start, end, from_, to in stretches)
    for start, end, from_, to in stretches:
        if start == end or from_ == to:
            return None  # a part of the term was not heard at all, or something was said in the midst of it
        heard, said = "".join(keys[start:end]), "".join(term.keys[from_:to])
        if heard != said:
            unsure = 1 - sum(word.word.probability for word in words[start:end]) / (end - start)
            different = difference(spoken(keys[start:end]), spoken(term.keys[from_:to])) * len(said)
            if different >= term.tolerated(len(said), confirmed=confirmed) * sqrt(max(unsure, 0)):
                return None
            cost += different
        if not any(word.is_fixed for word in words[start:end]):
            written = _written(term, from_, to, words[0].core)
            if heard != said or [word.core for word in words[start:end]] != written:
                lead = " " if start else words[0].lead
                behind = words[-1].behind if end == len(words) else ""
                new = _replaced([word.word for word in words[start:end]], written, lead, behind, heard != said)
                changes.append(Change(span.start + start, span.start + end, new))
        elif heard != said:
            return None
    return Match(span.start, span.end, term.tolerated(len(term.letters)) - cost, changes)


def _stretches(heard: Sequence[str], said: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Words of both that belong together, by their places: two that are equal, or all that differ between those."""
    from rapidfuzz.distance import Levenshtein

    at = to = 0
    equal = [
        (block.src_start + step, block.dest_start + step)
        for block in Levenshtein.opcodes(heard, said)
        if block.tag == "equal"
        for step in range(block.src_end - block.src_start)
    ]
    for place, same in [*equal, (len(heard), len(said))]:
        if at < place or to < same:
            yield at, place, to, same
        if place < len(heard):
            yield place, place + 1, same, same + 1
        at, to = place + 1, same + 1


def _written(term: Term, start: int, end: int, heard: str) -> list[str]:
    """Words of the term. One that is in small letters throughout gets a capital where there was one."""
    words = term.words[start:end]
    if start == 0 and heard[0].isupper() and term.keyword.term.islower():
        return [words[0][0].upper() + words[0][1:], *words[1:]]
    return words


def _replaced(heard: Sequence[Word], written: Sequence[str], lead: str, behind: str, is_audible: bool) -> list[Word]:
    """With the times of what was heard: word by word where they are as many, else by their lengths."""
    start, end = heard[0].start, heard[-1].end
    if len(heard) == len(written):
        times = [(word.start, word.end) for word in heard]
    else:
        *lengths, length = accumulate(map(len, written), initial=0)
        times = list(pairwise([*(min(end, start + (end - start) * before / length) for before in lengths), end]))
    probability = sum(word.probability for word in heard) / len(heard)
    original = text_of(heard) if is_audible else None
    words = [Word(f" {text}", *time, probability, original) for text, time in zip(written, times, strict=True)]
    words[0] = replace(words[0], text=lead + written[0])
    return [*words[:-1], replace(words[-1], text=words[-1].text + behind)]


def _best(matches: Sequence[Match]) -> list[Match]:
    """Those without overlaps that gain the most together; of equals, the fewest."""
    by_end = defaultdict[int, list[Match]](list)
    for match in matches:
        by_end[match.end].append(match)
    best: list[tuple[float, int, list[Match]]] = [(0.0, 0, [])]
    for end in range(1, max(by_end, default=0) + 1):
        choices = [best[-1]]
        for match in by_end[end]:
            gain, fewer, chosen = best[match.start]
            choices.append((gain + match.gain, fewer - 1, [*chosen, match]))
        best.append(max(choices, key=lambda choice: choice[:2]))
    return best[-1][2]


def _rewritten(segment: Segment, matches: Sequence[Match]) -> Segment:
    """Without what does not change, `matches` in their order."""
    changes = [change for match in matches for change in match.changes]
    if not changes:
        return segment
    words, at = list[Word](), 0
    for change in changes:
        words += [*segment.words[at : change.start], *change.words]
        at = change.end
    words += segment.words[at:]
    return replace(segment, text=text_of(words), words=tuple(words))
