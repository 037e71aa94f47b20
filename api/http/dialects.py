"""How the clients of an API say who they are, and how they are told that they may not: each API has its own dialect.

The gate asks a dialect before it lets anybody in, and the handlers of errors ask it for the answer, so that whatever
refuses a request, the framework, too, its client reads it in the form that it knows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from api.errors import InferenceFailed, InvalidRequest, NotFound, TritoneError
from api.http.errors import (
    UNEXPECTED,
    close_code_of,
    count_refusal,
    headers_of,
    message_of,
    status_of,
    what_is_wrong,
)

log = logging.getLogger(__name__)

FREE_PATHS: Final = ("health", "metrics", "schema")
"""Whoever watches over the service, or reads how to use it, is not counted."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Of a request: `body` becomes JSON."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Farewell:
    """To a WebSocket: the messages that it is sent, as JSON, and the code that it is closed with."""

    messages: Sequence[Any]
    close_code: int


class Dialect(Protocol):
    @property
    def key_fields(self) -> Sequence[str]:
        """Of the query of a WebSocket, which may have the key in one of these: browsers cannot send headers with it."""
        ...

    def speaks(self, path: str) -> bool:
        """Whether this is a path of its API."""
        ...

    def is_free(self, path: str) -> bool:
        """Whoever sends a request to this path is neither asked for a key nor counted."""
        ...

    def needs_key(self, path: str) -> bool:
        """Also where the service lets in people without one."""
        ...

    def refusal(self, error: TritoneError) -> Refusal: ...

    def failure(self, status: int, message: str) -> Any:
        """The body of an answer with a status that nothing in the service has raised, the framework's."""
        ...

    def farewell(self, error: TritoneError) -> Farewell: ...


class PlainDialect:
    """That of /v1 and of all that has no other: errors are {"error": "…"}."""

    key_fields = ("token",)

    def speaks(self, path: str) -> bool:
        return True

    def is_free(self, path: str) -> bool:
        return path.removeprefix("/").partition("/")[0] in FREE_PATHS

    def needs_key(self, path: str) -> bool:
        return False

    def refusal(self, error: TritoneError) -> Refusal:
        return Refusal(status_of(error), self.failure(status_of(error), str(error)), headers_of(error))

    def failure(self, status: int, message: str) -> dict[str, str]:
        return {"error": message}

    def farewell(self, error: TritoneError) -> Farewell:
        return Farewell([message_of(error)], close_code_of(error))


class Dialects:
    """All that are spoken; the first that knows a path has it."""

    def __init__(self, *others: Dialect) -> None:
        self._dialects = (*others, PlainDialect())

    def of(self, path: str) -> Dialect:
        return next(dialect for dialect in self._dialects if dialect.speaks(path))

    def exception_handlers(self) -> ExceptionHandlersMap:
        def tritone_error(request: Request[Any, Any, Any], error: TritoneError) -> Response[Any]:
            if isinstance(error, InferenceFailed):
                log.error("%s", error.what)
            count_refusal(error)
            refusal = self.of(request.url.path).refusal(error)
            return Response(refusal.body, status_code=refusal.status, headers=refusal.headers)

        def http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
            """What the framework itself refuses: no such route, no such method."""
            count_refusal(NotFound() if error.status_code == 404 else InvalidRequest())
            body = self.of(request.url.path).failure(error.status_code, what_is_wrong(request, error))
            return Response(body, status_code=error.status_code, headers=error.headers)

        def unexpected_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
            log.error("A request failed", exc_info=error)
            return tritone_error(request, TritoneError(UNEXPECTED))

        return {TritoneError: tritone_error, HTTPException: http_exception, Exception: unexpected_error}
