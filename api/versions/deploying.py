"""How one version of a model follows another while both serve.

A new version is loaded beside those that are there; Triton calls it ready when it has passed its own check. Until then,
and if anything goes wrong, nothing has changed for whoever transcribes. What makes it take new work is one row in the
database, which each API process reads every few seconds; a file under way stays with the version that it began on. The
version before stays loaded, so that going back is one row again. Older ones go at the next deployment, unless they are
still in use.

The config in the repository names only versions that are ready or were: a Triton that starts unloads the good ones of
a model beside a bad one. So a new config is tried as part of the call, then written, and then its version chosen;
whoever is killed in between leaves a repository that any Triton can start from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection
from tritonclient.grpc.model_config_pb2 import ModelConfig

from api.errors import Conflict, InferenceFailed, InferenceUnavailable, InvalidRequest, NotFound, StorageUnavailable
from api.storage.database import Database
from api.versions import choices, configs
from api.versions.holding import Hold, alone
from api.versions.models import Model
from api.versions.repository import ModelRepository
from api.versions.tritons import READY, Tritons
from api.versions.usage import in_use

READ_S = 3.0
"""Until each API process has read a choice: they look every two seconds."""
PUT_BACK_PATIENCE_S = 10.0
"""With Tritons that cannot be reached when something is put back: one that was restarted is there again."""
RETRY_AFTER_S = 10


class Deployer:
    """All raise InvalidRequest, Conflict, NotFound, InferenceUnavailable, InferenceFailed, StorageUnavailable."""

    def __init__(
        self,
        database: Database,
        tritons: Tritons,
        repository: ModelRepository,
        lease_s: float,
        warn: Callable[[str], None],
    ) -> None:
        """Whoever is killed while they change a model keeps others from it for as long as the lease. `warn` is told
        what somebody should know of what was done, or could not be put back."""
        self._warn = warn
        self._database = database
        self._lease = timedelta(seconds=lease_s)
        self._tritons = tritons
        self._repository = repository

    async def models(self) -> tuple[list[Model], dict[str, str]]:
        """Those that a Triton has in its repository; and which Tritons do not answer, and why."""
        indexes, away = await self._tritons.indexes()
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
        ], away

    async def deploy(self, name: str, version: int) -> Model:
        """The version takes new work; what is answered is how it was before."""
        async with alone(self._database, name, self._lease) as hold:
            before = await self._model(name)
            await self._bring(hold, before, version, before.kept(datetime.now(UTC)))
            await self._choose(hold, before, version)
        return before

    async def rollback(self, name: str) -> int:
        """The version that took new work before takes it again; which one that is. Where that is ready, Tritons that
        are away do not matter."""
        async with alone(self._database, name, self._lease) as hold:
            before, away = await self._found(name)
            if before.choice is None or not before.choice.previous:
                raise Conflict(f"No version of {name} took new work before the one that does now.")
            previous = before.choice.previous
            if before.is_ready_everywhere(previous):
                self._warn_of(away)
            else:
                _require_all(away)
                await self._bring(hold, before, previous, before.ready)
            await self._choose(hold, before, previous)
        return previous

    async def load(self, name: str, version: int | None) -> None:
        """What the config of a model says wherever that is not loaded; or a version, beside those that are. What takes
        new work stays."""
        async with alone(self._database, name, self._lease) as hold:
            model = await self._model(name)
            if version is not None:
                await self._bring(hold, model, version, model.ready)
                return
            wanted = configs.named(await self._repository_config(name)) or model.ready
            lacking = [
                where
                for where in model.places
                if not wanted or any(model.standing(where, one).state != READY for one in wanted)
            ]
            if not lacking:
                raise Conflict(f"{name} is loaded already. Say which version is to be loaded beside those that are.")
            await self._tritons.load(name, lacking)

    async def unload(self, name: str, version: int | None, *, force: bool) -> None:
        """All of the model, or one version. Raises Conflict where it takes new work or is in use, unless by force."""
        async with alone(self._database, name, self._lease) as hold:
            model, away = await self._found(name)
            gone = model.ready if version is None else {version} & model.ready
            if not gone:
                _require_all(away)
                raise NotFound(f"{name}{'' if version is None else f' version {version}'} is loaded nowhere.")
            if not force:
                _refuse_to_unload(model, gone)
            self._warn_of(away)
            left = model.ready - gone
            if not left:
                await self._tritons.unload(name, model.places)
                return
            need = {
                where: {one for one in left if model.standing(where, one).state == READY}
                for where in model.standings
                if any(model.standing(where, one).state == READY for one in gone)
            }
            await self._change(hold, model, configs.restricted(await self._served_config(model), left), need)

    async def _model(self, name: str) -> Model:
        """Raises NotFound where no Triton has it, InferenceUnavailable where one does not answer."""
        model, away = await self._found(name)
        _require_all(away)
        return model

    async def _found(self, name: str) -> tuple[Model, dict[str, str]]:
        """And which Tritons do not answer. Raises NotFound where none has it that does."""
        models, away = await self.models()
        for model in models:
            if model.name == name:
                return model, away
        _require_all(away)
        raise NotFound(
            f"No Triton at {', '.join(self._tritons.addresses)} has {name} in its model repository. Is it the one that "
            f"{self._repository.place} is?"
        )

    def _warn_of(self, away: Mapping[str, str]) -> None:
        for reason in away.values():
            self._warn(f"{reason}. What it serves when it is back is not known.")

    async def _bring(self, hold: Hold, model: Model, version: int, kept: Collection[int]) -> None:
        """Load the version beside those that are kept wherever the model serves, unless it is there."""
        if model.is_ready_everywhere(version):
            # Somebody may have been killed before it was written down.
            await self._put_config(hold, model.name, await self._served_config(model))
            return
        await self._repository.require_whole(model.name, version)
        versions = {*kept, version}
        config = await self._config(model.name, version, versions)
        if model.serving and model.choice is None:
            # Or it would take new work as soon as it is ready in the first of several Tritons, being the newest.
            await self._write_choice(hold, model.name, model.serving, 0)
            await asyncio.sleep(READ_S)
        await self._change(hold, model, config, dict.fromkeys(model.places, versions))

    async def _config(self, name: str, version: int, versions: Collection[int]) -> ModelConfig:
        """The version's own, with which all of the versions are served."""
        others = {
            number: configs.card_of(await self._own_config(name, number)) for number in versions if number != version
        }
        return configs.beside(await self._own_config(name, version), version, others)

    async def _served_config(self, model: Model) -> ModelConfig:
        """By which what is loaded stays loaded: one that names no versions would load the newest in the repository."""
        config = await self._repository_config(model.name)
        if model.ready <= configs.named(config):
            return config
        return await self._config(model.name, model.serving, model.ready)

    async def _repository_config(self, name: str) -> ModelConfig:
        return configs.parse(await self._repository.config(name), f"{name}/config.pbtxt")

    async def _own_config(self, name: str, version: int) -> ModelConfig:
        return configs.parse(await self._repository.config(name, version), f"{name}/{version}/config.pbtxt")

    async def _choose(self, hold: Hold, before: Model, version: int) -> None:
        if version == before.serving and before.choice is not None and before.choice.version == version:
            return
        former = before.choice.version if before.choice is not None else 0
        previous = next((one for one in (before.serving, former) if one != version), 0)
        try:
            await self._write_choice(hold, before.name, version, previous)
        except asyncio.CancelledError:
            self._warn(await self._took_effect(before.name, version))
            raise

    async def _write_choice(self, hold: Hold, name: str, version: int, previous: int) -> None:
        """Raises Conflict where somebody else has begun to change the model."""

        async def write(connection: AsyncConnection) -> None:
            now = datetime.now(UTC)
            await choices.renew(connection, name, hold.holder, self._lease, now)
            await choices.choose(connection, name, version, previous, now)

        await self._database.write(write)

    async def _took_effect(self, name: str, version: int) -> str:
        """Of a choice that was being written when somebody broke it off."""
        with suppress(StorageUnavailable):
            async with self._database.reading() as connection:
                choice = (await choices.all_choices(connection)).get(name)
            if choice is not None and choice.version == version:
                return f"It was done already: {name} version {version} takes new work."
            return f"{name} version {version} is loaded, and takes no new work."
        return f"Whether {name} version {version} takes new work is not known: see `tritone models list`."

    async def _put_config(self, hold: Hold, name: str, config: ModelConfig) -> None:
        """Into the repository, unless it is there."""
        if config != await self._repository_config(name):
            await hold.renew()
            await self._repository.put_config(name, configs.print_config(config))

    async def _change(self, hold: Hold, model: Model, config: ModelConfig, need: Mapping[str, Collection[int]]) -> None:
        """Have each of these Tritons load the config, until the versions are ready there that it needs; or none: then
        everything is as it was."""
        former = await self._served_config(model)
        # One that leaves the choice to Triton would have the next one that starts take what is tried here.
        await self._put_config(hold, model.name, former)
        try:
            await self._tritons.load(model.name, need, config)
            models, away = await self.models()
            reasons = [away[where] for where in need if where in away]
            after = next((one for one in models if one.name == model.name), Model(model.name, {}, None, {}))
            for where, versions in need.items():
                if where not in away:
                    reasons += _why_not(after, where, versions)
            if reasons:
                raise InferenceFailed("\n".join(reasons))
            await self._put_config(hold, model.name, config)
        except BaseException:
            await self._put_back(hold, model, former, need)
            raise

    async def _put_back(self, hold: Hold, model: Model, former: ModelConfig, where: Collection[str]) -> None:
        if not await hold.lasts():
            self._warn(f"Somebody else may have begun to change {model.name}: nothing was put back.")
            return
        try:
            await self._put_config(hold, model.name, former)
        except (Conflict, InvalidRequest, StorageUnavailable) as error:
            self._warn(f"The config that was in the repository before may not be there: {error}")
        try:
            if model.ready:
                await self._tritons.load(model.name, where, former, patience_s=PUT_BACK_PATIENCE_S)
            else:
                await self._tritons.unload(model.name, where, patience_s=PUT_BACK_PATIENCE_S)
        except InferenceFailed as error:
            self._warn(f"What was before could not be put back at:\n{error}")


def _require_all(away: Mapping[str, str]) -> None:
    """Raises InferenceUnavailable."""
    if away:
        raise InferenceUnavailable("\n".join(away.values()), RETRY_AFTER_S)


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


def _why_not(model: Model, where: str, versions: Collection[int]) -> list[str]:
    lacking = [(version, model.standing(where, version)) for version in sorted(versions)]
    return [
        f"{where}: {model.name} version {version}: {one.state} {one.reason}".rstrip()
        for version, one in lacking
        if one.state != READY
    ]
