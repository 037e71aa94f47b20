"""`tritone stream`: a file or standard input, played into a live session at the speed at which it is spoken."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import IO, Any
from urllib.parse import urlencode

import imageio_ffmpeg
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from api.speech import SAMPLE_RATE_HZ

FRAME_S = 0.1
FRAME_BYTES = int(FRAME_S * SAMPLE_RATE_HZ) * 2
STANDARD_INPUT = "-"
MAX_COMPLAINT_BYTES = 10_000


class StreamError(Exception):
    """What the person at the terminal should read."""


async def stream(source: str, url: str, config: dict[str, str], key: str | None = None) -> None:
    """Play `source` and print what is understood: finals as lines, on a terminal partials in place before them.

    Raises StreamError.
    """
    address = f"{url.rstrip('/').replace('http', 'ws', 1)}/v1/stream?{urlencode(config)}"
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection = await connect(address, additional_headers=headers, compression=None, max_size=None)
    except InvalidURI:
        raise StreamError(f"{url} is no address of a service; one is http://127.0.0.1:8000.") from None
    except (OSError, InvalidHandshake) as error:
        raise StreamError(f"No service answers at {url} ({error}). Start one with `tritone up`.") from error
    async with connection, decoded(source) as decoder:
        playing = asyncio.create_task(play(decoder.audio, connection))
        try:
            await show(connection)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        if not playing.cancelled() and (reason := await decoder.failure(played=playing.result())):
            raise StreamError(f"{'standard input' if source == STANDARD_INPUT else source}: {reason}")


@dataclass(frozen=True)
class Decoder:
    process: Process
    complaints: IO[bytes]

    @property
    def audio(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None
        return self.process.stdout

    async def failure(self, *, played: int) -> str | None:
        """Why it stopped early, or gave nothing."""
        if await self.process.wait() == 0 and played:
            return None
        self.complaints.seek(0)
        said = self.complaints.read(MAX_COMPLAINT_BYTES).decode(errors="replace").strip().splitlines()
        return said[-1] if said else "there is no sound in it"


@asynccontextmanager
async def decoded(source: str) -> AsyncIterator[Decoder]:
    """Its samples as they are decoded. Standard input may be anything that ffmpeg recognises while it still comes."""
    own_input = source == STANDARD_INPUT
    # Without these ffmpeg would read on for seconds before it gives anything.
    early = ["-probesize", "32k", "-analyzeduration", "0"] if own_input else []
    place = "pipe:0" if own_input else f"file:{source}"
    with tempfile.TemporaryFile() as complaints:  # a pipe would have to be read while it plays
        process = await asyncio.create_subprocess_exec(
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *early, "-i", place, "-vn"),
            *("-f", "s16le", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-flush_packets", "1", "pipe:1"),
            stdin=sys.stdin if own_input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
        )
        try:
            yield Decoder(process, complaints)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()  # `wait` would not return while something decoded is not read


async def play(audio: asyncio.StreamReader, socket: ClientConnection) -> int:
    """How many frames there were."""
    begun, number = monotonic(), 0
    while frame := await audio.read(FRAME_BYTES):
        number += 1
        await asyncio.sleep(begun + number * FRAME_S - monotonic())
        await socket.send(frame)
    await socket.send(msgspec.json.encode({"action": "stop"}).decode())
    return number


async def show(socket: ClientConnection) -> None:
    """Until the last message."""
    line = Line()
    try:
        async for message in socket:
            said: dict[str, Any] = msgspec.json.decode(message)
            if "error" in said:
                raise StreamError(said["error"])
            if said.get("is_final"):
                return
            if "warning" in said or said.get("status") == "delayed":
                line.note(said.get("warning") or f"no answer from the models for {said['seconds']:.0f} s; waiting")
            elif said.get("text"):
                line.settle(": ".join(filter(None, [said.get("speaker"), said["text"]])))
            elif "partial" in said:
                line.write(said["partial"])
    except ConnectionClosed as error:
        raise StreamError(f"The service ended the session: {error}") from error
    finally:
        line.write("")


class Line:
    """The line of the terminal that is not settled yet; nothing where the output is no terminal."""

    def __init__(self) -> None:
        self._in_place = sys.stdout.isatty()

    def write(self, text: str) -> None:
        if self._in_place:
            # The end of what does not fit is what is new.
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(f"\r\x1b[K{text if len(text) <= width else '…' + text[1 - width :]}")
            sys.stdout.flush()

    def settle(self, text: str) -> None:
        self.write("")
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        self.write("")
        sys.stderr.write(f"tritone: {text}\n")
