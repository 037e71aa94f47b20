"""How one version of a model follows another while both serve.

A new version is loaded beside those that are there; Triton calls it ready when it has passed its own check. Until then,
and if anything goes wrong, nothing has changed for whoever transcribes. What makes it take new work is one row in the
database, which each API process reads every few seconds; a file under way stays with the version that it began on. The
version before stays loaded, so that going back is one row again. Older ones go at the next deployment, unless they are
still in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from tritonclient.grpc.model_config_pb2 import ModelConfig

from api.errors import Conflict, InferenceFailed, NotFound, StorageUnavailable
from api.storage.database import Database
from api.storage.ids import new_id
from api.versions import choices, configs
from api.versions.choices import Choice
from api.versions.repository import ModelRepository
from api.versions.tritons import READY, Standing, Tritons
from api.versions.usage import in_use

SETTLED = timedelta(seconds=30)
"""After a change of version, until no process chooses by what it knew before."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of one. `standings` are those of its versions in each Triton that has it in its repository;
    `used_by` counts the API processes that have work in hand with a version."""

    name: str
    standings: dict[str, dict[int, Standing]]
    choice: Choice | None
    used_by: dict[int, int]

    @property
    def ready(self) -> set[int]:
        """Somewhere."""
        return {number for of in self.standings.values() for number, one in of.items() if one.state == READY}

    @property
    def places(self) -> list[str]:
        """The Tritons that serve it; where none does, those that could."""
        serving = [where for where, of in self.standings.items() if any(one.state == READY for one in of.values())]
        return serving or list(self.standings)

    @property
    def serving(self) -> int:
        """The version that takes new work: the chosen one, or the newest where that is not ready; 0: none is."""
        if self.choice is not None and self.choice.version in self.ready:
            return self.choice.version
        return max(self.ready, default=0)

    def is_ready_everywhere(self, version: int) -> bool:
        nothing = Standing("", "")
        return all(self.standings[where].get(version, nothing).state == READY for where in self.places)

    def kept(self, now: datetime) -> set[int]:
        """The versions that must stay loaded: nobody may be left without the one that a file began on."""
        if self.choice is not None and now - self.choice.changed_at < SETTLED:
            return self.ready
        return {number for number in self.ready if number == self.serving or number in self.used_by}


class Deployer:
    """All raise InvalidRequest, Conflict, NotFound, InferenceUnavailable, InferenceFailed, StorageUnavailable."""

    def __init__(self, database: Database, tritons: Tritons, repository: ModelRepository, lease_s: float) -> None:
        """Whoever is killed while they change a model keeps others from it for as long as the lease."""
        self._database = database
        self._lease = timedelta(seconds=lease_s)
        self._tritons = tritons
        self._repository = repository

    async def models(self) -> list[Model]:
        """Those that a Triton has in its repository."""
        indexes = await self._tritons.indexes()
        async with self._database.reading() as connection:
            chosen, used = await choices.all_choices(connection), await in_use(connection, datetime.now(UTC))
        return [
            Model(
                name,
                {address: dict(index[name]) for address, index in indexes.items() if name in index},
                chosen.get(name),
                {version: count for (model, version), count in used.items() if model == name},
            )
            for name in sorted({name for index in indexes.values() for name in index})
        ]

    async def deploy(self, name: str, version: int) -> Model:
        """The version takes new work; what is answered is how it was before."""
        async with self._alone(name):
            before = await self._model(name)
            await self._bring(before, version)
            await self._choose(before, version)
        return before

    async def rollback(self, name: str) -> int:
        """The version that took new work before takes it again; which one that is."""
        async with self._alone(name):
            before = await self._model(name)
            if before.choice is None or not before.choice.previous:
                raise Conflict(f"No version of {name} took new work before the one that does now.")
            previous = before.choice.previous
            await self._bring(before, previous)
            await self._choose(before, previous)
        return previous

    async def load(self, name: str, version: int | None) -> None:
        """What the config of a model that is not loaded says; or a version, beside those that are. What takes new work
        stays."""
        async with self._alone(name):
            model = await self._model(name)
            if version is not None:
                await self._bring(model, version)
            elif model.ready:
                raise Conflict(f"{name} is loaded already. Say which version is to be loaded beside those that are.")
            else:
                await self._tritons.load(name, model.places)

    async def unload(self, name: str, version: int | None, *, force: bool) -> None:
        """All of the model, or one version. Raises Conflict where it takes new work or is in use, unless by force."""
        async with self._alone(name):
            model = await self._model(name)
            gone = model.ready if version is None else {version} & model.ready
            if not gone:
                raise NotFound(f"{name}{'' if version is None else f' version {version}'} is loaded nowhere.")
            if not force:
                _refuse_to_unload(model, gone)
            left = model.ready - gone
            if not left:
                await self._tritons.unload(name, model.places)
                return
            await self._change(model, configs.restricted(await self._served_config(model), left), need=left)

    async def _model(self, name: str) -> Model:
        """Raises NotFound where no Triton has it."""
        for model in await self.models():
            if model.name == name:
                return model
        raise NotFound(
            f"No Triton at {', '.join(self._tritons.addresses)} has {name} in its model repository. Is it the one that "
            f"{self._repository.place} is?"
        )

    async def _bring(self, model: Model, version: int) -> None:
        """Load the version beside the others wherever the model serves, unless it is there."""
        if model.serving and (model.choice is None or model.choice.version != model.serving):
            # Or it would take new work as soon as it is ready in the first of several Tritons, being the newest.
            previous = 0 if model.choice is None else model.choice.previous
            await self._database.write(partial(_choose, name=model.name, version=model.serving, previous=previous))
        if model.is_ready_everywhere(version):
            return
        await self._repository.require_whole(model.name, version)
        kept = model.kept(datetime.now(UTC)) | {version}
        await self._change(model, await self._config(model.name, version, kept), need=kept)

    async def _config(self, name: str, version: int, versions: Collection[int]) -> ModelConfig:
        """The version's own, with which all of the versions are served."""
        others = {
            number: configs.card_of(await self._own_config(name, number)) for number in versions if number != version
        }
        return configs.beside(await self._own_config(name, version), version, others)

    async def _served_config(self, model: Model) -> ModelConfig:
        """By which what is loaded stays loaded: one that names no versions would load the newest in the repository."""
        config = configs.parse(await self._repository.config(model.name), f"{model.name}/config.pbtxt")
        if model.ready and not config.version_policy.HasField("specific"):
            return await self._config(model.name, model.serving, model.ready)
        return config

    async def _own_config(self, name: str, version: int) -> ModelConfig:
        return configs.parse(await self._repository.config(name, version), f"{name}/{version}/config.pbtxt")

    async def _choose(self, before: Model, version: int) -> None:
        if version != before.serving or before.choice is None:
            former = before.choice.version if before.choice is not None else 0
            previous = next((one for one in (before.serving, former) if one != version), 0)
            await self._database.write(partial(_choose, name=before.name, version=version, previous=previous))

    async def _change(self, model: Model, config: ModelConfig, need: Collection[int]) -> None:
        """Have all Tritons that serve it load the config, or none: then everything is as it was."""
        former = await self._served_config(model)
        try:
            await self._repository.put_config(model.name, configs.print_config(config))
            await self._tritons.load(model.name, model.places)
            after = await self._model(model.name)
            for version in need:
                if not after.is_ready_everywhere(version):
                    raise InferenceFailed(f"{model.name} version {version}: {_why_not(after, version)}")
        except BaseException as failure:
            try:
                await self._repository.put_config(model.name, configs.print_config(former))
                await (self._tritons.load if model.ready else self._tritons.unload)(model.name, model.places)
            except (InferenceFailed, StorageUnavailable) as again:
                failure.add_note(f"What was before could not all be put back: {again}")
            raise

    @asynccontextmanager
    async def _alone(self, model: str) -> AsyncIterator[None]:
        """Raises Conflict while somebody else changes the model."""
        holder = new_id()
        await self._database.write(
            lambda connection: choices.lock(connection, model, holder, self._lease, datetime.now(UTC))
        )
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._keep(model, holder))
                yield
                renewing.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            with suppress(StorageUnavailable):  # then its lease runs out
                await self._database.write(lambda connection: choices.unlock(connection, model, holder))

    async def _keep(self, model: str, holder: UUID) -> None:
        """Raises Conflict when it is lost."""
        held_until = monotonic() + self._lease.total_seconds()
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                await self._database.write(
                    lambda connection: choices.renew(connection, model, holder, self._lease, datetime.now(UTC))
                )
                held_until = monotonic() + self._lease.total_seconds()
            except StorageUnavailable:
                if monotonic() > held_until:
                    raise


async def _choose(connection: AsyncConnection, *, name: str, version: int, previous: int) -> None:
    await choices.choose(connection, name, version, previous, datetime.now(UTC))


def _refuse_to_unload(model: Model, gone: Collection[int]) -> None:
    """Raises Conflict."""
    for version in sorted(gone):
        reason = ""
        if version == model.serving:
            reason = "takes new work"
        elif version in model.used_by:
            reason = "is still in use"
        elif version in model.kept(datetime.now(UTC)):
            reason = "took new work until a moment ago"
        if reason:
            raise Conflict(f"{model.name} version {version} {reason}. --force unloads it all the same.")


def _why_not(model: Model, version: int) -> str:
    nothing = Standing("not loaded", "")
    found = ((where, model.standings[where].get(version, nothing)) for where in model.places)
    return ", ".join(f"{where}: {one.state} {one.reason}".rstrip() for where, one in found if one.state != READY)
