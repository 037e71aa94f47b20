"""One Triton: what it has, what it has to do, and whether it is well."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from api.inference.addresses import Address
from api.inference.base import ModelVersion
from api.inference.contracts import ModelCard
from api.inference.triton.placement import Fitness, Standing
from api.inference.triton.trouble import Trouble
from api.metrics import TRITON_ENDPOINT_UP, TRITON_OUTSTANDING

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0
LOOK_TIMEOUT_S: Final = 2.0
"""The index of a Triton that is busy, or loads a model, comes within milliseconds."""
SURVEY_TIMEOUT_S: Final = 2.0
"""What is not ready is worth no longer wait: those who ask whether all is well have only so much time themselves."""
HUNG_AFTER: Final = 2
"""Looks that were not answered."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
CRASH_REMEMBERED_S: Final = 10.0  # longer than the pauses between the calls of a request that waits for the model
PRIVATE: Final = "private"
"""What metrics call the Tritons of single accounts, of which there is no knowing how many there are."""

CHANNEL: Final = [
    ("grpc.max_send_message_length", -1),  # what we send, we have bounded ourselves
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # gRPC's own pauses between attempts to reconnect grow to minutes; ours decide how long to wait.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Evicted(Exception):
    """The endpoint hangs, and there is another that can do what it was asked for."""


@dataclass(slots=True)
class _Failing:
    """No calls until then, if there is another endpoint; then one, which tells whether it still fails."""

    until: float
    pause_s: float


class Capacity(NamedTuple):
    """How many executions of a model run side by side, and how many requests each may hold."""

    instances: int
    batch: int

    @property
    def beside_live(self) -> int:
        """Requests at a time that leave room for others."""
        return max(self.batch * (self.instances - 1), self.batch // 2, 1)


class Endpoint:
    """It takes calls from the first look that it answers. `ready` are the versions that it has, by their models."""

    def __init__(self, address: Address, *, private: bool) -> None:
        self.client = InferenceServerClient(str(address), channel_args=CHANNEL)
        self._channel = grpc.aio.insecure_channel(str(address), options=CHANNEL)  # to the same connection
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.label = PRIVATE if private else str(address)
        self.ready: Mapping[str, Collection[str]] = {}
        self.says_what_it_has = False
        self.cards: dict[ModelVersion, ModelCard] = {}
        self.capacities: dict[ModelVersion, Capacity] = {}
        """Also while it is away: live sessions come back before anybody asks again."""
        self.is_up = False
        self.hangs = False
        self.failure = ""
        """Why it is not up, or did not say what it has."""
        self._address = address
        self._private = private
        self._calls: Counter[str] = Counter()
        self._all_calls = 0
        self._movable: dict[asyncio.Timeout, ModelVersion] = {}
        self._failing: dict[ModelVersion, _Failing] = {}
        self._crashes: dict[ModelVersion, float] = {}  # when a version's process was last found dead
        self._missed = 0
        self._pause_s = FIRST_PAUSE_S
        self._looking = asyncio.Lock()
        self._look_began = -math.inf
        self._look_soon = asyncio.Event()
        self._mark(up=False)

    async def close(self) -> None:
        if not self._private:
            TRITON_ENDPOINT_UP.remove(self.label)
            TRITON_OUTSTANDING.remove(self.label)
        await self.client.close()
        await self._channel.close()

    # What it has to do.

    @property
    def is_idle(self) -> bool:
        return self._all_calls == 0

    def standing(self, version: ModelVersion) -> Standing | None:
        """None where it does not have it. A version "" is whichever it takes."""
        fitness = self._fitness(version)
        return None if fitness is None else Standing(fitness, self._calls[version.name], self._all_calls)

    def _fitness(self, version: ModelVersion) -> Fitness | None:
        if self.says_what_it_has and not self.has_ready(version):
            return None
        if not self.is_up:
            return Fitness.HUNG if self.hangs else Fitness.AWAY
        failing = self._failing.get(version)
        if failing is not None and _now() < failing.until:
            return Fitness.FAILING
        return Fitness.READY if self.says_what_it_has else Fitness.UNKNOWN

    @contextmanager
    def working(self, version: ModelVersion) -> Iterator[None]:
        """It has a call more to do while the context lasts."""
        if failing := self._failing.get(version):
            failing.until = _now() + failing.pause_s  # the others wait for what comes of this one
        self._calls[version.name] += 1
        self._all_calls += 1
        with TRITON_OUTSTANDING.labels(self.label).track_inprogress():
            try:
                yield
            finally:
                self._all_calls -= 1
                self._calls[version.name] -= 1

    @asynccontextmanager
    async def movable(self, asked: ModelVersion) -> AsyncIterator[None]:
        """What is awaited inside may be broken off by `evict`: then this raises Evicted. Needs no task of its own, and
        leaves the caller's cancellation what it is."""
        try:
            async with asyncio.timeout(None) as eviction:
                self._movable[eviction] = asked
                try:
                    yield
                finally:
                    self._movable.pop(eviction, None)
        except TimeoutError:
            if eviction.expired():
                raise Evicted from None
            raise

    def evict(self, is_elsewhere: Callable[[ModelVersion], bool]) -> None:
        """Break off the calls for what there is elsewhere."""
        for call, asked in list(self._movable.items()):
            if is_elsewhere(asked):
                del self._movable[call]
                call.reschedule(_now())

    # How it is.

    def succeeded(self, version: ModelVersion) -> None:
        self._pause_s = FIRST_PAUSE_S
        if self._failing or self._crashes:
            self._failing.pop(version, None)
            self._crashes.pop(version, None)
        if not self.is_up:
            self._look_soon.set()

    def failed(self, version: ModelVersion, trouble: Trouble, error: InferenceServerException) -> None:
        """No more calls for now, if there is another endpoint: of this version, or at all where the server is away."""
        if self.is_up:
            self._look_soon.set()
        if trouble == "away":
            self._eject(str(error))
            return
        before = self._failing.get(version)
        pause_s = FIRST_PAUSE_S if before is None else min(2 * before.pause_s, LONGEST_PAUSE_S)
        self._failing[version] = _Failing(_now() + pause_s, pause_s)
        if trouble == "crashed":
            self._crashes[version] = _now()

    @property
    def is_well(self) -> bool:
        """It is up, and answered the last look."""
        return self.is_up and not self._missed

    def ready_versions(self) -> list[ModelVersion]:
        return [ModelVersion(name, version) for name, versions in self.ready.items() for version in versions]

    def has_ready(self, version: ModelVersion) -> bool:
        return version.version in self.ready.get(version.name, ())

    def has_crashed(self, version: ModelVersion) -> bool:
        """Its process was just found dead, though Triton calls it ready."""
        whichever = ModelVersion(version.name, "")
        return any(_now() - self._crashes.get(key, -math.inf) < CRASH_REMEMBERED_S for key in (version, whichever))

    async def watched(self) -> None:
        """Until it has been looked at again, which is at intervals, at first short ones while it is away."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause()):
                await self._look_soon.wait()
        if self._look_soon.is_set():
            await asyncio.sleep(FIRST_PAUSE_S)  # what has just failed needs a moment
        await self.look()

    def _pause(self) -> float:
        if self.is_up:
            return FIRST_PAUSE_S if self._missed else LOOK_EVERY_S
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return pause_s

    async def look(self, max_age_s: float = 0.0) -> None:
        """Ask what it has, which tells how it is as well. Those who ask at the same time share a look, and one that is
        no older than this will do."""
        asked = _now() - max_age_s
        async with self._looking:
            if self._look_began < asked:
                began = _now()
                self._look_soon.clear()
                await self._look()
                self._look_began = began  # not before: whoever looks may be cancelled

    async def _look(self) -> None:
        """Only at what is ready: the rest Triton would look up in the repository, which may be a bucket."""
        try:
            ready = await self._index(LOOK_TIMEOUT_S, ready=True)
        except grpc.aio.AioRpcError as error:
            why = f"{error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._welcome()
                self.failure = why
                return
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._missed += 1
                if self._missed < HUNG_AFTER:
                    return
                self.hangs = True
            self._eject(why)
            return
        versions = defaultdict[str, set[str]](set)
        for name, version in ready:
            versions[name].add(version)
        self.ready, self.says_what_it_has = versions, True
        for kept in (self.cards, self.capacities, self._failing, self._crashes):
            for gone in [version for version in kept if version.version and version not in ready]:
                del kept[gone]
        self._welcome()

    async def survey(self) -> Collection[ModelVersion]:
        """All that its repository has, ready or not; nothing where it cannot be read."""
        if not self.is_well:
            return ()
        try:
            return await self._index(SURVEY_TIMEOUT_S, ready=False)
        except grpc.aio.AioRpcError as error:
            log.warning("Triton at %s cannot list its repository: %s", self._address, error.code().name)
            return ()

    async def _index(self, timeout_s: float, *, ready: bool) -> Collection[ModelVersion]:
        answer = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=ready), timeout=timeout_s)
        return {ModelVersion(model.name, model.version) for model in answer.models if model.version}

    def _eject(self, why: str) -> None:
        self.failure = why
        if self.is_up:
            log.warning("Triton at %s takes no calls for now: %s", self._address, why)
            self._mark(up=False)

    def _welcome(self) -> None:
        self._missed, self.hangs, self.failure = 0, False, ""
        if not self.is_up:
            log.info("Triton at %s takes calls", self._address)
            self._mark(up=True)

    def _mark(self, *, up: bool) -> None:
        self.is_up = up
        if up:
            self.cards.clear()  # it may have come back with others
        if not self._private:
            TRITON_ENDPOINT_UP.labels(self.label).set(up)


def _now() -> float:
    return asyncio.get_running_loop().time()
