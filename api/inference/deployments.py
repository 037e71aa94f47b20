"""What is deployed, without asking the inference server each time."""

from __future__ import annotations

import asyncio
import time

from api.errors import InferenceUnavailable
from api.inference.base import Deployment, ModelRegistry

FRESH_S = 5.0


class Deployments:
    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._known: list[Deployment] | None = None
        self._known_at = 0.0
        self._asking = asyncio.Lock()

    async def now(self) -> list[Deployment]:
        """Asked of the server. Raises InferenceUnavailable."""
        self._known = await self._registry.deployments()
        self._known_at = time.monotonic()
        return self._known

    async def recent(self) -> list[Deployment]:
        """At most FRESH_S old; older while the server is away. Raises InferenceUnavailable where nothing is known."""
        async with self._asking:
            if self._known is None:
                return await self.now()
            if time.monotonic() - self._known_at > FRESH_S:
                try:
                    return await self.now()
                except InferenceUnavailable:
                    self._known_at = time.monotonic()  # or each of those who wait here would ask in turn
            return self._known
