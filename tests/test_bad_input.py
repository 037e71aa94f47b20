"""Wrong input: a 4xx that says what is wrong and what would be right, and nothing left behind."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import Clip, ffmpeg
from tests.running import FakeService, start_fake_service, stop_fake_service

BOUNDARY = {"Content-Type": "multipart/form-data; boundary=B"}
FIELD = '--B\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'


@pytest.fixture
def service(fake_service: FakeService) -> Iterator[FakeService]:
    yield fake_service
    fake_service.assert_nothing_left()


def send(service: FakeService, content: bytes, name: str = "recording.mp3", **fields: str) -> httpx.Response:
    return service.client.post("/v1/transcribe", files={"file": (name, content)}, data=fields)


def refused(answer: httpx.Response, *parts: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    for part in parts:
        assert part in answer.json()["error"]


@pytest.mark.parametrize(
    ("field", "value", "wrong", "right"),
    [
        ("model", "gpt-9", "no model 'gpt-9'", "small, large-v3-turbo"),
        ("language", "klingon", "'klingon'", "auto or one of en, es"),
        ("response_format", "docx", "'docx'", "json, verbose_json, txt, text, srt, vtt"),
        ("speakers", "-1", "'-1'", "from 0 (automatic) to 64"),
        ("speakers", "two", "'two'", "from 0 (automatic) to 64"),
        ("speakers", "65", "'65'", "from 0 (automatic) to 64"),
        ("diarize", "maybe", "'maybe'", "true or false"),
    ],
)
def test_parameters(service: FakeService, clips: list[Clip], field: str, value: str, wrong: str, right: str) -> None:
    refused(send(service, clips[0].path.read_bytes(), **{field: value}), field, wrong, right)


def test_fields_we_do_not_know_are_left_alone(service: FakeService, clips: list[Clip]) -> None:
    assert send(service, clips[0].path.read_bytes(), timestamps="yes", diarize="False").status_code == 200


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n{target}\n",
    "dash": '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{target}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "pls": "[playlist]\nFile1={target}\n",
}


@pytest.mark.parametrize("playlist", PLAYLISTS)
@pytest.mark.parametrize("name", ["song.mp3", "song.m3u8"])
def test_a_playlist_reads_neither_a_file_nor_an_address(
    service: FakeService, clips: list[Clip], playlist: str, name: str
) -> None:
    """The targets are a real recording and a live server: were they read, there would be a transcript or a visit."""
    visits = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def serve() -> None:
            with suppress(TimeoutError):
                visits.append(server.accept()[1])

        listening = threading.Thread(target=serve)
        listening.start()
        for target in (f"file://{clips[0].path}", str(clips[0].path), f"http://127.0.0.1:{server.getsockname()[1]}/a"):
            refused(send(service, PLAYLISTS[playlist].format(target=target).encode(), name), "MP3, WAV", "decoded")
        listening.join()
    assert visits == []


def lying_wav(claimed: int) -> bytes:
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", claimed, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", claimed
    )
    return header + b"\x10\x00" * 16000


def noise(size: int) -> bytes:
    return bytes((n * 7919 + n // 255) % 251 for n in range(size))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "file is empty"),
        (b"These are the minutes of the meeting.\n" * 50, "no audio or video that can be decoded"),
        (noise(100_000), "no audio or video that can be decoded"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + noise(5000), "no audio or video that can be decoded"),
        (b"\x00" * 100_000, "no audio or video that can be decoded"),
        (lying_wav(0)[:44], "no sound in it"),
    ],
    ids=["empty", "text", "random", "half a header", "zeros", "header alone"],
)
def test_files_that_are_no_recordings(service: FakeService, content: bytes, part: str) -> None:
    refused(send(service, content), part)


def test_a_header_that_promises_more_than_there_is(service: FakeService) -> None:
    answer = send(service, lying_wav(0xFFFFFF00))
    assert (answer.status_code, answer.json()["duration"]) == (200, 1.0)


def test_no_audio_stream(service: FakeService, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-t", "1", tmp_path / "silent-film.mp4")
    refused(send(service, (tmp_path / "silent-film.mp4").read_bytes()), "no audio stream")


def test_longer_than_allowed(service: FakeService, tmp_path: Path) -> None:
    options = ["-ar", "8000", "-c:a", "libmp3lame", "-b:a", "8k"]
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "3700", *options, tmp_path / "long.mp3")
    refused(send(service, (tmp_path / "long.mp3").read_bytes()), "longer than 1 hours")


@pytest.mark.parametrize(
    ("headers", "body", "part"),
    [
        ({"Content-Type": "application/json"}, '{"file": "a.mp3"}', "curl -F file=@"),
        ({}, "", "curl -F file=@"),
        ({"Content-Type": "multipart/form-data"}, FIELD, "names no boundary"),
        (BOUNDARY, FIELD.format("model", "small") + "--B--\r\n", "no file in the form"),
        (BOUNDARY, FIELD.format("file", "meeting.mp3") + "--B--\r\n", "holds text, not a file"),
        (BOUNDARY, FIELD.format("model", "small") * 2 + "--B--\r\n", "`model` is there twice"),
        (BOUNDARY, FIELD.format("model", "x" * 20_000) + "--B--\r\n", "longer than 16 kB"),
        (BOUNDARY, "".join(FIELD.format(n, n) for n in range(70)) + "--B--\r\n", "more than 64 fields"),
        (BOUNDARY, FIELD.format("model", "small"), "malformed or incomplete"),
        (BOUNDARY, "this is no form", "malformed or incomplete"),
    ],
    ids=["json", "nothing", "no boundary", "no file", "text", "twice", "long field", "many fields", "cut", "prose"],
)
def test_forms_that_are_none(service: FakeService, headers: dict[str, str], body: str, part: str) -> None:
    refused(service.client.post("/v1/transcribe", content=body.encode(), headers=headers), part)


def test_two_files_and_a_file_elsewhere(service: FakeService, clips: list[Clip]) -> None:
    recording = clips[0].path.read_bytes()
    two = [("file", ("a.wav", recording)), ("file", ("b.wav", recording))]
    refused(service.client.post("/v1/transcribe", files=two), "two files")
    refused(service.client.post("/v1/transcribe", files={"audio": ("a.wav", recording)}), "`audio`", "field `file`")


def test_too_large_is_413_however_it_comes(service: FakeService) -> None:
    refused(send(service, bytes(5 * 1024**2)), "larger than 4 MB", status=413)
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as connection:
        # Announced, as curl does with large bodies: refused before a byte of it is sent.
        connection.sendall(
            b"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000000000\r\n"
            b"Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        )
        assert b" 413 " in connection.recv(1000)


def test_nothing_comes_in_beside_the_form_without_bound(service: FakeService) -> None:
    """Neither before its first boundary nor after its last."""
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    refused(service.client.post("/v1/transcribe", content=bytes(8 * 1024**2), headers=headers), status=413)
    epilogue = FIELD.format("model", "small").encode() + b"--B--\r\n" + bytes(8 * 1024**2)
    refused(service.client.post("/v1/transcribe", content=epilogue, headers=headers), status=413)


def test_a_client_that_reads_no_answer_before_it_has_sent_all(service: FakeService) -> None:
    body = b"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 5000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as connection:
        connection.sendall(body + bytes(5_000_000))
        assert b" 400 " in connection.recv(1000)


def test_no_place_to_store_an_upload(clips: list[Clip], tmp_path: Path) -> None:
    service = start_fake_service(tmp_path / "missing")
    try:
        answer = send(service, clips[0].path.read_bytes())
        refused(answer, "could not be stored", status=503)
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        stop_fake_service(service)


def test_unknown_routes_and_methods(service: FakeService) -> None:
    refused(service.client.get("/v2/transcribe"), "/schema", status=404)
    refused(service.client.get("/v1/transcribe"), "GET", status=405)
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 404 " in connection.recv(1000)


def upload_head(size: int) -> bytes:
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    head = f"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(part) + size + 9}\r\n"
    return head.encode() + b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + part


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.02)


def test_a_client_that_leaves_takes_its_work_along(tmp_path: Path) -> None:
    """Once in the middle of its upload, and once while the model is at work on it."""
    service = start_fake_service(tmp_path, fake_delay_s="60", upload_idle_timeout_s=1)
    port = httpx.URL(service.url).port or 0
    samples = 16_000 * 600  # long enough for the decoder to be far ahead of the model
    recording = lying_wav(2 * samples)[:44] + b"\xff\x0f" * samples
    try:
        with socket.create_connection(("127.0.0.1", port)) as leaves_early:
            leaves_early.sendall(upload_head(len(recording)) + recording[:2_000_000])
            until(lambda: service.leftovers() != [])
        service.assert_nothing_left()

        with socket.create_connection(("127.0.0.1", port)) as leaves_late:
            leaves_late.sendall(upload_head(len(recording)) + recording + b"\r\n--B--\r\n")
            until(lambda: any("ffmpeg" in name for name in service.leftovers()))
            time.sleep(1)
        service.assert_nothing_left()

        with socket.create_connection(("127.0.0.1", port)) as falls_silent:
            falls_silent.sendall(upload_head(len(recording)) + recording[:1000])
            falls_silent.settimeout(10)
            answer = b""
            while not answer.endswith(b"}"):
                answer += falls_silent.recv(4000)
            assert b"stopped for more than 1 s" in answer
        service.assert_nothing_left()
    finally:
        stop_fake_service(service)


@pytest.mark.parametrize("host", ["example.com:abc", "a b", "x" * 300, "[::1", "http://x"])
def test_a_host_that_is_none_is_refused(fake_service: FakeService, host: str) -> None:
    answer = fake_service.client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == 400
    assert "Host" in answer.json()["error"] or "Invalid" in answer.text
