"""What is written down about a request, and what never is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.business import Customer, customer, pcm, speech, until
from tests.running import FakeService, start_fake_service, stop_fake_service
from tests.test_stream import rest

# Words that nothing of the service has in it by itself.
HEARD, TEXT, NAME, WRONG_KEY = "zanzibar", "quetzalcoatl", "rumpelstiltskin", "tt_live_WrongAndSecret42"


@dataclass
class Logged:
    service: FakeService
    path: Path

    @property
    def url(self) -> str:
        return self.service.url.replace("http", "ws", 1)

    def text(self) -> str:
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def access(self, request_id: str) -> dict[str, Any]:
        """The one line that says how this request ended."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines() if "route" in line and line["request_id"] == request_id]

        until(lambda: len(found()) > 0)
        (line,) = found()
        return line


@contextmanager
def logged(folder: Path, **settings: Any) -> Iterator[Logged]:
    (folder / "spool").mkdir()
    with (folder / "log").open("wb") as log:
        service = start_fake_service(folder / "spool", log=log, **settings)
        try:
            yield Logged(service, folder / "log")
        finally:
            stop_fake_service(service)


@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_that_was_sent_or_heard_is_logged(tmp_path: Path, form: str) -> None:
    """Not in ordinary lines, not of errors, and not when libraries are asked to tell what they do."""
    fakes = {"FAKE_HEARD": HEARD, "FAKE_BROKEN": "translator", "FAKE_WRITER": f"0 {TEXT}"}
    with (
        logged(tmp_path, fakes=fakes, log_format=form, log_level="debug") as log,
        customer(log.service, "house").open() as anna,
    ):
        use(log, anna)
        key = anna.key
    for secret in (HEARD, TEXT, NAME, key.removeprefix("tt_live_"), WRONG_KEY.removeprefix("tt_live_"), "token=", "?"):
        assert secret not in log.text()
    assert log.text().count("/v1/translate 500") == 1
    assert "The translator failed" in log.text()


@pytest.mark.parametrize("form", ["json", "text"])
def test_of_an_unexpected_error_where_it_came_from_is_logged_but_not_what_it_quotes(tmp_path: Path, form: str) -> None:
    fakes = {"FAKE_HEARD": HEARD, "FAKE_BROKEN": "whisper"}
    with logged(tmp_path, fakes=fakes, log_format=form, log_level="debug") as log:
        answer = log.service.client.post("/v1/transcribe", files={"file": speech(2)})
        assert answer.status_code == 500
        with connect(f"{log.url}/v1/stream?language=en") as client:
            client.send(pcm(2))
            assert rest(client)[1] == 1011
    assert HEARD not in log.text()
    assert "builtins.ValueError" in log.text()
    assert "fake_service.py" in log.text()
    told = [line for line in log.text().splitlines() if "A request failed" in line]
    assert len(told) == 1
    assert answer.headers["x-request-id"] in told[0]


def use(log: Logged, anna: Customer) -> None:
    """In every way in which something confidential is sent, rightly and wrongly."""
    file = {"file": (f"{NAME}.wav", speech(3))}
    assert HEARD in anna.client.post("/v1/transcribe", files=file).text
    assert anna.client.post("/v1/transcribe", files=file, data={"model": TEXT}).status_code == 400
    assert anna.client.post("/v1/summarize", json={"text": f"{TEXT}. " * 20}).status_code == 200
    assert anna.client.post("/v1/summarize", json={"text": [TEXT]}).status_code == 400
    assert anna.client.post("/v1/translate", json={"text": TEXT, "target": TEXT}).status_code == 400
    answer = anna.client.post("/v1/translate", json={"text": TEXT, "source": "en", "target": "es"})
    assert answer.status_code == 500, answer.text
    assert TEXT in answer.text  # its sender may read it
    assert anna.client.get(f"/{TEXT}", params={"api_key": anna.key}).status_code == 404
    assert anna.client.get("/v1/models", headers={"Authorization": f"Bearer {WRONG_KEY}"}).status_code == 401
    assert anna.client.get("/v1/models", headers={"X-Request-ID": anna.key}).status_code == 200
    for path in ("/v1/stream?language=en&token=", "/ws/stt?apiKey="):
        for key in (anna.key, WRONG_KEY):
            with connect(f"{log.url}{path}{key}") as client:
                with suppress(ConnectionClosed):  # of a wrong key at once
                    client.send(json.dumps({"type": "start", "languages": ["en"]}) if "stt" in path else pcm(2))
                    client.send(pcm(2))
                    client.send(TEXT)
                assert rest(client)[1] == 1008


def test_each_request_has_one_line_and_an_id_that_its_other_lines_share(tmp_path: Path) -> None:
    with logged(tmp_path, log_format="json", log_level="info") as log:
        with customer(log.service, "house").open() as anna:
            chosen = anna.client.get("/v1/models", headers={"X-Request-ID": "trace-4.2:A"})
            assert chosen.headers["x-request-id"] == "trace-4.2:A"
            line = log.access("trace-4.2:A")
            assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/models", "200")
            UUID(line["account_id"])
            assert "trace_id" not in line

            for unfit in ("a_b", "x" * 65, "a b", anna.key):
                answer = anna.client.get("/v1/models", headers={"X-Request-ID": unfit})
                assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])

            stored = anna.transcribe(speech(2)).json()["id"]
            found = anna.client.get(f"/api/v1/transcripts/{stored}/")
            line = log.access(found.headers["x-request-id"])
            assert line["route"] == "/api/v1/transcripts/{transcript_id}"

            with connect(f"{log.url}/v1/stream?language=en&token={anna.key}") as client:
                assert client.response is not None
                live_id = client.response.headers["x-request-id"]
                client.send(pcm(2))
                client.send('{"action": "stop"}')
                assert rest(client)[1] == 1000
            line = log.access(live_id)
            assert (line["method"], line["route"], line["status"]) == ("WEBSOCKET", "/v1/stream", "1000")
            UUID(line["account_id"])
        log.service.client.get("/health/live")
        refused = log.service.client.get("/api/v1/usage/", headers={"Authorization": f"Bearer {WRONG_KEY}"})
        line = log.access(refused.headers["x-request-id"])
        assert (line["route"], line["status"]) == ("/api/v1/usage", "401")
        assert "account_id" not in line
        assert not [line for line in log.lines() if line.get("route") == "/health/live"]
        assert any(line["logger"] == "uvicorn.error" for line in log.lines())
