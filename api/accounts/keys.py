"""Keys: how they look, what is kept of them, and what they are for."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import string
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, Literal

from api.settings import SettingsError

Scope = Literal["transcribe", "text", "account"]
SCOPES: Final[tuple[Scope, ...]] = ("transcribe", "text", "account")

SECRET_BYTES: Final = 32
KEY_START: Final = "tt_live_"
RANDOM_CHARS: Final = 40  # of 62 letters and digits: 238 bits
KEY: Final = re.compile(r"tt_live_[A-Za-z0-9]+")
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
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # It appears whole, and once: whoever comes at the same time takes the one that is there.
            with NamedTemporaryFile("w", dir=path.parent) as file:  # for its owner alone
                file.write(secrets.token_hex(32))
                file.flush()
                with suppress(FileExistsError):
                    os.link(file.name, path)
        secret = path.read_text().strip().encode()
    except OSError as error:
        raise SettingsError(f"The secret of the keys, {path}: {error.strerror}") from error
    if len(secret) < SECRET_BYTES:
        raise SettingsError(f"{path} holds no secret; with another one all keys would be wrong. Restore it.")
    return secret


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
