"""What of a model is served beside what, and where that is written: without a Triton."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Conflict, InvalidRequest, StorageUnavailable
from api.inference.base import ModelVersion
from api.storage.database import Database
from api.storage.ids import new_id
from api.versions import choices, configs
from api.versions.choices import Choice
from api.versions.models import SETTLED, Model
from api.versions.repository import ModelRepository
from api.versions.tritons import Standing
from api.versions.usage import VersionsInUse, in_use
from tests.buckets import bucket_with, s3_server  # noqa: F401 (a fixture)
from tests.running import PROJECT
from tests.servers import free_ports

OWN = configs.parse((PROJECT / "model_repository" / "whisper" / "config.pbtxt").read_text(), "the source")
NOW = datetime.now(UTC)
LEASE = timedelta(seconds=30)
versions = st.integers(1, 9)


@given(version=versions, others=st.dictionaries(versions, st.text()), card=st.text())
def test_versions_beside_each_other_share_the_newest_ones_config(
    version: int, others: dict[int, str], card: str
) -> None:
    own = configs.restricted(OWN, [version])
    own.ClearField("version_policy")
    own.parameters["card"].string_value = card
    before = own.SerializeToString(deterministic=True)
    written = configs.parse(configs.print_config(configs.beside(own, version, others)), "what was written")
    assert own.SerializeToString(deterministic=True) == before
    served = list(written.version_policy.specific.versions)
    assert served == sorted({*others, version})
    for number in served:
        expected = card if number == version else others[number]
        assert written.parameters[f"card:{number}"].string_value == expected
        del written.parameters[f"card:{number}"]
    written.ClearField("version_policy")
    assert written == own


@given(served=st.sets(versions, min_size=1), left=st.sets(versions, min_size=1))
def test_fewer_versions_are_another_policy_and_nothing_else(served: set[int], left: set[int]) -> None:
    config = configs.beside(OWN, max(served), dict.fromkeys(served, "{}"))
    fewer = configs.restricted(config, left)
    assert list(fewer.version_policy.specific.versions) == sorted(left)
    fewer.version_policy.CopyFrom(config.version_policy)
    assert fewer == config  # or Triton would load again what stays


@given(
    ready=st.sets(versions),
    choice=st.none() | st.builds(Choice, versions, st.integers(0, 9), st.sampled_from([NOW, NOW - SETTLED])),
    used=st.dictionaries(versions, st.integers(1, 3)),
)
def test_what_takes_new_work_or_is_in_use_is_kept(ready: set[int], choice: Choice | None, used: dict[int, int]) -> None:
    model = Model("m", {"a": {number: Standing("READY", "") for number in ready}, "b": {}}, choice, used)
    assert model.serving == (choice.version if choice and choice.version in ready else max(ready, default=0))
    kept = model.kept(NOW)
    assert kept <= ready
    assert kept >= ready & ({model.serving} | used.keys())
    if choice is not None and choice.changed_at == NOW:
        assert kept == ready
    else:
        assert kept <= {model.serving} | used.keys()
    assert model.places == (["a"] if ready else ["a", "b"])


@given(
    state=st.sampled_from(["READY", "LOADING", "UNAVAILABLE", "UNLOADING"]),
    reason=st.sampled_from(["", "unloaded", "no memory"]),
)
def test_where_a_version_failed_or_comes_it_is_not_given_up(state: str, reason: str) -> None:
    """As in a Triton that has just been started again."""
    standings = {"a": {1: Standing("READY", "")}, "b": {1: Standing(state, reason)}, "c": {}}
    model = Model("m", standings, None, {})
    wanted = state in ("READY", "LOADING") or (state == "UNAVAILABLE" and reason == "no memory")
    assert model.places == (["a", "b"] if wanted else ["a"])
    assert model.is_ready_everywhere(1) == (state == "READY" or not wanted)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A repository with one version, in which one file after the other is not as it should be."""
    contents = {"config.pbtxt": b'name: "m"', "model.py": b"print(1)", "weights/model.bin": bytes(5_000_000)}
    manifest = {
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "bytes": {name: len(content) for name, content in contents.items()},
    }
    contents["manifest.json"] = json.dumps(manifest).encode()
    files = {f"m/1/{name}": content for name, content in contents.items()}
    files |= {f"m/2/{name}": content for name, content in contents.items() if name != "model.py"}
    files |= {f"m/3/{name}": content for name, content in contents.items()} | {"m/3/model.py": b"print(2)"}
    files |= {f"m/4/{name}": content for name, content in contents.items()} | {"m/4/weights/model.bin": b""}
    files |= {"m/5/manifest.json": b"[]", "m/6/manifest.json": b'{"sha256": {"model.py": "x"}}'}
    files |= {"m/config.pbtxt": b'name: "m"'}
    if request.param == "folder":
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)
    return bucket_with(files, request.getfixturevalue("s3_server"))


def test_a_repository_says_what_is_not_whole(place: str) -> None:
    async def run() -> None:
        repository = ModelRepository(place)
        assert await repository.models() == {"m": {1, 2, 3, 4, 5, 6}}
        await repository.require_whole("m", 1)
        for version, reason in {
            2: "is not whole: model.py is missing.",
            3: "is not whole: model.py is not what was exported.",
            4: "is not whole: weights/model.bin has 0 bytes instead of 5000000.",
            5: "is no manifest",
            6: "was made by an older tritone: export it again",
            7: f"There is no {place}/m/7/manifest.json",
        }.items():
            with pytest.raises(InvalidRequest) as refusal:
                await repository.require_whole("m", version)
            assert reason in str(refusal.value)
        await repository.put_config("m", "name: 'other'")
        assert await repository.config("m") == "name: 'other'"
        assert await repository.config("m", 1) == 'name: "m"'

    asyncio.run(run())


@pytest.mark.usefixtures("s3_server")  # for its credentials
def test_a_bucket_that_cannot_be_reached_is_said() -> None:
    (port,) = free_ports(1)
    place = f"s3://127.0.0.1:{port}/models"
    with pytest.raises(StorageUnavailable, match=f"{place} cannot be used"):
        asyncio.run(ModelRepository(place).config("m"))


def test_one_at_a_time_changes_a_model(any_database: Database) -> None:
    mine, yours = new_id(), new_id()

    async def run() -> None:
        async def lock(holder: object, now: datetime, model: str = "m") -> None:
            async with any_database.writing() as c:
                await choices.lock(c, model, holder, LEASE, now)  # type: ignore[arg-type]

        attempts = await asyncio.gather(*(lock(one, NOW) for one in (mine, yours)), return_exceptions=True)
        assert sum(isinstance(attempt, Conflict) for attempt in attempts) == 1
        winner, loser = (mine, yours) if attempts[0] is None else (yours, mine)
        await lock(loser, NOW, "another")
        async with any_database.writing() as c:
            await choices.renew(c, "m", winner, LEASE, NOW + LEASE)
        with pytest.raises(Conflict, match=r"in 1 s"):
            await lock(loser, NOW + 2 * LEASE - timedelta(seconds=1))
        await lock(loser, NOW + 2 * LEASE)
        with pytest.raises(Conflict, match="Somebody else has begun"):
            async with any_database.writing() as c:
                await choices.renew(c, "m", winner, LEASE, NOW + 2 * LEASE)
        async with any_database.writing() as c:
            await choices.unlock(c, "m", loser)
        await lock(winner, NOW)
        await any_database.close()

    asyncio.run(run())


def test_a_lock_that_ran_out_goes_to_one_of_those_who_wait_for_it(any_database: Database) -> None:
    async def run() -> None:
        async def lock(holder: UUID, now: datetime) -> None:
            async with any_database.writing() as c:
                await choices.lock(c, "m", holder, LEASE, now)

        await lock(new_id(), NOW - LEASE)
        async with any_database.writing() as c:
            await choices.lock(c, "m", new_id(), LEASE, NOW)
            later = asyncio.create_task(lock(new_id(), NOW))
            await asyncio.sleep(0.3)  # it has seen the one that ran out, and waits for this transaction
        with pytest.raises(Conflict, match="Somebody else is changing m"):
            await later
        await any_database.close()

    asyncio.run(run())


def test_what_is_in_use_is_known_to_all_and_forgotten_with_its_process(any_database: Database) -> None:
    """And that without a write for each that uses it."""
    one, two = ModelVersion("m", "1"), ModelVersion("m", "2")

    @asynccontextmanager
    async def known(*expected: tuple[str, int], after: float = 0) -> AsyncIterator[None]:
        yield
        async with any_database.reading() as c:
            found = await in_use(c, datetime.now(UTC) + timedelta(seconds=after))
        assert sorted(found.elements()) == sorted(expected)

    async def run() -> None:
        here, there = VersionsInUse(any_database, 60), VersionsInUse(any_database, 60)
        async with known():
            pass
        async with here.using(one), there.using(one, two), here.using(one), known(("m", 1), ("m", 1), ("m", 2)):
            pass
        async with any_database.writing() as c:
            await c.exec_driver_sql("UPDATE model_leases SET expires_at = '2000-01-01 00:00:00'")
        async with here.using(one), known():
            pass  # its lease lasts, as far as it knows: no write
        async with here.using(one), known(("m", 1)):
            await here.renew()
        async with known(after=60):
            await here.renew()  # nobody uses anything
        await any_database.close()

    asyncio.run(run())
