"""Documents that are costly to make, each by a process of its own: it ends with its memory, and may be killed."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from api.errors import DocumentFailed, FontMissing
from api.formats import EXPORTS
from api.formats.document import Document, printable
from api.telemetry.logs import told
from api.telemetry.stages import stage

NO_FONT = 3  # the status of a process that says on stderr which font it misses
MEMORY_BYTES = 2 << 30  # of addresses; ten hours of speech take a quarter of it
COMPLAINT_BYTES = 4096
# No secrets of the service. Fonts may be in the home folder; threads cost addresses by the core, and gain nothing here.
ENVIRONMENT = {"HOME": str(Path("~").expanduser()), "RAYON_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}

log = logging.getLogger(__name__)


class Renderer:
    """Writes exports, at most `max_processes` of the costly ones at once."""

    def __init__(self, max_processes: int = 2, timeout_s: float = 120, memory_bytes: int = MEMORY_BYTES) -> None:
        self._room = asyncio.Semaphore(max_processes)
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes

    async def write(self, name: str, document: Document) -> bytes:
        """Raises DocumentFailed, and FontMissing where only a PDF cannot be made."""
        export = EXPORTS[name]
        if not export.apart:
            with stage("format"):
                return await asyncio.to_thread(export.write, document)
        async with self._room:
            with stage("format"):
                return await self._write_apart(name, msgspec.msgpack.encode(printable(document)))

    async def _write_apart(self, name: str, document: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", __name__, name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
        )
        try:
            self._restrict(process.pid)
            async with asyncio.timeout(self._timeout_s):
                written, complaint = await process.communicate(document)
        except TimeoutError:
            log.error("%s: not made in %g s", name, self._timeout_s)
            raise DocumentFailed(
                f"The {name} took more than {self._timeout_s:g} s to make; take txt or json."
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()  # `wait` alone may wait for ever: for a pipe that nobody empties
        if process.returncode == NO_FONT:
            raise FontMissing(complaint.decode())
        if process.returncode:
            log.error(
                "%s: status %s: %s", name, process.returncode, complaint[-COMPLAINT_BYTES:].decode(errors="replace")
            )
            raise DocumentFailed(f"The {name} could not be made; take another format.")
        return written

    def _restrict(self, pid: int) -> None:
        """From outside, as ffmpeg is: between fork and exec no Python may run in a process with threads."""
        if sys.platform != "linux":
            return
        for kind, value in (
            (resource.RLIMIT_CPU, int(self._timeout_s) + 1),
            (resource.RLIMIT_AS, self._memory_bytes),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            with suppress(ProcessLookupError):  # it has ended already
                _, hard = resource.prlimit(pid, kind)
                limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.prlimit(pid, kind, (limit, limit))


def main() -> None:
    document = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Document)
    try:
        written = EXPORTS[sys.argv[1]].write(document)
    except FontMissing as error:
        sys.stderr.write(str(error))
        sys.exit(NO_FONT)
    except Exception as error:  # what it says may quote the document
        sys.stderr.write(told(error))
        sys.exit(1)
    sys.stdout.buffer.write(written)


if __name__ == "__main__":
    main()
