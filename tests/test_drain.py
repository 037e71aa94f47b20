"""The end of a process: nothing that a client sent before it is lost. And its probes, by which it is known in time."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient
from websockets.sync.client import connect

from api.app import create_app
from api.inference.fake import fake_inference
from api.settings import Settings
from api.storage.database import database_url
from api.storage.migrate import migrate
from tests.business import customer, pcm, serving, speech, until
from tests.running import FakeService, start_fake_service, stop_fake_service
from tests.servers import PostgresServer
from tests.test_sixtydb_socket import linear
from tests.test_stream import rest

RESTART = 1012


def test_sigterm_loses_nothing_of_what_is_under_way(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Neither live sessions, in both dialects, nor a recording in the middle of its upload."""
    with serving("sqlite", tmp_path, request, fake_delay_s="0.3", drain_s=30) as service, ExitStack() as held:
        anna = held.enter_context(customer(service, credits=20).open())
        url = service.url.replace("http", "ws", 1)
        native = held.enter_context(connect(f"{url}/v1/stream?language=en&token={anna.key}"))
        other = held.enter_context(connect(f"{url}/ws/stt?apiKey={anna.key}"))
        silent = held.enter_context(connect(f"{url}/v1/stream?token={anna.key}"))
        other.send(json.dumps({"type": "start", "languages": ["en"]}))
        for client in (native, other):
            client.send(linear(5))
        until(lambda: metric(service, 'tritone_stage_seconds_count{source="live",stage="recognise"}') >= 2)
        upload = held.enter_context(closing(Upload(service, speech(20), anna.headers)))
        upload.send_half()

        service.process.terminate()
        messages, code, reason = rest(native)
        assert (code, "restarted" in reason) == (RESTART, True)
        assert not [message for message in messages if "error" in message]
        assert messages[-1]["text"] == "tone tone tone tone tone"
        assert (messages[-1]["is_final"], messages[-1]["duration"]) == (True, 5.0)
        messages, code, _ = rest(other)
        assert code == RESTART
        finals = [message["text"] for message in messages if message.get("speech_final")]
        assert " ".join(finals) == "tone tone tone tone tone"
        assert messages[-1]["type"] == "session_stopped"
        assert messages[-1]["billing_summary"]["total_cost"] == 1
        _, code, _ = rest(silent)
        assert code == RESTART
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(upload.address).close()
        status, body = upload.send_rest()
        assert status == 200
        assert len(body["text"].split()) == 20
        service.process.wait(30)
        assert anna.ledger() == 20 - 3


def test_what_takes_too_long_is_told_so_costs_nothing_and_keeps_no_process_alive(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with serving("sqlite", tmp_path, request, fake_delay_s="600", drain_s=1) as service, ExitStack() as held:
        anna = held.enter_context(customer(service, credits=20).open())
        live = held.enter_context(connect(f"{service.url.replace('http', 'ws', 1)}/v1/stream?token={anna.key}"))
        live.send(pcm(5))
        upload = held.enter_context(closing(Upload(service, speech(30), anna.headers)))
        upload.send_half()
        answers: list[tuple[int, Any]] = []
        waiting = threading.Thread(target=lambda: answers.append(upload.send_rest()))
        waiting.start()
        until(lambda: anna.ledger() == 20 - 2)  # both hold a credit
        until(lambda: metric(service, 'tritone_stage_seconds_count{source="file",stage="activity"}') > 0)

        service.process.terminate()
        waiting.join(30)
        assert answers == [(503, {"error": "The service is being restarted. Try again."})]
        assert rest(live)[1] == RESTART
        service.process.wait(30)
        assert anna.ledger() == 20


def metric(service: FakeService, sample: str) -> float:
    lines = service.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))


class Upload:
    """A request that is sent in two parts."""

    def __init__(self, service: FakeService, recording: bytes, headers: dict[str, str]) -> None:
        request = httpx.Request("POST", f"{service.url}/v1/transcribe", files={"file": recording}, headers=headers)
        request.read()
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        self._head = "\r\n".join(["POST /v1/transcribe HTTP/1.1", *lines, "", ""]).encode()
        self._body = request.content
        self.address = (request.url.host, request.url.port or 80)
        self._socket = socket.create_connection(self.address, timeout=60)

    def send_half(self) -> None:
        self._socket.sendall(self._head + self._body[: len(self._body) // 2])

    def send_rest(self) -> tuple[int, Any]:
        self._socket.sendall(self._body[len(self._body) // 2 :])
        with HTTPResponse(self._socket) as answer:
            answer.begin()
            return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._socket.close()


def test_a_process_without_its_triton_lives_and_is_not_ready(tmp_path: Path) -> None:
    service = start_fake_service(tmp_path, program=("api.cli", "serve"), triton_url="127.0.0.1:1")
    try:
        assert service.client.get("/health/live").json() == {"status": "ok"}
        answer = service.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        assert "inference server" in answer.json()["error"]
    finally:
        stop_fake_service(service)


def test_a_process_without_its_database_or_a_model_lives_and_is_not_ready(tmp_path: Path) -> None:
    postgres = PostgresServer()
    postgres.start()
    url = postgres.create_database("probes")
    service = start_fake_service(tmp_path, database_url=url, secret="of the tests")
    try:
        assert service.client.get("/health/ready").status_code == 200
        postgres.stop()
        assert service.client.get("/health/ready").status_code == 503
        live = service.client.get("/health/live")
        assert live.status_code == 200
        assert "ratelimit-limit" not in live.headers  # nobody was asked who wants to know
        postgres.start()
        until(lambda: service.client.get("/health/ready").status_code == 200)
    finally:
        stop_fake_service(service)
        postgres.remove()


def test_probes_need_no_key_and_are_never_refused(tmp_path: Path) -> None:
    """Not where nobody else may come without a key, nor when too many have come. One says that the process drains."""
    (tmp_path / "plans.toml").write_text("[paid]\nmax_file_mb = 1\nconcurrency = 1\nrequests_per_minute = 1\n")
    settings = Settings(home=str(tmp_path), plans=str(tmp_path / "plans.toml"))
    migrate(database_url("", settings.home))
    app = create_app(settings, fake_inference())
    with TestClient(app) as client:
        assert client.get("/v1/models").status_code == 401
        for _ in range(20):
            assert client.get("/health/live", headers={"Authorization": "Bearer wrong"}).status_code == 200
            assert client.get("/health/ready").status_code == 200
        with client.portal() as loop:
            loop.call(app.state.drain.begin)  # as SIGTERM does
        assert client.get("/health/live").status_code == 200
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
