"""The main job through the real thing: HTTP, Triton, the demo model."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import requests
from sttai import STTClient, STTError
from tritonclient.grpc import InferenceServerClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.chaos import find_service, kill_under_load
from bench.recordings import write_recording
from bench.service import window_counts
from tests.conftest import PUBLIC_IDS, Clip, Stack, end_of, ffmpeg, start_stack
from tests.running import PROJECT
from tests.servers import free_ports

# Name, and what ffmpeg needs to know to write it. The names are the contract's sixteen.
CONTAINERS = {
    "mp3": [],
    "wav": [],
    "flac": [],
    "ogg": ["-c:a", "libvorbis", "-ar", "44100"],
    "m4a": [],
    "aac": [],
    "opus": ["-c:a", "libopus"],
    "wma": [],
    "mp4": ["video"],
    "webm": ["video", "-c:v", "libvpx"],
    "mkv": ["video"],
    "avi": ["video", "-c:v", "mpeg4"],
    "mov": ["video"],
    "wmv": ["video"],
    "mpg": ["video", "-c:v", "mpeg1video"],
    "mpeg": ["video", "-c:v", "mpeg2video", "-f", "mpegts"],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_format_gives_the_right_words(
    client: httpx.Client, clips: list[Clip], tmp_path: Path, container: str
) -> None:
    clip = clips[3]
    video, *options = CONTAINERS[container] if "video" in CONTAINERS[container] else ["", *CONTAINERS[container]]
    picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-shortest"] if video else []
    recording = tmp_path / f"recording.{container}"
    ffmpeg("-i", clip.path, *picture, "-ar", "48000", *options, recording)
    # Neither the name nor the declared type helps: the content tells what it is.
    files = {"file": ("recording.bin", recording.read_bytes(), "application/octet-stream")}
    answer = client.post("/v1/transcribe", files=files)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"] == clip.text
    assert answer.json()["language"] == "en"


def test_json_is_what_the_contract_shows(client: httpx.Client, clips: list[Clip]) -> None:
    for clip in clips:
        answer = client.post("/v1/transcribe", files={"file": clip.path.read_bytes()})
        body = answer.json()
        assert set(body) == {"text", "language", "duration", "segments", "speakers"}
        assert (body["text"], body["language"], body["speakers"]) == (clip.text, clip.language, ["Speaker 1"])
        assert answer.headers["X-Model"] == "demo"
        words = [word for segment in body["segments"] for word in segment["words"]]
        assert [word["word"] for word in words] == clip.text.split()
        for word, expected in zip(words, clip.word_starts, strict=True):
            assert expected is None or abs(word["start"] - expected) <= 0.25, (clip.path, word, expected)
            assert word["start"] <= word["end"] <= body["duration"]
        for segment in body["segments"]:
            assert set(segment) == {"start", "end", "text", "speaker", "confidence", "words"}
            assert segment["speaker"] == "Speaker 1"
            assert {word["speaker"] for word in segment["words"]} == {"Speaker 1"}
            assert 0.5 < segment["confidence"] <= 1


def test_a_long_recording_keeps_its_order_and_its_times(
    client: httpx.Client, clips: list[Clip], tmp_path: Path
) -> None:
    english = [clip for clip in clips if clip.language == "en"]
    inputs = [argument for clip in english for argument in ("-i", clip.path)]
    joined = "".join(f"[{n}]apad=pad_dur=6[a{n}];" for n in range(len(english)))
    chain = joined + "".join(f"[a{n}]" for n in range(len(english))) + f"concat=n={len(english)}:v=0:a=1"
    ffmpeg(*inputs, "-filter_complex", chain, tmp_path / "long.wav")
    body = client.post("/v1/transcribe", files={"file": (tmp_path / "long.wav").read_bytes()}).json()
    assert body["text"] == " ".join(clip.text for clip in english)
    durations = [float(ffprobe_seconds(clip.path)) + 6 for clip in english]
    begin = 0.0
    for clip, segment, duration in zip(english, body["segments"], durations, strict=True):
        assert clip.word_starts[0] is not None
        assert abs(segment["start"] - (begin + clip.word_starts[0])) < 0.3
        begin += duration
    assert body["duration"] == pytest.approx(begin, abs=0.05)


def ffprobe_seconds(path: Path) -> float:
    import soundfile

    return float(soundfile.info(path).duration)


def test_language_auto_and_given(client: httpx.Client, clips: list[Clip]) -> None:
    spanish = next(clip for clip in clips if clip.language == "es")
    given = client.post("/v1/transcribe", files={"file": spanish.path.read_bytes()}, data={"language": "es"})
    assert given.json()["text"] == spanish.text
    unknown = client.post("/v1/transcribe", files={"file": spanish.path.read_bytes()}, data={"language": "fr"})
    assert unknown.status_code == 400
    assert "'fr'" in unknown.json()["error"]
    assert "en, es" in unknown.json()["error"]


def test_silence_has_no_words(client: httpx.Client, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "5", tmp_path / "silence.wav")
    body = client.post("/v1/transcribe", files={"file": (tmp_path / "silence.wav").read_bytes()}).json()
    assert body == {"text": "", "language": None, "duration": 5.0, "segments": [], "speakers": []}


def test_text_and_subtitles(client: httpx.Client, clips: list[Clip]) -> None:
    def fetch(response_format: str) -> httpx.Response:
        recording = {"file": clips[0].path.read_bytes()}
        return client.post("/v1/transcribe", files=recording, data={"response_format": response_format})

    assert fetch("txt").text == fetch("text").text == f"{clips[0].text}\n"
    assert fetch("txt").headers["content-type"] == "text/plain; charset=utf-8"
    time_line = r"\d\d:\d\d:\d\d{0}\d\d\d --> \d\d:\d\d:\d\d{0}\d\d\d"
    assert re.fullmatch(rf"1\n{time_line.replace('{0}', ',')}\n{clips[0].text}\n", fetch("srt").text)
    assert re.fullmatch(rf"WEBVTT\n\n{time_line.replace('{0}', '.')}\n{clips[0].text}\n", fetch("vtt").text)
    verbose = fetch("verbose_json").json()
    assert verbose["model"] == "demo"
    assert verbose["segments"][0]["no_speech_prob"] < 0.5
    assert [word["word"] for word in verbose["words"]] == clips[0].text.split()


def test_the_vendors_python_client_works_unchanged(stack: Stack, clips: list[Clip]) -> None:
    client = STTClient(stack.key, base_url=stack.url)
    assert client.transcribe(str(clips[1].path))["text"] == clips[1].text
    assert clips[1].text in client.transcribe(str(clips[1].path), response_format="srt")["text"]
    assert [model["id"] for model in client.models()["models"]] == ["demo", *PUBLIC_IDS]
    assert {"code": "es", "name": "spanish"} in client.languages()["languages"]
    assert client.health()["status"] == "ok"
    with pytest.raises(STTError, match="no model 'nonsense'"):
        client.transcribe(str(clips[1].path), model="nonsense")


def test_the_contracts_python_example(stack: Stack, clips: list[Clip]) -> None:
    with clips[2].path.open("rb") as recording:
        answer = requests.post(
            f"{stack.url}/v1/transcribe",
            headers={"Authorization": f"Bearer {stack.key}"},
            files={"file": ("meeting.mp3", recording, "audio/mpeg")},
            data={"model": "large-v3-turbo", "language": "auto", "diarize": "true"},
            timeout=60,
        )
    assert answer.json()["segments"][0]["text"] == clips[2].text


def test_models_name_what_serves_them(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()["models"]
    assert [model["id"] for model in models] == ["demo", *PUBLIC_IDS]
    for model in models:
        assert (model["served_by"], model["languages"], model["speed"]) == ("demo", 2, "very_fast")


def test_the_command_line_program_transcribes(stack: Stack, clips: list[Clip], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "api.cli", "transcribe", "--url", stack.url]
    done = subprocess.run([*command, *(str(clip.path) for clip in clips[:2])], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{clips[0].text}\n{clips[1].text}\n")
    (tmp_path / "notes.txt").write_text("no audio in here")
    refused = subprocess.run([*command, str(tmp_path / "notes.txt"), "missing.mp3"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "no audio or video that can be decoded" in refused.stderr
    assert "missing.mp3: No such file" in refused.stderr


@pytest.fixture
def batched(stack: Stack, models: Path, client: httpx.Client) -> Iterator[str]:
    """The id of the demo model as it is on a GPU, where it batches. It is gone with the test."""
    name = "whisper-batched"
    shutil.copytree(models / "whisper-demo", models / name)
    config = (models / name / "config.pbtxt").read_text().replace("whisper-demo", name)
    config = re.sub(r"count: \d+", "count: 1", config)
    (models / name / "config.pbtxt").write_text(re.sub(r"max_batch_size: \d+", "max_batch_size: 16", config))
    address = next(line for line in stack.lines if line.startswith("triton gRPC ")).removeprefix("triton gRPC ")
    with InferenceServerClient(address) as triton:
        triton.load_model(name)
        assert "batched" in {model["id"] for model in client.get("/v1/models").json()["models"]}
        yield "batched"
        triton.unload_model(name)
    shutil.rmtree(models / name)


def test_windows_of_many_requests_share_engine_calls(stack: Stack, clips: list[Clip], batched: str) -> None:
    recordings = [clips[n % len(clips)] for n in range(48)]
    before = window_counts(stack.metrics_url, f"whisper-{batched}")

    async def send_all() -> list[str]:
        async with httpx.AsyncClient(base_url=stack.url, timeout=120, limits=httpx.Limits(max_connections=48)) as many:
            answers = await asyncio.gather(
                *(
                    many.post("/v1/transcribe", files={"file": clip.path.read_bytes()}, data={"model": batched})
                    for clip in recordings
                )
            )
            return [str(answer.json()["text"]) for answer in answers]

    assert asyncio.run(send_all()) == [clip.text for clip in recordings]
    after = window_counts(stack.metrics_url, f"whisper-{batched}")
    assert after[0] - before[0] == 48
    # Without batches there would be 48 calls. How many there are depends on how fast the machine decodes the files.
    assert after[1] - before[1] < 48


def test_the_description_page_needs_nothing_from_outside(client: httpx.Client) -> None:
    page = client.get("/schema").text
    assert not re.findall(r"(?:src|href)=.https?:", page)
    for asset in re.findall(r"(?:src|href)=.(/[^\"']+)", page):
        assert client.get(asset).status_code == 200, asset
    form = client.get("/schema/openapi.json").json()["paths"]["/v1/transcribe"]["post"]["requestBody"]["content"]
    properties = form["multipart/form-data"]["schema"]["properties"]
    speakers = {"diarize", "speakers", "min_speakers", "max_speakers", "channels"}
    texts = {"response_format", "redact", "translate_to"}
    wording = {"languages", "keywords", "context", "script_correction", "normalize", "min_snr_db"}
    assert set(properties) == {"file", "model", "language", "store", "enhance"} | texts | speakers | wording
    assert (properties["min_snr_db"]["type"], properties["min_snr_db"]["minimum"]) == ("number", -20)
    assert properties["response_format"]["default"] == "json"


def test_a_second_service_in_the_same_place_is_refused(stack: Stack) -> None:
    second = start_stack(stack.home)
    second.wait_for("runs already")
    end_of(second)
    assert second.process.returncode == 1


def test_triton_killed_in_mid_file_costs_no_word(stack: Stack, clips: list[Clip], tmp_path: Path) -> None:
    write_recording(tmp_path / "long.flac", minutes=4)

    def transcribe() -> httpx.Response:
        with (tmp_path / "long.flac").open("rb") as recording:
            return httpx.post(f"{stack.url}/v1/transcribe", files={"file": recording}, timeout=120)

    undisturbed = transcribe().json()
    with ThreadPoolExecutor(1) as thread:
        before, _ = window_counts(stack.metrics_url)
        disturbed = thread.submit(transcribe)
        while window_counts(stack.metrics_url)[0] < before + 2:
            time.sleep(0.01)
        stack.child("bin/tritonserver").send_signal(signal.SIGKILL)
        assert not disturbed.done()
        stack.wait_for("triton ended (killed by SIGKILL)")
        assert disturbed.result().json() == undisturbed


def test_triton_killed_again_and_again_under_load(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONE_HOME", "nowhere")  # no key of a service that somebody runs in this folder
    outcome = asyncio.run(kill_under_load(find_service(stack.url), clients=6, kills=2))
    assert outcome.failures() == []
    assert len(outcome.recoveries_s) == 2


def models_of(stack: Stack) -> list[psutil.Process]:
    """The processes of this stack's models, whoever started them."""
    repository = str(stack.home / "model_repository")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "stub" in process.name() and any(repository in argument for argument in process.cmdline()[1:]):
                found.append(process)
    return found


def test_a_model_whose_process_dies_is_noticed_and_comes_back(stack: Stack, clips: list[Clip]) -> None:
    for process in models_of(stack):
        if "whisper-demo" in " ".join(process.cmdline()):
            process.kill()
    with ThreadPoolExecutor(1) as thread:
        recording = {"file": clips[0].path.read_bytes()}
        waiting = thread.submit(httpx.post, f"{stack.url}/v1/transcribe", files=recording, timeout=120)
        while (health := httpx.get(f"{stack.url}/health")).status_code == 200:
            time.sleep(0.05)
        # Not there any more where Triton was stopped between the two looks.
        assert health.json()["models"].get("whisper-demo", "crashed") == "crashed"
        stack.wait_for("the process of whisper-demo has died")
        assert waiting.result().json().get("text") == clips[0].text


def test_a_killed_api_comes_back(stack: Stack, clips: list[Clip]) -> None:
    stack.child("api.cli").send_signal(signal.SIGKILL)
    stack.wait_for("api ended (killed by SIGKILL)")
    for _ in range(200):
        try:
            assert httpx.get(f"{stack.url}/health").json()["status"] == "ok"
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the API did not come back")


def test_without_triton_every_answer_says_to_come_back(clips: list[Clip]) -> None:
    port, nothing_there = free_ports(2)
    environment = {**os.environ, "PORT": str(port), "TRITON_URL": f"127.0.0.1:{nothing_there}"}
    api = subprocess.Popen([sys.executable, "-m", "api.cli", "serve"], cwd=PROJECT, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=10)) as client:
            answers = [
                client.post("/v1/transcribe", files={"file": clips[0].path.read_bytes()}),
                client.get("/health"),
                client.get("/v1/models"),
            ]
        for answer in answers:
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "not available" in answer.json()["error"]
        with connect(f"ws://127.0.0.1:{port}/v1/stream?language=en") as live:
            said = json.loads(live.recv(timeout=30))
            with pytest.raises(ConnectionClosed):
                live.recv(timeout=30)
        assert live.close_code == 1013
        assert said["retry_after"] > 0
        assert "not available" in said["error"]
    finally:
        api.terminate()
        api.wait(30)
