"""What is deployed, without asking the inference server each time."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from api.errors import InferenceUnavailable, ModelMissing
from api.inference.base import Deployment, ModelRegistry
from api.inference.contracts import SPEECH_ENHANCER, TEXT_ANALYSIS, TEXT_EMBEDDING, TRANSLATOR, VOICE_CLONER

FRESH_S = 5.0
NOT_READY_S: Final = 10
ABILITIES: Final = {
    TEXT_EMBEDDING: "embeds text",
    TEXT_ANALYSIS: "analyses text",
    TRANSLATOR: "translates",
    SPEECH_ENHANCER: "removes noise",
    VOICE_CLONER: "speaks",
}
CHECKPOINTS: Final = {TRANSLATOR: "google/madlad400-3b-mt", VOICE_CLONER: "SWivid/F5-TTS"}
"""Of those whose exporters must be told one."""


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

    async def need(self, kind: str) -> Deployment:
        """As `find`. Raises ModelMissing, naming the command that installs one; InferenceUnavailable."""
        found = await self.find(kind)
        if found is None:
            checkpoint = f" --checkpoint {CHECKPOINTS[kind]}" if kind in CHECKPOINTS else ""
            raise ModelMissing(
                f"No model that {ABILITIES[kind]} is deployed here. `tritone export {kind}{checkpoint} --to DIR` makes "
                "one; DIR is the folder that Triton serves."
            )
        return found

    async def find(self, kind: str) -> Deployment | None:
        """The version that takes new work. Raises InferenceUnavailable where there is one, and none is ready yet."""
        there = [deployment for deployment in await self.recent() if deployment.name == kind]
        serving = [deployment for deployment in there if deployment.ready and deployment.serving]
        if there and not serving:
            raise InferenceUnavailable(f"The model {kind} is not ready yet. Try again later.", NOT_READY_S)
        return serving[0] if serving else None
