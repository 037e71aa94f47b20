"""Several Tritons as one: which there are, what they have together, and which of them a call goes to."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Mapping
from contextvars import Context
from typing import Final

from api.errors import InferenceUnavailable, ShuttingDown, TritoneError
from api.inference.addresses import Address, Resolver
from api.inference.base import ModelVersion, VersionChoices
from api.inference.triton.endpoint import Endpoint
from api.inference.triton.placement import Fitness, best

log = logging.getLogger(__name__)

MAX_ENDPOINTS: Final = 256
RESOLVE_EVERY_S: Final = 5.0
RESOLVE_TIMEOUT_S: Final = 5.0
CHOICES_EVERY_S: Final = 2.0
CHOICES_TIMEOUT_S: Final = 5.0
TICK_S: Final = 0.5
RETRY_AFTER_S: Final = 10
IDLE_S: Final = 60.0
"""What nobody has used for so long is not looked after, until somebody does."""
LOOK_AGAIN_S: Final = 0.2
"""A look that is no older is shared by all whom the last one did not help."""


class Fleet:
    """It looks after its endpoints in the background from its first use on, until it is closed or long idle."""

    def __init__(
        self,
        addresses: Collection[Address],
        *,
        resolve: Resolver,
        choices: VersionChoices | None = None,
        private: bool = False,
    ) -> None:
        self._addresses = addresses
        self._resolve = resolve
        self._choices = choices
        self._private = private
        self._known: dict[Address, Collection[Address]] = {}  # what each stood for when it was last found out
        self._endpoints: dict[Address, Endpoint] = {}
        self._leaving: dict[Address, Endpoint] = {}  # names stand for them no more; they finish what they have begun
        self._watches: dict[Address, asyncio.Task[None]] = {}
        self._chosen: Mapping[str, str] | None = {} if choices is None else None
        self._lookups: dict[Address, asyncio.Future[Collection[Address]]] = {}
        self._chosen_at = self._resolved_at = self._used_at = -math.inf
        self._keeper: asyncio.Task[None] | None = None
        self._waking = asyncio.Lock()
        self._closed = False

    @property
    def in_service(self) -> int:
        """How many endpoints are up; 1 where none is."""
        return sum(endpoint.is_up for endpoint in self.endpoints) or 1

    @property
    def endpoints(self) -> Collection[Endpoint]:
        return self._endpoints.values()

    async def wake(self) -> None:
        """Before each use: when this returns, all endpoints have been looked at. Raises ShuttingDown once the
        fleet has been closed."""
        self._used_at = _now()
        if self._keeper is None or self._keeper.done():
            async with self._waking:
                await self._wake()

    async def _wake(self) -> None:
        if self._closed:
            raise ShuttingDown
        if self._keeper is None or self._keeper.done():
            await asyncio.gather(self._find(), self._ask_choices())
            await asyncio.gather(*(endpoint.look(LOOK_AGAIN_S) for endpoint in self.endpoints))
            # In a context of its own: it outlives the request that was the first to need it.
            self._keeper = asyncio.create_task(self._keep(), context=Context())

    async def close(self) -> None:
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for lookup in self._lookups.values():
            lookup.cancel()
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)
        await asyncio.gather(*(endpoint.close() for endpoint in self._all().values()))
        self._endpoints, self._leaving = {}, {}

    def version(self, asked: ModelVersion) -> ModelVersion:
        """With the one that takes new work, where none is said; it stays "" where nothing is known of the model."""
        return asked if asked.version else ModelVersion(asked.name, self.serving(asked.name))

    def serving(self, model: str) -> str:
        """Which version takes new work: the chosen one if it is ready anywhere, or else the newest that is. Raises
        InferenceUnavailable where nobody can say which was chosen."""
        up = [endpoint for endpoint in self.endpoints if endpoint.is_up]
        ready = {version for endpoint in up or self.endpoints for version in endpoint.ready.get(model, ())}
        if self._chosen is None and len(ready) > 1:
            raise InferenceUnavailable(
                f"Which version of {model} serves is not known yet. Try again later.", RETRY_AFTER_S
            )
        chosen = (self._chosen or {}).get(model)
        return chosen if chosen is not None and chosen in ready else max(ready, key=int, default="")

    def place(self, version: ModelVersion, tried: Collection[Endpoint] = ()) -> Endpoint | None:
        """Where a call goes next. None where there is nowhere to go, or nothing left to try."""
        standings = ((endpoint, endpoint.standing(version)) for endpoint in self.endpoints)
        return best({endpoint: standing for endpoint, standing in standings if standing is not None}, tried)

    def beside_live(self, asked: ModelVersion) -> int | None:
        """How many calls at a time leave room for others, with all endpoints together that take such calls now. Those
        that were not asked what they hold are taken for the first that was; None where none was."""
        try:
            version = self.version(asked)
        except InferenceUnavailable:
            return None
        known = [endpoint.capacities[version] for endpoint in self.endpoints if version in endpoint.capacities]
        if not known:
            return None
        standings = [(endpoint, endpoint.standing(version)) for endpoint in self.endpoints]
        taking = [endpoint for endpoint, of in standings if of is not None and of.fitness <= Fitness.UNKNOWN]
        return sum(of.capacities.get(version, known[0]).beside_live for of in taking) or known[0].beside_live

    async def look(self, max_age_s: float = 0.0) -> None:
        """Ask all endpoints what they have, but for those that hang, unless all do. Raises as `wake`."""
        await self.wake()
        asked = [endpoint for endpoint in self.endpoints if not endpoint.hangs] or self.endpoints
        choices = self._ask_choices(max(max_age_s, LOOK_AGAIN_S))
        await asyncio.gather(choices, *(endpoint.look(max_age_s) for endpoint in asked))

    def _all(self) -> Mapping[Address, Endpoint]:
        return {**self._leaving, **self._endpoints}

    def _looked(self, endpoint: Endpoint) -> None:
        if endpoint.hangs:
            # A call that was elsewhere already is none the worse for it: windows may be done twice.
            endpoint.evict(lambda asked: self.place(self.version(asked), [endpoint]) is not None)

    async def _keep(self) -> None:
        try:
            while _now() - self._used_at < IDLE_S or not all(of.is_idle for of in self._all().values()):
                for address, endpoint in self._all().items():
                    if address not in self._watches or self._watches[address].done():
                        self._watches[address] = asyncio.create_task(self._watch(endpoint))
                await asyncio.sleep(TICK_S)
                await asyncio.gather(self._find(), self._ask_choices())
                await self._close_idle()
        finally:
            watches = list(self._watches.values())
            self._watches = {}
            await _cancelled(watches)

    async def _watch(self, endpoint: Endpoint) -> None:
        while True:
            await endpoint.watched()
            self._looked(endpoint)

    async def _close_idle(self) -> None:
        for address, endpoint in list(self._leaving.items()):
            if endpoint.is_idle:
                del self._leaving[address]
                await _cancelled([watch for watch in (self._watches.pop(address, None),) if watch is not None])
                await endpoint.close()

    async def _find(self) -> None:
        """Which endpoints there are now. A name that cannot be resolved stands for what it stood for."""
        if _now() - self._resolved_at < (RESOLVE_EVERY_S if self._endpoints else 0.0):
            return
        self._resolved_at = _now()
        await asyncio.gather(*map(self._find_those_of, self._addresses))
        found = sorted({address for addresses in self._known.values() for address in addresses})
        if len(found) > MAX_ENDPOINTS:
            log.warning("There are %d addresses of Tritons; %d of them are used", len(found), MAX_ENDPOINTS)
            del found[MAX_ENDPOINTS:]
        everyone = self._all()
        self._endpoints = {
            address: everyone[address] if address in everyone else Endpoint(address, private=self._private)
            for address in found
        }
        self._leaving = {address: of for address, of in everyone.items() if address not in self._endpoints}

    async def _find_those_of(self, address: Address) -> None:
        lookup = self._lookups.get(address)
        if lookup is None:
            lookup = self._lookups[address] = asyncio.ensure_future(self._resolve(address))
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await asyncio.shield(lookup)  # one that takes longer is waited for again, and not begun twice
        except OSError as error:  # a timeout is one
            found = []
            log.warning("The address of %s was not found: %s", address.host, error)
        if lookup.done():
            self._lookups.pop(address, None)
        if found:
            self._known[address] = found

    async def _ask_choices(self, max_age_s: float = CHOICES_EVERY_S) -> None:
        if self._choices is None or _now() - self._chosen_at < max_age_s:
            return
        try:
            async with asyncio.timeout(CHOICES_TIMEOUT_S):
                self._chosen = await self._choices.chosen()
        except (TritoneError, TimeoutError) as error:
            log.warning("Which versions were chosen is not known, what was known goes on: %s", error)
        self._chosen_at = _now()  # not before: whoever asks may be cancelled


async def _cancelled(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
