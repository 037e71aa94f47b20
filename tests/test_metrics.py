"""What /metrics counts, and that what it counts it by stays few."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from api.metrics import exposition
from api.telemetry.stages import place, stage
from tests import contract
from tests.business import Customer, pcm, serving, speech, until
from tests.running import FakeService
from tests.test_billing import NewCustomer
from tests.test_stream import rest

Key = tuple[str, frozenset[tuple[str, str]]]


class Numbers(dict[Key, float]):
    """Samples by name and labels; those that are not there are 0."""

    def of(self, name: str, **labels: str) -> float:
        """The sum of all that have these labels, and maybe others."""
        wanted = labels.items()
        return sum(value for (named, has), value in self.items() if named == name and wanted <= dict(has).items())

    def labels(self, name: str, label: str) -> set[str]:
        return {value for (named, has), _ in self.items() if named == name for of, value in has if of == label}


def numbers(text: str) -> Numbers:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return Numbers({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})


def now(service: FakeService) -> Numbers:
    return numbers(service.client.get("/metrics").text)


@contextmanager
def counted(service: FakeService) -> Iterator[Numbers]:
    """By how much each number has grown when the context has ended."""
    before, grown = now(service), Numbers()
    yield grown
    grown.update({key: value - before.get(key, 0.0) for key, value in now(service).items()})


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    with serving("sqlite", tmp_path_factory.mktemp("metrics"), request, max_streams=1) as service:
        yield service


@pytest.fixture
def anna(new_customer: NewCustomer) -> Customer:
    return new_customer(credits=Decimal(20))


def test_a_recording_is_counted_by_its_length_its_work_and_its_price(service: FakeService, anna: Customer) -> None:
    with counted(service) as grown:
        answer = anna.transcribe(speech(70), speakers="0")
    assert answer.status_code == 200
    assert grown.of("tritone_requests_total", route="/v1/transcribe", method="POST", status="200") == 1
    assert grown.of("tritone_request_seconds_count", route="/v1/transcribe", method="POST") == 1
    assert grown.of("tritone_audio_seconds_total", source="file") == pytest.approx(70)
    assert grown.of("tritone_credits_charged_total") == 2
    factor, seconds = grown.of("tritone_real_time_factor_sum"), grown.of("tritone_request_seconds_sum")
    assert grown.of("tritone_real_time_factor_count") == 1
    assert 0 < factor * 70 <= seconds
    steps = {name: grown.of("tritone_stage_seconds_count", stage=name, source="file") for name in STAGES}
    assert steps["turn"] == steps["format"] == 1
    assert steps["decode"] >= 70  # of a second each
    assert steps["upload"] >= 1
    assert steps["activity"] >= 8  # of some 9 s each
    assert steps["recognise"] >= 3  # of 30 s at most
    assert steps["diarise"] >= 2
    assert grown.of("tritone_stage_seconds_count", source="live") == 0


STAGES = ("upload", "turn", "decode", "activity", "recognise", "diarise", "format")


def test_a_live_session_is_counted_while_it_lasts_and_by_its_audio(service: FakeService, anna: Customer) -> None:
    url = service.url.replace("http", "ws", 1) + f"/v1/stream?language=en&token={anna.key}"
    with counted(service) as grown:
        with connect(url) as client:
            client.send(pcm(3))
            until(lambda: now(service).of("tritone_live_sessions") == 1)
            with connect(url) as other:
                _, code, _ = rest(other)
                assert code == 1013
            client.send(json.dumps({"action": "stop"}))
            _, code, _ = rest(client)
            assert code == 1000
        until(lambda: now(service).of("tritone_live_sessions") == 0)
    assert grown.of("tritone_requests_total", route="/v1/stream", method="WEBSOCKET", status="1000") == 1
    assert grown.of("tritone_requests_total", route="/v1/stream", method="WEBSOCKET", status="1013") == 1
    assert grown.of("tritone_refusals_total", reason="slot") == 1
    assert grown.of("tritone_audio_seconds_total", source="live") == 3
    assert grown.of("tritone_credits_charged_total") == 1
    assert grown.of("tritone_stage_seconds_count", stage="recognise", source="live") >= 1
    assert grown.of("tritone_stage_seconds_count", stage="activity", source="live") >= 1


def test_who_is_refused_is_counted_by_why(service: FakeService, new_customer: NewCustomer) -> None:
    rich, poor = new_customer(credits=10), new_customer()
    reader = new_customer(scopes=("account",))
    cases: list[tuple[str, int, Any]] = [
        ("credits", 402, lambda: poor.transcribe(speech(1))),
        ("scope", 403, lambda: reader.transcribe(speech(1))),
        ("media", 400, lambda: rich.transcribe(b"no recording")),
        ("model", 400, lambda: rich.transcribe(speech(1), model="none")),
        ("request", 400, lambda: rich.transcribe(speech(1), speakers="many")),
        ("request", 405, lambda: rich.client.get("/v1/transcribe")),
        ("missing", 404, lambda: rich.client.get("/api/v1/transcripts/01a20015-0000-7000-8000-000000000000/")),
        ("key", 401, lambda: rich.client.get("/v1/models", headers={"Authorization": "Bearer tt_live_wrong"})),
    ]
    for reason, status, ask in cases:
        with counted(service) as grown:
            assert ask().status_code == status, reason
        assert grown.of("tritone_refusals_total", reason=reason) == 1, reason
        assert grown.of("tritone_refusals_total") == 1, reason
        assert grown.of("tritone_requests_total", status=str(status)) == 1, reason


def test_requests_are_told_apart_by_templates_alone(service: FakeService, anna: Customer) -> None:
    """However many paths and methods there are: a series that is there once is there for good."""
    stored = anna.transcribe(speech(1)).json()["id"]
    with counted(service) as grown:
        for path in (stored, f"{stored}/export/txt", "a", "b"):
            anna.client.get(f"/api/v1/transcripts/{path}/")
        for path in ("/a", "/b/c", "/", f"/v1/transcribe/{stored}", "/schema/assets/index.css"):
            anna.client.get(path)
        for method in ("PROPFIND", "BREW"):
            anna.client.request(method, "/v1/models")
    assert grown.of("tritone_requests_total", route="/api/v1/transcripts/{transcript_id}", status="200") == 1
    assert grown.of("tritone_requests_total", route="unknown") == 4
    assert grown.of("tritone_requests_total", method="other") == 2
    routes = now(service).labels("tritone_requests_total", "route") - {"unknown"}
    assert "/schema/assets/{file_path}" in routes
    described = set(contract.description()["paths"]) | {"/v1/stream", "/ws/stt", "/metrics"}
    assert {route for route in routes if not route.startswith("/schema")} <= described


def test_stages_never_count_the_same_time_twice() -> None:
    """The wait for a place is no time of the stage that it is a part of; what another task does meanwhile is."""

    async def work(room: asyncio.Semaphore) -> None:
        with stage("recognise"):
            beside = asyncio.create_task(wait_in("activity"))
            async with place("queue", room):
                await asyncio.sleep(0.02)
            await beside

    async def wait_in(name: Any) -> None:
        with stage(name):
            await asyncio.sleep(0.04)

    async def run() -> None:
        room = asyncio.Semaphore(1)
        async with room:
            working = asyncio.create_task(work(room))
            await asyncio.sleep(0.05)
        await working

    before, began = numbers(exposition().decode()), time.perf_counter()
    asyncio.run(run())
    took, after = time.perf_counter() - began, numbers(exposition().decode())
    spent = {
        name: after.of("tritone_stage_seconds_sum", stage=name) - before.of("tritone_stage_seconds_sum", stage=name)
        for name in ("queue", "recognise", "activity")
    }
    assert spent["queue"] >= 0.04
    assert spent["activity"] >= 0.03
    assert spent["recognise"] >= 0.015
    assert spent["queue"] + spent["recognise"] <= took
