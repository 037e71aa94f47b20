"""Live sessions and the rules inside them, without a server: whatever is said, and however it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from time import monotonic

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.errors import InvalidRequest
from api.inference.base import Floats, ModelVersion, Pcm
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, DecodingOptions, ModelCard, Recognition
from api.inference.fake import FakeVoiceActivity, fake_inference
from api.recognition.catalog import SpeechModel
from api.recognition.chunking import Span, frames
from api.speech import SAMPLE_RATE_HZ, Word
from api.streaming.agreement import LocalAgreement, end_of
from api.streaming.endpointing import SPEECH, Endpointer
from api.streaming.events import Delayed, Ended, Event, Final, Partial, Resumed
from api.streaming.options import StreamBounds, StreamOptions
from api.streaming.session import StreamSession
from tests import telegraph
from tests.telegraph import TelegraphRecognizer

MODEL = SpeechModel("small", "small", "1", ModelCard("whisper", "Telegraph", ["en"], min_window_frames=100))
SHORTEST_UTTERANCE_S = 3.0

# Words of 0.4 to 0.9 s, with or without a pause before them.
spoken_words = st.lists(
    st.tuples(st.floats(0.4, 0.9), st.one_of(st.just(0.0), st.floats(0.0, 1.5))), min_size=1, max_size=60
)
# In bytes, odd ones among them; always one of some length, or a test would take minutes.
frame_sizes = st.lists(st.integers(1, 40_000), max_size=5).map(lambda sizes: [*sizes, 9_999])


class Ear(FakeVoiceActivity):
    """Keeps all that was heard."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.heard: list[Pcm] = []

    @property
    def samples(self) -> int:
        return sum(pcm.size for pcm in self.heard)

    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        await asyncio.sleep(self.delay_s)
        self.heard.append(pcm)
        return await super().detect(pcm, state)


def session(
    recognizer: TelegraphRecognizer, ear: FakeVoiceActivity | None = None, *, buffer_s: float = 30, **options: object
) -> StreamSession:
    inference = replace(fake_inference(), recognizer=recognizer, voice_activity=ear or FakeVoiceActivity())
    return StreamSession(
        inference,
        StreamOptions(MODEL, **options),  # type: ignore[arg-type]
        StreamBounds(buffer_s, 3600),
        beam_size=5,
    )


async def converse(
    live: StreamSession, pcm: Pcm, sizes: Sequence[int] = (3200,), pace_s: float = 0.0, reading_s: float | None = None
) -> list[Event]:
    """All events of a session that is fed frames of these sizes in turn, in bytes, each `pace_s` after the other.

    `reading_s` is what its reader takes for each of them.
    """

    async def feed() -> None:
        data, position, number = pcm.tobytes(), 0, 0
        while position < len(data):
            size = sizes[number % len(sizes)]
            await live.feed(data[position : position + size])
            position, number = position + size, number + 1
            await asyncio.sleep(pace_s)
        live.stop()

    feeding = asyncio.create_task(feed())
    happened = []
    async for event in live.events():
        happened.append(event)
        if reading_s is not None:
            await asyncio.sleep(reading_s)
    await feeding
    return happened


def finals(happened: Sequence[Event]) -> list[Word]:
    return [word for event in happened if isinstance(event, Final) for word in event.segment.words]


# What a session makes of speech


@settings(max_examples=40)
@example([(0.45, 0.0)] * 50, [9_999], SHORTEST_UTTERANCE_S, 0.5, None)
@example([(0.5, 0.0), (0.5, 0.0), (0.5, 4.0)] * 8, [9_999], SHORTEST_UTTERANCE_S, 5.0, None)
@example([(0.5, 0.0), (0.5, 0.6), (0.5, 0.3)] * 15, [9_999], 10.0, 0.5, 0.004)
@given(
    spoken_words,
    frame_sizes,
    st.floats(SHORTEST_UTTERANCE_S, 12),
    st.sampled_from([0.2, 0.5, 2.0, 5.0]),
    st.sampled_from([None, 0.0, 0.004]),
)
def test_every_word_is_in_the_transcript_once_in_its_place(
    lengths: list[tuple[float, float]],
    sizes: list[int],
    max_utterance_s: float,
    min_silence_s: float,
    reading_s: float | None,
) -> None:
    words = telegraph.words_of(lengths)
    recognizer = TelegraphRecognizer(words)
    # With a slow reader, voice activity comes back while events are read.
    ear = Ear(delay_s=(reading_s or 0.0) / 4)
    live = session(recognizer, ear, max_utterance_s=max_utterance_s, min_silence_s=min_silence_s)
    happened = asyncio.run(converse(live, telegraph.speech(words), sizes, reading_s=reading_s))
    heard = finals(happened)
    assert [word.text.strip() for word in heard] == [word.text for word in words]
    for word, end_s in zip(heard, telegraph.ends(words), strict=True):
        assert word.end == pytest.approx(end_s, abs=0.11)
    assert isinstance(happened[-1], Ended)
    assert happened[-1].text == " ".join(word.text for word in words)
    assert happened[-1].duration == pytest.approx(telegraph.ends(words)[-1], abs=0.01)
    assert max(recognizer.windows) <= max_utterance_s + 2.5
    assert recognizer.most_running == 1


@settings(max_examples=10)
@given(spoken_words)
def test_what_is_committed_stays(lengths: list[tuple[float, float]]) -> None:
    """Speech in a thirtieth of its time, with a partial as often as can be, and cut wherever there is no pause."""
    words = telegraph.words_of(lengths[:30])
    live = session(TelegraphRecognizer(words), partial_interval_s=0.0, max_utterance_s=SHORTEST_UTTERANCE_S)
    happened = asyncio.run(converse(live, telegraph.speech(words), pace_s=0.003))
    settled, committed = list[str](), list[str]()
    for event in happened:
        if isinstance(event, Partial):
            assert event.text.startswith(event.committed)
            newer = [*settled, *event.committed.split()]
            assert newer[: len(committed)] == committed
            committed = newer
        elif isinstance(event, Final):
            settled += event.segment.text.split()
            assert settled[: len(committed)] == committed[: len(settled)]
            committed = max(committed, settled, key=len)
    assert settled == [word.text for word in words]


@settings(max_examples=60)
@given(st.binary(max_size=200_000), frame_sizes)
def test_samples_are_put_together_from_frames_of_any_size(data: bytes, sizes: list[int]) -> None:
    async def feed(live: StreamSession) -> None:
        position, number = 0, 0
        while position < len(data):
            await live.feed(data[position : position + sizes[number % len(sizes)]])
            position, number = position + sizes[number % len(sizes)], number + 1
        live.stop()
        async for _ in live.events():
            pass

    ear = Ear()
    asyncio.run(feed(session(TelegraphRecognizer([]), ear)))
    whole = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2")
    heard = np.concatenate([*ear.heard, np.zeros(0, dtype=np.int16)])
    assert (heard[: whole.size] == whole).all()
    assert 0 <= heard.size - whole.size < ACTIVITY_FRAME_SAMPLES  # the last frame, filled up
    assert not heard[whole.size :].any()


def test_a_slow_model_is_asked_less_often_and_about_the_newest_audio() -> None:
    words = telegraph.words_of([(0.5, 0.0)] * 12)
    drafts = []
    for delay_s in (0.0, 0.2):
        recognizer = TelegraphRecognizer(words, delay_s=delay_s)
        live = session(recognizer, partial_interval_s=0.02)
        begun = monotonic()
        happened = asyncio.run(converse(live, telegraph.speech(words), pace_s=0.01))  # 6 s in 0.6 s
        assert [word.text.strip() for word in finals(happened)] == [word.text for word in words]
        assert recognizer.most_running == 1
        assert recognizer.windows == sorted(recognizer.windows)
        if delay_s:
            assert recognizer.drafts <= (monotonic() - begun) / delay_s + 1
        drafts.append(recognizer.drafts)
    assert drafts[0] > drafts[1] > 0


def test_audio_that_comes_faster_than_it_is_heard_has_to_wait() -> None:
    async def main() -> float:
        ear = Ear(delay_s=0.005)
        live = session(TelegraphRecognizer([]), ear, buffer_s=5)
        ahead = 0.0

        async def feed() -> None:
            nonlocal ahead
            for second in range(1, 121):
                await live.feed(bytes(2 * SAMPLE_RATE_HZ))
                ahead = max(ahead, second - ear.samples / SAMPLE_RATE_HZ)
            live.stop()

        feeding = asyncio.create_task(feed())
        async for _ in live.events():
            pass
        await feeding
        assert ear.samples == 120 * SAMPLE_RATE_HZ
        return ahead

    assert asyncio.run(main()) <= 5 + 2 + 1  # what is kept, what is being heard, a frame


@pytest.mark.parametrize("pause_s", [0.0, 1.0])
def test_no_more_is_heard_than_a_slow_model_can_follow(pause_s: float) -> None:
    async def main() -> None:
        words = telegraph.words_of([(0.5, pause_s)] * 60)
        recognizer, ear = TelegraphRecognizer(words, delay_s=0.03), Ear()
        live = session(recognizer, ear, max_utterance_s=SHORTEST_UTTERANCE_S)
        feeding = asyncio.create_task(live.feed(telegraph.speech(words).tobytes()))
        feeding.add_done_callback(lambda _: live.stop())
        settled = 0
        async for event in live.events():
            if isinstance(event, Final):
                settled += len(event.segment.words)
                assert ear.samples / SAMPLE_RATE_HZ - event.segment.end <= 3 * SHORTEST_UTTERANCE_S
        assert settled == len(words)
        assert max(recognizer.windows) <= SHORTEST_UTTERANCE_S + 2.5

    asyncio.run(main())


def test_a_reader_who_stops_reading_stops_the_work() -> None:
    async def main() -> int:
        words = telegraph.words_of([(0.5, 1.0)] * 200)
        recognizer = TelegraphRecognizer(words)
        live = session(recognizer, buffer_s=5)
        feeding = asyncio.create_task(live.feed(telegraph.speech(words).tobytes()))
        events = live.events()
        await anext(events)
        await asyncio.sleep(0.2)
        asked = len(recognizer.windows)
        assert not feeding.done()
        feeding.cancel()
        await events.aclose()
        return asked

    assert asyncio.run(main()) <= 3


def test_leaving_cancels_what_is_being_recognised() -> None:
    async def main() -> None:
        words = telegraph.words_of([(0.5, 0.0)] * 10)
        recognizer = TelegraphRecognizer(words, delay_s=60)
        live = session(recognizer)

        async def listen() -> None:
            async for _ in live.events():
                pass

        listening = asyncio.create_task(listen())
        await live.feed(telegraph.speech(words).tobytes())
        await asyncio.sleep(0.2)
        assert recognizer.running == 1
        listening.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(listening, return_exceptions=True)
        assert recognizer.running == 0

    asyncio.run(main())


def test_who_sends_nothing_is_silent() -> None:
    """The phrase is settled, although neither silence nor the end of the stream follows it."""

    async def main() -> list[Event]:
        words = telegraph.words_of([(0.5, 0.0)] * 3)
        live = session(TelegraphRecognizer(words))
        await live.feed(telegraph.speech(words).tobytes())
        events = live.events()
        async for event in events:
            if isinstance(event, Final):
                break
        await events.aclose()
        return [event]

    assert [word.text for word in finals(asyncio.run(main()))] == [" w1", " w2", " w3"]


def test_frames_longer_than_a_gap_are_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds in a message, every three seconds; time runs ten times as fast."""
    for name, seconds in (("GAP_S", 0.2), ("LONGEST_FRAME_S", 1.0), ("TICK_S", 0.025)):
        monkeypatch.setattr(f"api.streaming.session.{name}", seconds)
    words = telegraph.words_of([(0.7, 0.0)] * 20)
    live = session(TelegraphRecognizer(words), max_utterance_s=12.0)
    happened = asyncio.run(converse(live, telegraph.speech(words), [96_000], pace_s=0.3))
    assert [word.text.strip() for word in finals(happened)] == [word.text for word in words]


@settings(max_examples=15)
@given(st.lists(st.floats(0.4, 0.9), min_size=3, max_size=40), st.floats(0.0, 3.0))
def test_what_a_model_leaves_out_is_listened_to_again(lengths: list[float], skipped_from_s: float) -> None:
    """One that loses its place in long windows, for two seconds or until their end."""

    class Absent(TelegraphRecognizer):
        async def recognize(
            self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
        ) -> Recognition:
            answer = await super().recognize(model, pcm, options, live=live)
            if pcm.size <= 4.5 * SAMPLE_RATE_HZ or not answer.segments:
                return answer
            (segment,) = answer.segments
            words = [word for word in segment.words if not skipped_from_s <= word.start < skipped_from_s + 2.5]
            whole = msgspec.structs.replace(segment, words=words, text="".join(word.word for word in words).strip())
            return msgspec.structs.replace(answer, segments=[whole] if words else [])

    words = telegraph.words_of([(seconds, 0.0) for seconds in lengths])
    happened = asyncio.run(converse(session(Absent(words), max_utterance_s=8.0), telegraph.speech(words)))
    assert [word.text.strip() for word in finals(happened)] == [word.text for word in words]


def test_what_was_shown_and_turns_out_to_be_nothing_is_taken_away() -> None:
    """Also where it was cut: a model that hears words in drafts, until it is asked to look twice."""

    class Fickle(TelegraphRecognizer):
        is_sure = False

        async def recognize(
            self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
        ) -> Recognition:
            self.is_sure = self.is_sure or options.beam_size > 1
            answer = await super().recognize(model, pcm, options, live=live)
            return msgspec.structs.replace(answer, segments=[]) if self.is_sure else answer

    # It ends right after it has become too long: of what is left of it there is no draft.
    words = telegraph.words_of([(0.5, 0.0)] * 6)
    live = session(Fickle(words), partial_interval_s=0.0, max_utterance_s=SHORTEST_UTTERANCE_S)
    happened = asyncio.run(converse(live, telegraph.speech(words), pace_s=0.01))
    partials = [event for event in happened if isinstance(event, Partial)]
    assert any(partial.text for partial in partials)
    assert partials[-1].text == partials[-1].committed == ""
    assert isinstance(happened[-1], Ended)
    assert happened[-1].text == ""


def test_models_that_are_away_are_spoken_of_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streaming.session.NOTICE_S", 0.1)
    words = telegraph.words_of([(0.5, 0.0)] * 3)
    happened = asyncio.run(converse(session(TelegraphRecognizer(words, delay_s=0.35)), telegraph.speech(words, 1.0)))
    kinds = [type(event) for event in happened]
    assert [kind for kind in kinds if kind in (Delayed, Resumed)][-1] is Resumed
    assert Resumed in kinds[kinds.index(Delayed) :]
    assert [word.text for word in finals(happened)] == [" w1", " w2", " w3"]


def test_a_stream_may_not_be_longer_than_allowed() -> None:
    async def main() -> None:
        live = StreamSession(
            replace(fake_inference(), recognizer=TelegraphRecognizer([])),
            StreamOptions(MODEL),
            StreamBounds(max_buffered_s=30, max_s=1),
            beam_size=5,
        )
        await live.feed(bytes(2 * SAMPLE_RATE_HZ))
        with pytest.raises(InvalidRequest, match="at most 1 s"):
            await live.feed(bytes(1))

    asyncio.run(main())


# LocalAgreement

texts = st.lists(st.sampled_from(["one", "two", "three", "four,", "Four", "five.", "six"]), max_size=12)


def said(texts: Sequence[str]) -> list[Word]:
    return [Word(f" {text}", float(n), n + 0.5, 0.9) for n, text in enumerate(texts)]


def plain(words: Sequence[Word]) -> list[str]:
    return [word.text.strip().strip(".,").lower() for word in words]


@given(st.lists(texts, max_size=8))
def test_committed_words_and_their_text_only_grow(hypotheses: list[list[str]]) -> None:
    agreement = LocalAgreement()
    for hypothesis in hypotheses:
        committed, text = plain(agreement.committed), agreement.committed_text
        agreement.add(said(hypothesis))
        assert plain(agreement.committed)[: len(committed)] == committed
        assert agreement.committed_text.startswith(text)
        assert agreement.text.startswith(agreement.committed_text)


@given(texts, texts, texts)
def test_what_two_hypotheses_in_a_row_begin_with_is_committed_and_no_more(
    common: list[str], one: list[str], other: list[str]
) -> None:
    agreement = LocalAgreement()
    agreement.add(said([*common, *one]))
    assert agreement.committed == ()
    agreement.add(said([*common, *other]))
    pairs = list(zip(plain(said([*common, *one])), plain(said([*common, *other])), strict=False))
    agreed = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    assert plain(agreement.committed) == plain(said([*common, *other]))[:agreed]
    assert plain(agreement.committed)[: len(common)] == plain(said(common))


def test_a_full_stop_that_was_due_to_the_end_of_the_audio_goes_again() -> None:
    agreement = LocalAgreement()
    for hypothesis in (
        ["It", "is", "Six."],
        ["It", "is", "six."],
        ["It", "is", "six", "and"],
        ["It", "is", "six", "and"],
    ):
        agreement.add(said(hypothesis))
    assert (agreement.committed_text, agreement.text) == ("It is six and", "It is six and")


def test_marks_are_part_of_a_word() -> None:
    """कि, की and का differ by their vowel signs alone."""
    agreement = LocalAgreement()
    for hypothesis in (["राम", "का"], ["राम", "की"], ["राम", "की।"]):
        agreement.add(said(hypothesis))
    assert (agreement.committed_text, agreement.text) == ("राम की", "राम की।")


def test_what_follows_is_found_where_a_committed_word_is_missing_or_another() -> None:
    for newer in (
        ["budget", "is", "eighty"],
        ["the", "big", "budget", "is", "eighty"],
        ["a", "budget", "is", "eighty"],
    ):
        agreement = LocalAgreement(said(["the", "budget", "is"]))
        agreement.add(said(newer))
        agreement.add(said(newer))
        assert agreement.committed_text == "the budget is eighty"


@given(texts, texts)
def test_where_the_beginning_ends(beginning: list[str], rest: list[str]) -> None:
    end = end_of(said(beginning), said([*beginning, *rest]))
    assert plain(said([*beginning, *rest]))[:end] == plain(said(beginning))


def test_a_word_heard_differently_is_not_said_again() -> None:
    assert end_of(said(["the", "budget", "is"]), said(["a", "budget", "is", "eighty"])) == 3
    assert end_of(said(["the", "budget"]), said(["the", "gadget", "is"])) == 2


# Endpointing

courses = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])), max_size=30)
MIN_SILENCE = frames(0.5)


def utterances(probabilities: Sequence[float], portions: Sequence[int]) -> list[Span]:
    endpointer, found, start = Endpointer(MIN_SILENCE), list[Span](), 0
    for size in [*portions, len(probabilities)]:
        found += endpointer.push(probabilities[start : start + size])
        start += size
    return found + endpointer.flush()


@given(courses, st.lists(st.integers(1, 50), max_size=20))
def test_utterances(course: list[tuple[int, float]], portions: list[int]) -> None:
    probabilities = [probability for length, probability in course for _ in range(length)]
    found = utterances(probabilities, portions)
    assert found == utterances(probabilities, [])
    for before, after in pairwise(found):
        assert before.end <= after.start
    covered = np.zeros(len(probabilities), dtype=bool)
    for span in found:
        assert 0 <= span.start < span.end <= len(probabilities)
        covered[span.start : span.end] = True
        inside = np.array(probabilities[span.start : span.end]) >= SPEECH.offset
        longest_silence = max((len(run) for run in "".join("x" if on else " " for on in inside).split("x")), default=0)
        assert longest_silence < MIN_SILENCE + 2 * SPEECH.padding
    # Speech that is longer than a click lies in an utterance.
    run = 0
    for frame, probability in enumerate([*probabilities, 0.0]):
        if probability >= SPEECH.onset:
            run += 1
        else:
            if run >= SPEECH.min_speech:
                assert covered[frame - run : frame].all()
            run = 0
