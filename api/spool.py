"""Temporary files without a name: nothing of them stays behind, even if the process is killed."""

from __future__ import annotations

import errno
import logging
import tempfile
from typing import IO, Final

from api.errors import NoRoom, Unavailable

log = logging.getLogger(__name__)

NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RETRY_AFTER_S: Final = 60


def spool_file(folder: str | None, what: str) -> IO[bytes]:
    """Unbuffered: what could not be written must not be tried again when the file is closed. Raises as `no_store`."""
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise no_store(error, what) from error


def write_all(file: IO[bytes], data: bytes | bytearray | memoryview) -> None:
    """Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def no_store(error: OSError, what: str) -> Unavailable:
    """The error for who called: NoRoom or Unavailable. `what` could not be stored; the reason names our folders, and is
    logged."""
    log.error("%s could not be stored: %s", what, error)
    if error.errno in NO_ROOM:
        return NoRoom(f"There is no room to store {what} right now. Try again later.", RETRY_AFTER_S)
    return Unavailable(f"{what[0].upper()}{what[1:]} could not be stored right now. Try again later.", RETRY_AFTER_S)
