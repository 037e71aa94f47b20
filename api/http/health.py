"""GET /health, for people; /health/live and /health/ready, for whoever starts and stops this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec
from litestar import Controller, Response, get
from litestar.openapi.datastructures import ResponseSpec

from api.errors import InferenceUnavailable, ShuttingDown, StorageUnavailable
from api.http.backends import Backends
from api.http.drain import Drain
from api.inference.base import Deployment
from api.inference.contracts import VOICE_ACTIVITY
from api.storage.database import Database

READY_WITHIN_S: Final = 5.0


class HealthBody(msgspec.Struct, omit_defaults=True):
    """`models` maps every model to ready, unavailable or crashed; `error` says why the status is not ok."""

    status: str
    gpu_available: bool
    gpu_name: str | None
    gpu_memory_mb: int
    models: dict[str, str]
    error: str = ""


@dataclass(frozen=True)
class Gpu:
    name: str | None = None
    memory_mb: int = 0


class ProbeBody(msgspec.Struct, omit_defaults=True):
    """`error` says why the status is not ok."""

    status: str
    error: str = ""


class HealthController(Controller):
    tags = ["health"]

    @get(
        "/health/live",
        sync_to_thread=False,
        summary="Whether this process answers",
        description="Nothing else is asked: who does not get an answer should start it again.",
        security=[{}],
    )
    def live(self) -> ProbeBody:
        return ProbeBody("ok")

    @get(
        "/health/ready",
        summary="Whether this process should be sent requests",
        description="That is when it can reach the database and a Triton that can transcribe, and is not about to end.",
        security=[{}],
        responses={503: ResponseSpec(ProbeBody, generate_examples=False, description="It should not, for now")},
    )
    async def ready(self, database: Database, backends: Backends, drain: Drain) -> Response[ProbeBody]:
        try:
            if drain.begun:
                raise ShuttingDown
            async with asyncio.timeout(READY_WITHIN_S):
                await database.answers()
                error = unable(await backends.shared.inference.registry.deployments())
        except (ShuttingDown, StorageUnavailable, InferenceUnavailable) as failure:
            error = str(failure)
        except TimeoutError:
            error = f"The database and Triton did not answer within {READY_WITHIN_S:g} s."
        if not error:
            return Response(ProbeBody("ok"))
        return Response(ProbeBody("not ready", error), status_code=503)

    @get(
        "/health",
        summary="Whether the service can transcribe now",
        responses={503: ResponseSpec(HealthBody, generate_examples=False, description="It cannot, or not all of it")},
    )
    async def health(self, backends: Backends) -> Response[HealthBody]:
        try:
            deployments = await backends.shared.inference.registry.deployments()
            error = missing(deployments)
        except InferenceUnavailable as away:
            deployments, error = [], str(away)
        gpu = find_gpu()
        body = HealthBody(
            status="degraded" if error else "ok",
            gpu_available=gpu.name is not None,
            gpu_name=gpu.name,
            gpu_memory_mb=gpu.memory_mb,
            models=states(deployments),
            error=error,
        )
        if not error:
            return Response(body)
        return Response(body, status_code=503, headers={"Retry-After": "10"})


def _state(deployment: Deployment) -> str:
    if deployment.crashed:
        return "crashed"
    return "ready" if deployment.ready else "unavailable"


def states(deployments: list[Deployment]) -> dict[str, str]:
    """A model of several versions is what the best of them is."""
    worst_first = sorted(
        deployments, key=lambda deployment: ("unavailable", "crashed", "ready").index(_state(deployment))
    )
    return {deployment.name: _state(deployment) for deployment in worst_first}


def missing(deployments: list[Deployment]) -> str:
    """What keeps the service from transcribing, in a sentence; empty when nothing does."""
    if crashed := [deployment.name for deployment in deployments if deployment.crashed]:
        return f"The process of {', '.join(crashed)} has died."
    return unable(deployments)


def unable(deployments: list[Deployment]) -> str:
    """The same, but for what has died while others that can do the same have not."""
    ready = {deployment.card.kind for deployment in deployments if deployment.ready and not deployment.crashed}
    for kind, what in (("whisper", "speech"), (VOICE_ACTIVITY, "voice activity")):
        if kind not in ready:
            return f"No {what} model is ready."
    return ""


def find_gpu() -> Gpu:
    """The first GPU that NVML sees from here; none where there is no NVIDIA driver, or none that tells of itself."""
    import pynvml  # only where somebody asks

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Gpu()
    try:
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        return Gpu(str(pynvml.nvmlDeviceGetName(device)), pynvml.nvmlDeviceGetMemoryInfo(device).total // 1024**2)
    except pynvml.NVMLError:
        return Gpu()
    finally:
        pynvml.nvmlShutdown()
