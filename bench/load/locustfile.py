"""Locust users of the service. Each checks its answers; a wrong one is a failure, however fast it came.

    TRITONE_KEY=… .venv/bin/locust -f bench/load/locustfile.py --host https://speech.example.com

* Uploads: POST /v1/transcribe with recordings of several lengths and formats, with and without speakers. The transcript
  must be what is said, within --max-wer.
* Texts: embed, summarize, analyze, translate. Vectors must be of unit length and alike for alike texts alone, summaries
  by extraction of the text's words, personal data gone, and translations the known ones where the folder has some.
* Live: WS /v1/stream, at the pace of speech: how late words are in partials and phrases final. The last message must be
  what is said, within --max-wer.

Who is turned away (429; 503 with Retry-After; 1012 and 1013 of a live session) waits as long as it is told, and is
counted by itself: its line ends in "limited" or "shed". Each user sends its next request when it has the answer to the
last; --pause puts a pause between them. How many there are of each is said in Locust's own way:
--config-users '{"user_class_name": "Live", "weight": 5}'.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
import numpy as np
import websocket
from locust import HttpUser, User, events, task
from locust.env import Environment
from requests.structures import CaseInsensitiveDict

from bench.live import SAMPLE_RATE_HZ, Heard, words_of
from bench.load.material import Material, Recording, load, prepare
from bench.load.outcomes import (
    BEGUN,
    END_TO_FINAL,
    SESSION,
    SHORT_S,
    WORD_TO_PARTIAL,
    Outcome,
    What,
    kind_of_upload,
)
from bench.recordings import clips
from export_scripts.scoring import word_error_rate

REQUEST_LIMIT_S: Final = 600.0
MESSAGE_LIMIT_S: Final = 60.0
"""A live session says something in so much time, even where the models are behind."""
LONGEST_WAIT_S: Final = 120.0  # whatever a Retry-After says
UNTOLD_WAIT_S: Final = 1.0
FRAME_S: Final = 0.1
MIN_SILENCE_S: Final = 0.5
TURNED_AWAY: Final[dict[int, What]] = {1012: "shed", 1013: "shed"}
EMAIL: Final = "maria@example.com"
EMBEDDED: Final = 8
SUMMARISED: Final = 12
TRANSLATED: Final = 8
SENTENCES: Final = sorted({clip.text for clip in clips() if clip.path.name.startswith("en")})
DIGITS: Final = frozenset(["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
IMPERSONAL: Final = [text for text in SENTENCES if sum(word in DIGITS for word in words_of(text)) < 7]
"""Without what may be the number of a telephone."""
Problem = str | None
"""What is wrong with an answer; None if nothing is."""


class Run:
    """What the users of this process share; there when the test starts."""

    folder: tempfile.TemporaryDirectory[str]
    """Goes with the process."""
    material: Material
    short: list[Recording]
    longer: list[Recording]


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: ArgumentParser, **_: Any) -> None:
    parser.add_argument("--recordings", default="", help="a folder with references.json (default: the demo's)")
    parser.add_argument("--max-wer", type=float, default=0.1, help="of a transcript that is right (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.0, help="s between a user's requests (%(default)s)")
    parser.add_argument("--store", choices=("true", "false"), default="true", help="keep transcripts (%(default)s)")
    parser.add_argument("--outcomes", default="", help="a file to write each outcome to, a line of JSON each")


@events.init.add_listener  # type: ignore[untyped-decorator]
def get_ready(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    if not options.recordings:
        Run.folder = tempfile.TemporaryDirectory()
        prepare(Path(Run.folder.name))
    Run.material = load(Path(options.recordings or Run.folder.name))
    Run.short = [one for one in Run.material.recordings if one.duration_s <= SHORT_S] or Run.material.recordings
    Run.longer = [one for one in Run.material.recordings if one.duration_s > SHORT_S] or Run.material.recordings
    if options.outcomes:
        write_outcomes(environment, Path(options.outcomes))


def write_outcomes(environment: Environment, path: Path) -> None:
    file = path.open("ab", buffering=0)

    def write(name: str, response_time: float, context: dict[str, Any], exception: Any, **_: Any) -> None:
        what: What = context.get("what") or ("wrong" if exception else "right")
        problem = str(exception or "")
        began = context.get("began") or time.time() - response_time / 1000
        kind = name.removesuffix(f" ({what})")
        outcome = Outcome(kind, what, began, response_time / 1000, context.get("audio_s", 0.0), problem)
        file.write(msgspec.json.encode(outcome) + b"\n")

    def write_begun(**_: Any) -> None:
        file.write(msgspec.json.encode(Outcome(BEGUN, "right", time.time(), 0.0)) + b"\n")

    environment.events.spawning_complete.add_listener(write_begun)  # type: ignore[no-untyped-call]
    environment.events.request.add_listener(write)  # type: ignore[no-untyped-call]
    environment.events.quit.add_listener(lambda **_: file.close())  # type: ignore[no-untyped-call]


class Patient:
    """Waits between its tasks: the pause, or longer where the service said so."""

    environment: Environment
    told_s = 0.0

    def wait_time(self) -> float:
        assert self.environment.parsed_options is not None
        wait_s, self.told_s = max(float(self.environment.parsed_options.pause), self.told_s), 0.0
        return wait_s

    def is_right(self, text: str, said: str) -> Problem:
        assert self.environment.parsed_options is not None
        if text and word_error_rate([said], [text]) <= self.environment.parsed_options.max_wer:
            return None
        return f"heard {text[:200]!r} instead of {said[:200]!r}"


class Client(Patient, HttpUser):
    """Asks, and looks at the answer."""

    abstract = True

    def on_start(self) -> None:
        self.client.trust_env = False
        self.client.headers.update(authorization())

    def ask(self, path: str, kind: str, check: Callable[[Any], Problem], audio_s: float = 0.0, **request: Any) -> None:
        """`check` gets the body of a 200."""
        context = {"audio_s": audio_s, "began": time.time()}
        with self.client.post(
            path, name=kind, catch_response=True, timeout=REQUEST_LIMIT_S, context=context, **request
        ) as answer:
            what = turned_away(answer.status_code, answer.headers)
            if what is not None:
                self.told_s = told(answer.headers.get("Retry-After"))
                answer.request_meta["name"] = f"{kind} ({what})"
                answer.request_meta["context"]["what"] = what
                answer.success()
                return
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {(answer.text or str(answer.error))[:300]}")
                return
            try:
                problem = check(answer.json())
            except (ValueError, KeyError, TypeError, IndexError) as error:
                problem = f"not the answer that was expected ({error!r}): {answer.text[:300]}"
            if problem:
                answer.failure(problem)


class Uploads(Client):
    weight = 2

    @task(6)
    def clip(self) -> None:
        self.upload(random.choice(Run.short), speakers=False)

    @task(6)
    def clip_with_speakers(self) -> None:
        self.upload(random.choice(Run.short), speakers=True)

    @task(1)
    def longer_with_speakers(self) -> None:
        self.upload(random.choice(Run.longer), speakers=True)

    def upload(self, recording: Recording, *, speakers: bool) -> None:
        assert self.environment.parsed_options is not None
        body, type_ = recording.form(
            diarize=str(speakers).lower(), store=self.environment.parsed_options.store, response_format="json"
        )

        def check(answer: Any) -> Problem:
            if speakers and any(segment["speaker"] is None for segment in answer["segments"]):
                return "a segment has no speaker"
            return self.is_right(answer["text"], recording.text)

        kind = kind_of_upload(recording.duration_s, speakers=speakers)
        self.ask("/v1/transcribe", kind, check, recording.duration_s, data=body, headers={"Content-Type": type_})


class Texts(Client):
    @task(4)
    def embed(self) -> None:
        texts = random.sample(SENTENCES, EMBEDDED - 1)

        def check(answer: Any) -> Problem:
            vectors = np.array(answer["embeddings"])
            if vectors.shape != (EMBEDDED, answer["dimensions"]):
                return f"{vectors.shape} numbers for {EMBEDDED} texts of {answer['dimensions']}"
            likeness = vectors @ vectors.T
            if not np.allclose(likeness.diagonal(), 1, atol=1e-3):
                return "not all vectors are of unit length"
            alike = likeness[0] > 0.999
            return (
                None if alike[[0, -1]].all() and not alike[1:-1].any() else "not the same texts have the same vectors"
            )

        self.ask("/v1/embed", "text: embed", check, json={"texts": [*texts, texts[0]]})

    @task(1)
    def summarize(self) -> None:
        text = " ".join(random.sample(SENTENCES, min(SUMMARISED, len(SENTENCES))))

        def check(answer: Any) -> Problem:
            summary = answer["summary"]
            if not 0 < len(summary) < len(text):
                return f"a summary of {len(summary)} characters of a text of {len(text)}"
            chosen = set(words_of(summary)) <= set(words_of(text))
            return None if chosen or not answer["model"].startswith("extractive-") else f"not of the text: {summary!r}"

        self.ask("/v1/summarize", "text: summarize", check, json={"text": text})

    @task(1)
    def analyze(self) -> None:
        text = f"{random.choice(IMPERSONAL)} Write to {EMAIL}. {random.choice(IMPERSONAL)}"

        def check(answer: Any) -> Problem:
            wanted = text.replace(EMAIL, "[EMAIL_ADDRESS]")
            return None if answer["redacted_text"] == wanted else f"{answer['redacted_text']!r} instead of {wanted!r}"

        self.ask("/v1/analyze", "text: analyze", check, json={"text": text, "type": "pii_redact"})

    @task(2)
    def translate(self) -> None:
        known = Run.material.translations
        texts = random.sample(sorted(known), min(TRANSLATED, len(known))) or random.sample(SENTENCES, TRANSLATED)

        def check(answer: Any) -> Problem:
            translated = [one["translated_text"] for one in answer["translations"]]
            if len(translated) != len(texts) or not all(translated):
                return f"{len(translated)} translations of {len(texts)} texts, or an empty one"
            return self.is_right("\n".join(translated), "\n".join(known[text] for text in texts)) if known else None

        self.ask("/v1/translate", "text: translate", check, json={"texts": texts, "target": "es"})


class Live(Patient, User):
    """One session after another."""

    @task
    def session(self) -> None:
        recording = random.choice(Run.material.timed)
        heard, began = Heard(recording, words_of(recording.text)), time.time()
        what: What | None = None
        try:
            code = self.speak(recording, heard)
            what = TURNED_AWAY.get(code)
            problem = self.is_right(heard.text, recording.text) if code == 1000 else f"closed with {code}"
        except websocket.WebSocketBadStatusException as refused:
            headers = CaseInsensitiveDict(refused.resp_headers or {})
            what, problem = turned_away(refused.status_code, headers), f"{refused.status_code} instead of a session"
            self.told_s = told(headers.get("Retry-After")) if what else 0.0
        except (OSError, ValueError, websocket.WebSocketException) as error:
            problem = repr(error)
        # Of a session: from its last sample to its last message.
        self.tell(SESSION, began, heard.ended - recording.duration_s, recording.duration_s, what, problem)
        if recording.word_ends:
            for ended, late in heard.moments(heard.in_partial):
                self.tell(WORD_TO_PARTIAL, began + ended, late)
            for ended, late in heard.moments(heard.in_final, before_silence_s=MIN_SILENCE_S):
                self.tell(END_TO_FINAL, began + ended + MIN_SILENCE_S, late - MIN_SILENCE_S)

    def speak(self, recording: Recording, heard: Heard) -> int:
        """The code that the session was closed with. Raises OSError, ValueError, WebSocketException."""
        assert self.host is not None
        assert self.environment.parsed_options is not None
        socket = websocket.create_connection(
            self.host.rstrip("/").replace("http", "ws", 1) + "/v1/stream",
            header=authorization(),
            timeout=MESSAGE_LIMIT_S,
            enable_multithread=True,
            http_no_proxy=["*"],
        )
        speaking = None
        try:
            socket.send(msgspec.json.encode({"store": self.environment.parsed_options.store}).decode())
            while True:
                opcode, data = socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    return int.from_bytes(data[:2], "big")
                message = msgspec.json.decode(data, type=dict[str, Any])
                if "retry_after" in message:
                    self.told_s = told(str(message["retry_after"]))
                if message.get("status") == "ready" and speaking is None:
                    begun = time.perf_counter()
                    speaking = gevent.spawn(say, socket, recording.pcm, begun)
                elif speaking is not None:
                    heard.note(message, time.perf_counter() - begun)
        finally:
            if speaking is not None:
                speaking.kill()
            socket.shutdown()

    def tell(
        self,
        kind: str,
        began: float,
        seconds: float,
        audio_s: float = 0.0,
        what: What | None = None,
        problem: Problem = None,
    ) -> None:
        self.environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="WS",
            name=f"{kind} ({what})" if what else kind,
            response_time=1000 * max(0.0, seconds),  # a word may be guessed before it has ended
            response_length=0,
            context={"audio_s": audio_s, "began": began, **({"what": what} if what else {})},
            exception=WrongAnswer(problem) if problem and not what else None,
        )


class WrongAnswer(Exception):
    """A live session ended, but not with what was said."""


def say(socket: websocket.WebSocket, pcm: bytes, begun: float) -> None:
    """In frames, each when its last sample has been spoken. What goes wrong is seen by who reads."""
    frame_bytes = 2 * int(FRAME_S * SAMPLE_RATE_HZ)
    with suppress(OSError, websocket.WebSocketException):
        for number, start in enumerate(range(0, len(pcm), frame_bytes), start=1):
            gevent.sleep(max(0.0, begun + number * FRAME_S - time.perf_counter()))
            socket.send_binary(pcm[start : start + frame_bytes])
        socket.send('{"action": "stop"}')


def turned_away(status: int, headers: Mapping[str, str]) -> What | None:
    """As what; None for an answer."""
    if status == 429:
        return "limited"
    return "shed" if status == 503 and "Retry-After" in headers else None


def told(retry_after: str | None) -> float:
    """How long to wait, in s, by what the service said of it; some proxies say a date."""
    try:
        return min(LONGEST_WAIT_S, max(0.0, float(retry_after or UNTOLD_WAIT_S)))
    except ValueError:
        return UNTOLD_WAIT_S


def authorization() -> dict[str, str]:
    key = os.environ.get("TRITONE_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
