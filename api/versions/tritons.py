"""The model control of several Tritons."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import NamedTuple

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed
from api.inference.addresses import parse_addresses, resolved
from api.versions import configs

ASK_TIMEOUT_S = 10.0
AGAIN_AFTER_S = 0.5
UNREACHED = "StatusCode.UNAVAILABLE"
READY = "READY"
LOADING = "LOADING"


class Standing(NamedTuple):
    """Of a version in one Triton: READY, LOADING, UNLOADING, UNAVAILABLE or nothing, and why."""

    state: str
    reason: str

    @property
    def is_wanted(self) -> bool:
        """It is served, or was to be."""
        failed = self.state == "UNAVAILABLE" and self.reason not in ("", "unloaded")
        return failed or self.state in (READY, LOADING)


def without_stack(reason: str) -> str:
    """What Triton says of a model that raised an error, in a line, without where in its code that was."""
    return " ".join(reason.partition("\n\nAt:")[0].split())


Index = Mapping[str, Mapping[int, Standing]]
"""The versions of each model in one Triton's repository; none of one that was never loaded."""


class Tritons:
    def __init__(self, addresses: Iterable[str], timeout_s: float, unknown: Mapping[str, str] | None = None) -> None:
        """`timeout_s` is how long one of them may take to load a model; `unknown` are names that could not be looked
        up, and why."""
        self._unknown = unknown or {}
        self._clients = {address: InferenceServerClient(address) for address in addresses}
        self._timeout_s = timeout_s

    @property
    def addresses(self) -> list[str]:
        return [*self._clients, *self._unknown]

    async def indexes(self) -> tuple[dict[str, Index], dict[str, str]]:
        """Of each that answers; and of the others why not."""
        found = await asyncio.gather(*map(self._index, self._clients), return_exceptions=True)
        indexes, away = dict[str, Index](), dict(self._unknown)
        for address, one in zip(self._clients, found, strict=True):
            if isinstance(one, InferenceServerException):
                away[address] = f"The Triton at {address} does not answer: {one.message()}"
            elif isinstance(one, BaseException):
                raise one
            else:
                indexes[address] = one
        return indexes, away

    async def load(
        self, model: str, where: Iterable[str], config: ModelConfig | None = None, *, patience_s: float = 0
    ) -> None:
        """As the config says, whatever the repository's does; without one, as that says. Those that cannot be reached
        are asked again for as long as the patience lasts. Raises InferenceFailed with the reasons of those that cannot
        load it."""
        given = None if config is None else configs.as_json(config)
        await self._at_each(
            where, lambda client: client.load_model(model, config=given, client_timeout=self._timeout_s), patience_s
        )

    async def unload(self, model: str, where: Iterable[str], *, patience_s: float = 0) -> None:
        """Raises InferenceFailed."""
        await self._at_each(
            where, lambda client: client.unload_model(model, client_timeout=self._timeout_s), patience_s
        )

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def _index(self, address: str) -> Index:
        index = await self._clients[address].get_model_repository_index(client_timeout=ASK_TIMEOUT_S)
        models: dict[str, dict[int, Standing]] = {}
        for entry in index.models:
            versions = models.setdefault(entry.name, {})
            if entry.version:
                versions[int(entry.version)] = Standing(entry.state, without_stack(entry.reason))
        return models

    async def _at_each(
        self, where: Iterable[str], call: Callable[[InferenceServerClient], Awaitable[None]], patience_s: float
    ) -> None:
        """At all of them to the end, also where one fails: what is under way in a Triton cannot be stopped."""

        give_up = monotonic() + patience_s

        async def at(address: str) -> str:
            while True:
                try:
                    await call(self._clients[address])
                except InferenceServerException as error:
                    if error.status() != UNREACHED or monotonic() >= give_up:
                        return f"{address}: {without_stack(str(error.message()))}"
                    await asyncio.sleep(AGAIN_AFTER_S)
                else:
                    return ""

        failures = [failure for failure in await asyncio.gather(*map(at, where)) if failure]
        if failures:
            raise InferenceFailed("\n".join(failures))


async def addresses(urls: str) -> tuple[list[str], dict[str, str]]:
    """Those behind TRITON_URL now: of a name with several addresses each is a Triton; and which names could not be
    looked up, and why. Raises SettingsError."""
    found: dict[str, None] = {}
    unknown: dict[str, str] = {}
    for address in parse_addresses(urls):
        try:
            found |= dict.fromkeys(map(str, sorted(await resolved(address))))
        except OSError as error:
            unknown[str(address)] = f"TRITON_URL: {address} cannot be found: {error}"
    return list(found), unknown
