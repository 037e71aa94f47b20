"""Live transcription through a real Triton: the vendor's client, the contract's page in a browser, the terminal."""

from __future__ import annotations

import gc
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sttai import STTClient
from websockets.sync.client import connect

from tests.conftest import Clip, Stack
from tests.running import PROJECT

RATE_HZ = 16_000
FRAME_S = 0.1
MEETING = PROJECT / "examples" / "meeting.flac"
MEETING_TEXT = (
    "Welcome to the important review. Maria will check the phone on Tuesday. "
    "The budget is eighty six and the price is fifty one."
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def samples(path: Path) -> bytes:
    return bytes(soundfile.read(path, dtype="int16")[0].tobytes())


def frames(pcm: bytes, size: int = 2 * int(FRAME_S * RATE_HZ)) -> Iterator[bytes]:
    return (pcm[start : start + size] for start in range(0, len(pcm), size))


def converse(stack: Stack, pcm: bytes, config: dict[str, Any], pace_s: float = 0.0) -> list[dict[str, Any]]:
    """The six steps of the contract's page."""
    with connect(stack.url.replace("http", "ws", 1) + "/v1/stream", compression=None) as client:
        client.send(json.dumps(config))
        assert json.loads(client.recv(timeout=60)) == {"status": "ready"}

        def speak() -> None:
            for frame in frames(pcm):
                client.send(frame)
                time.sleep(pace_s)
            client.send('{"action": "stop"}')

        speaking = threading.Thread(target=speak)
        speaking.start()
        messages = [json.loads(message) for message in client]
        speaking.join()
    return messages


def test_the_six_steps_hear_what_a_file_hears(stack: Stack, clips: list[Clip]) -> None:
    for clip in clips:
        *messages, last = converse(stack, samples(clip.path), {"language": "auto", "model": "large-v3-turbo"})
        assert (last["text"], last["language"], last["is_final"]) == (clip.text, clip.language, True)
        words = [word for message in messages if message["text"] for word in message["words"]]
        assert [word["word"] for word in words] == clip.text.split()
        for word, expected in zip(words, clip.word_starts, strict=True):
            assert expected is None or abs(word["start"] - expected) <= 0.25, (clip.path, word, expected)


def test_words_appear_while_they_are_spoken(stack: Stack) -> None:
    messages = converse(stack, samples(MEETING), {"diarize": True}, pace_s=FRAME_S)
    finals = [message for message in messages[:-1] if message["text"]]
    assert [message["speaker"] for message in finals] == ["Speaker 1", "Speaker 2", "Speaker 1"]
    assert " ".join(message["text"] for message in finals) == messages[-1]["text"] == MEETING_TEXT
    partials = [message for message in messages if "partial" in message]
    assert len(partials) >= 15
    # Of each phrase some words are there before others, and what is committed stays.
    for final in finals:
        of_phrase = [p for p in partials if abs(p["start"] - final["start"]) < 0.5]
        assert len({len(p["partial"].split()) for p in of_phrase}) >= 3
        for before, after in pairwise(of_phrase):
            assert after["committed"].startswith(before["committed"])
    times = [(message["start"], message["end"]) for message in finals]
    assert times == sorted(times)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_vendors_client_streams(stack: Stack, clips: list[Clip]) -> None:
    said: list[str] = []
    # As in its own documentation, `text` is read of every message.
    session = STTClient(stack.key, base_url=stack.url).stream(lambda message: said.append(message["text"]))
    for frame in frames(samples(clips[0].path), 4096):
        session.send(frame)
    result = session.finish()
    assert result["text"] == said[-1] == clips[0].text
    del session
    gc.collect()  # websocket-client leaves its socket to the collector when the server closes


@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no Chromium on this machine")
def test_the_contracts_page_in_a_browser(stack: Stack, tmp_path: Path) -> None:
    """The vendor's example for browsers with our address in it, and a microphone that plays the meeting."""
    recording, _ = soundfile.read(MEETING, dtype="int16")
    soundfile.write(tmp_path / "microphone.wav", np.repeat(recording, 3), 3 * RATE_HZ)  # at the rate of sound cards
    said: list[list[Any]] = []
    closed = threading.Event()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.replace("ADDRESS", stack.url.replace("http", "ws", 1)).encode())

        def do_POST(self) -> None:
            said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            if said[-1][0] == "Closed:":
                closed.set()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser(f"http://127.0.0.1:{server.server_port}/", tmp_path):
            assert closed.wait(60), said
        server.shutdown()
    assert said[-1] == ["Closed:", 1000]
    assert said[-2] == ["Final:", MEETING_TEXT]
    finals = [text for kind, text in said[:-2] if kind == "Final:"]
    assert " ".join(finals) == MEETING_TEXT
    partials = [text for kind, text in said if kind == "Partial:"]
    assert any(text.startswith("The budget is eighty") for text in partials)


@contextmanager
def browser(url: str, folder: Path) -> Iterator[None]:
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
            f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}%noloop",
            *("--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'profile'}", url),
        ],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# Follows the example of the contract: 4096 samples a message, from an AudioContext at 16 kHz, once the server is ready.
PAGE = """<!doctype html><script>
const report = (...message) => fetch("/", { method: "POST", body: JSON.stringify(message) });
const ws = new WebSocket("ADDRESS/v1/stream");
ws.binaryType = "arraybuffer";
ws.onopen = () => ws.send(JSON.stringify({ language: "auto", model: "large-v3-turbo" }));
ws.onclose = (event) => report("Closed:", event.code);
let pending = Promise.resolve();
ws.onmessage = (event) => {
  const data = JSON.parse(event.data);
  if (data.status === "ready") startStreaming();
  if (data.text) pending = pending.then(() => report("Final:", data.text));
  if (data.partial) pending = pending.then(() => report("Partial:", data.partial));
};
async function startStreaming() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext({ sampleRate: 16000 });
  const source = context.createMediaStreamSource(stream);
  const processor = context.createScriptProcessor(4096, 1, 1);
  processor.onaudioprocess = (event) => {
    const heard = event.inputBuffer.getChannelData(0);
    const int16 = new Int16Array(heard.length);
    for (let i = 0; i < heard.length; i++) int16[i] = Math.max(-32768, Math.min(32767, heard[i] * 32767));
    if (ws.readyState === 1) ws.send(int16.buffer);
  };
  source.connect(processor);
  processor.connect(context.destination);
  setTimeout(() => ws.send(JSON.stringify({ action: "stop" })), 14000);
}
</script>"""


def test_the_terminal(stack: Stack) -> None:
    command = [sys.executable, "-m", "api.cli", "stream", "--url", stack.url]
    wav = subprocess.Popen([sys.executable, "-c", AS_WAV, str(MEETING)], stdout=subprocess.PIPE)
    running = [
        subprocess.Popen(
            [*command, *arguments], stdin=wav.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for arguments in ([str(MEETING), "--diarize"], ["-"], [__file__], [str(MEETING), "--model", "nonsense"])
    ]
    named, piped, no_recording, no_model = (process.communicate(timeout=60) for process in running)
    wav.wait()
    assert wav.stdout is not None
    wav.stdout.close()
    assert [process.returncode for process in running] == [0, 0, 1, 1]
    assert named[0].splitlines()[1] == "Speaker 2: Maria will check the phone on Tuesday."
    assert " ".join(piped[0].splitlines()) == MEETING_TEXT
    assert "Invalid data" in no_recording[1]
    assert "no model 'nonsense'" in no_model[1]


def test_the_terminal_can_be_interrupted(stack: Stack) -> None:
    command = [sys.executable, "-m", "api.cli", "stream", "--url", stack.url, str(MEETING)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "Welcome to the important review.\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


# A recording on standard output whose header does not tell how long it is, as a recorder's.
AS_WAV = """
import struct, sys, soundfile
pcm = soundfile.read(sys.argv[1], dtype="int16")[0].tobytes()
unknown = 0xFFFFFFFF
form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
head = struct.pack("<4sI4s", b"RIFF", unknown, b"WAVE") + form + struct.pack("<4sI", b"data", unknown)
sys.stdout.buffer.write(head + pcm)
"""


def test_triton_killed_in_mid_stream_is_said_and_costs_no_word(stack: Stack) -> None:
    pcm = samples(MEETING)

    def kill() -> None:
        time.sleep(4)
        stack.child("bin/tritonserver").send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    messages = converse(stack, pcm, {"language": "en"}, pace_s=FRAME_S)
    killer.join()
    stack.wait_for("triton ended (killed by SIGKILL)")
    states = [message["status"] for message in messages if "status" in message]
    assert "delayed" in states
    assert states[-1] == "resumed"
    assert messages[-1]["text"] == MEETING_TEXT
