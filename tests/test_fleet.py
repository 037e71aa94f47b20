"""Several Tritons behind one service: which calls go where, and what becomes of them when one goes away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferenceServerClient, service_pb2_grpc

from api.errors import InferenceFailed, InferenceUnavailable, StorageUnavailable
from api.inference.addresses import Address, parse_address, parse_addresses, resolved
from api.inference.base import Deployment, ModelVersion
from api.inference.contracts import ACTIVITY_FRAME_SAMPLES, ACTIVITY_STATE_SIZE, DecodingOptions
from api.inference.triton import TritonInference
from api.inference.triton.endpoint import Capacity
from api.inference.triton.placement import Fitness, Standing, best
from api.inference.triton.places import Places
from api.metrics import REGISTRY
from api.settings import SettingsError
from tests.served import Triton
from tests.test_language_clients import ASKED, END, ONE, FakeTriton

HEARD, ONLY_B, ACTIVITY = "whisper-both", "whisper-b", "voice_activity"
RATE_HZ = 16_000
POISON = 666  # as many samples, and the model below ends
CONFIG = """
name: "%(name)s"
backend: "python"
max_batch_size: 8
version_policy { all { } }
input [ { name: "PCM" data_type: TYPE_INT16 dims: [ -1 ] allow_ragged_batch: true },
        { name: "%(other)s" data_type: %(type)s dims: [ -1 ] allow_ragged_batch: true } ]
output [ %(outputs)s ]
dynamic_batching { }
instance_group [ { count: 1, kind: KIND_CPU } ]
parameters { key: "who" value { string_value: "%(who)s" } }
parameters { key: "card" value { string_value: '{"kind": "%(kind)s", "name": "all"}' } }
parameters { key: "card:2" value { string_value: '{"kind": "%(kind)s", "name": "the second"}' } }
"""
# Says who it is and of which version, after as many seconds as there is audio.
MODEL = """
import json, os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.who = json.loads(args["model_config"])["parameters"]["who"]["string_value"]
        self.version = args["model_version"]

    def execute(self, requests):
        if any(pb_utils.get_input_tensor_by_name(request, "PCM").as_numpy().size == 666 for request in requests):
            os._exit(1)
        pcm = [pb_utils.get_input_tensor_by_name(request, "PCM").as_numpy() for request in requests]
        time.sleep(max(samples.size for samples in pcm) / 16000)
        return [pb_utils.InferenceResponse(self.answer(samples)) for samples in pcm]
"""
HEARS = """
    def answer(self, samples):
        text = f"{self.who}{self.version}"
        said = {"language": text, "language_probability": 1.0, "segments": [], "avg_logprob": 0.0, "temperature": 0.0,
                "no_speech_prob": 0.0, "compression_ratio": 1.0, "decoded_s": samples.size / 16000}
        return [pb_utils.Tensor("RECOGNITION", np.array([[json.dumps(said).encode()]], dtype=np.object_))]
"""
DETECTS = """
    def answer(self, samples):
        who = np.full((1, samples.size // 512), ord(self.who), dtype=np.float32)
        state = np.full((1, 320), float(self.version), dtype=np.float32)
        return [pb_utils.Tensor("PROBABILITIES", who), pb_utils.Tensor("NEXT_STATE", state)]
"""


def write_model(repository: Path, who: str, name: str, *versions: str) -> None:
    detects = name == ACTIVITY
    answers = {"PROBABILITIES": "TYPE_FP32", "NEXT_STATE": "TYPE_FP32"} if detects else {"RECOGNITION": "TYPE_STRING"}
    outputs = ", ".join(f'{{ name: "{of}" data_type: {kind} dims: [ -1 ] }}' for of, kind in answers.items())
    names = {"name": name, "who": who, "kind": ACTIVITY if detects else "whisper", "outputs": outputs}
    other = {"other": "STATE", "type": "TYPE_FP32"} if detects else {"other": "OPTIONS", "type": "TYPE_STRING"}
    for version in versions:
        folder = repository / name / version
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(MODEL + (DETECTS if detects else HEARS))
    (repository / name / "config.pbtxt").write_text(CONFIG % {**names, **other})


@dataclass(frozen=True)
class Pair:
    """A has the second versions, B a model of its own."""

    a: Triton
    b: Triton

    @property
    def url(self) -> str:
        return f"{self.a.address}, {self.b.address}"

    @property
    def both(self) -> list[Address]:
        return [of for triton in (self.a, self.b) if (of := parse_address(triton.address)) is not None]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp("fleet")
    for who, name, *versions in (
        ("A", HEARD, "1", "2"),
        ("A", ACTIVITY, "1", "2"),
        ("B", HEARD, "1"),
        ("B", ACTIVITY, "1"),
        ("B", ONLY_B, "1"),
    ):
        write_model(home / who, who, name, *versions)
    with ExitStack() as stack:
        tritons = []
        for who in ("A", "B"):
            triton = Triton(home / who, home / f"home-{who}")
            stack.callback(triton.stop)
            triton.start()
            tritons.append(triton)
        for triton in tritons:
            triton.wait_for(HEARD, ACTIVITY)
        tritons[1].wait_for(ONLY_B)
        yield Pair(*tritons)


@asynccontextmanager
async def fleet(url: str, **options: Any) -> AsyncIterator[TritonInference]:
    """Nothing of it is left when it is closed."""
    inference = TritonInference(url, **{"patience_s": 20, "timeout_s": 60, "max_windows": 100, **options})
    try:
        yield inference
    finally:
        await inference.close()
    assert [task for task in asyncio.all_tasks() if "Fleet" in repr(task.get_coro())] == []


async def hear(
    inference: TritonInference, seconds: float = 0.001, model: str = HEARD, version: str = "1", *, live: bool = False
) -> str:
    """Who listened, and of which version it was."""
    pcm = np.zeros(round(seconds * RATE_HZ), dtype=np.int16)
    recognizer = inference.inference.recognizer
    return (await recognizer.recognize(ModelVersion(model, version), pcm, DecodingOptions(), live=live)).language


async def detect(inference: TritonInference) -> str:
    pcm = np.zeros(ACTIVITY_FRAME_SAMPLES, dtype=np.int16)
    state = np.zeros(ACTIVITY_STATE_SIZE, dtype=np.float32)
    who, version = await inference.inference.voice_activity.detect(pcm, state)
    return f"{chr(int(who[0]))}{version[0]:.0f}"


async def many(inference: TritonInference, count: int, seconds: float = 0.001) -> Counter[str]:
    return Counter(await asyncio.gather(*(hear(inference, seconds) for _ in range(count))))


@asynccontextmanager
async def under_way(inference: TritonInference, count: int, seconds: float) -> AsyncIterator[None]:
    """So many, as far as they may be; then they are given up."""
    calls = asyncio.create_task(many(inference, count, seconds))
    await asyncio.sleep(seconds / 2)
    try:
        yield
    finally:
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)


def outstanding(*tritons: Triton) -> float:
    name = "tritone_triton_outstanding"
    return sum(REGISTRY.get_sample_value(name, {"endpoint": triton.address}) or 0 for triton in tritons)


async def until(true: Any) -> None:
    """Of a condition, or of a coroutine function that says whether it holds."""
    give_up = time.monotonic() + 60
    while True:
        holds = true()
        if await holds if asyncio.iscoroutine(holds) else holds:
            return
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)


def is_up(triton: Triton) -> bool:
    return REGISTRY.get_sample_value("tritone_triton_endpoint_up", {"endpoint": triton.address}) == 1


def retries(reason: str) -> float:
    return REGISTRY.get_sample_value("tritone_triton_retries_total", {"reason": reason}) or 0.0


@dataclass
class Load:
    """Clients that call without pause, and who answered them."""

    inference: TritonInference
    heard: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def on(self, clients: int, seconds: float = 0.05) -> AsyncIterator[None]:
        """A call that fails fails the test."""
        ending = asyncio.Event()

        async def client() -> None:
            while not ending.is_set():
                self.heard[await hear(self.inference, seconds)] += 1

        async with asyncio.TaskGroup() as clients_:
            for _ in range(clients):
                clients_.create_task(client())
            yield
            ending.set()

    async def answered(self, who: str, times: int = 20) -> None:
        """Until that one has answered so many calls more."""
        target = self.heard[who] + times
        await until(lambda: self.heard[who] >= target)


def test_calls_are_shared_and_one_that_only_one_has_goes_there(pair: Pair) -> None:
    async def run() -> None:
        in_vain = retries("missing")
        async with fleet(pair.url) as inference:
            shares = await many(inference, 40, 0.1)
            assert set(shares) == {"A1", "B1"}
            assert min(shares.values()) >= 15
            assert {await hear(inference, model=ONLY_B) for _ in range(10)} == {"B1"}
            assert {await hear(inference, version="2") for _ in range(10)} == {"A2"}
        assert retries("missing") == in_vain

    asyncio.run(run())


def test_who_has_less_to_do_is_asked(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url) as inference:
            long = asyncio.gather(*(hear(inference, 1.0, version="2") for _ in range(4)))
            await asyncio.sleep(0.2)
            assert {await hear(inference) for _ in range(10)} == {"B1"}
            assert await long == ["A2"] * 4
            # Another model's calls count only where both have as many of this one's.
            others = asyncio.gather(*(hear(inference, 2.0, ONLY_B) for _ in range(3)))
            await asyncio.sleep(0.1)
            first = asyncio.create_task(hear(inference, 1.5))
            await asyncio.sleep(0.1)
            assert {await hear(inference) for _ in range(10)} == {"B1"}
            assert (await first, await others) == ("A1", ["B1"] * 3)

    asyncio.run(run())


@dataclass
class Chosen:
    choices: Mapping[str, str]
    away: bool = False
    in_vain: int = 0
    answered: int = 0

    def is_asked(self) -> bool:
        return self.answered > 0

    async def chosen(self) -> Mapping[str, str]:
        if self.away:
            self.in_vain += 1
            raise StorageUnavailable("It is away.", 1)
        self.answered += 1
        return self.choices


async def deployed(inference: TritonInference) -> dict[str, Deployment]:
    found = await inference.inference.registry.deployments()
    return {f"{deployment.name} {deployment.version}": deployment for deployment in found}


def serving(found: Mapping[str, Deployment]) -> set[str]:
    return {name for name, deployment in found.items() if deployment.serving}


def test_one_version_takes_new_work(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url) as inference:
            found = await deployed(inference)
            assert set(found) == {f"{HEARD} 1", f"{HEARD} 2", f"{ACTIVITY} 1", f"{ACTIVITY} 2", f"{ONLY_B} 1"}
            assert all(deployment.ready and not deployment.crashed for deployment in found.values())
            assert serving(found) == {f"{HEARD} 2", f"{ACTIVITY} 2", f"{ONLY_B} 1"}
            assert [found[f"{HEARD} {version}"].card.name for version in "12"] == ["all", "the second"]
            assert {await detect(inference) for _ in range(10)} == {"A2"}
        choices = Chosen({ACTIVITY: "1", HEARD: "7", "gone": "1"})
        async with fleet(pair.url, choices=choices) as inference:
            assert {await detect(inference) for _ in range(20)} == {"A1", "B1"}
            assert serving(await deployed(inference)) == {f"{HEARD} 2", f"{ACTIVITY} 1", f"{ONLY_B} 1"}
            choices.away = True
            await until(lambda: choices.in_vain > 0)
            assert serving(await deployed(inference)) == {f"{HEARD} 2", f"{ACTIVITY} 1", f"{ONLY_B} 1"}
            choices.choices, choices.away = {}, False
            await until(lambda: said_of(inference, "A2"))
        unknown = Chosen({ACTIVITY: "1"}, away=True)
        async with fleet(pair.url, choices=unknown) as inference:
            assert await hear(inference, model=ONLY_B) == "B1"
            with pytest.raises(InferenceUnavailable, match="not known yet"):
                await detect(inference)
            unknown.away = False
            await until(unknown.is_asked)
            assert {await detect(inference) for _ in range(10)} == {"A1", "B1"}

    async def said_of(inference: TritonInference, who: str) -> bool:
        return await detect(inference) == who

    asyncio.run(run())


def test_one_that_is_killed_costs_nobody_anything_and_comes_back(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url) as inference:
            load = Load(inference)
            async with load.on(clients=12):
                await load.answered("A1")
                await load.answered("B1")
                pair.b.kill()
                await until(lambda: not is_up(pair.b))
                await load.answered("A1")
                found = await deployed(inference)
                assert found[f"{HEARD} 1"].ready
                assert f"{ONLY_B} 1" not in found
                pair.b.start()
                await load.answered("B1")
            shares = await many(inference, 40, 0.1)
            assert min(shares.values()) >= 15
        pair.b.wait_for(ACTIVITY, ONLY_B)

    asyncio.run(run())


def test_one_that_hangs_is_left_alone_and_its_calls_go_elsewhere(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url) as inference:
            await many(inference, 4)
            moved, load = retries("hung"), Load(inference)
            pair.b.pause()
            try:
                async with load.on(clients=6):
                    await load.answered("A1")
                    await until(lambda: not is_up(pair.b))
                    await until(lambda: retries("hung") > moved)
                    # Where there is nowhere else to go it is waited for, and who gives up is not kept.
                    waiting, leaving = (asyncio.create_task(hear(inference, model=ONLY_B)) for _ in range(2))
                    await load.answered("A1", 50)
                    leaving.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await leaving
                    assert not waiting.done()
                    pair.b.resume()
                    await load.answered("B1")
                    assert await waiting == "B1"
            finally:
                pair.b.resume()

    asyncio.run(run())


def test_who_leaves_while_a_call_is_about_to_be_moved_has_left(pair: Pair) -> None:
    """Its cancellation is not taken for ours."""

    async def run() -> None:
        async with fleet(pair.url) as inference:
            await many(inference, 4)
            pair.b.pause()
            try:
                calls = [asyncio.create_task(hear(inference, 0.01)) for _ in range(8)]
                await until(lambda: sum(call.done() for call in calls) >= 4)
                stuck = [call for call in calls if not call.done()]
                assert stuck
                for call in stuck[1:]:
                    call.cancel()
                ended = await asyncio.gather(*stuck, return_exceptions=True)
                assert ended[0] == "A1"
                assert all(isinstance(end, asyncio.CancelledError) for end in ended[1:])
            finally:
                pair.b.resume()

    asyncio.run(run())


def test_a_dead_model_is_one_model_s_matter(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url, choices=Chosen({ACTIVITY: "1"})) as inference:
            await many(inference, 4)
            for process in pair.b.processes_of(HEARD):
                process.kill()
            assert set(await many(inference, 20)) == {"A1"}
            assert is_up(pair.b)
            assert {await detect(inference) for _ in range(20)} == {"A1", "B1"}
            assert not (await deployed(inference))[f"{HEARD} 1"].crashed
        pair.b.kill()
        pair.b.start(HEARD, ACTIVITY, ONLY_B)

    asyncio.run(run())


def test_a_model_that_died_everywhere_is_said_to_have(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.b.address, patience_s=0.5) as inference:
            for process in pair.b.processes_of(ONLY_B):
                process.kill()
            with pytest.raises(InferenceUnavailable, match="not available right now"):
                await hear(inference, model=ONLY_B)
            found = await deployed(inference)
            assert found[f"{ONLY_B} 1"].crashed
            assert not found[f"{HEARD} 1"].crashed
        pair.b.kill()
        pair.b.start(HEARD, ACTIVITY, ONLY_B)

    asyncio.run(run())


def test_what_kills_a_model_twice_kills_it_no_more(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url) as inference:
            with pytest.raises(InferenceFailed, match="has died of it twice"):
                await hear(inference, POISON / RATE_HZ)
            assert set(await asyncio.gather(*(hear(inference, model=ONLY_B) for _ in range(3)))) == {"B1"}

    asyncio.run(run())
    for triton in (pair.a, pair.b):
        triton.kill()
        triton.start(HEARD, ACTIVITY)
    pair.b.wait_for(ONLY_B)


def test_a_version_that_is_not_there_is_waited_for(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.url, patience_s=0.3) as inference:
            with pytest.raises(InferenceUnavailable, match=r"whisper-both, version 3, is not ready"):
                await hear(inference, version="3")
            await asyncio.to_thread(client.unload_model, ONLY_B)
            with pytest.raises(InferenceUnavailable):
                await hear(inference, model=ONLY_B)
        async with fleet(pair.url) as inference:
            waiting = asyncio.create_task(hear(inference, model=ONLY_B))
            assert set(await many(inference, 20)) == {"A1", "B1"}
            assert not waiting.done()
            await asyncio.to_thread(client.load_model, ONLY_B)
            assert await waiting == "B1"
        async with fleet(pair.url, patience_s=5, max_windows=1) as inference:
            waits = asyncio.gather(*(hear(inference, version="3") for _ in range(4)), return_exceptions=True)
            await asyncio.sleep(0.1)
            await hear(inference)
            assert not waits.done(), "who waits for a version holds no place"
            await waits

    with InferenceServerClient(pair.b.address) as client:
        asyncio.run(run())


def test_a_name_stands_for_all_its_addresses_as_they_come_and_go(pair: Pair) -> None:
    a, b = pair.both
    now: list[Address] | None = [a, b]
    in_vain = 0

    async def resolve(address: Address) -> Collection[Address]:
        assert address == Address("tritons.internal", 8001)
        nonlocal in_vain
        if now is None:
            in_vain += 1
            raise OSError("no name server answers")
        return now

    def known(triton: Triton) -> bool:
        return REGISTRY.get_sample_value("tritone_triton_endpoint_up", {"endpoint": triton.address}) is not None

    async def run() -> None:
        nonlocal now
        async with fleet("tritons.internal:8001", resolve=resolve) as inference:
            assert set(await many(inference, 20)) == {"A1", "B1"}
            long = asyncio.create_task(many(inference, 2, 8.0))
            await asyncio.sleep(0.1)
            now = [a]
            await until(lambda: only(inference, "A1"))
            assert set(await long) == {"A1", "B1"}, "what it had begun it finished"
            now = None
            await until(lambda: in_vain > 0)
            assert set(await many(inference, 20)) == {"A1"}
            await until(lambda: not known(pair.b))
            now = [a, b]
            await until(lambda: only(inference, "A1", "B1"))

    async def only(inference: TritonInference, *who: str) -> bool:
        return set(await many(inference, 20)) == set(who)

    asyncio.run(run())


def test_nothing_there_is_said_at_once_or_after_patience() -> None:
    async def nothing(address: Address) -> Collection[Address]:
        raise OSError("no such name")

    async def run() -> None:
        async with fleet("nowhere.internal:8001", resolve=nothing, patience_s=0.3) as inference:
            with pytest.raises(InferenceUnavailable, match="not available right now"):
                await hear(inference)
            with pytest.raises(InferenceUnavailable, match="not available right now"):
                await inference.inference.registry.deployments()

    asyncio.run(run())


def test_places_grow_with_the_tritons_in_service(pair: Pair) -> None:
    """Two of one Triton's, all of which last a second: with two Tritons four are under way at a time."""

    async def most_outstanding(url: str, *tritons: Triton) -> float:
        async with fleet(url, max_windows=2) as inference:
            await hear(inference)
            async with under_way(inference, 6, seconds=1.0):
                return outstanding(*tritons)

    assert asyncio.run(most_outstanding(pair.a.address, pair.a)) == 2
    assert asyncio.run(most_outstanding(pair.url, pair.a, pair.b)) == 4


def test_recordings_leave_room_beside_live_sessions(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the model that they ask: half a batch of eight in each Triton, while there are calls and a moment longer."""

    def pause_s(seconds: float) -> None:
        monkeypatch.setattr("api.inference.triton.places.PAUSE_S", seconds)

    async def run(url: str, *tritons: Triton) -> list[float]:
        async with fleet(url) as inference:
            await inference.inference.registry.deployments()

            async def recordings() -> float:
                async with under_way(inference, 12, seconds=0.7):
                    return outstanding(*tritons)

            pause_s(60)
            await hear(inference, version="2", live=True)
            counts = [await recordings()]
            await hear(inference, live=True)
            counts.append(await recordings())
            pause_s(0)
            counts.append(await recordings())
            speaking = asyncio.create_task(hear(inference, 3.0, live=True))
            await until(lambda: outstanding(*tritons) == 1)
            counts.append(await recordings() - 1)
            await speaking
            return counts

    assert asyncio.run(run(pair.a.address, pair.a)) == [12, 4, 12, 4]
    assert asyncio.run(run(pair.url, pair.a, pair.b)) == [12, 8, 12, 8]


@given(st.integers(1, 64), st.integers(1, 64))
def test_there_is_always_room_for_recordings_and_for_others_where_there_can_be(instances: int, batch: int) -> None:
    assert 1 <= Capacity(instances, batch).beside_live <= max(1, instances * batch - 1)


def test_a_private_triton_has_no_name_in_the_metrics(pair: Pair) -> None:
    async def run() -> None:
        async with fleet(pair.a.address, private=True) as inference:
            assert set(await many(inference, 4)) == {"A1"}
            assert not is_up(pair.a)
            assert REGISTRY.get_sample_value("tritone_triton_outstanding", {"endpoint": "private"}) == 0

    asyncio.run(run())


@pytest.mark.parametrize("first", [ConnectionError(), RuntimeError("Stub process 'it' is not healthy.")])
def test_an_answer_that_has_not_begun_is_asked_for_elsewhere(first: Exception) -> None:
    """One that has begun is not: tests/test_language_clients.py."""

    async def run() -> None:
        asked, ports, servers = [FakeTriton([[first]]), FakeTriton([[ONE, END]])], [], []
        for fake in asked:
            servers.append(grpc.aio.server())
            service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, servers[-1])
            ports.append(servers[-1].add_insecure_port("127.0.0.1:0"))
            await servers[-1].start()
        try:
            url = ",".join(f"127.0.0.1:{port}" for port in ports)
            async with fleet(url, patience_s=0.01) as inference:
                for _ in range(8):
                    chunks = [chunk async for chunk in inference.inference.language_model.complete(ASKED)]
                    assert chunks[0].text == "One"
        finally:
            for server in servers:
                await server.stop(None)
        assert asked[0].asked < asked[1].asked == 8

    asyncio.run(run())


# Without a server.

standings = st.builds(Standing, st.sampled_from(Fitness), st.integers(0, 3), st.integers(0, 5))
fleets = st.dictionaries(st.integers(0, 6), standings)


@given(fleets, st.data())
def test_the_least_loaded_of_the_fittest_is_chosen(of: dict[int, Standing], data: st.DataObject) -> None:
    tried = data.draw(st.sets(st.sampled_from(sorted(of)))) if of else set[int]()
    found = best(of, tried)
    left = {endpoint: standing for endpoint, standing in of.items() if endpoint not in tried}
    well = {endpoint: standing for endpoint, standing in left.items() if standing.fitness <= Fitness.UNKNOWN}
    allowed = well if tried else (well or left)
    assert (found is None) == (not allowed)
    if found is not None:
        assert found in allowed
        chosen = of[found]
        assert all(chosen.fitness <= other.fitness for other in allowed.values())
        alike = [other for other in allowed.values() if other.fitness == chosen.fitness]
        assert all(chosen.of_model <= other.of_model for other in alike)
        assert all(chosen.of_all <= other.of_all for other in alike if other.of_model == chosen.of_model)


@given(st.integers(2, 6))
def test_those_that_are_alike_all_have_their_turn(count: int) -> None:
    alike = dict.fromkeys(range(count), Standing(Fitness.READY, 0, 0))
    drawn: list[list[int]] = []
    best(alike, draw=lambda among: drawn.append(list(among)) or among[0])  # type: ignore[func-returns-value]
    assert drawn == [list(range(count))]


@pytest.mark.parametrize(
    ("written", "addresses"),
    [
        ("triton:8001", [Address("triton", 8001)]),
        (" a.b-c.internal:1, 10.0.0.7:65535,, ", [Address("a.b-c.internal", 1), Address("10.0.0.7", 65535)]),
        ("[fd00::7]:8001,[::1]:8001", [Address("fd00::7", 8001), Address("::1", 8001)]),
        ("my_triton:8001,my_triton:8001", [Address("my_triton", 8001)]),
    ],
)
def test_addresses_are_read(written: str, addresses: list[Address]) -> None:
    assert list(parse_addresses(written)) == addresses
    assert parse_addresses(",".join(map(str, addresses))) == tuple(addresses)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", " , ", "triton", "triton:", ":8001", "triton:0", "triton:65536", "http://triton:8001", "triton:8001/x"),
        *("a b:1", "é:1", "a..b:8001", f"{'a' * 300}:1", "10.0.0.256:8001", "fd00::7:8001", "[fd00::zz]:8001"),
        *("[triton]:8001", "good:8001,bad", ",".join(f"t{n}:8001" for n in range(65))),
    ],
)
def test_what_is_no_address_is_a_settings_error(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"^TRITON_URL.*(HOST:PORT, as in|may list 64)"):
        parse_addresses(wrong)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_localhost_is_one_triton(host: str) -> None:
    assert list(asyncio.run(resolved(Address(host, 8001)))) == [Address("127.0.0.1", 8001)]


def test_a_name_that_is_none_is_an_os_error() -> None:
    with pytest.raises(OSError, match="is no name"):
        asyncio.run(resolved(Address(f"{'a' * 64}.invalid", 8001)))


STEPS = st.sampled_from(["come", "come", "go", "leave", "swap", "grow", "shrink"])


@given(st.lists(st.tuples(STEPS, st.integers(0, 4)), max_size=60))
def test_places_are_never_more_than_there_may_be_and_none_is_lost(steps: list[tuple[str, int]]) -> None:
    """Each step is followed by some turns of the loop, so that a place may be handed to somebody who is leaving."""

    async def run() -> None:
        count, inside = 2, list[asyncio.Task[None]]()
        of_all = Places(lambda: max(1, count - 1))
        places, everyone = Places(lambda: count, within=of_all), list[asyncio.Task[None]]()
        ends: dict[asyncio.Task[None], asyncio.Event] = {}

        async def visit(end: asyncio.Event) -> None:
            me = asyncio.current_task()
            assert me is not None
            async with places:
                assert len(inside) < max(1, count - 1)
                inside.append(me)
                try:
                    await end.wait()
                finally:
                    inside.remove(me)

        def come() -> None:
            end = asyncio.Event()
            everyone.append(asyncio.create_task(visit(end)))
            ends[everyone[-1]] = end

        async def settled() -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            here = [task for task in everyone if not task.done()]
            assert len(inside) >= min(max(1, count - 1), len(here)), "a place is lost"
            assert all(task in inside for task in here[: len(inside)]), "who came first goes first"

        for step, turns in steps:
            waiting = [task for task in everyone if not task.done() and task not in inside]
            if step == "come":
                come()
            elif step == "go" and inside:
                ends[inside[0]].set()
            elif step == "leave" and waiting:
                waiting[0].cancel()
            elif step == "swap" and inside and waiting:
                ends[inside[0]].set()
                await asyncio.sleep(0)
                waiting[0].cancel()  # it has just been handed the place
            elif step in ("grow", "shrink"):
                await settled()  # who has been handed a place is inside
                count = max(1, count + (1 if step == "grow" else -1))
                come()  # which is when it is noticed
            for _ in range(turns):
                await asyncio.sleep(0)
        for _ in range(count):
            come()
        await settled()
        for task in everyone:
            task.cancel()
        ended = await asyncio.gather(*everyone, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}

    asyncio.run(run())
