"""The Tritons behind the routes: the one that all share, and those that serve one account alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from api.accounts.callers import Caller
from api.audio.enhance import Enhancer
from api.audio.speech import SpeechSynthesizer
from api.inference.backlog import Admission
from api.inference.base import Inference
from api.intelligence.service import Intelligence
from api.recognition.catalog import ModelCatalog
from api.recognition.pipeline import Transcriber
from api.streaming.live import LiveTranscriber
from api.translation.service import Translation


class Closable(Protocol):
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes ask of one Triton, or of all that are shared, and how much of it at a time."""

    inference: Inference
    catalog: ModelCatalog
    transcriber: Transcriber
    live: LiveTranscriber
    intelligence: Intelligence
    translation: Translation
    synthesizer: SpeechSynthesizer
    enhancer: Enhancer
    admission: Admission
    connection: Closable | None = None


class Backends:
    """A backend is connected when it is first needed, and kept."""

    def __init__(self, shared: Backend, connect: Callable[[str], Backend]) -> None:
        self.shared = shared
        self._connect = connect
        self._private: dict[str, Backend] = {}
        self._turn = 0

    def of(self, caller: Caller) -> Backend:
        """The account's own where it has one, or the next of its several. Its audio goes nowhere else."""
        clouds = () if caller.holder is None else caller.holder.clouds
        if not clouds:
            return self.shared
        self._turn += 1
        return self.at(clouds[self._turn % len(clouds)])

    def at(self, url: str) -> Backend:
        """The one at Triton's gRPC address `url`."""
        if url not in self._private:
            self._private[url] = self._connect(url)
        return self._private[url]

    async def close(self) -> None:
        for backend in (self.shared, *self._private.values()):
            if backend.connection is not None:
                await backend.connection.close()
