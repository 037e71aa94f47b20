"""The other end of a live session: its messages, each within bounds, and whether it is still there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from api.errors import ClientGone, InferenceFailed, InvalidRequest, ShuttingDown, TooLarge, TritoneError
from api.http.dialects import Dialect
from api.http.drain import Drain
from api.http.errors import UNEXPECTED, count_refusal

MAX_REASON_BYTES: Final = 123  # of a close frame, RFC 6455, section 5.5
log = logging.getLogger(__name__)

Message = bytes | dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Of one message, of the time between two, and of the whole conversation."""

    frame_bytes: int
    idle_s: float
    session_s: float


@dataclass(frozen=True, slots=True)
class TextMessages:
    """How long they may be, in characters, and what they are, for whoever sends others."""

    size: int
    are: str


class Client:
    """The other end of a live session. Everything raises ClientGone when it has left, or does not read any more."""

    def __init__(
        self,
        socket: WebSocket[Any, Any, Any],
        limits: ClientLimits,
        dialect: Dialect,
        texts: TextMessages,
        drain: Drain,
    ) -> None:
        self._socket = socket
        self._drain = drain
        self._limits = limits
        self._dialect = dialect
        self._texts = texts
        self._ends_at = monotonic() + limits.session_s
        self.query: dict[str, Any] = {**socket.query_params}

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """From the handshake on, while the context lasts. Whatever goes wrong in it is said, and the socket closed."""
        await self._socket.accept()
        try:
            yield
        except ClientGone:
            pass
        except TritoneError as failure:
            if isinstance(failure, InferenceFailed):
                log.error("%s", failure.what)
            await self._fail(failure)
        except Exception:
            log.exception("A live session failed")
            await self._fail(TritoneError(UNEXPECTED))

    async def receive(self) -> Message:
        """The next message. Raises InvalidRequest where it is none, or too late; TooLarge, ShuttingDown."""
        limits, left_s = self._limits, self._ends_at - monotonic()
        try:
            async with self._drain.waiting(min(limits.idle_s, left_s)):
                message = await self._receive()
        except TimeoutError:
            if left_s < limits.idle_s:
                raise InvalidRequest(f"A session lasts at most {limits.session_s:g} s; begin another one.") from None
            raise InvalidRequest(f"Nothing came for {limits.idle_s:g} s. Send silence where nobody speaks.") from None
        if isinstance(message, bytes):
            if len(message) > limits.frame_bytes:
                raise TooLarge(
                    f"A binary message may have {limits.frame_bytes} bytes; this one has {len(message)}. Send several."
                )
            return message
        if len(message) > self._texts.size:
            raise InvalidRequest(f"A text message may have {self._texts.size} characters. {self._texts.are}")
        try:
            return msgspec.json.decode(message, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            raise InvalidRequest(f"This is no JSON object: {message[:50]!r}. {self._texts.are}") from None

    async def left(self) -> None:
        """Returns when the client has gone; what it still says does not matter."""
        with suppress(ClientGone):
            while True:
                await self._receive()

    async def send(self, message: Any) -> None:
        """What becomes a JSON object."""
        try:
            async with asyncio.timeout(self._limits.idle_s):
                await self._socket.send_text(msgspec.json.encode(message).decode())
        except (OSError, WebSocketDisconnect) as error:  # TimeoutError is an OSError
            raise ClientGone("The client has left, or reads nothing.") from error

    async def send_error(self, error: TritoneError) -> None:
        if isinstance(error, ShuttingDown):
            return  # nothing is wrong with the session, and nothing of it is lost: how it is closed says why
        for message in self._dialect.farewell(error).messages:
            await self.send(message)

    async def _fail(self, error: TritoneError) -> None:
        """Say it and close."""
        with suppress(ClientGone):
            await self.send_error(error)
            await self.close(error)

    async def close(self, error: TritoneError | None) -> None:
        if error is not None:
            count_refusal(error)
        code = 1000 if error is None else self._dialect.farewell(error).close_code
        reason = str(error or "").encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        with suppress(OSError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(self._limits.idle_s):
                await self._socket.close(code, reason)

    async def _receive(self) -> bytes | str:
        try:
            message: Any = await self._socket.receive()
        except WebSocketDisconnect as error:
            raise ClientGone("The client has left.") from error
        if message["type"] == "websocket.disconnect":
            raise ClientGone("The client has left.")
        data: bytes | str | None = message.get("bytes")
        return message["text"] if data is None else data
