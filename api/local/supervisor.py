"""Child processes kept running: one that dies is reported and started again, the later the more often it dies."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0  # well within the time that a request waits for Triton
STEADY_S = 60.0  # one that ran for this long has recovered: its pauses begin small again
STOP_TIMEOUT_S = 15.0
LOG_TAIL_LINES = 5
LOG_TAIL_BYTES = 8192
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Child:
    """A program and its log. `before_start` runs before every start."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    report: Callable[[str], None]
    before_start: Callable[[], None] = lambda: None
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def keep_running(self) -> None:
        """Until cancelled, which stops the process."""
        pause = FIRST_PAUSE_S
        try:
            while True:
                started = time.monotonic()
                self.process = await self._start()
                status = await self.process.wait()
                self.kill()  # what it started and left behind: the processes of Triton's models
                if time.monotonic() - started > STEADY_S:
                    pause = FIRST_PAUSE_S
                self.report(f"{self.name} ended ({_ending(status)}); its last words, from {self.log}:\n{self._tail()}")
                self.report(f"{self.name} starts again in {pause:g} s")
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        finally:
            await self.stop()

    async def stop(self) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            self.report(f"{self.name} does not stop within {STOP_TIMEOUT_S:g} s and is killed")
            self.kill()
            await process.wait()
        self.kill()

    def kill(self) -> None:
        """At once, with all processes it started; keep_running starts it again."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def _start(self) -> asyncio.subprocess.Process:
        self.before_start()
        with self._open_log() as log:
            return await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment),
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop the children
                preexec_fn=_die_with(os.getpid()),
            )

    def _open_log(self) -> IO[bytes]:
        """A program runs without its log rather than not at all: the disk may be full."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            if self.log.exists():
                self.log.rename(self.log.with_suffix(".previous.log"))
            return self.log.open("wb")
        except OSError as error:
            self.report(f"{self.name} writes no log: {error}")
            return Path(os.devnull).open("wb")

    def _tail(self) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError as error:
            lines = [f"({error})"]
        return "\n".join(f"    {line}" for line in lines)


def _die_with(parent: int) -> Callable[[], None]:
    """What makes a child end when we are killed and cannot stop it ourselves."""
    libc = ctypes.CDLL(None, use_errno=True)

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
