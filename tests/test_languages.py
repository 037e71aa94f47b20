"""Which language each part of a recording, or of a live session, is taken to be in."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from api.audio.media import DecoderLimits
from api.errors import InvalidRequest
from api.inference.base import ModelVersion, Pcm
from api.inference.contracts import DecodingOptions, ModelCard, Recognition
from api.inference.fake import FakeRecognizer, fake_inference
from api.recognition.catalog import SpeechModel
from api.recognition.chunking import FRAME_S, Span
from api.recognition.languages import (
    LONGEST_PHRASE,
    PAUSE,
    SHORTEST_PHRASE,
    LanguageTrack,
    Phrase,
    SwitchPolicy,
    has_another_script,
    phrase_spans,
    stretches,
)
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.speech import Segment, Transcript
from api.streaming.events import Ended, Event, Final
from api.streaming.options import StreamBounds, StreamOptions
from api.streaming.session import StreamSession
from bench.in_process import InProcess
from tests.conftest import Clip
from tests.test_streaming import converse

POLICY = SwitchPolicy(0.9, 1.0)
LANGUAGES = ("en", "es", "hi")
QUIET, LOUD, LOUDER = 0, 3000, 12_000
MODEL = SpeechModel("small", "small", "1", ModelCard("whisper", "Fake", ["en", "es", "hi"]))
UNPADDED = SpeechModel("small", "small", "1", msgspec.structs.replace(MODEL.card, min_window_frames=100))
LIMITS = DecoderLimits(audio_s=3600, cpu_s=60, memory_bytes=2 * 1024**3)


def phrase(seconds: float, **probabilities: float) -> Phrase:
    return Phrase(Span(0, max(1, round(seconds / FRAME_S))), seconds, probabilities)


def sure(language: str, seconds: float, probability: float = 0.99) -> Phrase:
    other = next(one for one in LANGUAGES if one != language)
    return phrase(seconds, **{language: probability, other: 1 - probability})


sure_phrases = st.builds(sure, st.sampled_from(LANGUAGES), st.floats(0.1, 5))
any_phrases = st.builds(
    lambda seconds, shares: phrase(seconds, **{k: v / sum(shares) for k, v in zip(LANGUAGES, shares, strict=True)}),
    st.floats(0.1, 5),
    st.tuples(*[st.floats(0.01, 1)] * 3),
)


def established(language: str = "en") -> LanguageTrack:
    track = LanguageTrack(POLICY)
    track.decide([sure(language, 10)])
    return track


# The smoother


@given(st.lists(any_phrases, max_size=30))
def test_every_phrase_has_a_language_that_was_heard(phrases: list[Phrase]) -> None:
    track = LanguageTrack(POLICY)
    decided = track.decide(phrases)
    assert len(decided) == len(phrases)
    assert set(decided) <= {language for one in phrases for language in one.probabilities}
    assert not decided or track.language == decided[-1]
    found = stretches(phrases, decided)
    assert [one for stretch in found for one in stretch.phrases] == phrases
    assert all(one.language != other.language for one, other in pairwise(found))


@given(st.lists(st.floats(0.05, 0.9), min_size=1, max_size=15), st.floats(1, 5))
def test_short_speech_in_another_language_is_no_switch(lengths: list[float], between_s: float) -> None:
    phrases = [one for length in lengths for one in (sure("es", length), sure("en", between_s))]
    assert set(established().decide(phrases)) == {"en"}


@given(st.lists(any_phrases, max_size=8), st.lists(st.floats(0.2, 3), min_size=1, max_size=8))
def test_long_sure_speech_is_in_its_language_from_its_beginning(before: list[Phrase], lengths: list[float]) -> None:
    lengths.append(POLICY.speech_s)
    decided = established().decide([*before, *(sure("es", length) for length in lengths)])
    assert set(decided[len(before) :]) == {"es"}


@given(st.lists(any_phrases, min_size=1, max_size=40))
def test_languages_change_at_most_once_in_so_much_speech(phrases: list[Phrase]) -> None:
    changes = [one != other for one, other in pairwise(["en", *established().decide(phrases)])]
    assert sum(changes) <= sum(one.speech_s for one in phrases) / POLICY.speech_s


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30), st.floats(0.34, 0.5))
def test_what_is_as_likely_as_not_is_never_a_switch(lengths: list[float], probability: float) -> None:
    track = established()
    assert set(track.decide([sure("es", length, probability) for length in lengths])) == {"en"}


def test_less_sure_speech_takes_longer() -> None:
    assert set(established().decide([sure("es", 1.0, 0.8)])) == {"en"}
    assert established().decide([sure("es", 1.0, 0.8)] * 5)[-1] == "es"


@given(st.lists(st.lists(any_phrases, min_size=1, max_size=3), max_size=8), any_phrases)
def test_asking_what_it_would_be_changes_nothing(windows: list[list[Phrase]], next_one: Phrase) -> None:
    track = LanguageTrack(POLICY)
    for window in windows:
        track.decide(window)
    assert track.would_be(next_one) == track.would_be(next_one) == track.decide([next_one])[0]


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(PAUSE, 60)), min_size=1, max_size=12))
def test_phrases_cover_a_window_and_end_in_pauses(runs: list[tuple[int, int]]) -> None:
    """Unless they would be too long."""
    activity = np.concatenate([np.repeat([0.95, 0.05], run) for run in runs]).astype(np.float32)
    spans = phrase_spans(activity)
    assert [spans[0].start, *(span.end for span in spans)] == [*(span.start for span in spans), activity.size]
    for span in spans:
        spoken = np.flatnonzero(activity[span.start : span.end] > 0.5)
        assert spoken.size == len(spans) == 1 or spoken.size >= min(SHORTEST_PHRASE, min(speech for speech, _ in runs))
        assert spoken[-1] - spoken[0] < LONGEST_PHRASE
    if all(speech <= LONGEST_PHRASE for speech, _ in runs):
        assert all(activity[span.start] < 0.5 for span in spans[1:])


@pytest.mark.parametrize(
    ("language", "text", "marked"),
    [
        ("en", "He said नमस्ते to all", True),
        ("en", "Zoë paid 5 € in Kraków.", False),
        ("en", "The α decays", False),
        ("hi", "मेरा meeting कल है", True),
        ("hi", "यह NASA का है", False),
        ("es", "Dijo привет y adiós", True),
        (None, "He said नमस्ते", False),
    ],
)
def test_words_in_other_letters(language: str | None, text: str, marked: bool) -> None:
    segment = Segment(0, 1, text, 0.9, (), -0.1, 0.0, 1.0, language=language)
    assert has_another_script(segment) is marked


def test_candidates() -> None:
    assert MODEL.candidates(["ES", "en", "es"]) == ("es", "en")
    assert MODEL.candidates(["es", "auto"]) == MODEL.candidates([]) == ()
    with pytest.raises(InvalidRequest, match="one of en, es, hi"):
        MODEL.candidates(["es", "xx"])


# Recordings: what is loud is English, what is louder Spanish


def sounds(*levels: tuple[int, float]) -> Pcm:
    return np.concatenate([np.full(round(seconds * 16_000), level, dtype=np.int16) for level, seconds in levels])


def in_turn(times: int, seconds: float, pause_s: float = 0.5) -> Pcm:
    one = (LOUD, seconds), (QUIET, pause_s), (LOUDER, seconds), (QUIET, pause_s)
    return sounds(*(one * times))


def transcribed(pcm: Pcm, recognizer: FakeRecognizer, model: SpeechModel = MODEL, **options: Any) -> Transcript:
    transcriber = Transcriber(
        fake_inference(recognizer), LIMITS, decoders=asyncio.Semaphore(1), windows_in_flight=3, beam_size=5
    )
    with tempfile.TemporaryFile() as file:
        soundfile.write(file, pcm, 16_000, format="WAV")
        file.flush()
        return asyncio.run(transcriber.transcribe(file.fileno(), TranscriptionOptions(model, **options)))


def bilingual() -> FakeRecognizer:
    return FakeRecognizer(languages=("en", "es"))


def identified(recognizer: FakeRecognizer) -> list[int]:
    return [size for _, size, options in recognizer.calls if options.task == "identify"]


@pytest.mark.parametrize("candidates", [(), ("en", "es")])
@pytest.mark.parametrize("in_flight_delay_s", [0.0, 0.002])
def test_each_part_is_in_its_language(candidates: tuple[str, ...], in_flight_delay_s: float) -> None:
    """Though each window has both, and none is sure."""
    recognizer = FakeRecognizer(languages=("en", "es"), delay_s=in_flight_delay_s)
    transcript = transcribed(in_turn(20, 3), recognizer, languages=candidates)
    for segment in transcript.segments:
        within = segment.start % 7
        assert segment.language == ("en" if within < 3 or within > 6.5 else "es"), segment
    assert transcript.languages == ["en", "es"]
    assert recognizer.most_running <= 3
    detection = transcript.detection
    assert detection is not None
    assert (detection.given, detection.candidates) == (False, candidates)
    assert detection.calls == sum(options.language is None for _, _, options in recognizer.calls)
    starts = [segment.start for segment in transcript.segments]
    assert starts == sorted(starts)


def test_a_short_sound_is_no_switch_but_is_marked() -> None:
    recognizer = bilingual()
    odd = sounds((LOUD, 3), (QUIET, 0.5), (LOUDER, 0.65), (QUIET, 0.5), (LOUD, 3))
    transcript = transcribed(np.concatenate([odd, sounds((QUIET, 3)), sounds((LOUD, 20))]), recognizer)
    assert transcript.languages == ["en"]
    assert transcript.language == "en"
    assert [segment.code_switch for segment in transcript.segments] == [True, False]
    (warning,) = transcript.warnings
    assert "another language" in warning
    assert "at 0.0 s" in warning


def test_one_language_is_hardly_identified() -> None:
    """Two windows at the beginning, where that is not dear; of the others each phrase, where candidates say that there
    may be several."""
    speech = np.tile(sounds((LOUD, 4), (QUIET, 0.6)), 60)
    padded, free, expecting, given_one = bilingual(), bilingual(), bilingual(), bilingual()
    transcripts = [
        transcribed(speech, padded),
        transcribed(speech, free, UNPADDED),
        transcribed(speech, expecting, languages=("en", "es")),
        transcribed(speech, given_one, languages=("en",)),
    ]
    assert all(one.language == "en" and set(one.languages) == {"en"} for one in transcripts)
    assert identified(padded) == []
    assert 2 <= len(identified(free)) <= 16
    assert len(identified(expecting)) > 55
    assert identified(given_one) == []
    assert {options.language for _, _, options in given_one.calls} == {"en"}
    assert [one.detection.given for one in transcripts if one.detection] == [False, False, False, True]
    assert transcripts[3].detection is not None
    assert transcripts[3].detection.calls == 0
    # What was heard in the right language is not listened to again.
    assert sum(options.language is not None for _, _, options in expecting.calls) == 0


def test_a_second_language_late_in_a_recording_is_found() -> None:
    speech = [sounds((LOUD, 4), (QUIET, 0.6))] * 40 + [sounds((LOUDER, 5), (QUIET, 0.6))] * 2
    transcript = transcribed(np.concatenate([*speech, *speech[:20]]), bilingual())
    languages = [language for language, _ in groupby(segment.language for segment in transcript.segments)]
    assert languages == ["en", "es", "en"]
    assert transcript.language == "en"


class SureOfWindows(FakeRecognizer):
    """Of one language each, whatever else is in them."""

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        answer = await super().recognize(model, pcm, options, live=live)
        if options.language is not None or options.task == "identify":
            return answer
        return msgspec.structs.replace(answer, language_probability=1.0, candidates={answer.language: 1.0})


def test_windows_that_seem_to_be_in_one_language_are_looked_into_after_a_switch() -> None:
    """A little Spanish in each."""
    one = sounds((LOUDER, 2), (QUIET, 0.5), (LOUD, 4), (QUIET, 0.5))
    transcript = transcribed(np.tile(one, 30), SureOfWindows(languages=("en", "es")), UNPADDED)
    assert len(transcript.segments) > 50
    for segment in transcript.segments:
        assert segment.language == ("en" if 1.5 < segment.start % 7 < 6.5 else "es"), segment


def test_a_window_in_another_language_than_before_is_looked_into() -> None:
    english = [sounds((LOUD, 4), (QUIET, 0.6))] * 30
    pcm = np.concatenate(
        [*english, sounds((QUIET, 3), (LOUDER, 5), (QUIET, 0.5), (LOUD, 3), (QUIET, 0.5), (LOUDER, 5))]
    )
    transcript = transcribed(pcm, SureOfWindows(languages=("en", "es")))
    languages = [language for language, _ in groupby(segment.language for segment in transcript.segments)]
    assert languages == ["en", "es", "en", "es"]


def test_channels_have_their_own_languages() -> None:
    speech = np.tile(sounds((LOUD, 4), (QUIET, 0.6)), 12)
    transcript = transcribed(np.stack([speech, 4 * speech], axis=1), bilingual(), split_channels=True)
    of = {segment.speaker: segment.language for segment in transcript.segments}
    assert of == {"Channel 1": "en", "Channel 2": "es"}
    assert transcript.detection is not None
    assert transcript.detection.calls >= 4


def test_nothing_said_is_in_no_language() -> None:
    transcript = transcribed(sounds((QUIET, 5)), bilingual())
    assert (transcript.language, transcript.languages) == (None, [])


def test_what_is_cancelled_leaves_no_call() -> None:
    started = asyncio.Event()

    class Noting(FakeRecognizer):
        async def recognize(
            self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
        ) -> Recognition:
            if len(self.calls) >= 8:
                started.set()
            return await super().recognize(model, pcm, options, live=live)

    recognizer = Noting(languages=("en", "es"), delay_s=0.2)

    async def cancelled() -> int:
        transcriber = Transcriber(
            fake_inference(recognizer), LIMITS, decoders=asyncio.Semaphore(1), windows_in_flight=3, beam_size=5
        )
        with tempfile.TemporaryFile() as file:
            soundfile.write(file, in_turn(20, 3), 16_000, format="WAV")
            file.flush()
            options = TranscriptionOptions(MODEL, languages=("en", "es"))
            running = asyncio.create_task(transcriber.transcribe(file.fileno(), options))
            await started.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return recognizer.running

    assert asyncio.run(cancelled()) == 0
    assert recognizer.most_running == 3


# The demo model


def test_sentences_in_turn(models: Path, clips: list[Clip]) -> None:
    inference = InProcess(models, "whisper-demo", threads=1)
    spanish = [clip for clip in clips if clip.language == "es"]
    english = [clip for clip in clips if clip.language == "en" and len(clip.text) > 25]
    order = [clip for pair in zip(english, spanish, strict=False) for clip in pair]
    pause = np.zeros(4800, dtype=np.int16)
    pcm = np.concatenate([part for clip in order for part in (soundfile.read(clip.path, dtype="int16")[0], pause)])
    transcriber = Transcriber(
        inference.inference(), LIMITS, decoders=asyncio.Semaphore(1), windows_in_flight=3, beam_size=5
    )
    with tempfile.TemporaryFile() as file:
        soundfile.write(file, pcm, 16_000, format="WAV")
        file.flush()
        options = TranscriptionOptions(SpeechModel("demo", "demo", "1", inference.card))
        transcript = asyncio.run(transcriber.transcribe(file.fileno(), options))
    said = {clip.text: clip.language for clip in order}
    assert {segment.text: segment.language for segment in transcript.segments} == said


# Live sessions


def live(recognizer: FakeRecognizer, **options: Any) -> StreamSession:
    inference = replace(fake_inference(), recognizer=recognizer)
    model = replace(MODEL, card=msgspec.structs.replace(MODEL.card, min_window_frames=100))
    return StreamSession(inference, StreamOptions(model, **options), StreamBounds(30, 3600), beam_size=5)


def final_languages(happened: Sequence[Event]) -> list[str | None]:
    events = [event for event in happened if isinstance(event, Final)]
    assert all(event.language == event.segment.language for event in events)
    return [event.segment.language for event in events]


def test_each_utterance_is_in_its_language() -> None:
    pcm = sounds((LOUD, 2), (QUIET, 1), (LOUDER, 2), (QUIET, 1), (LOUD, 3), (QUIET, 1))
    happened = asyncio.run(converse(live(bilingual()), pcm))
    assert final_languages(happened) == ["en", "es", "en"]
    assert isinstance(happened[-1], Ended)
    assert happened[-1].language == "en"


def test_a_short_utterance_is_in_the_language_of_before() -> None:
    recognizer = bilingual()
    pcm = sounds((LOUD, 2), (QUIET, 1), (LOUDER, 0.5), (QUIET, 1), (LOUD, 2), (QUIET, 1))
    assert final_languages(asyncio.run(converse(live(recognizer), pcm))) == ["en", "en", "en"]
    assert "en" in {options.language for _, _, options in recognizer.calls}


def test_a_given_language_is_that_of_all_utterances() -> None:
    recognizer = bilingual()
    pcm = in_turn(2, 2, 1)
    assert set(final_languages(asyncio.run(converse(live(recognizer, language="hi"), pcm)))) == {"hi"}
    assert {options.language for _, _, options in recognizer.calls} == {"hi"}


def test_languages_change_with_the_next_utterance() -> None:
    """Not with the one that is being spoken."""
    data = np.concatenate([sounds((LOUD, 2), (QUIET, 1))] * 3).tobytes()

    async def conversation() -> list[Event]:
        session, changed = live(bilingual(), language="en"), asyncio.Event()
        happened: list[Event] = []

        async def feed() -> None:
            await session.feed(data[:48_000])
            await changed.wait()
            await session.feed(data[48_000:])
            session.stop()

        feeding = asyncio.create_task(feed())
        async for event in session.events():
            if not happened:
                session.change_languages(None, ("hi", "es"))
                changed.set()
            happened.append(event)
        await feeding
        return happened

    assert final_languages(asyncio.run(conversation())) == ["en", "es", "es"]
