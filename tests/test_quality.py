"""Signal quality: how it is measured, and that speech below a floor is not listened to."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from api.audio.media import DecoderLimits
from api.inference.base import Floats, Pcm
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, ModelCard
from api.inference.fake import FakeRecognizer, FakeSpeakers, fake_inference
from api.recognition.activity import SpeechWindow, SpeechWindows
from api.recognition.catalog import SpeechModel
from api.recognition.chunking import FRAME_S, SHORT_WINDOWS, Span
from api.recognition.pipeline import Transcriber, TranscriptionOptions
from api.recognition.quality import LEAST_DB, MOST_DB, LevelMeter, Levels
from api.speech import SAMPLE_RATE_HZ, Transcript
from api.streaming.events import Event, Final, Partial, TooNoisy
from api.streaming.options import StreamBounds, StreamOptions
from api.streaming.session import StreamSession
from bench.enhancement import committed
from bench.mixtures import levelled, strung, telephone, with_noise
from bench.snr import Ratios
from export_scripts import voice_activity
from export_scripts.engines import load_engine
from tests.test_streaming import converse

MODEL = SpeechModel("small", "small", "1", ModelCard("whisper", "Fake", ["en"], min_window_frames=100))
NOISE = 300
"""The mean amplitude of the noise in what follows."""
Spoken = tuple[float, float, float]
"""From when to when somebody speaks, in seconds, and how far above the noise, in dB."""


class Told:
    """Voice activity that is told when somebody speaks."""

    def __init__(self, spoken: Sequence[Spoken]) -> None:
        self._spoken = spoken

    async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
        first, count = int(state[0]), pcm.size // ACTIVITY_FRAME_SAMPLES
        middles = (np.arange(first, first + count) + 0.5) * FRAME_S
        speech = sum(((start <= middles) & (middles < end)).astype(np.float32) for start, end, _ in self._spoken)
        return np.asarray(speech + np.zeros(count), dtype=np.float32), np.full_like(state, first + count)


def heard_over(noise: float, spoken: Sequence[Spoken], seconds: float, seed: int = 1) -> Pcm:
    """Noise, and louder noise where somebody speaks."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, noise, round(seconds * SAMPLE_RATE_HZ))
    for start, end, ratio_db in spoken:
        place = slice(round(start * SAMPLE_RATE_HZ), round(end * SAMPLE_RATE_HZ))
        samples[place] += rng.normal(0, NOISE * 10 ** (ratio_db / 20), samples[place].size)
    pcm: Pcm = np.clip(np.round(samples), -32768, 32767).astype(np.int16)
    return pcm


def measured(pcm: Pcm, speech: Floats, portions: Sequence[int] = (250,)) -> LevelMeter:
    meter, start, number = LevelMeter(), 0, 0
    while start < speech.size:
        end = min(speech.size, start + portions[number % len(portions)])
        meter.hear(pcm[start * ACTIVITY_FRAME_SAMPLES : end * ACTIVITY_FRAME_SAMPLES], speech[start:end])
        start, number = end, number + 1
    return meter


async def windows_of(pcm: Pcm, spoken: Sequence[Spoken], sizes: Sequence[int]) -> tuple[list[SpeechWindow], Levels]:
    async def blocks() -> AsyncIterator[Pcm]:
        start = number = 0
        while start < pcm.size:
            size = sizes[number % len(sizes)]
            yield pcm[start : start + size]
            start, number = start + size, number + 1

    windows = SpeechWindows(Told(spoken), SHORT_WINDOWS)
    return [window async for window in windows.of(blocks())], windows.levels


# How it is measured

phrases = st.lists(st.tuples(st.floats(0.2, 12), st.floats(0.2, 3.5), st.integers(-5, 30)), max_size=5)


def placed(lengths: Sequence[tuple[float, float, int]]) -> tuple[list[Spoken], float]:
    """Phrases of these lengths after these pauses, and how long all of it is."""
    spoken, at = list[Spoken](), 0.0
    for length, pause, ratio in lengths:
        spoken.append((at + pause, at + pause + length, ratio))
        at += pause + length
    return spoken, at + 0.5


@settings(max_examples=30)
@given(phrases, st.lists(st.integers(1, 400_000), max_size=5).map(lambda sizes: [*sizes, 50_000]))
def test_what_is_measured_does_not_depend_on_the_blocks(
    lengths: list[tuple[float, float, int]], sizes: list[int]
) -> None:
    spoken, seconds = placed(lengths)
    pcm = heard_over(NOISE, spoken, seconds)
    some, of_some = asyncio.run(windows_of(pcm, spoken, sizes))
    whole, of_whole = asyncio.run(windows_of(pcm, spoken, [pcm.size]))
    assert [window.levels for window in some] == [window.levels for window in whole]
    assert of_some == of_whole
    assert (of_whole.snr_db is None) == (not whole)


@settings(max_examples=30)
@given(st.integers(-5, 30), st.floats(-12, 12), st.floats(-3000, 3000))
def test_neither_gain_nor_offset_matter(ratio: int, gain_db: float, offset: float) -> None:
    spoken = [(1.0, 3.0, ratio), (4.5, 5.0, ratio)]
    pcm = heard_over(NOISE, spoken, 6)
    louder = np.clip(np.round(pcm * 10 ** (gain_db / 20) / 8 + offset), -32768, 32767).astype(np.int16)
    first, second = (asyncio.run(windows_of(one, spoken, [pcm.size]))[1].snr_db for one in (pcm, louder))
    assert first == pytest.approx(ratio, abs=1.5)
    assert second == pytest.approx(first, abs=0.5)


@settings(max_examples=30)
@given(st.floats(10, 3000), st.floats(1, 4), st.booleans())
def test_more_noise_is_no_better(noise: float, times: float, pauses: bool) -> None:
    spoken = [(start, start + (1.5 if pauses else 2.0), 10) for start in (0.0, 2.0, 4.0)]
    less, more = (
        asyncio.run(windows_of(heard_over(level, spoken, 6), spoken, [9_000]))[1].snr_db
        for level in (noise, noise * times)
    )
    assert less is not None
    assert more is not None
    assert more <= less + 0.5


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from([0, 1, 300, 20_000, 32_767]), min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(1, 60),
    st.integers(0, 2),
)
def test_whatever_is_heard_the_ratio_is_in_bounds(
    amplitudes: list[int], speech: list[float], start: int, length: int, shape: int
) -> None:
    """Silence, tones, squares and noise, with voice activity that says anything."""
    size = len(amplitudes) * ACTIVITY_FRAME_SAMPLES
    carrier = [np.ones(size), np.sign(np.sin(np.arange(size) / 9)), np.random.default_rng(0).normal(0, 0.4, size)][
        shape
    ]
    pcm = np.clip(np.repeat(amplitudes, ACTIVITY_FRAME_SAMPLES) * carrier, -32768, 32767).astype(np.int16)
    probabilities = np.resize(np.array(speech, dtype=np.float32), len(amplitudes))
    levels = measured(pcm, probabilities).levels(Span(start, start + length))
    assert (levels.snr_db is None) == (not (probabilities[start : start + length] >= 0.5).any())
    assert levels.snr_db is None or LEAST_DB <= levels.snr_db <= MOST_DB
    assert not levels.is_below(None)


def test_what_is_kept_is_little() -> None:
    meter = LevelMeter()
    for step in range(200):
        meter.hear(np.ones(256 * ACTIVITY_FRAME_SAMPLES, dtype=np.int16), np.ones(256, dtype=np.float32))
        meter.forget(256 * step)
    assert sum(value.nbytes for value in vars(meter).values() if isinstance(value, np.ndarray)) < 100_000


def test_what_was_loud_before_is_not_the_noise() -> None:
    """Music ends, a door slams in a pause, and somebody speaks in a quiet room."""
    spoken = [(5.3, 7.0, 20), (8.0, 9.5, 20)]
    syllables = np.sin(2 * np.pi * 3 / SAMPLE_RATE_HZ * np.arange(11 * SAMPLE_RATE_HZ)) ** 2
    pcm = (syllables * heard_over(0, spoken, 11) + heard_over(30, [], 11)).astype(np.int16)
    for place in (slice(0, 5 * SAMPLE_RATE_HZ), slice(round(7.4 * SAMPLE_RATE_HZ), round(7.6 * SAMPLE_RATE_HZ))):
        pcm[place] = np.random.default_rng(2).normal(0, 8000, pcm[place].size).clip(-32768, 32767).astype(np.int16)
    windows, _ = asyncio.run(windows_of(pcm, spoken, [pcm.size]))
    assert windows
    assert all((window.levels.snr_db or 0) > 0 for window in windows)


def test_noise_that_has_begun_is_the_noise() -> None:
    spoken = [(9.0, 10.0, 10)]
    pcm = heard_over(NOISE, spoken, 11)
    pcm[: 6 * SAMPLE_RATE_HZ] //= 10
    _, levels = asyncio.run(windows_of(pcm, spoken, [pcm.size]))
    assert levels.snr_db == pytest.approx(10, abs=1)


def test_what_a_room_adds_is_no_noise() -> None:
    """Speech goes on sounding for a fifth of a second."""
    spoken = [(1.0, 3.0, 10)]
    echo = heard_over(0, [(3.0, 3.2, 4)], 3.2)
    pcm = heard_over(NOISE / 10, spoken, 5)
    pcm[: echo.size] += echo
    _, levels = asyncio.run(windows_of(pcm, spoken, [pcm.size]))
    assert levels.snr_db == pytest.approx(30, abs=1)


def test_rumble_drowns_nothing() -> None:
    """It is noise, and as much of it as there is; but words are heard above it."""
    spoken = [(1.0, 3.0, 0)]
    pcm = heard_over(NOISE / 100, spoken, 5).astype(np.float64)
    pcm += 20 * NOISE * np.sin(2 * np.pi * 60 / SAMPLE_RATE_HZ * np.arange(pcm.size))
    ((window,), _) = asyncio.run(windows_of(pcm.astype(np.int16), spoken, [pcm.size]))
    assert window.levels.snr_db is not None
    assert window.levels.snr_db < -15
    assert not window.levels.is_below(-5)
    assert window.levels.is_below(MOST_DB + 1)


# How well, with the voice activity that is served


@pytest.fixture(scope="module")
def ratios(tmp_path_factory: pytest.TempPathFactory) -> Ratios:
    repository = tmp_path_factory.mktemp("models")
    voice_activity.main(["--to", str(repository), "--instances", "1"])
    engine = load_engine("voice_activity").VoiceActivityEngine(
        repository / "voice_activity" / "1" / "weights" / "silero_vad.onnx"
    )

    class Served:
        async def detect(self, pcm: Pcm, state: Floats, *, live: bool = False) -> tuple[Floats, Floats]:
            ((probabilities, next_state),) = engine.detect([(pcm, state)])
            return probabilities, next_state

    return Ratios(Served())


@pytest.fixture(scope="module")
def speech() -> list[Any]:
    """Sentences in unseen voices, and half a minute of them."""
    recordings = [levelled(one) for one in committed().recordings]
    return [*recordings[:6], levelled(strung(recordings, 1)[: 30 * SAMPLE_RATE_HZ])]


@pytest.mark.parametrize("noise", ["white", "pink", "hum"])
def test_it_is_within_3_db(ratios: Ratios, speech: list[Any], noise: str) -> None:
    for right in (-5, 5, 15, 30):
        found = [ratios.measure(one, SHORT_WINDOWS).snr_db for one in with_noise(speech, noise, right)]
        errors = [abs(one - right) for one in found if one is not None]
        assert len(errors) >= len(found) - 1
        assert np.mean(errors) <= 3, (right, found)


def test_speech_that_can_be_understood_is_never_below(ratios: Ratios, speech: list[Any]) -> None:
    conditions = [
        speech,
        [one / 100 for one in speech],
        [telephone(one) for one in speech],
        [one[8000 : 8000 + SAMPLE_RATE_HZ] for one in speech],
        *(with_noise(speech, noise, 10) for noise in ("white", "babble", "music", "tone")),
        *(with_noise(speech, noise, -10) for noise in ("hum", "rumble")),
    ]
    windows = [
        window
        for recordings in conditions
        for one in recordings
        for window in ratios.measure(one, SHORT_WINDOWS).windows
    ]
    assert len(windows) > 8 * len(speech)
    assert not [window.levels for window in windows if window.levels.is_below(-5)]
    drowned = [ratios.measure(one, SHORT_WINDOWS) for one in with_noise(speech, "white", -10)]
    heard = [window for one in drowned for window in one.windows]
    assert heard
    assert sum(window.levels.is_below(-5) for window in heard) > 0.9 * len(heard)


def test_where_nobody_speaks_there_is_no_ratio(ratios: Ratios) -> None:
    silence = np.zeros(3 * SAMPLE_RATE_HZ)
    noise = np.random.default_rng(0).normal(0, 0.1, silence.size)
    tone = np.sin(np.arange(silence.size) / 5)
    for audio in (silence, noise, tone, silence[:1], silence + 0.5):
        assert ratios.measure(audio, SHORT_WINDOWS).snr_db is None


# What is below the floor, in a file

CLEAR, DROWNED = (2.0, 4.0, 20.0), (8.0, 10.5, -12.0)


def transcribed(
    folder: Path, channels: Sequence[Sequence[Spoken]], **options: Any
) -> tuple[Transcript, FakeRecognizer, FakeSpeakers]:
    """A recording of 14 s. All its channels share what is said of when somebody speaks."""
    recognizer, speakers = FakeRecognizer(), FakeSpeakers()
    spoken = [one for channel in channels for one in channel]
    inference = replace(fake_inference(recognizer), voice_activity=Told(spoken), speakers=speakers)
    samples = [heard_over(NOISE, channel, 14, seed) for seed, channel in enumerate(channels)]
    soundfile.write(folder / "recording.flac", np.stack(samples, axis=1), SAMPLE_RATE_HZ)
    limits = DecoderLimits(3600, 60, 1024**3)
    transcriber = Transcriber(inference, limits, decoders=asyncio.Semaphore(), windows_in_flight=2, beam_size=5)
    source = os.open(folder / "recording.flac", os.O_RDONLY)
    try:
        transcript = asyncio.run(transcriber.transcribe(source, TranscriptionOptions(MODEL, **options)))
    finally:
        os.close(source)
    return transcript, recognizer, speakers


def test_a_recording_that_is_too_noisy_is_not_listened_to(tmp_path: Path) -> None:
    transcript, recognizer, _ = transcribed(tmp_path, [[DROWNED]], language="en", snr_floor_db=-5.0)
    assert recognizer.calls == []
    assert (transcript.too_noisy, transcript.text, transcript.language) == (True, "", None)
    assert transcript.snr_db is not None
    assert transcript.snr_db < -5
    (warning,) = transcript.warnings
    assert "below -5 dB" in warning


def test_what_is_too_noisy_of_a_recording_is_left_out(tmp_path: Path) -> None:
    transcript, recognizer, _ = transcribed(tmp_path, [[CLEAR, DROWNED]], snr_floor_db=-5.0)
    assert [size for _, size, _ in recognizer.calls] == [pytest.approx(2.4 * SAMPLE_RATE_HZ, abs=1100)]
    assert not transcript.too_noisy
    assert transcript.language == "en"
    assert [segment.snr_db for segment in transcript.segments] == [pytest.approx(20, abs=1)]
    (warning,) = transcript.warnings
    assert warning.startswith("2.9 s of speech")


def test_without_a_floor_all_is_listened_to(tmp_path: Path) -> None:
    transcript, recognizer, _ = transcribed(tmp_path, [[CLEAR, DROWNED]])
    assert len(recognizer.calls) >= 2
    assert (transcript.too_noisy, transcript.warnings) == (False, ())
    clear, drowned = (segment.snr_db or 0 for segment in transcript.segments)
    assert clear == pytest.approx(20, abs=1)
    assert drowned < -5
    assert transcript.snr_db is not None
    assert drowned < transcript.snr_db < clear


def test_each_channel_has_its_own_quality(tmp_path: Path) -> None:
    """Each is measured wherever somebody speaks in any of them; the floor leaves out what is noise in one."""
    transcript, _, _ = transcribed(tmp_path, [[DROWNED], [CLEAR]], split_channels=True)
    assert len(transcript.segments) == 4
    best = max(transcript.segments, key=lambda segment: segment.snr_db or 0)
    assert best.speaker == "Channel 2"
    assert best.snr_db == pytest.approx(20, abs=1)
    transcript, recognizer, _ = transcribed(tmp_path, [[DROWNED], [CLEAR]], split_channels=True, snr_floor_db=-5.0)
    assert len(recognizer.calls) == 1
    assert transcript.snr_db is not None
    assert 10 < transcript.snr_db < 20  # of the channel with the text, though it is noise too where the other speaks
    assert [segment.speaker for segment in transcript.segments] == ["Channel 2"]
    assert not transcript.too_noisy
    transcript, _, _ = transcribed(tmp_path, [[DROWNED], [DROWNED]], split_channels=True, snr_floor_db=-5.0)
    assert (transcript.too_noisy, transcript.segments, len(transcript.warnings)) == (True, (), 1)


# What is below the floor, in a live session


def said(
    spoken: Sequence[Spoken], seconds: float, noise: float = NOISE, pace_s: float = 0.0, **options: Any
) -> tuple[list[Event], FakeRecognizer]:
    recognizer = FakeRecognizer()
    inference = replace(fake_inference(recognizer), voice_activity=Told(spoken))
    live = StreamSession(inference, StreamOptions(MODEL, **options), StreamBounds(30, 3600), beam_size=5)
    return asyncio.run(converse(live, heard_over(noise, spoken, seconds), pace_s=pace_s)), recognizer


def test_an_utterance_that_is_too_noisy_is_said_to_be() -> None:
    happened, _ = said([CLEAR, DROWNED], 12, snr_floor_db=-5.0)
    settled = [event for event in happened if isinstance(event, Final | TooNoisy)]
    clear, drowned = settled
    assert isinstance(clear, Final)
    assert clear.segment.snr_db == pytest.approx(20, abs=1)
    assert isinstance(drowned, TooNoisy)
    assert drowned.snr_db < -5
    assert drowned.start == pytest.approx(7.8, abs=0.05)
    assert drowned.end == pytest.approx(10.7, abs=0.05)


def test_nobody_listens_to_what_is_too_noisy() -> None:
    """Neither for a draft nor where it is longer than an utterance may be."""
    happened, recognizer = said([(1.0, 9.0, -12.0)], 11, snr_floor_db=-5.0, max_utterance_s=3.0)
    assert recognizer.calls == []
    noisy = [event for event in happened if isinstance(event, TooNoisy)]
    assert len(noisy) > 1
    assert all(one.end == two.start for one, two in itertools.pairwise(noisy))
    assert not [event for event in happened if isinstance(event, Final | Partial)]


def test_drafts_of_what_turns_out_too_noisy_are_taken_back() -> None:
    spoken = [(1.0, 2.0, 20.0), (2.0, 9.0, 0.0)]  # without a pause
    happened, recognizer = said(spoken, 11, pace_s=0.003, snr_floor_db=15.0, partial_interval_s=0.0)
    assert recognizer.calls
    partials = [event for event in happened if isinstance(event, Partial)]
    assert partials[0].text
    assert partials[-1].text == ""
    (noisy,) = [event for event in happened if isinstance(event, TooNoisy)]
    assert happened.index(noisy) == happened.index(partials[-1]) + 1
    assert not [event for event in happened if isinstance(event, Final)]
