"""The model control of several Tritons."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed, InferenceUnavailable
from api.inference.addresses import parse_addresses, resolved

ASK_TIMEOUT_S = 10.0
RETRY_AFTER_S = 10
READY = "READY"


class Standing(NamedTuple):
    """Of a version in one Triton: READY, LOADING, UNLOADING, UNAVAILABLE or nothing, and why."""

    state: str
    reason: str


def without_stack(reason: str) -> str:
    """What Triton says of a model that raised an error, in a line, without where in its code that was."""
    return " ".join(reason.partition("\n\nAt:")[0].split())


Index = Mapping[str, Mapping[int, Standing]]
"""The versions of each model in one Triton's repository; none of one that was never loaded."""


class Tritons:
    def __init__(self, addresses: Iterable[str], timeout_s: float) -> None:
        """`timeout_s` is how long one of them may take to load a model."""
        self._clients = {address: InferenceServerClient(address) for address in addresses}
        self._timeout_s = timeout_s

    @property
    def addresses(self) -> list[str]:
        return list(self._clients)

    async def indexes(self) -> dict[str, Index]:
        """Of each. Raises InferenceUnavailable where one does not answer."""
        found = await asyncio.gather(*map(self._index, self._clients))
        return dict(zip(self._clients, found, strict=True))

    async def load(self, model: str, where: Iterable[str]) -> None:
        """What its config in the repository says now. Raises InferenceFailed with the reasons of those that cannot."""
        await self._at_each(where, lambda client: client.load_model(model, client_timeout=self._timeout_s))

    async def unload(self, model: str, where: Iterable[str]) -> None:
        """Raises InferenceFailed."""
        await self._at_each(where, lambda client: client.unload_model(model, client_timeout=self._timeout_s))

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def _index(self, address: str) -> Index:
        try:
            index = await self._clients[address].get_model_repository_index(client_timeout=ASK_TIMEOUT_S)
        except InferenceServerException as error:
            message = f"The Triton at {address} does not answer: {error.message()}"
            raise InferenceUnavailable(message, RETRY_AFTER_S) from error
        models: dict[str, dict[int, Standing]] = {}
        for entry in index.models:
            versions = models.setdefault(entry.name, {})
            if entry.version:
                versions[int(entry.version)] = Standing(entry.state, without_stack(entry.reason))
        return models

    async def _at_each(self, where: Iterable[str], call: Callable[[InferenceServerClient], Awaitable[None]]) -> None:
        """At all of them to the end, also where one fails: what is under way in a Triton cannot be stopped."""

        async def at(address: str) -> str:
            try:
                await call(self._clients[address])
            except InferenceServerException as error:
                return f"{address}: {without_stack(str(error.message()))}"
            return ""

        failures = [failure for failure in await asyncio.gather(*map(at, where)) if failure]
        if failures:
            raise InferenceFailed("\n".join(failures))


async def addresses(urls: str) -> list[str]:
    """Those behind TRITON_URL now: of a name with several addresses each is a Triton. Raises SettingsError,
    InferenceUnavailable."""
    found: dict[str, None] = {}
    for address in parse_addresses(urls):
        try:
            found |= dict.fromkeys(map(str, sorted(await resolved(address))))
        except OSError as error:
            raise InferenceUnavailable(f"TRITON_URL: {address} cannot be found: {error}", RETRY_AFTER_S) from error
    return list(found)
