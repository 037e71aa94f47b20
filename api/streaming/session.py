"""One live session: frames of audio in, events out. No WebSocket in it; every dialect drives the same object.

`feed` takes audio as fast as it is processed, and `events` does the processing while it is iterated over. So a reader
who is slow, a model that is slow and a sender who is fast all end in `feed` waiting, and nothing piles up in between.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from api.errors import InferenceFailed, InferenceUnavailable, InvalidRequest
from api.inference.base import Floats, Inference, Using, unwatched
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, SPEAKER_WINDOW_SAMPLES, DecodingOptions
from api.recognition.activity import VoiceActivity
from api.recognition.chunking import FRAME_S, Span, frames
from api.recognition.keywords import hotwords
from api.recognition.languages import LanguageTrack, Phrase, SwitchPolicy, has_another_script, speech_s
from api.recognition.windows import Recognized, WindowRecognizer
from api.speech import SAMPLE_RATE_HZ, Segment, Word, text_of
from api.streaming.agreement import LocalAgreement, end_of
from api.streaming.cutting import before, cut_frame
from api.streaming.endpointing import SPEECH, Endpointer
from api.streaming.events import Delayed, Ended, Event, Final, Partial, Resumed, TooNoisy, Warned
from api.streaming.options import StreamBounds, StreamOptions
from api.streaming.speakers import OnlineSpeakers

# Voice activity is asked about so much audio at a time: the more, the fewer calls, the less, the sooner it is known
# that somebody has finished. Of audio that comes faster than it is spoken, no more than keeps the window short.
HEAR_FRAMES, HEAR_AT_MOST_FRAMES = frames(0.16), frames(2)
UTTERANCES_WAITING = 2
"""Ended, and not settled yet; while there are so many, no more is heard."""
GAP_S, LONGEST_FRAME_S = 2.0, 10.0
"""A client that sends nothing for this long counts as silent, from the end of its last frame's audio on."""
NOTICE_S = 1.5
"""Models that take longer than this are worth a word to whoever waits, and every so often another."""
TICK_S = 0.25
"""How often to look, while somebody speaks, whether a draft or a gap is due."""
DEFAULT_SWITCHES = SwitchPolicy()
PORTION_BYTES = 32_000
SPEAKER_CONTEXT = SPEAKER_WINDOW_SAMPLES // ACTIVITY_FRAME_SAMPLES
SAMPLE_BYTES = 2
BYTES_PER_S = SAMPLE_RATE_HZ * SAMPLE_BYTES
R = TypeVar("R")


@dataclass(slots=True)
class _Utterance:
    """In one of these languages, if there are any. `end` is None while it is being spoken. `prompt` is what was said
    right before it, without a pause."""

    start: int
    languages: tuple[str, ...]
    end: int | None = None
    prompt: str = ""
    agreement: LocalAgreement = field(default_factory=LocalAgreement)
    shown: Partial | None = None
    drafted: int = 0
    """Up to which frame somebody has looked at it."""
    answer: Recognized | None = None
    """Of the full search,"""
    answered: int = 0
    """up to this frame."""


@dataclass(frozen=True, slots=True)
class _Call(Generic[R]):
    task: asyncio.Task[R]
    asked_at: float


class StreamSession:
    """Lives while `events` is iterated over; closing that cancels every call to the models."""

    def __init__(
        self,
        inference: Inference,
        options: StreamOptions,
        bounds: StreamBounds,
        *,
        beam_size: int,
        switches: SwitchPolicy = DEFAULT_SWITCHES,
        using: Using = unwatched,
    ) -> None:
        self._options = options
        self._bounds = bounds
        self._beam_size = beam_size
        self._using = using
        self._recognizer = WindowRecognizer(inference.recognizer, live=True)
        self._activity = VoiceActivity(inference.voice_activity, live=True)
        self._endpointer = Endpointer(frames(options.min_silence_s))
        self._speakers: OnlineSpeakers | None = None
        if options.diarize and options.diarization is not None:
            self._speakers = OnlineSpeakers(inference.speakers, options.diarization, options.max_speakers)

        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._inbox = bytearray()
        self._received = 0  # bytes
        self._silent_from = math.inf
        self._stopped = False

        self._hearing: _Call[Floats] | None = None
        self._recognizing: _Call[list[Event]] | None = None
        self._drafted_at = -math.inf
        self._open: _Utterance | None = None
        self._ended: deque[_Utterance] = deque()
        self._languages = _possible(options.language, options.languages)
        self._track = LanguageTrack(switches)
        self._spoken_s: Counter[str] = Counter()
        self._texts: list[str] = []

    async def feed(self, frame: bytes) -> None:
        """The next bytes of the stream, any number: signed 16-bit little-endian samples at 16 kHz, mono.

        Waits while as much is kept as may be. Raises InvalidRequest when the stream becomes too long.
        """
        if self._received + len(frame) > self._bounds.max_s * BYTES_PER_S:
            raise InvalidRequest(f"A stream may hold at most {self._bounds.max_s:g} s of audio; begin another one.")
        self._received += len(frame)
        for start in range(0, len(frame), PORTION_BYTES):
            while len(self._inbox) >= self._bounds.max_buffered_s * BYTES_PER_S:
                self._room.clear()
                await self._room.wait()
            self._inbox += frame[start : start + PORTION_BYTES]
            self._silent_from = monotonic() + min(len(frame) / BYTES_PER_S, LONGEST_FRAME_S) + GAP_S
            self._wake.set()

    def change_languages(self, language: str | None, languages: Sequence[str]) -> None:
        """What is spoken from the next utterance on, as in StreamOptions."""
        self._languages = _possible(language, languages)

    def stop(self) -> None:
        """That was all of it; what is kept is still transcribed."""
        self._stopped = True
        self._wake.set()

    async def events(self) -> AsyncGenerator[Event, None]:
        """What is understood, as soon as it is; last of all `Ended`. To be iterated over once.

        Raises InferenceUnavailable, InferenceFailed.
        """
        async with self._using(*self._options.versions), aclosing(self._events()) as events:
            async for event in events:
                yield event

    async def _events(self) -> AsyncGenerator[Event, None]:
        if self._options.diarize and self._speakers is None:
            yield Warned("Who speaks cannot be told: no diarization models are deployed.")
        notice_s = NOTICE_S
        try:
            while True:
                self._wake.clear()
                for event in self._collect():
                    yield event
                if notice_s > NOTICE_S and self._waited_s() < NOTICE_S:
                    notice_s = NOTICE_S
                    yield Resumed()
                self._hear()
                self._recognize()
                if self._is_over():
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(NOTICE_S if self._open is None else TICK_S):
                        await self._wake.wait()
                if (waited_s := self._waited_s()) >= notice_s:
                    notice_s = waited_s + NOTICE_S
                    yield Delayed(waited_s)
        finally:
            for call in self._calls():
                call.task.cancel()
            await asyncio.gather(*(call.task for call in self._calls()), return_exceptions=True)
            self._hearing = self._recognizing = None  # an error of theirs holds a frame with audio in it
        spoken = max(self._spoken_s, key=self._spoken_s.__getitem__, default=None)
        model = self._options.model
        yield Ended(" ".join(self._texts), spoken, self._received / BYTES_PER_S, model.served_by, model.version)

    def _collect(self) -> list[Event]:
        """What the calls that have been answered bring."""
        if self._hearing is not None and self._hearing.task.done():
            call, self._hearing = self._hearing, None
            # Not in the task: while a reader takes its time, what the endpointer knows and what is followed must agree.
            self._follow(self._endpointer.push(call.task.result().tolist()))
        if self._recognizing is not None and self._recognizing.task.done():
            answer, self._recognizing = self._recognizing, None
            return answer.task.result()
        return []

    def _calls(self) -> list[_Call[Any]]:
        return [call for call in (self._hearing, self._recognizing) if call is not None]

    def _call(self, work: Coroutine[Any, Any, R]) -> _Call[R]:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._wake.set())
        return _Call(task, monotonic())

    def _waited_s(self) -> float:
        return max((monotonic() - call.asked_at for call in self._calls() if not call.task.done()), default=0.0)

    def _is_over(self) -> bool:
        done = len(self._inbox) < SAMPLE_BYTES and self._open is None and not self._ended
        return self._stopped and done and not self._calls()

    def _hear(self) -> None:
        """Ask about the next audio, if there is enough of it, and no more than can be worked on."""
        if self._hearing is not None or len(self._ended) >= UTTERANCES_WAITING or self._is_full():
            return
        nothing_more = self._stopped or monotonic() >= self._silent_from
        waiting = len(self._inbox) // SAMPLE_BYTES
        size = min(waiting // ACTIVITY_FRAME_SAMPLES, HEAR_AT_MOST_FRAMES) * ACTIVITY_FRAME_SAMPLES
        if self._stopped and not size:
            size = waiting
        if size >= HEAR_FRAMES * ACTIVITY_FRAME_SAMPLES or (nothing_more and size):
            pcm = np.frombuffer(bytes(self._inbox[: size * SAMPLE_BYTES]), dtype="<i2").astype(np.int16, copy=False)
            del self._inbox[: size * SAMPLE_BYTES]
            self._room.set()
            self._hearing = self._call(self._activity.hear(pcm))
        elif nothing_more:
            self._follow(self._endpointer.flush())

    def _follow(self, spans: list[Span]) -> None:
        """Speech has ended in these spans, and may have begun after them."""
        for span in spans:
            utterance, self._open = self._open or _Utterance(span.start, self._languages), None
            utterance.end = span.end
            self._ended.append(utterance)
        begun = self._endpointer.open
        if begun is not None and self._open is None:
            self._open = _Utterance(begun.start, self._languages)
        needed = min([self._endpointer.settled, *(utterance.start for utterance in self._ended)])
        context = SPEAKER_CONTEXT if self._speakers is not None else 0
        self._activity.forget(max(0, needed - context))

    def _is_full(self) -> bool:
        """What is being spoken has become as long as it may."""
        begun = self._endpointer.open
        return begun is not None and self._endpointer.position - begun.start >= self._options.max_utterance

    def _recognize(self) -> None:
        """Ask about the newest audio, if nothing is being asked about and it is worth it."""
        if self._recognizing is None and (work := self._next_work()) is not None:
            self._recognizing = self._call(work)

    def _next_work(self) -> Coroutine[Any, Any, list[Event]] | None:
        if self._ended:
            return self._settle(self._ended[0])
        utterance, begun, now = self._open, self._endpointer.open, self._endpointer.position
        if utterance is None or begun is None:
            return None
        paused_at = begun.speech_end + SPEECH.padding
        if self._is_full():
            if now < paused_at:
                return self._cut(utterance)
            self._follow(self._endpointer.flush())
            return self._settle(self._ended[0])
        if now >= paused_at:
            # What would be asked when the silence has become long enough; then the answer is already there.
            return self._answer(utterance, paused_at) if utterance.answered < paused_at else None
        # At the step that is nearest to the interval, which need not be a multiple of it.
        due = monotonic() - self._drafted_at >= self._options.partial_interval_s - HEAR_FRAMES * FRAME_S / 2
        return self._draft(utterance, now) if due and begun.speech_end > utterance.drafted else None

    async def _draft(self, utterance: _Utterance, end: int) -> list[Event]:
        self._drafted_at = monotonic()
        utterance.drafted = end
        if self._too_noisy(Span(utterance.start, end)) is not None:
            return []
        return self._show(utterance, await self._ask(utterance, end, draft=True))

    async def _answer(self, utterance: _Utterance, end: int) -> list[Event]:
        utterance.drafted = utterance.answered = end
        if self._too_noisy(Span(utterance.start, end)) is not None:
            return []
        utterance.answer = await self._ask(utterance, end)
        return self._show(utterance, utterance.answer)

    async def _settle(self, utterance: _Utterance) -> list[Event]:
        """The utterance has ended."""
        assert utterance.end is not None
        if (noisy := self._too_noisy(Span(utterance.start, utterance.end))) is not None:
            self._ended.popleft()
            return [*_taken_back(utterance), noisy]
        if utterance.answer is None or utterance.answered != utterance.end:
            utterance.answer = await self._ask(utterance, utterance.end)
        finals = await self._finals(utterance.answer, utterance.answer.segments, Span(utterance.start, utterance.end))
        self._ended.popleft()
        return finals or _taken_back(utterance)

    async def _cut(self, utterance: _Utterance) -> list[Event]:
        """The utterance has become too long: settle its first part, up to the end of a word."""
        span = Span(utterance.start, self._endpointer.position)
        if (noisy := self._too_noisy(span)) is not None:
            cut = cut_frame([], self._activity.window(span))
            self._open = _Utterance(cut, utterance.languages)
            self._endpointer.split(cut)
            return [*_taken_back(utterance), replace(noisy, end=cut * FRAME_S)]
        heard = await self._ask(utterance, span.end)
        cut = cut_frame(_words(heard), self._activity.window(span))
        segments = before(cut, heard.segments)
        finals = await self._finals(heard, segments, Span(span.start, cut))
        said = [word for segment in segments for word in segment.words]
        committed = utterance.agreement.committed
        carried = LocalAgreement(committed[end_of(said, committed) :])
        prompt = text_of(said) if self._options.model.card.prompts else ""
        self._open = _Utterance(cut, utterance.languages, prompt=prompt, agreement=carried, shown=utterance.shown)
        self._endpointer.split(cut)
        return finals

    def _too_noisy(self, span: Span) -> TooNoisy | None:
        """What to say of speech that is below the floor, instead of asking what it is."""
        levels = self._activity.levels(span)
        if levels.snr_db is None or not levels.is_below(self._options.snr_floor_db):
            return None
        return TooNoisy(span.start * FRAME_S, span.end * FRAME_S, levels.snr_db)

    async def _ask(self, utterance: _Utterance, end: int, *, draft: bool = False) -> Recognized:
        """What was said up to then. What is too short or too uncertain to be in another language than what was said
        before is asked again in that one."""
        languages, keywords = utterance.languages, self._options.wording.keywords
        options = DecodingOptions(
            language=languages[0] if len(languages) == 1 else None,
            languages=languages,
            prompt=utterance.prompt,
            hotwords=hotwords(keywords) if self._options.model.card.prompts else (),
            beam_size=self._beam_size,
        )
        if draft:
            options = msgspec.structs.replace(options, beam_size=1, temperatures=(0.0,))
        span = Span(utterance.start, end)
        window, model = self._activity.window(span), self._options.model.deployment
        heard = await self._recognizer.recognize(model, window, options, draft=draft)
        if options.language is not None or not heard.segments:
            return heard
        self._track.restrict(languages)
        language = self._track.would_be(Phrase(span, speech_s(window.activity), heard.languages))
        if language == heard.language:
            return heard
        options = msgspec.structs.replace(options, language=language)
        again = await self._recognizer.recognize(model, window, options, draft=draft)
        return replace(again, languages=heard.languages)

    def _show(self, utterance: _Utterance, heard: Recognized) -> list[Event]:
        """The new state of an utterance that is being spoken, if it is new."""
        agreement = utterance.agreement
        agreement.add(_words(heard))
        start_s = utterance.start * FRAME_S
        partial = Partial(agreement.text, agreement.committed_text, start_s)
        if partial == (utterance.shown or Partial("", "", start_s)):
            return []
        utterance.shown = partial
        return [partial]

    async def _finals(self, heard: Recognized, segments: list[Segment], span: Span) -> list[Event]:
        """The segments, which are what was said in the span, with their speakers."""
        if not segments:
            return []
        seconds = speech_s(self._activity.window(span).activity)
        self._spoken_s.update({heard.language: seconds})
        self._track.decide([Phrase(span, seconds, heard.languages)])
        segments = [replace(one, code_switch=has_another_script(one)) for one in segments]
        warnings: list[Event] = []
        if self._speakers is not None:
            try:
                segments = await self._speakers.name(segments, map(self._activity.window, _speaker_windows(span)))
            except (InferenceFailed, InferenceUnavailable) as failure:
                self._speakers = None
                warnings.append(Warned(f"Who speaks cannot be told any more. {failure}"))
        segments = await asyncio.to_thread(self._options.wording.of, segments)  # many keywords take long
        self._texts += [segment.text for segment in segments]
        return [*warnings, *(Final(segment, heard.language) for segment in segments)]


def _possible(language: str | None, languages: Sequence[str]) -> tuple[str, ...]:
    return tuple(languages) if language is None else (language,)


def _taken_back(utterance: _Utterance) -> list[Event]:
    """What was shown of it is not there any more."""
    return [Partial("", "", utterance.shown.start)] if utterance.shown is not None else []


def _words(heard: Recognized) -> list[Word]:
    return [word for segment in heard.segments for word in segment.words]


def _speaker_windows(span: Span) -> list[Span]:
    """Windows of 10 s up to the end of the span, the first of which begins before it."""
    ends = range(span.end, span.start, -SPEAKER_CONTEXT)
    return [Span(max(0, end - SPEAKER_CONTEXT), end) for end in reversed(ends)]
