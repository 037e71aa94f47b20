"""The model repository that the Tritons read: a folder or a bucket."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import obstore
from obstore import exceptions
from obstore.store import LocalStore, S3Store, from_url

from api.errors import InvalidRequest, StorageUnavailable

SMALL_BYTES = 4 * 1024 * 1024
"""Larger files are known by their size alone: weights in a bucket would take long to read."""
MAX_CONFIG_BYTES = 1024 * 1024
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
SHOWN_FILES = 5
RETRY_AFTER_S = 10
CONFIG = "config.pbtxt"
# How Triton writes the address of an object store that is not Amazon's: s3://https://minio.internal:9000/bucket/models
S3_ELSEWHERE = re.compile(r"s3://((?:(https?)://)?[^/:]+:\d+)/(.+)")
REMOTE = re.compile(r"(s3|gs)://.")


class Manifest(msgspec.Struct, frozen=True):
    """What the exporter says of a version's files."""

    sha256: dict[str, str]
    bytes: dict[str, int] = {}


class ModelRepository:
    """All raise InvalidRequest where something is not as it must be, StorageUnavailable where it cannot be reached."""

    def __init__(self, place: str) -> None:
        """A folder, or the URL of a bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX."""
        self.place = place

    @cached_property
    def _store(self) -> Any:
        """Opened when it is first needed: not every command does."""
        return _open(self.place)

    async def models(self) -> dict[str, set[int]]:
        """The versions of each."""
        with self._reached():
            names = (await obstore.list_with_delimiter_async(self._store))["common_prefixes"]
            found = {}
            for name in names:
                inside = await obstore.list_with_delimiter_async(self._store, prefix=name)
                versions = {int(path.rpartition("/")[2]) for path in inside["common_prefixes"] if _is_version(path)}
                if versions:
                    found[str(name)] = versions
            return found

    async def config(self, model: str, version: int | None = None) -> str:
        """What Triton reads of the model, or a version's own."""
        path = f"{model}/{CONFIG}" if version is None else f"{model}/{version}/{CONFIG}"
        return (await self._read(path, MAX_CONFIG_BYTES)).decode()

    async def put_config(self, model: str, text: str) -> None:
        """All of it, or nothing."""
        with self._reached():
            await obstore.put_async(self._store, f"{model}/{CONFIG}", text.encode())

    async def require_whole(self, model: str, version: int) -> None:
        """Every file of the version's manifest is there, of its size, and small ones with its content."""
        folder = f"{model}/{version}"
        content = await self._read(f"{folder}/manifest.json", MAX_MANIFEST_BYTES)
        try:
            manifest = msgspec.json.decode(content, type=Manifest)
        except msgspec.MsgspecError as error:
            raise InvalidRequest(f"{self.place}/{folder}/manifest.json is no manifest: {error}") from error
        if not manifest.bytes:
            raise InvalidRequest(f"{self.place}/{folder} was made by an older tritone: export it again.")
        sizes: dict[str, int] = {}
        with self._reached():
            async for batch in obstore.list(self._store, prefix=folder):
                sizes |= {str(file["path"]).removeprefix(f"{folder}/"): int(file["size"]) for file in batch}
        wrong = [f"{name} is missing" for name in sorted(manifest.sha256) if name not in sizes]
        for name, digest in sorted(manifest.sha256.items()):
            if name not in sizes:
                continue
            if sizes[name] != manifest.bytes.get(name):
                wrong.append(f"{name} has {sizes[name]} bytes instead of {manifest.bytes.get(name)}")
            elif sizes[name] <= SMALL_BYTES:
                content = await self._read(f"{folder}/{name}", SMALL_BYTES)
                if hashlib.sha256(content).hexdigest() != digest:
                    wrong.append(f"{name} is not what was exported")
        if wrong:
            more = f", and {len(wrong) - SHOWN_FILES} more" if len(wrong) > SHOWN_FILES else ""
            raise InvalidRequest(f"{self.place}/{folder} is not whole: {', '.join(wrong[:SHOWN_FILES])}{more}.")

    async def _read(self, path: str, at_most: int) -> bytes:
        with self._reached():
            try:
                found = await obstore.get_async(self._store, path)
            except FileNotFoundError:
                raise InvalidRequest(f"There is no {self.place}/{path}.") from None
            if found.meta["size"] > at_most:
                raise InvalidRequest(f"{self.place}/{path} is larger than {at_most} bytes.")
            return bytes(await found.bytes_async())

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            message = f"The model repository {self.place} cannot be used: {error}"
            raise StorageUnavailable(message, RETRY_AFTER_S) from error


def _open(place: str) -> Any:
    if not REMOTE.match(place):
        folder = Path(place).expanduser()
        if not folder.is_dir():
            raise InvalidRequest(
                f"There is no model repository {place}. Say where the Tritons' is with --repository or "
                "TRITONE_MODEL_REPOSITORY: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX."
            )
        return LocalStore(folder.resolve())
    elsewhere = S3_ELSEWHERE.fullmatch(place)
    if elsewhere is None:
        return from_url(place)
    address, scheme, path = elsewhere.groups()
    endpoint = address if scheme else f"http://{address}"
    return S3Store.from_url(f"s3://{path}", endpoint=endpoint, client_options={"allow_http": True})


def _is_version(path: str) -> bool:
    return path.rpartition("/")[2].isdecimal()
