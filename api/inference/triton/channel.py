"""The connection to Triton, or to several: calls that outlast its restarts, and what its errors mean to callers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from typing import Any, TypeVar

import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from api.errors import InferenceFailed, InferenceUnavailable, InvalidRequest, TritoneError
from api.inference.addresses import Resolver, parse_addresses, resolved
from api.inference.base import ModelVersion, VersionChoices
from api.inference.contracts import TEXT_ANALYSIS, TRANSLATOR, VOICE_CLONER, kind_of
from api.inference.triton.endpoint import FIRST_PAUSE_S, LONGEST_PAUSE_S, Endpoint, Evicted
from api.inference.triton.fleet import LOOK_AGAIN_S, RETRY_AFTER_S, Fleet
from api.inference.triton.trouble import DEADLINE_EXCEEDED, INVALID_ARGUMENT, UNAVAILABLE, Trouble, trouble_of
from api.metrics import TRITON_RETRIES
from api.telemetry.calls import triton_call

log = logging.getLogger(__name__)

# What these refuse is wrong with what was sent, in a way that only they can see.
JUDGES = {TEXT_ANALYSIS, TRANSLATOR, VOICE_CLONER}

AWAY = "The inference server is not available right now. Try again later."
HUNG = "It does not answer any more."
MOST_DEATHS = 2
ANYWHERE: AbstractAsyncContextManager[Any] = nullcontext()

T = TypeVar("T")
Call = Callable[[InferenceServerClient, str, dict[str, str]], Awaitable[T]]
"""What is asked of an endpoint: by its client, of a version of the model, with headers to send along."""


class Channel:
    """Calls to whatever Tritons are at `url`, one or several with commas between them.

    A call goes to the endpoint that has the version ready and the least to do. One that finds it away is repeated
    elsewhere at once and, where that does not help, again and again until `patience_s` has passed; every attempt is
    bounded by `timeout_s`. Cancelling the caller cancels the call in Triton's queue as well.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float,
        timeout_s: float,
        choices: VersionChoices | None = None,
        private: bool = False,
        resolve: Resolver = resolved,
    ) -> None:
        self.fleet = Fleet(parse_addresses(url), resolve=resolve, choices=choices, private=private)
        self.timeout_s = timeout_s
        self._url = url
        self._patience_s = patience_s

    async def infer(
        self,
        model: str,
        inputs: list[InferInput],
        outputs: list[str],
        *,
        version: str = "",
        priority: int = 0,
        place: AbstractAsyncContextManager[Any] = ANYWHERE,
    ) -> Any:
        """Of the version that takes new work, where none is named. Each attempt is made in a `place`, and the pauses
        between them are not. Raises InferenceUnavailable, InferenceFailed, and InvalidRequest where the model is one
        that judges."""
        requested = [InferRequestedOutput(name) for name in outputs]

        def send(client: InferenceServerClient, of: str, headers: dict[str, str]) -> Awaitable[Any]:
            answer: Awaitable[Any] = client.infer(
                model,
                inputs,
                model_version=of,
                outputs=requested,
                priority=priority,
                client_timeout=self.timeout_s,
                headers=headers,
            )
            return answer

        try:
            result, held = await self.patiently(ModelVersion(model, version), send, place)
        except InferenceServerException as error:
            raise self.failure(model, error) from error
        held.close()
        return result

    async def patiently(
        self, asked: ModelVersion, call: Call[T], place: AbstractAsyncContextManager[Any] = ANYWHERE
    ) -> tuple[T, ExitStack]:
        """The result of the first attempt that has one; the last failure is raised as it is.

        Until what comes with the result is closed, the call counts as work of its endpoint: an answer may still be
        under way. Patience is spent on pauses alone: a call that was long in the queue of a server that died has all of
        it left. A call under which the model's process has died twice is not tried a third time: it may be the reason.
        """
        waited, pause = 0.0, FIRST_PAUSE_S
        tried: set[Endpoint] = set()
        trouble: Trouble | None = None
        deaths = 0
        failure: tuple[str, str | None] = ("", None)  # its parts: the error itself holds what was sent
        await self.fleet.wake()
        while True:
            async with place:
                endpoint, version = await self._place(asked, tried)
                if endpoint is not None:
                    if trouble is not None:
                        TRITON_RETRIES.labels(trouble).inc()
                    tried.add(endpoint)
                    was_dead = endpoint.has_crashed(version)
                    try:
                        return await self._attempt(endpoint, asked, version, call)
                    except Evicted:
                        trouble, failure = "hung", (HUNG, UNAVAILABLE)
                    except InferenceServerException as error:
                        trouble, failure = trouble_of(error), (error.message(), error.status())
                        if trouble is None:
                            raise
                        endpoint.failed(version, trouble, error)
                    deaths += trouble == "crashed" and not was_dead
                    if deaths == MOST_DEATHS:
                        raise InferenceFailed(f"The process of the model {asked.name} has died of it twice.")
                    continue
            if waited + pause > self._patience_s:
                if tried:
                    raise InferenceServerException(*failure)
                raise self._missing(version)
            # Jitter, so that the requests of a whole outage do not come back as one.
            jittered = pause * random.uniform(0.5, 1.0)
            await asyncio.sleep(jittered)
            waited += jittered
            pause = min(2 * pause, LONGEST_PAUSE_S)
            tried.clear()

    async def _place(self, asked: ModelVersion, tried: Collection[Endpoint]) -> tuple[Endpoint | None, ModelVersion]:
        """Where the next attempt goes, and of which version it is."""
        version = self.fleet.version(asked)
        endpoint = self.fleet.place(version, tried)
        if endpoint is None and not tried:  # it may have become ready just now
            await self.fleet.look(LOOK_AGAIN_S)
            version = self.fleet.version(asked)
            endpoint = self.fleet.place(version)
        return endpoint, version

    async def _attempt(
        self, endpoint: Endpoint, asked: ModelVersion, version: ModelVersion, call: Call[T]
    ) -> tuple[T, ExitStack]:
        with ExitStack() as stack:
            stack.enter_context(endpoint.working(version))
            headers = stack.enter_context(triton_call(kind_of(version.name), *version, endpoint.label))
            async with endpoint.movable(asked):
                result = await call(endpoint.client, version.version, headers)
            endpoint.succeeded(version)
            return result, stack.pop_all()

    def failure(self, model: str, error: InferenceServerException) -> TritoneError:
        if error.status() == DEADLINE_EXCEEDED:
            return InferenceUnavailable(
                f"The model {model} did not answer within {self.timeout_s:.0f} s.", RETRY_AFTER_S
            )
        if trouble_of(error) is not None:
            return self.away(str(error))
        if model in JUDGES and error.status() == INVALID_ARGUMENT:
            return InvalidRequest(str(error.message()))
        return InferenceFailed(f"The model {model} failed", error.message())

    def away(self, why: str) -> InferenceUnavailable:
        log.warning("Triton at %s is away: %s", self._url, why or "its address is not known")
        return InferenceUnavailable(AWAY, RETRY_AFTER_S)

    def _missing(self, version: ModelVersion) -> InferenceUnavailable:
        if not any(endpoint.is_up for endpoint in self.fleet.endpoints):
            return InferenceUnavailable(AWAY, RETRY_AFTER_S)
        which = f", version {version.version}," if version.version else ""
        return InferenceUnavailable(
            f"The model {version.name}{which} is not ready right now. Try again later.", RETRY_AFTER_S
        )

    async def close(self) -> None:
        await self.fleet.close()


def tensor(name: str, array: np.ndarray[Any, Any], datatype: str) -> InferInput:
    filled = InferInput(name, list(array.shape), datatype)
    filled.set_data_from_numpy(array)
    return filled


def strings(name: str, values: Sequence[bytes]) -> InferInput:
    """A batch of one with so many strings."""
    return tensor(name, np.array([values], dtype=np.object_), "BYTES")
