"""Keys: how they look, what is kept of them, and what they are for."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import string
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from api.settings import SettingsError

Scope = Literal["transcribe", "text", "account"]
SCOPES: Final[tuple[Scope, ...]] = ("transcribe", "text", "account")

KEY_START: Final = "tt_live_"
RANDOM_CHARS: Final = 40  # of 62 letters and digits: 238 bits
PREFIX_CHARS: Final = len(KEY_START) + 8
MAX_KEY_CHARS: Final = 200
_ALPHABET = string.ascii_letters + string.digits


def load_secret(given: str, beside: str | None) -> bytes:
    """The secret that keys are hashed with: the one given, or one in a file beside the SQLite file, made if need be.

    Raises SettingsError where there is neither.
    """
    if given:
        return given.encode()
    if beside is None:
        raise SettingsError(
            "TRITONE_SECRET is not set. Keys are hashed with it; with PostgreSQL it must be the same for every process "
            "that uses the database: openssl rand -hex 32 makes one."
        )
    path = Path(f"{beside}.secret")
    try:
        with suppress(FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        return path.read_text().strip().encode()
    except OSError as error:
        raise SettingsError(f"The secret of the keys, {path}: {error.strerror}") from error


def new_key() -> str:
    return KEY_START + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARS))


def visible_prefix(key: str) -> str:
    """What is shown of a key, and finds it; the 32 random characters behind it are what proves it."""
    return key[:PREFIX_CHARS]


def digest(secret: bytes, key: str) -> bytes:
    """What is kept of a key: HMAC-SHA-256. A copy of the database alone is no help to guess with."""
    return hmac.digest(secret, key.encode(), hashlib.sha256)


def matches(secret: bytes, key: str, kept: bytes) -> bool:
    """In the same time for every key."""
    return hmac.compare_digest(digest(secret, key), kept)
