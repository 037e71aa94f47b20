"""What is refused, before it is read, because enough is in work: and that nothing is left of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPResponse

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from api.errors import Overloaded
from api.inference.backlog import LONGEST_S, Backlog
from tests.business import Customer, pcm, speech, until
from tests.running import FakeService, start_fake_service, stop_fake_service

GIB = 1024**3
RECORDINGS = ["/v1/transcribe", "/stt", "/v1/enhance-audio", "/v1/tts"]
TEXTS = ["/v1/embed", "/v1/summarize", "/v1/analyze", "/v1/generate", "/v1/translate"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    """Room for one recording and one text."""
    service = start_fake_service(tmp_path_factory.mktemp("spool"), plans="", max_recordings=1, max_texts=1)
    yield service
    stop_fake_service(service)


@contextmanager
def announced(who: Customer, path: str) -> Iterator[socket.socket]:
    """A request whose body has a size and does not come."""
    size, kind = (GIB, "multipart/form-data; boundary=B") if path in RECORDINGS else (1000, "application/json")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\nContent-Type: {kind}\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(who.service.url).port or 0), timeout=30) as connection:
        connection.sendall(f"{head}Authorization: Bearer {who.key}\r\n\r\n".encode())
        yield connection


def answer_on(connection: socket.socket) -> tuple[int, int, str]:
    """Its status, when to come back, and what it says."""
    with closing(HTTPResponse(connection)) as answer:
        answer.begin()
        return answer.status, int(answer.headers["Retry-After"]), answer.read().decode()


def metric(service: FakeService, name: str) -> float:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"tritone_{name}"))


@contextmanager
def full(who: Customer, path: str) -> Iterator[None]:
    """While its only place is taken by somebody who has begun to send."""
    counter = "recordings_in_work" if path in RECORDINGS else "texts_in_work"
    until(lambda: metric(who.service, counter) == 0)
    with announced(who, path):
        until(lambda: metric(who.service, counter) == 1)
        yield
    until(lambda: metric(who.service, counter) == 0)


@pytest.mark.parametrize(("paths", "kind"), [(RECORDINGS, "recordings"), (TEXTS, "texts")])
def test_beyond_the_bound_it_is_said_before_the_body_comes(
    service: FakeService, new_customer: Callable[..., Customer], paths: list[str], kind: str
) -> None:
    anna, ben = new_customer("house"), new_customer("house")
    with full(anna, paths[0]):
        shed = metric(service, "shed_total")
        for path in paths:
            with announced(ben, path) as connection:
                status, retry_after_s, said = answer_on(connection)
                assert status == 503
                assert 1 <= retry_after_s <= LONGEST_S
                assert f"at its limit: 1 {kind} are in work" in said
        assert metric(service, "shed_total") == shed + len(paths)
        assert len(service.leftovers()) <= 1, "that of the one that was let in"


def test_what_is_refused_costs_nothing_and_leaves_nothing(
    service: FakeService, new_customer: Callable[..., Customer]
) -> None:
    anna, ben = new_customer("house"), new_customer("paid", credits=2)
    with full(anna, "/v1/transcribe"):
        for _ in range(20):  # more than may be at the same time, or are allowed in a minute of any of these
            refused = ben.transcribe(speech(1))
            assert (refused.status_code, int(refused.headers["Retry-After"]) >= 1) == (503, True)
        assert ben.balance() == 2
        assert ben.client.get("/api/v1/transcripts/").json()["count"] == 0
        # What a key or a plan does not allow is said all the same.
        anonymous = httpx.post(f"{service.url}/v1/enhance-audio", files={"file": b"x"})
        assert anonymous.status_code == 401
        poor = new_customer("paid")
        assert poor.transcribe(speech(1)).status_code == 402
    with full(anna, "/v1/summarize"):
        free = new_customer("free")
        for _ in range(30):  # a plan's 20 a minute are not used up by it
            assert free.client.post("/v1/summarize", json={"text": "Hello."}).status_code == 503
    assert free.client.post("/v1/summarize", json={"text": "Hello."}).status_code == 200


def test_texts_recordings_and_live_sessions_are_not_in_each_other_s_way(
    service: FakeService, new_customer: Callable[..., Customer]
) -> None:
    anna, ben = new_customer("house"), new_customer("house")
    with full(anna, "/v1/transcribe"):
        assert ben.client.post("/v1/summarize", json={"text": "Hello."}).status_code == 200
        with connect(f"{service.url.replace('http', 'ws')}/v1/stream", additional_headers=ben.headers) as live:
            live.send(json.dumps({"language": "en"}))
            live.send(pcm(1))
            live.send(json.dumps({"action": "stop"}))
            assert "tone" in "".join(json.loads(message).get("text", "") for message in live)
    with full(anna, "/v1/summarize"):
        assert ben.transcribe(speech(1), translate_to="es").status_code == 200


def test_a_place_is_free_again_however_the_work_ended(
    service: FakeService, new_customer: Callable[..., Customer]
) -> None:
    anna = new_customer("house")
    for _ in range(2):
        assert anna.transcribe(speech(1)).status_code == 200
        assert anna.transcribe(b"no recording").status_code == 400
        assert anna.client.post("/v1/transcribe", content=b"no form").status_code == 400
        assert anna.client.post("/v1/summarize", json={"text": ""}).status_code == 400
        assert anna.client.post("/v1/summarize", json={"text": "Hello."}).status_code == 200
        with anna.client.stream("POST", "/v1/summarize", json={"text": "Hello.", "stream": True}) as events:
            assert events.status_code == 200  # who leaves here has heard nothing of it
        for path in ("/v1/transcribe", "/v1/summarize", "/v1/enhance-audio"):
            with full(anna, path):
                pass


def test_a_private_triton_has_places_of_its_own(service: FakeService, new_customer: Callable[..., Customer]) -> None:
    """Nobody listens there: that it is asked at all shows that the request was let in."""
    anna, ben = new_customer("house"), new_customer("house")
    service.tritone("cloud", "add", ben.name, "127.0.0.1:9")
    with full(anna, "/v1/summarize"):
        assert anna.client.post("/v1/embed", json={"texts": ["Hello."]}).status_code == 503
        answer = ben.client.post("/v1/embed", json={"texts": ["Hello."]})
        assert "inference server is not available" in answer.json()["error"]


def test_who_is_refused_is_told_when_it_is_their_turn() -> None:
    """Places that become free every two seconds."""
    now = 0.0
    backlog = Backlog("texts", 1, lambda: now)

    def told() -> int:
        with pytest.raises(Overloaded) as refusal, backlog.place():
            pass
        return refusal.value.retry_after_s

    for _ in range(10):
        with backlog.place():
            now += 2
    with backlog.place():
        assert [told() for _ in range(4)] == [2, 4, 6, 8]
        now += 2
    with backlog.place():
        assert told() == 8, "one of the four has had its turn"
        assert [told() for _ in range(100)][-1] == LONGEST_S


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from(["come", "go"]), st.floats(0, 1000)), max_size=60))
def test_never_more_are_in_work_than_may_be(most: int, steps: list[tuple[str, float]]) -> None:
    now = 0.0
    backlog, inside = Backlog("recordings", most, lambda: now), list[ExitStack]()
    for step, passed in steps:
        now += passed
        if step == "go" and inside:
            inside.pop(0).close()
        elif step == "come" and len(inside) < most:
            inside.append(ExitStack())
            inside[-1].enter_context(backlog.place())
        elif step == "come":
            with pytest.raises(Overloaded) as refusal, backlog.place():
                pass
            assert 1 <= refusal.value.retry_after_s <= LONGEST_S
