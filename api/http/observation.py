"""What stands around all else: each request gets an id, is counted, logged in one line and, where somebody collects
them, becomes a span. What it asked for is told by its route's template, never by its path."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

from api.accounts.callers import Caller
from api.metrics import REQUEST_SECONDS, REQUESTS
from api.telemetry import logs, traces

Scope = Any  # as in gate.py
Receive = Callable[[], Any]
Send = Callable[[Any], Any]

log = logging.getLogger("api.access")

# Keys have an underscore, so that none of them gets into a log by this way.
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9.:-]{1,64}")
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
PROBES: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""Asked every few seconds, by machines: not traced, and logged only with the level debug."""
UNKNOWN: Final = "unknown"
NO_ANSWER: Final = "none"
CLOSE_CODES: Final = range(1000, 1016)
"""Those of RFC 6455; a client may send thousands of others."""
OUR_FAULT: Final = "1011"
REFUSED_HANDSHAKE: Final = "403"
"""What ASGI servers answer to one that is closed before it is accepted."""


class Observation:
    """`routes` are the templates of all paths, such as /keys/{key_id:uuid}."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], routes: Iterable[str]) -> None:
        self._app = app
        self._templates = _Templates(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, self._templates.of(scope["path"]), receive, send)
        with exchange.span() as span:
            named = {"request_id": exchange.id, **({"trace_id": span.trace_id} if span.trace_id else {})}
            about = logs.about(named)
            try:
                await self._app(scope, exchange.receive, exchange.send)
            finally:
                exchange.account(span)
                logs.not_about(about)


class _Exchange:
    """A request and its answer, or a live session, on their way through."""

    def __init__(self, scope: Scope, route: str, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._route = route
        method = scope.get("method", "WEBSOCKET")
        self._method = method if method in METHODS or scope["type"] == "websocket" else "other"
        self._status = NO_ANSWER
        self._left = NO_ANSWER
        self._accepted = False
        self._began = perf_counter()
        sent = dict(scope["headers"]).get(b"x-request-id", b"")
        self.id = sent.decode() if REQUEST_ID.fullmatch(sent) else uuid4().hex

    def span(self) -> AbstractContextManager[traces.Span]:
        if self._route in PROBES:
            return traces.unrecorded()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._scope["headers"]}
        return traces.server_span(f"{self._method} {self._route}", headers)

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code", 1005)
            self._left = str(code) if code in CLOSE_CODES else "other"
        return message

    async def send(self, message: Any) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", self.id.encode())]}
        if message["type"] == "http.response.start":
            self._status = str(message["status"])
        elif message["type"] == "websocket.accept":
            self._accepted = True
        elif message["type"] == "websocket.close":
            self._status = str(message.get("code", 1000)) if self._accepted else REFUSED_HANDSHAKE
        await self._send(message)

    def account(self, span: traces.Span) -> None:
        """It is over. A live session that we did not close was closed by its client."""
        status = self._left if self._status == NO_ANSWER else self._status
        seconds = perf_counter() - self._began
        REQUESTS.labels(self._route, self._method, status).inc()
        REQUEST_SECONDS.labels(self._route, self._method).observe(seconds)
        span.set("http.request.method", self._method)
        span.set("http.route", self._route)
        span.set("http.response.status_code", int(status) if status.isdecimal() else 0)
        span.set("tritone.request_id", self.id)
        if status == OUR_FAULT or (len(status) == 3 and status.startswith("5")):
            span.fail(status)
        caller: Caller | None = self._scope.get("state", {}).get("caller")
        account = "" if caller is None or caller.holder is None else str(caller.holder.account_id)
        told = {
            "method": self._method,
            "route": self._route,
            "status": status,
            "seconds": round(seconds, 4),
            **({"account_id": account} if account else {}),
        }
        log.log(
            logging.DEBUG if self._route in PROBES else logging.INFO,
            "%s %s %s in %.3f s%s",
            *(self._method, self._route, status, seconds, f" account_id={account}" if account else ""),
            extra={logs.FIELDS: told},
        )


class _Templates:
    def __init__(self, routes: Iterable[str]) -> None:
        self._fixed, self._patterns = set[str](), list[tuple[re.Pattern[str], str]]()
        for route in routes:
            template = re.sub(r":\w+}", "}", route)
            if "{" in route:
                pattern = re.sub(r"{\w+:path}", ".+", route)
                self._patterns.append((re.compile(re.sub(r"{\w+(:\w+)?}", "[^/]+", pattern)), template))
            else:
                self._fixed.add(template)

    def of(self, path: str) -> str:
        """UNKNOWN where no route has this path."""
        bare = path.rstrip("/")
        if bare in self._fixed:
            return bare
        return next((template for pattern, template in self._patterns if pattern.fullmatch(bare)), UNKNOWN)
