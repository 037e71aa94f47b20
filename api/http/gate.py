"""What stands before every route: who calls, and whether they may. Whoever may not is told so before their body comes.

It is plain ASGI around the whole application, so that even an answer to a path that does not exist has its headers.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from api.accounts.keys import MAX_KEY_CHARS
from api.accounts.limits import Standing
from api.accounts.reception import Reception
from api.errors import InvalidKey, InvalidRequest, ShuttingDown, TritoneError
from api.http.dialects import Dialect, Dialects, Refusal
from api.http.errors import UNEXPECTED, count_refusal

Scope = Any  # ASGI's own types are no more than this
Receive = Callable[[], Any]
Send = Callable[[Any], Any]

log = logging.getLogger(__name__)

HOST: Final = re.compile(rb"([A-Za-z0-9._~-]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
MAX_FIELDS: Final = 100
SEND_A_KEY: Final = "Send the API key as `Authorization: Bearer KEY`."
PROBES: Final = ("/health/live", "/health/ready")
"""Nobody asks who wants to know: whatever that takes may be what is being probed for."""
LINGER_S: Final = 10.0
LINGER_BYTES: Final = 256 * 1024 * 1024


class Gate:
    """`reception` is asked for at each request, because it is there only when the application has started."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Any], reception: Callable[[], Reception], dialects: Dialects
    ) -> None:
        self._app = app
        self._reception = reception
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)
        answer = _Answer(send, body)
        dialect, reception = self._dialects.of(scope["path"]), self._reception()
        is_free = dialect.is_free(scope["path"])
        try:
            _check_host(scope)
            key = None if is_free else _needed(dialect, scope, _bearer(scope))
            caller = await reception.identify(key, _peer(scope), answer.standings)
            await reception.admit(caller, looking=is_free)
            scope.setdefault("state", {})["caller"] = caller
        except TritoneError as refusal:
            if not is_free:
                if not answer.standings:
                    await reception.count_refusal(_peer(scope), answer.standings)
                count_refusal(refusal)
                await answer.refuse(dialect.refusal(refusal))
                return
        except Exception:
            log.exception("A request failed at the gate")
            count_refusal(TritoneError())
            await answer.refuse(dialect.refusal(TritoneError(UNEXPECTED)))
            return
        try:
            await self._app(scope, body.receive, answer.send)
        except asyncio.CancelledError:  # the process ends, and has waited for as long as it may
            if answer.begun:
                raise
            await answer.refuse(dialect.refusal(ShuttingDown()))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect, reception = self._dialects.of(scope["path"]), self._reception()
        try:
            key = _needed(dialect, scope, _key_of_socket(dialect, scope))
            caller = await reception.identify(key, _peer(scope), [])
            await reception.admit(caller)
        except Exception as failure:
            if not isinstance(failure, TritoneError):
                log.exception("A live session failed at the gate")
            refusal = failure if isinstance(failure, TritoneError) else TritoneError(UNEXPECTED)
            count_refusal(refusal)
            farewell = dialect.farewell(refusal)
            # Not as an answer to the handshake: a page in a browser could not read it.
            await receive()
            await send({"type": "websocket.accept"})
            for message in farewell.messages:
                await send({"type": "websocket.send", "text": msgspec.json.encode(message).decode()})
            await send({"type": "websocket.close", "code": farewell.close_code, "reason": ""})
            return
        scope.setdefault("state", {})["caller"] = caller
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:  # as above; whoever closed it already has said why
            with suppress(RuntimeError):
                close_code = dialect.farewell(ShuttingDown()).close_code
                await send({"type": "websocket.close", "code": close_code, "reason": str(ShuttingDown())})


class _Body:
    """A request's body on its way in: whether all of it has come."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        self.is_over = not (b"content-length" in headers or b"transfer-encoding" in headers)
        self._waits_for_word = b"expect" in headers

    async def receive(self) -> Any:
        event = await self._receive()
        if event["type"] != "http.request" or not event.get("more_body", False):
            self.is_over = True
        return event

    async def hear_out(self) -> None:
        """Within bounds. A client that is cut off while it sends may never read what it was answered."""
        heard = LINGER_BYTES if self._waits_for_word else 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.is_over and heard < LINGER_BYTES:
                    heard += len((await self.receive()).get("body", b""))


class _Answer:
    """A response on its way out: it says how the caller stands with its limits, and hears out who still sends."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send = send
        self._body = body
        self.begun = False
        self.standings: list[Standing] = []

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = [*message["headers"], *(_headers(_tightest(self.standings)) if self.standings else ())]
            if not self._body.is_over:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif not message.get("more_body", False) and not self._body.is_over:
            await self._send({**message, "more_body": True})
            await self._body.hear_out()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        body = msgspec.json.encode(refusal.body)
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})


def _tightest(standings: list[Standing]) -> Standing:
    """The one that refused, or has the least left."""
    return min(standings, key=lambda standing: (standing.allowed, standing.remaining))


def _headers(standing: Standing) -> list[tuple[bytes, bytes]]:
    """The three that clients know (draft-ietf-httpapi-ratelimit-headers-03), and the policy they are of."""
    window = standing.window
    return [
        (b"ratelimit-limit", b"%d" % window.limit),
        (b"ratelimit-remaining", b"%d" % standing.remaining),
        (b"ratelimit-reset", b"%d" % standing.reset_s),
        (b"ratelimit-policy", b"%d;w=%d" % (window.limit, window.period_s)),
    ]


def _check_host(scope: Scope) -> None:
    """Links lead back to where the request went. Raises InvalidRequest where that is no place."""
    for name, value in scope["headers"]:
        if name == b"host" and not HOST.fullmatch(value):
            raise InvalidRequest("The header Host is none: it is a name or an address, and a port after a colon.")


def _bearer(scope: Scope) -> str | None:
    """The key that was sent; None where none was. Raises InvalidKey where something else was."""
    sent: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if not sent:
        return None
    scheme, _, key = sent[0].decode("latin-1").strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip() or len(key) > MAX_KEY_CHARS:
        raise InvalidKey(SEND_A_KEY)
    return key.strip()


def _key_of_socket(dialect: Dialect, scope: Scope) -> str | None:
    """Raises InvalidKey, InvalidRequest."""
    try:
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest(f"The query has more than {MAX_FIELDS} fields.") from None
    fields = [field for field in dialect.key_fields if field in query]
    return query[fields[0]][0] if fields else _bearer(scope)


def _needed(dialect: Dialect, scope: Scope, key: str | None) -> str | None:
    """The key. Raises InvalidKey where there is none, and there must be one."""
    if key is None and dialect.needs_key(scope["path"]):
        raise InvalidKey(SEND_A_KEY)
    return key


def _peer(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else "unknown"
