"""`tritone models`: which versions of models serve, on the Tritons at TRITON_URL and the database at DATABASE_URL."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.errors import InvalidRequest, TritoneError
from api.settings import from_env

if TYPE_CHECKING:
    from api.versions.deploying import Deployer
    from api.versions.models import Model
    from api.versions.repository import ModelRepository

LOAD_TIMEOUT_S = 900.0
REPOSITORY_VARIABLE = "TRITONE_MODEL_REPOSITORY"


def add_model_commands(commands: Any) -> None:
    """To what argparse's add_subparsers gave."""
    models = commands.add_parser("models", help="which versions of the models serve")
    models.set_defaults(run=_run)
    models.add_argument(
        "--repository",
        metavar="PLACE",
        default=os.environ.get(REPOSITORY_VARIABLE)
        or str(Path(os.environ.get("TRITONE_HOME", ".tritone"), "model_repository")),
        help=f"the one that the Tritons read: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX; default: "
        f"{REPOSITORY_VARIABLE}, or %(default)s",
    )
    models.add_argument(
        "--timeout",
        type=_seconds,
        default=LOAD_TIMEOUT_S,
        metavar="S",
        help="how long a Triton may take to load a version; default: %(default)g s",
    )
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="all models and versions, and which of them take new work")
    deploy = _action(actions, "deploy", "let a version take new work, when it is loaded and has passed its check")
    deploy.add_argument("--version", type=_version, required=True, metavar="N")
    _action(actions, "rollback", "let the version before take new work again")
    load = _action(actions, "load", "load a model, or a version of it beside the others; what takes new work stays")
    load.add_argument("--version", type=_version, metavar="N")
    unload = _action(actions, "unload", "unload a model, or a version of it")
    unload.add_argument("--version", type=_version, metavar="N")
    unload.add_argument("--force", action="store_true", help="also if it takes new work or is in use")


def _action(actions: Any, name: str, help_: str) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=help_)
    action.add_argument("name", metavar="NAME", help="the model's name in Triton, as in whisper-small")
    return action


def _version(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is no version; one is a number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 86400")
    return seconds


def _run(arguments: argparse.Namespace) -> int:
    try:
        for line in asyncio.run(_lines(arguments)):
            print(line)
    except asyncio.CancelledError:  # by SIGTERM
        return 143
    return 0


async def _lines(arguments: argparse.Namespace) -> list[str]:
    # As Ctrl-C does: what was begun is put back as it was.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel, asyncio.current_task())
    async with _deployer(arguments) as (deployer, repository):
        match arguments.action:
            case "list":
                return await _list(deployer, repository)
            case "deploy":
                before = await deployer.deploy(arguments.name, arguments.version)
                was = f", version {before.serving} before" if before.serving not in (0, arguments.version) else ""
                return [f"{arguments.name} version {arguments.version} takes new work{was}"]
            case "rollback":
                version = await deployer.rollback(arguments.name)
                return [f"{arguments.name} version {version} takes new work again"]
            case "load":
                await deployer.load(arguments.name, arguments.version)
                return [f"{_named(arguments)} is loaded"]
            case "unload":
                await deployer.unload(arguments.name, arguments.version, force=arguments.force)
                return [f"{_named(arguments)} is unloaded"]
    raise InvalidRequest(f"There is no `tritone models {arguments.action}`.")


def _named(arguments: argparse.Namespace) -> str:
    return f"{arguments.name} version {arguments.version}" if arguments.version else str(arguments.name)


def _warn(text: str) -> None:
    print(f"tritone: {text}", file=sys.stderr, flush=True)


def _cancel(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()


@asynccontextmanager
async def _deployer(arguments: argparse.Namespace) -> AsyncIterator[tuple[Deployer, ModelRepository]]:
    """Raises SettingsError, DatabaseError."""
    # Only when something is to be done: these load what works on databases, buckets and Tritons.
    from api.storage.database import Database, database_url, require_file
    from api.versions.deploying import Deployer
    from api.versions.tritons import Tritons, addresses

    try:
        from api.versions.repository import ModelRepository
    except ModuleNotFoundError as error:
        raise InvalidRequest(f"This needs the package {error.name}: pip install 'tritone[operate]'.") from error
    settings = from_env()
    url = database_url(settings.database_url, settings.home)
    require_file(url)
    found, unknown = await addresses(settings.triton_url)
    database, tritons = Database(url), Tritons(found, arguments.timeout, unknown)
    try:
        await database.check()
        repository = ModelRepository(arguments.repository)
        yield Deployer(database, tritons, repository, settings.lease_s, _warn), repository
    finally:
        await tritons.close()
        await database.close()


async def _list(deployer: Deployer, repository: ModelRepository) -> list[str]:
    found, away = await deployer.models()
    models = {model.name: model for model in found}
    lines = [f"({reason})" for reason in away.values()]
    try:
        stored = await repository.models()
    except TritoneError as error:
        stored = {}
        lines.append(f"(What else is in the repository is not known: {error})")
    for name in sorted({*models, *stored}):
        model = models.get(name)
        known = {version for of in model.standings.values() for version in of} if model is not None else set()
        lines.append(name)
        lines += [f"  {version:<4} {_standing(model, version)}" for version in sorted(known | stored.get(name, set()))]
    return lines


def _standing(model: Model | None, version: int) -> str:
    if model is None:
        return "only in the repository"
    states: dict[str, list[str]] = {}
    for where, of in model.standings.items():
        if version in of:
            state, reason = of[version]
            said = "failed: " + reason if state == "UNAVAILABLE" and reason not in ("", "unloaded") else state.lower()
            states.setdefault("" if said == "unavailable" else said, []).append(where)
    everywhere = len(states) == 1 and model.is_ready_everywhere(version)
    said = "; ".join(
        state if everywhere else f"{state} at {', '.join(places)}" for state, places in states.items() if state
    )
    roles = [said or "only in the repository"]
    if version == model.serving:
        roles.append("takes new work")
    elif model.choice is not None and version == model.choice.previous:
        roles.append("previous")
    if count := model.used_by.get(version):
        roles.append(f"in use by {count} API process{'es' if count > 1 else ''}")
    return ", ".join(roles)
