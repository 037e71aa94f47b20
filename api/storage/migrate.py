"""Brings a database's tables to this version."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from api.storage.database import DatabaseError
from api.storage.tables import VERSION

MIGRATIONS = Path(__file__).with_name("migrations")
UNKNOWN = re.compile(r"Can't locate revision identified by '(\d+)'")  # Alembic's words for a newer one

log = logging.getLogger(__name__)


def configuration(url: URL) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def migrate(url: URL) -> None:
    """May be run by several at once, and again; a file of SQLite is made if there is none. Tables that are newer than
    this program stay as they are. Raises DatabaseError."""
    try:
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            Path(url.database).touch(mode=0o600)  # transcripts are nobody else's business
        command.upgrade(configuration(url), "head")
    except (OSError, DBAPIError, CommandError) as error:
        newer = UNKNOWN.search(str(error))
        if newer is not None and newer[1] > VERSION:
            log.warning("The tables are of version %s, which is newer than this program's, %s", newer[1], VERSION)
            return
        raise DatabaseError(f"The database could not be migrated: {error}") from error
    except Exception as error:
        if not type(error).__module__.startswith("asyncpg."):  # while it connects
            raise
        raise DatabaseError(f"The database could not be migrated: {error}") from error
