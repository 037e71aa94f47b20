"""POST /v1/tts over a fake voice: what comes, what is refused, and what it costs."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from api.audio.media import DecoderLimits
from api.audio.speech import SpeechSynthesizer
from api.audio.speech_reference import Reference
from api.errors import InferenceFailed, InvalidRequest
from api.inference.base import Floats, Pcm
from api.inference.contracts import SpeechOptions
from api.inference.deployments import Deployments
from api.inference.fake import CLONED_HZ, FakeCloner, FakeRegistry
from tests.business import Customer, customer, speech, until
from tests.conftest import ffmpeg
from tests.running import FakeService, start_fake_service, stop_fake_service

PLANS = """
[paid]
max_file_mb = 100
concurrency = 9
requests_per_minute = 10000
minutes_per_month = 0
text.default = { requests_per_minute = 1000, credits = 2 }

[small]
max_file_mb = 1
concurrency = 9
requests_per_minute = 10000
text.default = { requests_per_minute = 10000 }
"""
SAID = "The quick brown fox jumps over the lazy dog, and then it sleeps."
FADE_S = 0.15


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plans") / "plans.toml"
    file.write_text(PLANS)
    return file


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, plans: Path) -> Iterator[FakeService]:
    service = start_fake_service(tmp_path_factory.mktemp("speak"), plans=plans)
    yield service
    stop_fake_service(service)


@pytest.fixture
def service(running: FakeService) -> Iterator[FakeService]:
    yield running
    running.assert_nothing_left()


@pytest.fixture
def anna(new_customer: Callable[..., Customer]) -> Customer:
    return new_customer("paid", credits=100)


def speak(customer: Customer, reference: bytes | None = None, text: str | None = "Hello.", **fields: Any) -> Any:
    data = {**({"text": text} if text is not None else {}), **fields}
    return customer.client.post("/v1/tts", files={"reference": ("voice.wav", reference or speech(5))}, data=data)


def refused(answer: httpx.Response, *parts: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    for part in parts:
        assert part in answer.json()["error"]


def heard(answer: httpx.Response) -> Floats:
    assert answer.status_code == 200, answer.text
    samples, rate_hz = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate_hz == CLONED_HZ
    assert answer.headers["X-Duration"] == f"{len(samples) / rate_hz:.3f}"
    return np.asarray(samples)


def test_a_text_in_the_voice_of_a_reference(anna: Customer) -> None:
    answer = speak(anna, speech(5), "Hello there.")
    samples = heard(answer)
    assert len(samples) == 12 * CLONED_HZ // 10  # the fake hums a tenth of a second for each character
    assert np.std(samples) == pytest.approx(0.05 / np.sqrt(2), rel=0.02)  # as loud as its reference is
    assert answer.headers["Content-Type"] == "audio/wav"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="speech.wav"'
    assert float(answer.headers["X-Generation-Time"]) > 0
    assert heard(speak(anna, text="Hello there.", speed="2")).size == samples.size // 2
    # Nothing of it is kept, and it costs what the plan says, not minutes.
    assert anna.client.get("/api/v1/transcripts/").json()["count"] == 0
    assert anna.balance() == 100 - 2 * 2
    (today,) = [day for day in anna.client.get("/api/v1/usage/").json()["days"] if day["models"]]
    assert {name: used["credits"] for name, used in today["models"].items()} == {"speak": 4}


def test_the_file_says_that_it_is_synthetic(anna: Customer) -> None:
    file = soundfile.SoundFile(io.BytesIO(speak(anna).content))
    assert (file.format, file.subtype, file.channels) == ("WAV", "PCM_16", 1)
    assert file.copy_metadata()["software"].startswith("tritone")
    assert file.copy_metadata()["comment"].startswith("Synthetic speech")


def test_a_long_text_comes_whole(anna: Customer) -> None:
    """So much as may be sent, in a script that needs the most room."""
    sentence = "你好，我的朋友。"
    samples = heard(speak(anna, speech(10), sentence * (5000 // 8), reference_text="我" * 45, language="zh"))
    pieces = 5000 // 8 // 6  # 13.5 bytes a second for 12 s: six sentences of 24 bytes
    last = 5000 // 8 % 6
    assert samples.size == CLONED_HZ * 500 - round(FADE_S * CLONED_HZ) * (pieces - (last == 0))
    assert np.abs(np.diff(samples)).max() < 0.1  # without a click: a hum of 120 Hz is flatter


@pytest.mark.parametrize("codec", ["mp3", "flac", "ogg", "mp4"])
def test_any_recording_will_do(anna: Customer, tmp_path: Path, codec: str) -> None:
    """Ten seconds and what an encoder may add to them, in stereo, at another rate."""
    voice = tmp_path / f"voice.{codec}"
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=220:sample_rate=44100:duration=10.06", "-ac", "2", voice)
    assert heard(speak(anna, voice.read_bytes(), reference_text=SAID)).size


def recording(seconds: float, level: float) -> bytes:
    file = io.BytesIO()
    samples = level * np.sin(np.arange(int(16_000 * seconds)) / 10)
    samples[8000] = 0.9  # a click
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.mark.parametrize(
    ("voice", "parts"),
    [
        (speech(1), ["1.0 s long", "3 to 10 s"]),
        (speech(60), ["60.0 s long", "3 to 10 s"]),
        (recording(5, 0.0), ["silent"]),
        (recording(5, 0.01), ["silent"]),
        (recording(5, 0.015), ["Nothing was heard", "reference_text"]),
        (b"These are the minutes of the meeting.\n" * 50, ["no audio or video", "MP3, WAV"]),
        (b"", ["file is empty"]),
    ],
    ids=["short", "long", "zeros", "silent", "unheard", "text", "empty"],
)
def test_references_that_are_none(anna: Customer, voice: bytes, parts: list[str]) -> None:
    refused(anna.client.post("/v1/tts", files={"reference": ("a.wav", voice)}, data={"text": "Hello."}), *parts)
    assert anna.balance() == 100


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"text": None}, ["text", "1 to 5000 characters"]),
        ({"text": ""}, ["text", "1 to 5000 characters"]),
        ({"text": " \n "}, ["text", "1 to 5000 characters"]),
        ({"text": "a" * 5001}, ["text", "1 to 5000 characters"]),
        ({"text": "a" * 10_000_000}, ["longer than 16 kB"]),
        ({"text": "\x07 bell"}, ["text", "control characters"]),
        ({"text": "?! …"}, ["can be spoken"]),
        ({"reference_text": "a" * 501}, ["reference_text", "at most 500"]),
        ({"reference_text": "No."}, ["'No.'", "5.0 s", "word for word"]),
        ({"reference_text": "word " * 99}, ["word word", "word for word"]),
        ({"text": "a " * 2500, "reference_text": SAID[:20], "speed": "0.5"}, ["44 minutes", "at most 30"]),
        ({"speed": "0.4"}, ["speed", "0.5 to 2", "'0.4'"]),
        ({"speed": "nan"}, ["speed", "0.5 to 2", "'nan'"]),
        ({"seed": "-1"}, ["seed", "from 0"]),
        ({"seed": str(2**32)}, ["seed", "4294967295"]),
        ({"consent": "perhaps"}, ["consent", "true or false"]),
        ({"language": "fr"}, ["auto or one of en, zh", "'fr'"]),
        ({"model": "gpt-9"}, ["no model 'gpt-9'"]),
    ],
)
def test_fields_that_are_wrong(anna: Customer, fields: dict[str, Any], parts: list[str]) -> None:
    refused(speak(anna, **fields), *parts)
    assert anna.balance() == 100


def test_forms_that_are_none(anna: Customer, new_customer: Callable[..., Customer]) -> None:
    post, text, voice = anna.client.post, {"text": "Hello."}, ("a.wav", speech(5))
    refused(post("/v1/tts", data=text), "multipart/form-data", "curl -F reference=@voice.wav")
    refused(post("/v1/tts", files={"text": (None, "Hello.")}), "no file in the form", "`reference`")
    refused(post("/v1/tts", files={"reference": (None, "voice.wav")}, data=text), "holds text", "`reference`")
    refused(post("/v1/tts", files=[("reference", voice), ("reference", voice)], data=text), "two files")
    refused(post("/v1/tts", files={"file": voice}, data=text), "`file`", "`reference`")
    refused(speak(anna, bytes(20 * 1024**2 + 1)), "larger than 20 MB", status=413)
    refused(speak(new_customer("small"), bytes(1024**2 + 1)), "larger than 1 MB", status=413)
    refused(httpx.post(f"{anna.service.url}/v1/tts", files={"reference": voice}, data=text), "key", status=401)
    refused(anna.client.get("/v1/tts"), "GET", status=405)
    assert anna.balance() == 100


def test_no_voice_is_installed(tmp_path: Path, plans: Path) -> None:
    service = start_fake_service(tmp_path, fakes={"FAKE_MISSING": "voice_cloner"}, plans=plans)
    try:
        with customer(service, credits=5).open() as anna:
            answer = speak(anna)
            refused(answer, "`tritone export voice_cloner --checkpoint SWivid/F5-TTS --to DIR`", "speaks", status=503)
            assert int(answer.headers["Retry-After"]) > 0
            assert anna.balance() == 5
    finally:
        stop_fake_service(service)


def test_consent_and_a_client_that_leaves(tmp_path: Path, plans: Path) -> None:
    """Of an operator who wants to know that a voice's owner has agreed, with a model that takes its time."""
    service = start_fake_service(tmp_path, fake_delay_s="60", plans=plans, tts_consent="true")
    try:
        with customer(service, credits=5).open() as anna:
            refused(speak(anna), "consent=true", "agreed")
            refused(speak(anna, consent="no"), "true or false")
            refused(speak(anna, consent="false"), "consent=true")
            form = {"text": "Hello.", "reference_text": SAID, "consent": "true"}
            request = anna.client.build_request("POST", "/v1/tts", files={"reference": speech(5)}, data=form)
            head = [f"{name}: {value}".encode() for name, value in request.headers.items()]
            with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as leaves:
                leaves.sendall(b"\r\n".join([b"POST /v1/tts HTTP/1.1", *head, b"", request.read()]))
                until(lambda: service.leftovers() != [])
                until(lambda: anna.balance() == 3)  # held, while it is at work
            service.assert_nothing_left()
            until(lambda: anna.balance() == 5)
    finally:
        stop_fake_service(service)


VOICE = Reference(np.full(5 * CLONED_HZ, 1000, dtype=np.int16), CLONED_HZ, SAID)
SENTENCES = [
    f"This is sentence number {number}, and it is so long that there is only room for one or two of them in a "
    "piece, as they are packed here before the voice gets them to speak. "
    for number in range(10)
]


def synthesizer(cloner: FakeCloner) -> SpeechSynthesizer:
    limits = DecoderLimits(60, 60, 2**30)
    return SpeechSynthesizer(
        cloner, Deployments(FakeRegistry()), limits, decoders=asyncio.Semaphore(1), pieces_in_flight=3
    )


def test_pieces_go_to_the_model_together_and_each_has_its_seed() -> None:
    cloner = FakeCloner(delay_s=0.01)
    asyncio.run(synthesizer(cloner).speak("".join(SENTENCES), "en", VOICE, speed=1.5, seed=2**32 - 2))
    options = [options for _, options in cloner.calls]
    assert [one.text for one in options] == [sentence.strip() for sentence in SENTENCES]
    assert [one.seed for one in options] == [2**32 - 2, 2**32 - 1, *range(8)]
    assert {(one.reference_text, one.speed) for one in options} == {(SAID, 1.5)}
    assert cloner.most_running == 3
    for one in options:  # as F5-TTS reckons how long it will speak
        assert VOICE.seconds * (1 + len(one.text.encode()) / len(SAID.encode()) / one.speed) <= 22


def test_leaving_ends_the_work_of_the_model() -> None:
    async def leave() -> None:
        speaking = asyncio.create_task(synthesizer(cloner).speak("".join(SENTENCES), "en", VOICE, speed=1, seed=0))
        while cloner.running < 3:  # noqa: ASYNC110 (the fake tells nobody)
            await asyncio.sleep(0)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        assert cloner.running == 0

    cloner = FakeCloner(delay_s=60)
    asyncio.run(leave())


@pytest.mark.parametrize("sound", [[], [0.1, float("nan")], [0.1, float("inf")]], ids=["nothing", "nan", "infinite"])
def test_what_is_no_sound_is_not_answered(sound: list[float]) -> None:
    class Broken(FakeCloner):
        async def speak(self, reference: Pcm, options: SpeechOptions) -> Floats:
            return np.array(sound, dtype=np.float32)

    with pytest.raises(InferenceFailed, match="no sound"):
        asyncio.run(synthesizer(Broken()).speak("Hello.", "en", VOICE, speed=1, seed=0))


def test_a_voice_that_is_too_loud_is_as_loud_as_can_be() -> None:
    class Loud(FakeCloner):
        async def speak(self, reference: Pcm, options: SpeechOptions) -> Floats:
            return np.array([0.5, 1.5, -1.5, 0.0], dtype=np.float32)

    said = asyncio.run(synthesizer(Loud()).speak("Hello.", "en", VOICE, speed=1, seed=0))
    samples, _ = soundfile.read(io.BytesIO(said.wav))
    np.testing.assert_allclose(samples, [0.5, 1, -1, 0], atol=1e-4)


def test_a_pace_that_nobody_has_is_refused_before_the_model_is_asked() -> None:
    cloner = FakeCloner()
    for text in ("Oh", "word " * 100):
        with pytest.raises(InvalidRequest, match="word for word"):
            asyncio.run(
                synthesizer(cloner).speak("Hello.", "en", Reference(VOICE.pcm, CLONED_HZ, text), speed=1, seed=0)
            )
    assert cloner.calls == []
