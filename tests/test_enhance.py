"""POST /v1/enhance-audio, and `enhance=true`: with a fake that takes the quiet for noise, and with the real model."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyloudnorm
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from api.audio.denoising import denoised
from api.audio.enhance import Enhancer
from api.audio.media import DecoderLimits
from api.audio.resampling import resampled
from api.inference.base import Floats, Pcm, SpeechEnhancer
from api.inference.contracts import ModelCard
from api.inference.deployments import Deployments
from api.inference.fake import FakeEnhancer, FakeRegistry, fake_inference
from bench.service import window_counts
from tests import contract
from tests.business import Customer, customer, speech, until
from tests.conftest import Clip, Stack, ffmpeg
from tests.running import FakeService, start_fake_service, stop_fake_service
from tests.test_loudness import true_peak_dbtp
from tests.test_memory import MIB, peak_memory, write_tones
from tests.test_pipeline import service as in_this_process

RATE_HZ = 48_000
LIMITS = DecoderLimits(3600, 60, 2**30)
PLANS = """
[paid]
max_file_mb = 10
concurrency = 1
requests_per_minute = 10000
minutes_per_month = 0
text.default = { requests_per_minute = 1000, credits = 2 }

[house]
max_file_mb = 1000
concurrency = 1
requests_per_minute = 10000
text.default = { requests_per_minute = 1000 }
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plans") / "plans.toml"
    file.write_text(PLANS)
    return file


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, plans: Path) -> Iterator[FakeService]:
    service = start_fake_service(tmp_path_factory.mktemp("enhance"), plans=plans, max_enhanced_s=900)
    yield service
    stop_fake_service(service)


@pytest.fixture
def service(running: FakeService) -> Iterator[FakeService]:
    yield running
    running.assert_nothing_left()


@pytest.fixture
def anna(new_customer: Callable[..., Customer]) -> Customer:
    return new_customer("paid", credits=100)


def recording(samples: Floats, rate_hz: int = RATE_HZ, format_: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format_, subtype="PCM_16")
    return file.getvalue()


def talk(level: float, seconds: float = 12.0, noise: float = 0.0) -> Floats:
    """Syllables of a tone with pauses between them, and noise in all of it."""
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    spoken = np.sin(2 * np.pi * 220 * times) * np.clip(np.sin(2 * np.pi * 1.5 * times), 0, 1)
    return np.asarray(level * spoken + noise * np.random.default_rng(1).uniform(-1, 1, times.size), dtype=np.float32)


def enhance(customer: Customer, content: bytes, name: str = "talk.wav", **fields: str) -> httpx.Response:
    return customer.client.post("/v1/enhance-audio", files={"file": (name, content)}, data=fields)


def heard(answer: httpx.Response) -> Floats:
    """(samples, channels)"""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "audio/wav"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    samples, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32", always_2d=True)
    assert rate_hz == RATE_HZ
    assert answer.headers["X-Duration"] == f"{len(samples) / rate_hz:.3f}"
    return np.asarray(samples)


def loudness(samples: Floats) -> float:
    return float(pyloudnorm.Meter(RATE_HZ).integrated_loudness(samples.astype(np.float64)))


def refused(answer: httpx.Response, *parts: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    for part in parts:
        assert part in answer.json()["error"]


@pytest.mark.parametrize("level", [0.1, 0.9])
def test_less_noise_and_as_loud_as_it_should_be(anna: Customer, level: float) -> None:
    sound = talk(level, noise=0.01)
    answer = enhance(anna, recording(sound), "Büro Montag.mp3", noise_reduction="100")
    samples = heard(answer)
    assert samples.shape == (sound.size, 1)
    assert loudness(samples) == pytest.approx(-16, abs=0.6)
    assert float(answer.headers["X-Loudness"]) == pytest.approx(loudness(samples), abs=0.1)
    assert true_peak_dbtp(samples) <= -1
    assert np.std(sound[RATE_HZ // 2 : RATE_HZ // 2 + 4000]) > 0.005
    assert not samples[RATE_HZ // 2 : RATE_HZ // 2 + 4000].any(), "the noise of a pause is gone"
    # Nothing is moved: syllables are where they were.
    assert np.corrcoef(sound, samples[:, 0])[0, 1] > 0.98
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="Buro Montag (enhanced).wav"')
    assert loudness(heard(enhance(anna, recording(sound), loudness="-23"))) == pytest.approx(-23, abs=0.6)
    assert anna.balance() == 100 - 2 * 2


def test_both_channels_have_one_gain(anna: Customer) -> None:
    left, right = talk(0.3), talk(0.1)[::-1]
    samples = heard(enhance(anna, recording(np.stack([left, right], axis=1), format_="FLAC")))
    assert loudness(samples) == pytest.approx(-16, abs=0.6)
    assert samples[:, 0].std() / samples[:, 1].std() == pytest.approx(left.std() / right.std(), rel=0.03)
    assert np.corrcoef(samples[:, 1], right)[0, 1] > 0.99


def test_more_channels_are_mixed(anna: Customer, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=220:duration=2", "-af", "pan=5.1|c0=c0|c2=c0", tmp_path / "film.mp4")
    samples = heard(enhance(anna, (tmp_path / "film.mp4").read_bytes()))
    assert samples.shape[1] == 1
    assert loudness(samples) == pytest.approx(-16, abs=0.6)


def test_what_is_peaky_is_as_loud_and_does_not_clip(anna: Customer) -> None:
    """Doors slam in it, 30 dB above the voices."""
    sound = talk(0.03)
    for place in range(RATE_HZ, sound.size - RATE_HZ, 2 * RATE_HZ):
        sound[place : place + 480] += 0.9 * np.hanning(480) * np.sin(np.arange(480))
    samples = heard(enhance(anna, recording(sound)))
    assert loudness(samples) == pytest.approx(-16, abs=1)
    assert true_peak_dbtp(samples) <= -1


@pytest.mark.parametrize("level", [0.0, 0.012])
def test_silence_stays_silence(anna: Customer, level: float) -> None:
    answer = enhance(anna, recording(talk(0, 3.0, noise=level)), noise_reduction="100")
    assert not heard(answer).any()
    assert "X-Loudness" not in answer.headers


def test_hardly_a_sample(anna: Customer) -> None:
    for frames in (1, 479, 481):
        assert heard(enhance(anna, recording(np.full(frames, 0.5, dtype=np.float32)))).shape == (frames, 1)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "file is empty"),
        (b"These are the minutes of the meeting.\n" * 50, "no audio or video that can be decoded"),
        (recording(np.zeros(0, dtype=np.float32)), "no sound in it"),
    ],
    ids=["empty", "text", "header alone"],
)
def test_files_that_are_no_recordings(anna: Customer, content: bytes, part: str) -> None:
    refused(enhance(anna, content), part)
    assert anna.balance() == 100


def test_what_else_is_refused(anna: Customer, new_customer: Callable[..., Customer], tmp_path: Path) -> None:
    url, content = f"{anna.service.url}/v1/enhance-audio", speech(1)
    refused(anna.client.post(url, data={"loudness": "-16"}), "multipart/form-data", "curl -F file=@")
    refused(anna.client.post(url, files={"audio": content}), "`audio`", "field `file`")
    refused(enhance(anna, bytes(10 * MIB + 1)), "larger than 10 MB", status=413)
    for wrong in ("-13", "-32", "nan", "loud"):
        refused(enhance(anna, content, loudness=wrong), "loudness must be a number", "-31 to -14", wrong)
    refused(enhance(anna, content, noise_reduction="11"), "noise_reduction must be a number of dB from 12 to 100")
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-t", "1", tmp_path / "silent-film.mp4")
    refused(enhance(anna, (tmp_path / "silent-film.mp4").read_bytes()), "no audio stream")
    quick = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "960", "-c:a", "libmp3lame", "-b:a", "8k"]
    ffmpeg(*quick, tmp_path / "long.mp3")
    refused(enhance(anna, (tmp_path / "long.mp3").read_bytes()), "0.3 hours long; 0.25 can", "shorter parts")
    ffmpeg(*quick, "-f", "mp3", "-write_xing", "0", "-id3v2_version", "0", tmp_path / "unannounced.mp3")
    refused(enhance(anna, (tmp_path / "unannounced.mp3").read_bytes()), "longer than 0.25 hours", "shorter parts")
    refused(httpx.post(url, files={"file": content}), "key", status=401)
    refused(enhance(new_customer(scopes=("text", "account")), content), "scope transcribe", status=403)
    refused(enhance(new_customer(), content), "credits", status=402)
    refused(anna.client.get(url), "GET", status=405)
    assert anna.balance() == 100
    assert enhance(new_customer(credits=2, scopes=("transcribe",)), content).status_code == 200


def test_a_damaged_recording_says_so(anna: Customer) -> None:
    flac = recording(talk(0.3), format_="FLAC")
    answer = enhance(anna, flac[: len(flac) // 2])
    assert 4 < len(heard(answer)) / RATE_HZ < 8
    assert "damaged" in answer.headers["X-Warning"]


def test_no_model_and_no_room(tmp_path: Path, plans: Path) -> None:
    missing, full = tmp_path / "missing", tmp_path / "full"
    for folder, fakes in ((missing, {"FAKE_MISSING": "speech_enhancer"}), (full, {})):
        folder.mkdir()
        service = start_fake_service(folder, fakes=fakes, plans=plans)
        try:
            with customer(service, credits=5).open() as anna:
                if folder == full:
                    # The upload fits under this limit on the size of files; what comes of it does not.
                    service.process.rlimit(psutil.RLIMIT_FSIZE, (MIB, psutil.RLIM_INFINITY))
                    refused(enhance(anna, speech(30)), "no room", "enhanced recording", status=507)
                else:
                    answer = enhance(anna, speech(3))
                    refused(answer, "`tritone export speech_enhancer --to DIR`", "removes noise", status=503)
                    assert int(answer.headers["Retry-After"]) > 0
                    refused(anna.transcribe(speech(3), enhance="true"), "tritone export speech_enhancer", status=503)
                    assert anna.transcribe(speech(3), enhance="false").status_code == 200
                    assert anna.balance() == 4
                    continue
                assert anna.balance() == 5
            service.assert_nothing_left()
        finally:
            stop_fake_service(service)


def test_a_client_that_leaves_takes_its_work_along(tmp_path: Path, plans: Path) -> None:
    """Once while the model is at work, and once with half of the answer, which it pays for. One may come at a time."""
    service = start_fake_service(tmp_path, fake_delay_s="0.3", plans=plans)
    try:
        with customer(service, credits=5).open() as anna:
            content = recording(talk(0.3, 90.0), format_="FLAC")
            request = anna.client.build_request("POST", "/v1/enhance-audio", files={"file": content})
            head = [f"{name}: {value}".encode() for name, value in request.headers.items()]
            whole = b"\r\n".join([b"POST /v1/enhance-audio HTTP/1.1", *head, b"", request.read()])
            for reads, left in ((0, 5), (100_000, 3)):
                with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as leaves:
                    leaves.sendall(whole)
                    until(lambda: any("ffmpeg" in name for name in service.leftovers()))
                    while reads > 0:
                        reads -= len(leaves.recv(4096))
                service.assert_nothing_left()
                until(lambda left=left: anna.balance() == left)  # type: ignore[misc]
            assert enhance(anna, speech(3)).status_code == 200
    finally:
        stop_fake_service(service)


def test_who_takes_nothing_of_the_answer_is_given_up(tmp_path: Path, plans: Path) -> None:
    """The answer is larger than what lies between the two; the place and the file are free again."""
    service = start_fake_service(tmp_path, plans=plans, upload_idle_timeout_s=1)
    try:
        with customer(service, credits=9).open() as anna:
            content = recording(talk(0.3, 120.0), format_="FLAC")
            request = anna.client.build_request("POST", "/v1/enhance-audio", files={"file": content})
            head = [f"{name}: {value}".encode() for name, value in request.headers.items()]
            with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as stands:
                stands.sendall(b"\r\n".join([b"POST /v1/enhance-audio HTTP/1.1", *head, b"", request.read()]))
                assert stands.recv(12) == b"HTTP/1.1 200"
                service.assert_nothing_left()
                until(lambda: enhance(anna, speech(1)).status_code == 200)  # its place is free a moment after its file
    finally:
        stop_fake_service(service)


def test_memory_is_flat_in_the_length_of_a_recording(tmp_path: Path, plans: Path) -> None:
    """A quarter of an hour is 86 MB in 16 bits."""
    peaks = {}
    for minutes in (1, 15):
        write_tones(tmp_path / f"{minutes}.flac", minutes)
        (spool := tmp_path / str(minutes)).mkdir()
        service = start_fake_service(spool, plans=plans)
        try:
            with customer(service, "house").open() as anna, peak_memory(service) as peak:
                content = (tmp_path / f"{minutes}.flac").read_bytes()
                url, file = f"{service.url}/v1/enhance-audio", {"file": content}
                with httpx.stream("POST", url, files=file, headers=anna.headers, timeout=300) as answer:
                    size = sum(map(len, answer.iter_raw()))
            assert size == 44 + 2 * RATE_HZ * 60 * minutes
            peaks[minutes] = peak.bytes
            service.assert_nothing_left()
        finally:
            stop_fake_service(service)
    assert peaks[15] - peaks[1] <= 32 * MIB


@dataclass
class Late(FakeEnhancer):
    """Takes nothing away; is late by its card's delay, and keeps to its card."""

    card: ModelCard = field(default_factory=ModelCard)

    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        assert samples.size % self.card.hop_samples == 0
        assert 0 < samples.size <= 30 * self.card.sample_rate
        assert state.size == self.card.state_size
        await self.work()
        late = np.concatenate([state[: self.card.delay_samples], samples])
        return late[: samples.size], np.resize(late[samples.size :], state.size)


def card(hop: int, delay: int, rate_hz: int = 1000) -> ModelCard:
    return ModelCard(sample_rate=rate_hz, hop_samples=hop, delay_samples=delay, state_size=delay + 3)


async def parts(sound: Pcm, cuts: list[float]) -> AsyncIterator[Pcm]:
    places = [0, *sorted(int(cut * len(sound)) for cut in cuts), len(sound)]
    for start, end in pairwise(places):
        yield sound[start:end]


@settings(max_examples=60)
@given(
    st.integers(1, 45_000), st.sampled_from([1, 2]), st.lists(st.floats(0, 1), max_size=5),
    st.integers(1, 500), st.integers(0, 15_000),
)  # fmt: skip
def test_nothing_is_moved_added_or_lost(frames: int, channels: int, cuts: list[float], hop: int, delay: int) -> None:
    sound = np.random.default_rng(frames).integers(-32768, 32768, (frames, channels), dtype=np.int16)
    of = card(hop, delay)

    async def run() -> Floats:
        async with aclosing(denoised(parts(sound, cuts), Late(card=of), of, 20.0)) as blocks:
            return np.concatenate([block async for block in blocks])

    assert np.array_equal(asyncio.run(run()), sound.astype(np.float32) / 32768)


class Deaf(Late):
    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        enhanced, after = await super().enhance(samples, state)
        return np.zeros_like(enhanced), after


@given(st.integers(1, 45_000), st.lists(st.floats(0, 1), max_size=5), st.integers(0, 15_000), st.floats(0, 40))
def test_of_the_noise_so_much_stays_as_was_asked(frames: int, cuts: list[float], delay: int, at_most_db: float) -> None:
    sound = np.random.default_rng(frames).integers(-32768, 32768, (frames, 1), dtype=np.int16)
    of = card(50, delay)

    async def run() -> Floats:
        async with aclosing(denoised(parts(sound, cuts), Deaf(card=of), of, at_most_db)) as blocks:
            return np.concatenate([block async for block in blocks])

    assert np.allclose(asyncio.run(run()), sound / 32768 * 10 ** (-at_most_db / 20), atol=1e-6)


def test_channels_are_with_the_model_together_and_blocks_of_one_are_not() -> None:
    sound = np.zeros((60_000, 2), dtype=np.int16)

    async def most(of: Pcm) -> int:
        enhancer = Late(delay_s=0.01, card=card(10, 20))
        async with aclosing(denoised(parts(of, [0.5]), enhancer, enhancer.card, 20.0)) as blocks:
            async for _ in blocks:
                pass
        return enhancer.most_running

    assert (asyncio.run(most(sound)), asyncio.run(most(sound[:, :1]))) == (2, 1)


@settings(max_examples=20)
@given(st.floats(0.01, 12), st.sampled_from([1, 2]), st.lists(st.floats(0, 1), max_size=5))
def test_another_rate_moves_nothing(seconds: float, channels: int, cuts: list[float]) -> None:
    frames = int(seconds * RATE_HZ)
    sound = (20_000 * np.sin(2 * np.pi * 300 * np.arange(frames) / RATE_HZ)).astype(np.int16)
    of = card(480, 1000, RATE_HZ)

    async def run() -> list[Pcm]:
        steps = denoised(parts(np.stack([sound] * channels, axis=1), cuts), Late(card=of), of, 20.0)
        return [block async for block in resampled(steps, RATE_HZ, 16_000)]

    blocks = asyncio.run(run())
    found = np.concatenate(blocks)
    assert max(map(len, blocks)) <= 16_000
    assert found.shape == ((len(found),) if channels == 1 else (len(found), channels))
    assert abs(len(found) - frames / 3) < 1
    expected = 20_000 * np.sin(2 * np.pi * 300 * np.arange(len(found)) / 16_000)
    middle = slice(300, -300)
    assert np.abs(found.reshape(len(found), -1)[middle] - expected[middle, None]).max(initial=0) < 20


@pytest.mark.parametrize("channels", ["mix", "split"])
def test_a_recording_is_denoised_before_it_is_transcribed(channels: str) -> None:
    enhancer = FakeEnhancer()
    with in_this_process(fake_inference(enhancer=enhancer)) as client:

        def transcribe(enhance: str) -> Any:
            fields = {"enhance": enhance, "channels": channels, "response_format": "verbose_json"}
            return client.post("/v1/transcribe", files={"file": speech(25)}, data=fields).json()

        plain = transcribe("false")
        assert enhancer.enhanced == 0
        quieter = transcribe("true")
        assert enhancer.enhanced == 3
        assert quieter["segments"] == plain["segments"]
        assert (quieter["duration"], plain["duration"]) == (25.0, 25.0)
        assert "true or false" in transcribe("perhaps")["error"]


class Strict(FakeEnhancer):
    """Takes everything for noise."""

    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        return np.zeros_like(samples), state


def test_what_is_noise_is_not_transcribed() -> None:
    with in_this_process(fake_inference(enhancer=Strict())) as client:
        texts = [
            client.post("/v1/transcribe", files={"file": speech(3)}, data={"enhance": enhance}).json()["text"]
            for enhance in ("false", "true")
        ]
    assert texts == ["tone tone tone", ""]


def test_a_denoised_minute_costs_a_minute(new_customer: Callable[..., Customer]) -> None:
    bert = new_customer(credits=1)
    assert bert.transcribe(speech(25), enhance="true").status_code == 200
    assert bert.balance() == 0


class Weak(FakeEnhancer):
    """Takes everything for noise, of which it leaves some, a hop late."""

    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        late = np.concatenate([state, samples])
        return late[: samples.size] * np.float32(0.25), late[samples.size :]


class AgainstLoud(Weak):
    """What is loud it takes for noise."""

    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        late = np.concatenate([state, samples])
        return np.where(np.abs(late) > 0.1, late / 10, late)[: samples.size].astype(np.float32), late[samples.size :]


class Loud(Weak):
    async def enhance(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        weak, after = await super().enhance(samples, state)
        return weak * np.float32(7), after


def enhanced_by(enhancer: SpeechEnhancer, sound: Floats, folder: Path, target: float = -16) -> tuple[float, Floats]:
    """What is said of its loudness, and the samples."""
    service = Enhancer(
        enhancer, Deployments(FakeRegistry()), LIMITS, decoders=asyncio.Semaphore(1), spool_dir=str(folder)
    )

    async def run() -> tuple[float, bytes]:
        with (folder / "sound.wav").open("w+b") as file:
            file.write(recording(sound))
            file.flush()
            asked = service.enhance(file.fileno(), await service.card(), noise_reduction_db=100, loudness=target)
            async with asked as enhanced:
                return enhanced.loudness, b"".join([chunk async for chunk in enhanced.wav()])

    said, wav = asyncio.run(run())
    return said, soundfile.read(io.BytesIO(wav), always_2d=True)[0]


def test_noise_is_not_made_louder(tmp_path: Path) -> None:
    noise = talk(0, 3.0, noise=0.2)
    said, samples = enhanced_by(Weak(), noise, tmp_path)
    assert np.abs(samples[:, 0] - noise / 4).max() < 1e-3
    assert said == pytest.approx(loudness(samples), abs=0.1)
    said, samples = enhanced_by(Weak(), noise, tmp_path, target=-31)
    assert said == pytest.approx(-31, abs=0.1), "but quieter, where that is asked for"


def test_loud_noise_before_quiet_speech_does_not_decide_for_it(tmp_path: Path) -> None:
    sound = np.concatenate([np.sign(talk(0, 8.0, noise=0.3)) * np.float32(0.3), talk(0.02, 4.0)])
    said, samples = enhanced_by(AgainstLoud(), sound, tmp_path)
    assert said == pytest.approx(-16, abs=0.6)
    assert loudness(samples) == pytest.approx(said, abs=0.1)


def test_what_a_model_makes_louder_than_full_scale_keeps_its_form(tmp_path: Path) -> None:
    _, samples = enhanced_by(Loud(), sound := talk(0.9), tmp_path)
    assert np.corrcoef(sound, samples[:, 0])[0, 1] > 0.999


def test_peaky_speech_is_as_loud_as_can_be_asked(tmp_path: Path) -> None:
    sound = talk(0.03)
    for place in range(RATE_HZ // 3, sound.size - RATE_HZ // 3, RATE_HZ // 3):
        sound[place : place + 48] += 0.25 * np.hanning(48)
    said, samples = enhanced_by(FakeEnhancer(), sound, tmp_path, target=-14)
    assert said == pytest.approx(-14, abs=0.6)
    assert loudness(samples) == pytest.approx(said, abs=0.1)


def test_a_whisper_is_amplified_by_30_db_at_most(tmp_path: Path) -> None:
    said, _ = enhanced_by(AgainstLoud(), sound := talk(0.003), tmp_path)
    assert said == pytest.approx(loudness(sound[:, None]) + 30, abs=0.2)


def test_a_whisper_has_a_warning(anna: Customer) -> None:
    assert "very quiet" in enhance(anna, recording(talk(0.003))).headers["X-Warning"]
    assert "X-Warning" not in enhance(anna, recording(talk(0.1))).headers


@pytest.fixture
def demo(stack: Stack) -> Iterator[httpx.Client]:
    with contract.client(stack.url, {"Authorization": f"Bearer {stack.key}"}) as client:
        yield client


def joined(clips: list[Clip], noise_dbfs: float) -> Floats:
    """The English clips with noise, (samples,) at 16 kHz."""
    spoken = np.concatenate([soundfile.read(clip.path, dtype="float32")[0] for clip in clips if clip.language == "en"])
    noise = np.random.default_rng(1).standard_normal(spoken.size) * 10 ** (noise_dbfs / 20)
    return np.asarray(spoken + noise, dtype=np.float32)


def test_the_real_model_makes_a_noisy_recording_better(demo: httpx.Client, stack: Stack, clips: list[Clip]) -> None:
    clean, noisy = joined(clips, -120), joined(clips, -35)
    before = window_counts(stack.metrics_url, "speech_enhancer")

    def send(sound: Floats) -> Floats:
        content = recording(sound, 16_000, "FLAC")
        answer = demo.post("/v1/enhance-audio", files={"file": ("talk.flac", content)})
        samples = heard(answer)
        assert samples.shape == (3 * sound.size, 1)
        assert loudness(samples) == pytest.approx(-16, abs=1)
        assert true_peak_dbtp(samples) <= -1
        return samples[:, 0]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, [noisy] * 7 + [clean]))
    blocks, calls = (
        now - then for now, then in zip(window_counts(stack.metrics_url, "speech_enhancer"), before, strict=True)
    )
    assert blocks > calls, "recordings share batches"
    assert max(np.abs(answers[0] - other).max() for other in answers[1:7]) < 0.01
    # Pauses are quieter beside speech than they were, and speech is where it was.
    assert floor_db(answers[0]) < floor_db(noisy) - 6
    assert np.corrcoef(answers[0][::3], clean)[0, 1] > 0.9


def floor_db(samples: Floats) -> float:
    """How far the quietest twentieth of a recording is below all of it."""
    frames = samples[: samples.size // 100 * 100].reshape(100, -1).std(axis=1)
    return float(20 * np.log10(np.quantile(frames, 0.05) / samples.std()))


def test_words_stay_where_they_are(demo: httpx.Client, clips: list[Clip]) -> None:
    for clip in clips:
        words = [
            [
                (word["word"], word["start"])
                for segment in demo.post(
                    "/v1/transcribe", files={"file": clip.path.read_bytes()}, data={"enhance": enhance}
                ).json()["segments"]
                for word in segment["words"]
            ]
            for enhance in ("false", "true")
        ]
        assert [word for word, _ in words[1]] == [word for word, _ in words[0]]
        assert max(abs(one - other) for (_, one), (_, other) in zip(*words, strict=True)) <= 0.05
