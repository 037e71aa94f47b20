"""What is said in a recording whose parts may be in different languages.

Each window is recognised in the language that the model hears in it, which comes with its encoder's output and costs
next to nothing. But a model can be sure of one language where a window has two of them: it then hears the one that more
of it is in, or that comes first. So the phrases of some windows are identified one by one, each at the cost of an
encoder pass; for a checkpoint that pads every window to 30 s that is a multiple of what recognising it costs, and far
from nothing for others. It is done where candidates were given, for whoever gives them expects several; for the first
windows, unless they are padded; in doubt; and for a while after a switch was found, since one is followed by others.

What is in another language than it was recognised in is recognised again, by itself. No segment has two languages.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from api.concurrency import in_order, together
from api.inference.base import ModelVersion
from api.inference.contracts import DecodingOptions
from api.recognition.activity import SpeechWindow
from api.recognition.chunking import FRAME_S, Span
from api.recognition.languages import (
    LanguageTrack,
    Phrase,
    Stretch,
    SwitchPolicy,
    has_another_script,
    phrase_spans,
    speech_s,
    stretches,
)
from api.recognition.omissions import omissions
from api.recognition.windows import Recognized, WindowRecognizer
from api.speech import LanguageDetection, Segment

FIRST_WINDOWS: Final = 2
SURE_LANGUAGE: Final = 0.9
"""A window's language that is less probable is in doubt,"""
UNDERSTOOD: Final = 0.5
"""and so is one with a segment whose words are less probable in the mean."""
AFTER_A_SWITCH: Final = 20
"""Windows."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """`phrases` were identified, unless there are none."""

    window: SpeechWindow
    recognized: Recognized
    phrases: Sequence[Phrase]


@dataclass(frozen=True, slots=True)
class _Decided:
    heard: _Heard
    stretches: Sequence[Stretch]


@dataclass(frozen=True)
class SpokenLanguages:
    """How the languages of a stream were found out, and how much of it is in each."""

    detection: LanguageDetection
    given: str | None = None
    speech_s: Counter[str] = field(default_factory=Counter)
    sure_s: Counter[str] = field(default_factory=Counter)
    """The same, each second counting as much as it is probable."""

    @property
    def main(self) -> tuple[str | None, float]:
        """What most is in, and how probably; None where nothing was said in a language that was not given."""
        if self.given is not None or not self.speech_s:
            return self.given, 1.0
        language, seconds = self.speech_s.most_common(1)[0]
        return language, round(self.sure_s[language] / seconds, 4)

    def __add__(self, other: SpokenLanguages) -> SpokenLanguages:
        calls = self.detection.calls + other.detection.calls
        return SpokenLanguages(
            replace(self.detection, calls=calls), self.given, self.speech_s + other.speech_s, self.sure_s + other.sure_s
        )


class MultilingualListener:
    """Listens to one stream. With a language given, that is what all of it is in."""

    def __init__(
        self,
        recognizer: WindowRecognizer,
        model: ModelVersion,
        decoding: DecodingOptions,
        policy: SwitchPolicy,
        windows_in_flight: int,
        *,
        padded: bool,
    ) -> None:
        """`decoding` has the language, or the candidates, if there are any. With `padded` windows a phrase costs as
        much as a whole one."""
        self._recognizer = recognizer
        self._model = model
        self._decoding = decoding
        self._policy = policy
        self._in_flight = windows_in_flight
        self._first_windows = 0 if padded else FIRST_WINDOWS
        self._places = asyncio.Semaphore(windows_in_flight)
        self._track = LanguageTrack(policy)
        self._windows = 0
        self._after_a_switch = 0
        self._calls = 0
        self._speech_s: Counter[str] = Counter()
        self._sure_s: Counter[str] = Counter()

    @property
    def languages(self) -> SpokenLanguages:
        """So far."""
        given = self._decoding.language
        detection = LanguageDetection(given is not None, self._decoding.languages, self._calls)
        return SpokenLanguages(detection, given, self._speech_s, self._sure_s)

    async def of(self, speech: AsyncIterator[SpeechWindow]) -> AsyncGenerator[list[Segment], None]:
        """The segments of each window. As many calls as there may be windows in flight run at a time."""
        async with (
            aclosing(in_order(speech, self._heard, self._in_flight)) as heard,
            aclosing(self._decided(heard)) as decided,
            aclosing(in_order(decided, self._settled, self._in_flight)) as settled,
        ):
            async for segments in settled:
                yield segments

    def _heard(self, window: SpeechWindow) -> Coroutine[Any, Any, _Heard]:
        """What is known by now decides, not by when this runs: the same recording gives the same text each time."""
        self._windows += 1
        return self._hear(window, thoroughly=self._expects_several or self._windows <= self._first_windows)

    @property
    def _detects(self) -> bool:
        return self._decoding.language is None

    @property
    def _expects_several(self) -> bool:
        return bool(self._decoding.languages) or self._after_a_switch > 0

    async def _hear(self, window: SpeechWindow, *, thoroughly: bool) -> _Heard:
        recognized = await self._recognize(window, self._decoding.language)
        identify = self._detects and recognized.segments and (thoroughly or _in_doubt(recognized))
        return _Heard(window, recognized, await self._identified(window) if identify else ())

    async def _decided(self, heard: AsyncIterator[_Heard]) -> AsyncGenerator[_Decided, None]:
        """In order, for what was said before counts."""
        async for one in heard:
            if not one.recognized.segments:
                continue
            before = self._track.language
            another = before not in (None, one.recognized.language)
            if self._detects and not one.phrases and (another or self._expects_several):
                one = replace(one, phrases=await self._identified(one.window))
            phrases = one.phrases or [_whole(one.window, one.recognized)]
            found = stretches(phrases, self._track.decide(phrases))
            switched = len(found) > 1 or before not in (None, found[0].language)
            self._after_a_switch = AFTER_A_SWITCH if switched else max(0, self._after_a_switch - 1)
            for stretch in found:
                for phrase in stretch.phrases:
                    self._count(stretch.language, phrase)
            yield _Decided(one, found)

    def _count(self, language: str, phrase: Phrase) -> None:
        self._speech_s.update({language: phrase.speech_s})
        self._sure_s.update({language: phrase.speech_s * phrase.probabilities.get(language, 0.0)})

    async def _settled(self, decided: _Decided) -> list[Segment]:
        segments: list[Segment] = []
        for stretch in decided.stretches:
            said = (
                _said_in(stretch, decided)
                or (await self._recognize(decided.heard.window.part(stretch.span), stretch.language)).segments
            )
            segments += [_with_switches(segment, stretch, decided.heard.window, self._policy) for segment in said]
        return segments

    async def _recognize(self, window: SpeechWindow, language: str | None) -> Recognized:
        self._calls += language is None
        async with self._places:
            options = msgspec.structs.replace(self._decoding, language=language)
            return await self._recognizer.recognize(self._model, window, options)

    async def _identified(self, window: SpeechWindow) -> Sequence[Phrase]:
        """Its phrases; none where it is a single one."""
        spans = phrase_spans(window.activity)
        return await together(self._identify(window, span) for span in spans) if len(spans) > 1 else ()

    async def _identify(self, window: SpeechWindow, span: Span) -> Phrase:
        part = window.part(span)
        self._calls += 1
        async with self._places:
            found = await self._recognizer.identify(self._model, part, self._decoding.languages)
        return Phrase(span, speech_s(part.activity), found)


def _in_doubt(recognized: Recognized) -> bool:
    understood = all(segment.confidence >= UNDERSTOOD for segment in recognized.segments)
    return recognized.language_probability < SURE_LANGUAGE or not understood


def _whole(window: SpeechWindow, recognized: Recognized) -> Phrase:
    return Phrase(Span(0, len(window.activity)), speech_s(window.activity), recognized.languages)


def _said_in(stretch: Stretch, decided: _Decided) -> list[Segment] | None:
    """What was recognised of the stretch, if in its language and with nothing left out; else None."""
    recognized, window = decided.heard.recognized, decided.heard.window
    if stretch.language != recognized.language:
        return None
    if len(decided.stretches) == 1:
        return recognized.segments
    part = window.part(stretch.span)
    end_s = part.start_s + len(part.activity) * FRAME_S
    parts = [
        segment.part([word for word in segment.words if part.start_s <= (word.start + word.end) / 2 < end_s])
        for segment in recognized.segments
    ]
    said = [segment for segment in parts if segment is not None]
    missing = omissions([word for segment in said for word in segment.words], part)
    return said if said and not missing else None


def _with_switches(segment: Segment, stretch: Stretch, window: SpeechWindow, policy: SwitchPolicy) -> Segment:
    """The segment, marked where some of it sounds like another language, or is written in the letters of one."""
    others = [
        phrase.span
        for phrase in stretch.phrases
        if phrase.language != stretch.language and phrase.probability >= policy.probability
    ]
    start, end = ((s - window.start_s) / FRAME_S for s in (segment.start, segment.end))
    switches = any(span.start < end and start < span.end for span in others) or has_another_script(segment)
    return replace(segment, code_switch=True) if switches else segment
