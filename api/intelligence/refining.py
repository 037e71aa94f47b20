"""Transcripts gone over by a language model that is told what a recording is about: names, fillers, punctuation, case.

What it answers is let through segment by segment by the guard (guarding.py). Segments that it does not let through, and
those that the model never came to, stay as they were heard.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.base import LanguageModel
from api.inference.contracts import Message
from api.intelligence import prompts
from api.intelligence.context import Part, clipped, parts, tokens
from api.intelligence.guarding import Vocabulary, refined
from api.intelligence.safety import UNSEEN
from api.intelligence.source import Sentence, Source
from api.intelligence.writing import Writer, each
from api.speech import Segment, Transcript

log = logging.getLogger(__name__)

MOST_CONTEXT_CHARS: Final = 4000
KNOWN_SHARE: Final = 6
"""Of the model's context, what is known about the recording has a sixth; half of that the terms, if there are many."""
MOST_TERMS: Final = 30
LONGEST_TERM_CHARS: Final = 100
GROUP_TOKENS: Final = 600
"""Small models lose count of the lines of more."""
MOST_GROUPS: Final = 120
"""Of one transcript: some 40,000 words of English."""
LONGER_ANSWER: Final = 1.5
"""Than the lines that it corrects: by what the tokens of either are estimated wrong."""
SPARE_TOKENS: Final = 50
TRANSCRIPT_TIMEOUT_S: Final = 300.0
SEGMENT_TIMEOUT_S: Final = 10.0
LINE: Final = re.compile(r"^[ \t]*\[(\d{1,4})\][ \t]*(.*?)[ \t\r]*$", re.MULTILINE)

NOT_REFINED: Final = "The transcript was not refined."
PARTLY_REFINED: Final = "Not all of the transcript was refined."


@dataclass(frozen=True, slots=True)
class Told:
    """About a recording, by whoever sent it."""

    context: str
    terms: tuple[str, ...]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, context: str, terms: Sequence[str]) -> Told:
        context = UNSEEN.sub("", context[:MOST_CONTEXT_CHARS])
        shown = tuple(" ".join(UNSEEN.sub("", term).split())[:LONGEST_TERM_CHARS] for term in terms[:MOST_TERMS])
        return cls(context, shown, Vocabulary.of(context, shown))


class Refiner:
    """For one caller. Nothing that the model does wrong is raised, and neither that it is away: what it was asked about
    last then stays as it was, and `failure` says why."""

    def __init__(
        self,
        language_model: LanguageModel,
        context_tokens: int,
        *,
        transcript_timeout_s: float = TRANSCRIPT_TIMEOUT_S,
        segment_timeout_s: float = SEGMENT_TIMEOUT_S,
    ) -> None:
        self.failure: str | None = None
        self._writer = Writer(language_model, context_tokens)
        self._known_tokens = context_tokens // KNOWN_SHARE
        self._transcript_timeout_s = transcript_timeout_s
        self._segment_timeout_s = segment_timeout_s

    async def transcript(self, transcript: Transcript, context: str, terms: Sequence[str] = ()) -> Transcript:
        """With a warning where the model did not come to all of it."""
        told = Told.of(context, terms)
        segments = await self._refined(transcript.segments, told, transcript.language, self._transcript_timeout_s)
        warnings = transcript.warnings
        if self.failure is not None:
            nothing = segments == transcript.segments
            warnings = (*warnings, f"{NOT_REFINED if nothing else PARTLY_REFINED} {self.failure}")
        return replace(transcript, segments=segments, warnings=warnings)

    async def segment(self, segment: Segment, context: str, terms: Sequence[str] = ()) -> Segment:
        (refined_one,) = await self._refined(
            (segment,), Told.of(context, terms), segment.language, self._segment_timeout_s
        )
        return refined_one

    async def _refined(
        self, segments: tuple[Segment, ...], told: Told, language: str | None, timeout_s: float
    ) -> tuple[Segment, ...]:
        self.failure = None
        by_place = dict(enumerate(segments))
        try:
            groups = self._groups(segments, told)
            if len(groups) > MOST_GROUPS:
                self.failure = "It is too long for that."
            async with asyncio.timeout(timeout_s):
                await each(partial(self._go_over, by_place, told, language), groups[:MOST_GROUPS])
        except TimeoutError:
            self.failure = f"The language model did not come to the end within {timeout_s:g} s."
        except (InferenceFailed, InferenceUnavailable) as failure:
            self.failure = str(failure)
            log.warning("Not refined: %s", type(failure).__name__)
        return tuple(by_place.values())

    def _groups(self, segments: Sequence[Segment], told: Told) -> list[Part]:
        """Of segments that the model is shown at once."""
        answer = int((self._writer.answer_tokens - SPARE_TOKENS) / LONGER_ANSWER)
        room = max(1, min(GROUP_TOKENS, answer, self._writer.room(self._asked("", 0, told))))
        return parts(Source(tuple(Sentence(segment.text) for segment in segments)), room)

    async def _go_over(self, by_place: dict[int, Segment], told: Told, language: str | None, group: Part) -> None:
        """Those of its segments whose correction is let through are put in their places."""

        async def ask(part: Part) -> None:
            count = len(part.sentences)
            most = min(self._writer.answer_tokens, int(LONGER_ANSWER * tokens(part.numbered)) + SPARE_TOKENS)
            answer = await self._writer.whole(self._asked(part.numbered, count, told), most)
            for place, text in enumerate(lines_of(answer, count), part.first):
                better = refined(by_place[place], text, told.vocabulary, language)
                by_place[place] = better or by_place[place]

        await self._writer.over(group, ask)

    def _asked(self, lines: str, count: int, told: Told) -> list[Message]:
        """With as much of what is known as there is room for."""
        terms, left = list[str](), self._known_tokens
        for term in told.terms:
            cost = tokens(f"{term}, ")
            if left - cost < self._known_tokens // 2:
                break
            terms.append(term)
            left -= cost
        return prompts.refine(lines, count, clipped(told.context, left), terms)


def lines_of(answer: str, count: int) -> list[str]:
    """Of an answer with all lines, in their order; none of another one, which does not say what it is about."""
    found = LINE.findall(answer)
    if [int(number) for number, _ in found] != list(range(1, count + 1)):
        return []
    return [text for _, text in found]
