"""Which language each part of a recording is in, from what a model says of single phrases: pure.

A model is sure of the language of a long phrase and guesses that of a short one; so a switch needs evidence. It is
gathered as CUSUM does (Page 1954, "Continuous inspection schemes"): each phrase adds its duration for the language that
it sounds like and takes it from all others, less of it the less sure the model is. bench/languages.py compared the
ways to weigh that: by the square of the log odds, short phrases in noise do not count, and long ones do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import name

from api.inference.base import Floats
from api.recognition.chunking import FRAME_S, FULL_WINDOWS, Span, frames
from api.recognition.scripts import IN_LATIN
from api.speech import Segment

PAUSE = frames(0.13)
"""Where one phrase may end and another begin."""
SHORTEST_PHRASE, LONGEST_PHRASE = frames(0.6), frames(6)
"""Shorter ones say too little of their language, longer ones may be in two."""
CERTAIN = 1 - 1e-6
FEWEST_LETTERS = 2
FEWEST_LATIN_LETTERS = 3


@dataclass(frozen=True, slots=True)
class SwitchPolicy:
    """There is another language after so much speech that is so probably in it. The less probable, the more speech it
    takes, as the square of the log odds: with these 0.8 s at 0.98, 2.5 s at 0.9 and no end of it at 0.5."""

    probability: float = 0.98
    speech_s: float = 0.8


@dataclass(frozen=True, slots=True)
class Phrase:
    """Frames of a window, how much of them is speech, and the probabilities of its likeliest languages."""

    span: Span
    speech_s: float
    probabilities: Mapping[str, float]

    @property
    def language(self) -> str:
        return max(self.probabilities, key=lambda language: self.probabilities[language])

    @property
    def probability(self) -> float:
        return self.probabilities[self.language]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Phrases next to each other that are in one language."""

    language: str
    phrases: tuple[Phrase, ...]

    @property
    def span(self) -> Span:
        return Span(self.phrases[0].span.start, self.phrases[-1].span.end)


class LanguageTrack:
    """The language of a stream, phrase by phrase in their order; `language` is that of the last one."""

    def __init__(self, policy: SwitchPolicy) -> None:
        self._policy = policy
        self.language: str | None = None
        self._held_s = 0.0
        self._evidence_s: dict[str, float] = {}

    def decide(self, phrases: Sequence[Phrase]) -> list[str]:
        """The language of each of the next phrases. A switch is where the evidence for it begins, in these phrases."""
        decided: list[str] = []
        begun: dict[str, int] = {}
        for index, phrase in enumerate(phrases):
            if self.language is None:
                self.language = _commonest(phrases)
            decided.append(self.language)
            self._weigh(phrase)
            for language in [*begun]:
                if language not in self._evidence_s:
                    del begun[language]
            for language in self._evidence_s:
                begun.setdefault(language, index)
            found = self._found()
            if found is not None:
                decided[begun[found] :] = [found] * (len(decided) - begun[found])
                self.language, self._held_s = found, self._evidence_s[found]
                self._evidence_s.clear()
                begun.clear()
        return decided

    def would_be(self, phrase: Phrase) -> str:
        """What `decide` would say of a next phrase."""
        trial = LanguageTrack(self._policy)
        trial.language, trial._held_s, trial._evidence_s = self.language, self._held_s, dict(self._evidence_s)
        return trial.decide([phrase])[0]

    def restrict(self, languages: Iterable[str]) -> None:
        """From here on it is one of these, if there are any."""
        allowed = set(languages)
        if allowed and self.language not in allowed:
            self.language, self._held_s = None, 0.0
        if allowed:
            self._evidence_s = {known: s for known, s in self._evidence_s.items() if known in allowed}

    def _weigh(self, phrase: Phrase) -> None:
        for language in {*self._evidence_s, *phrase.probabilities}:
            weight_s = phrase.speech_s * self._sureness(phrase.probabilities.get(language, 0.0))
            if language == self.language:
                self._held_s = min(self._policy.speech_s, self._held_s + max(0.0, weight_s))
                continue
            evidence_s = self._evidence_s.get(language, 0.0) + weight_s
            if evidence_s > 0:
                self._evidence_s[language] = evidence_s
            else:
                self._evidence_s.pop(language, None)

    def _sureness(self, probability: float) -> float:
        """From -1, surely not, to 1, at the policy's probability; 0 where it is as likely as not."""
        bounded = min(max(probability, 1 - CERTAIN), CERTAIN)
        threshold = math.log(self._policy.probability / (1 - self._policy.probability))
        share = min(max(math.log(bounded / (1 - bounded)) / threshold, -1.0), 1.0)
        return share * abs(share)

    def _found(self) -> str | None:
        """A language with enough evidence. While little was heard in any, no more is needed than there is for it."""
        if not self._evidence_s:
            return None
        likeliest = max(self._evidence_s, key=lambda language: self._evidence_s[language])
        enough_s = min(self._policy.speech_s, self._held_s)
        return likeliest if self._evidence_s[likeliest] >= enough_s else None


def _commonest(phrases: Sequence[Phrase]) -> str:
    shares: Counter[str] = Counter()
    for phrase in phrases:
        for language, probability in phrase.probabilities.items():
            shares[language] += phrase.speech_s * probability  # type: ignore[assignment]
    return shares.most_common(1)[0][0]


def stretches(phrases: Sequence[Phrase], languages: Sequence[str]) -> list[Stretch]:
    """The phrases, each in its language, joined where neighbours share one."""
    found: list[Stretch] = []
    for phrase, language in zip(phrases, languages, strict=True):
        if found and found[-1].language == language:
            found[-1] = Stretch(language, (*found[-1].phrases, phrase))
        else:
            found.append(Stretch(language, (phrase,)))
    return found


def speech_s(activity: Floats) -> float:
    """How long somebody speaks in these frames; never 0, for somebody was heard."""
    return max(1, int((activity >= FULL_WINDOWS.onset).sum())) * FRAME_S


def phrase_spans(activity: Floats) -> list[Span]:
    """A window's phrases, which cover all of it; each ends in the middle of a pause, or where speech is weakest."""
    spoken = [part for run in _joined(_runs(activity)) for part in _short(run, activity)]
    cuts = [(one.end + other.start) // 2 for one, other in pairwise(spoken)]
    return [Span(start, end) for start, end in zip([0, *cuts], [*cuts, len(activity)], strict=True)]


def _runs(activity: Floats) -> list[Span]:
    """Speech with no pause in it."""
    runs: list[Span] = []
    for frame, probability in enumerate(activity.tolist()):
        if probability < FULL_WINDOWS.offset:
            continue
        if runs and frame - runs[-1].end < PAUSE:
            runs[-1] = Span(runs[-1].start, frame + 1)
        else:
            runs.append(Span(frame, frame + 1))
    return runs


def _joined(runs: list[Span]) -> list[Span]:
    """Those that are too short joined with a neighbour, across the shortest pauses first."""
    runs = list(runs)
    while len(runs) > 1:
        pauses = [
            (runs[place + 1].start - runs[place].end, place)
            for place in range(len(runs) - 1)
            if _belong_together(runs[place], runs[place + 1])
        ]
        if not pauses:
            break
        _, place = min(pauses)
        runs[place : place + 2] = [Span(runs[place].start, runs[place + 1].end)]
    return runs


def _belong_together(one: Span, other: Span) -> bool:
    if other.end - one.start > LONGEST_PHRASE:
        return False
    return min(one.end - one.start, other.end - other.start) < SHORTEST_PHRASE


def _short(span: Span, activity: Floats) -> list[Span]:
    """The span, cut where speech is weakest as long as it is too long."""
    if span.end - span.start <= LONGEST_PHRASE:
        return [span]
    middle = range(span.start + LONGEST_PHRASE // 4, span.end - LONGEST_PHRASE // 4)
    centre = (span.start + span.end) / 2
    cut = min(middle, key=lambda frame: (float(activity[frame]), abs(frame - centre)))
    return [*_short(Span(span.start, cut), activity), *_short(Span(cut, span.end), activity)]


def has_another_script(segment: Segment) -> bool:
    """Some of its words are not in the letters of its language. Where those are not Latin, an abbreviation may be."""
    if segment.language is None:
        return False
    latin = segment.language in IN_LATIN
    for word in segment.text.split():
        letters = [character for character in word if character.isalpha()]
        in_latin = [name(letter, "").startswith("LATIN") for letter in letters]
        if latin and len(letters) >= FEWEST_LETTERS and not any(in_latin):
            return True
        if not latin and len(letters) >= FEWEST_LATIN_LETTERS and all(in_latin) and not word.isupper():
            return True
    return False
