"""The pipeline over fake inference, in this process: what can be seen only from the model's side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from litestar.testing import TestClient

from api.app import create_app
from api.errors import InferenceFailed
from api.inference.base import Deployment, Inference, ModelVersion, Pcm
from api.inference.contracts import DecodingOptions, ModelCard, Recognition, Segment, Word
from api.inference.fake import FakeRecognizer, FakeRegistry, fake_inference
from api.settings import Settings
from api.storage.database import database_url
from api.storage.migrate import migrate
from tests.conftest import ffmpeg
from tests.running import OPEN_PLANS
from tests.test_memory import write_tones


@contextmanager
def service(inference: Inference, **settings: Any) -> Iterator[TestClient[Any]]:
    with TemporaryDirectory() as home:
        migrate(database_url("", home))
        chosen = Settings(**{"home": home, "plans": str(OPEN_PLANS), **settings})
        with TestClient(create_app(chosen, inference)) as client:
            yield client


def transcribe(client: TestClient[Any], recording: Path, **fields: str) -> Any:
    return client.post("/v1/transcribe", files={"file": recording.read_bytes()}, data=fields)


def test_windows_are_in_flight_together_but_not_without_bound(tmp_path: Path) -> None:
    write_tones(tmp_path / "tones.flac", minutes=10)
    recognizer = FakeRecognizer(delay_s=0.1)
    with service(fake_inference(recognizer), windows_in_flight=3) as client:
        body = transcribe(client, tmp_path / "tones.flac").json()
    assert recognizer.most_running == 3
    starts = [segment["start"] for segment in body["segments"]]
    assert starts == sorted(starts)
    assert all(size <= 480_000 for _, size, _ in recognizer.calls)


def test_windows_are_as_long_as_suits_the_model(tmp_path: Path) -> None:
    """One that pads to 30 s anyway is sent as much as fits, one that takes short windows shorter ones."""
    write_tones(tmp_path / "tones.flac", minutes=3)
    longest = {}
    for shortest in (3000, 100):
        recognizer = FakeRecognizer()
        with service(fake_inference(recognizer, FakeRegistry(min_window_frames=shortest))) as client:
            transcribe(client, tmp_path / "tones.flac")
        longest[shortest] = max(size for _, size, _ in recognizer.calls) / 16_000
    assert 20 < longest[3000] <= 30
    assert 5 < longest[100] <= 10


class Inventive(FakeRecognizer):
    """Fills the second of silence after each tone with a word, which it is not sure of."""

    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        answer = await super().recognize(model, pcm, options)
        if not answer.segments:
            return answer
        (segment,) = answer.segments
        words = sorted([*segment.words, Word(" thanks", 4.5, 4.6, 0.2)], key=lambda word: word.start)
        text = "".join(word.word for word in words).strip()
        return msgspec.structs.replace(answer, segments=[Segment(0.0, segment.end, text, words)])


def test_a_word_that_fills_a_pause_is_left_out(tmp_path: Path) -> None:
    write_tones(tmp_path / "tones.flac", minutes=1)
    with service(fake_inference(Inventive())) as client:
        body = transcribe(client, tmp_path / "tones.flac").json()
    assert "tone" in body["text"]
    assert "thanks" not in body["text"]
    assert all(word["word"] != "thanks" for segment in body["segments"] for word in segment["words"])


def test_a_given_language_is_not_asked_for(tmp_path: Path) -> None:
    write_tones(tmp_path / "tones.flac", minutes=3)
    recognizer = FakeRecognizer()
    with service(fake_inference(recognizer)) as client:
        transcribe(client, tmp_path / "tones.flac", language="es")
    assert {(options.language, options.task) for _, _, options in recognizer.calls} == {("es", "transcribe")}


def test_what_a_window_holds_too_much_of_is_sent_again(tmp_path: Path) -> None:
    """A recogniser that writes down 10 s at most hears as much as one that writes down all."""
    write_tones(tmp_path / "tones.flac", minutes=2)
    answers = []
    for most_s in (10.0, 30.0):
        with service(fake_inference(FakeRecognizer(most_s=most_s))) as client:
            answers.append(transcribe(client, tmp_path / "tones.flac").json())
    short, whole = ([word for s in answer["segments"] for word in s["words"]] for answer in answers)
    assert len(short) >= len(whole)
    assert short[-1]["end"] == pytest.approx(whole[-1]["end"], abs=1.0)


class Failing(FakeRecognizer):
    async def recognize(
        self, model: ModelVersion, pcm: Pcm, options: DecodingOptions, *, live: bool = False
    ) -> Recognition:
        await asyncio.sleep(0.5)  # meanwhile the decoder fills its pipe
        raise InferenceFailed("The model has failed.")


def test_a_failure_in_mid_file_is_answered_at_once(tmp_path: Path) -> None:
    """The decoder is far ahead by then, and its pipe full."""
    write_tones(tmp_path / "tones.flac", minutes=20)
    with service(fake_inference(Failing()), max_decoders=1) as client:
        for _ in range(2):  # the second would wait forever for a decoder that the first one kept
            answer = transcribe(client, tmp_path / "tones.flac")
            assert (answer.status_code, answer.json()) == (500, {"error": "The model has failed."})


def test_audio_keeps_its_place_beside_the_picture(tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=9"]
    sound = ["-itsoffset", "5", "-f", "lavfi", "-i", "sine=frequency=440:duration=3"]
    with service(fake_inference()) as client:
        for container in ("mkv", "mp4"):
            ffmpeg(*picture, *sound, "-af", "volume=8", tmp_path / f"late.{container}")
            body = transcribe(client, tmp_path / f"late.{container}").json()
            assert body["segments"][0]["start"] == pytest.approx(4.8, abs=0.15), container
            assert body["duration"] == pytest.approx(8, abs=0.15)


def test_files_put_together_lose_nothing(tmp_path: Path) -> None:
    """Their time stamps begin again in the middle."""
    write_tones(tmp_path / "tones.flac", minutes=1)
    with service(fake_inference()) as client:
        for container in ("flac", "webm", "ogg"):
            ffmpeg("-i", tmp_path / "tones.flac", "-ar", "48000", tmp_path / f"one.{container}")
            (tmp_path / "two").write_bytes(2 * (tmp_path / f"one.{container}").read_bytes())
            body = transcribe(client, tmp_path / "two").json()
            assert body["duration"] == pytest.approx(120, abs=0.5), container


def test_a_damaged_recording_says_so(tmp_path: Path) -> None:
    write_tones(tmp_path / "whole.flac", minutes=1)
    ffmpeg("-i", tmp_path / "whole.flac", "-movflags", "+faststart", tmp_path / "whole.mp4")
    with service(fake_inference()) as client:
        for name in ("whole.mp4", "whole.flac"):
            content = (tmp_path / name).read_bytes()
            assert "warnings" not in transcribe(client, tmp_path / name).json(), name
            (tmp_path / "half").write_bytes(content[: len(content) // 2])
            body = transcribe(client, tmp_path / "half").json()
            assert 15 < body["duration"] < 45
            assert "damaged or incomplete" in body["warnings"][0], name


class Registry(FakeRegistry):
    async def deployments(self) -> list[Deployment]:
        card = ModelCard("whisper", "Demo", ["en"])
        return [
            Deployment("whisper-demo", "1", True, card),
            Deployment("whisper-small", "1", False, ModelCard()),
            Deployment("voice_activity", "1", True, ModelCard("voice_activity")),
        ]


def test_an_alias_stands_in_for_a_missing_model_not_for_one_that_is_loading(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", np.full(32_000, 9000, dtype=np.int16), 16_000)
    aliases = {"small": "demo", "medium": "demo", "large-v3": "absent"}
    with service(fake_inference(registry=Registry()), model_aliases=aliases) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["models"]] == ["demo", "medium"]
        served = transcribe(client, tmp_path / "tone.wav", model="medium")
        assert served.headers["X-Model"] == "demo"
        loading = transcribe(client, tmp_path / "tone.wav", model="small")
        assert loading.status_code == 503
        assert int(loading.headers["Retry-After"]) > 0
        assert transcribe(client, tmp_path / "tone.wav", model="large-v3").status_code == 400
