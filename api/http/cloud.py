"""GET /api/v1/cloud/"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from litestar import Controller, get

from api.accounts.callers import Caller
from api.accounts.cloud import Instance, list_instances
from api.errors import InferenceUnavailable
from api.http.backends import Backends
from api.http.health import missing, states
from api.http.openapi import WITH_KEY, refusals
from api.storage.database import Database


class InstanceBody(msgspec.Struct):
    """`status` is asked of the instance now; `error` says why it is not ok."""

    id: UUID
    name: str
    url: str
    status: Literal["ok", "degraded", "unavailable"]
    error: str
    models: dict[str, str]
    created_at: datetime


class CloudBody(msgspec.Struct):
    """Empty where the account has no Triton of its own."""

    count: int
    instances: list[InstanceBody]


class CloudController(Controller):
    path = "/api/v1/cloud"
    tags = ["account"]
    security = WITH_KEY

    @get("/", summary="The Tritons that serve this account alone", responses=refusals(400, 401, 403, 429, 503))
    async def cloud(self, caller: Caller, database: Database, backends: Backends) -> CloudBody:
        async with database.reading() as connection:
            instances = await list_instances(connection, caller.account("account"))
        bodies = await asyncio.gather(*(_look(instance, backends) for instance in instances))
        return CloudBody(len(bodies), list(bodies))


async def _look(instance: Instance, backends: Backends) -> InstanceBody:
    status: Literal["ok", "degraded", "unavailable"] = "ok"
    models = dict[str, str]()
    try:
        deployments = await backends.at(instance.url).inference.registry.deployments()
        error, models = missing(deployments), states(deployments)
        if error:
            status = "degraded"
    except InferenceUnavailable as away:
        error, status = str(away), "unavailable"
    return InstanceBody(instance.id, instance.name, instance.url, status, error, models, instance.created_at)
