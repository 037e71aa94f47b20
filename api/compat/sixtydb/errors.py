"""The one table from errors to the statuses and codes that 60db's clients know, and the dialect that speaks of them.

The codes with STT_, and those of 401 and 402, are 60db's; the others say what it has no code for. Its public clients
read the text of an error in `message` or in `error`, so both have it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from api import errors
from api.http.dialects import Farewell, Refusal
from api.http.errors import close_code_of, headers_of
from api.http.openapi import REFUSALS

TABLE: Final[dict[type[errors.TritoneError], tuple[int, str]]] = {
    errors.InvalidRequest: (400, "INVALID_REQUEST"),
    errors.UnreadableMedia: (400, "INVALID_AUDIO"),
    errors.InvalidKey: (401, "UNAUTHENTICATED"),
    errors.NoCredits: (402, "INSUFFICIENT_CREDITS"),
    errors.MonthUsedUp: (402, "INSUFFICIENT_CREDITS"),
    errors.NoBalance: (402, "ZERO_BALANCE"),
    errors.Forbidden: (403, "FORBIDDEN"),
    errors.NotFound: (404, "NOT_FOUND"),
    errors.TooLarge: (413, "FILE_TOO_LARGE"),
    errors.TooManyAtOnce: (429, "STT_CONCURRENCY_LIMIT"),
    errors.TooMany: (429, "STT_UPSTREAM_RATE_LIMIT"),
    errors.ClientGone: (499, "STT_CLIENT_CANCELLED"),
    errors.Unavailable: (503, "STT_UPSTREAM_UNAVAILABLE"),
    errors.InferenceFailed: (503, "STT_UPSTREAM_UNAVAILABLE"),
    errors.TritoneError: (500, "INTERNAL_ERROR"),
}
OF_THE_FRAMEWORK: Final = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "FILE_TOO_LARGE"}
POLICY_VIOLATION, OUR_FAULT = 1008, 1011  # RFC 6455, section 7.4.1


class Details(msgspec.Struct, omit_defaults=True):
    """`limit` is how many may run at the same time."""

    limit: int | None = None
    retry_after: int | None = None


class ErrorBody(msgspec.Struct):
    success: bool
    error_code: str
    message: str
    error: str
    details: Details


class ErrorMessage(ErrorBody, tag_field="type", tag="error"):
    """To a WebSocket."""


def status_and_code(error: errors.TritoneError) -> tuple[int, str]:
    """Those of the nearest ancestor in the table."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def error_message(error: errors.TritoneError) -> ErrorMessage:
    """Of a WebSocket whose caller has no credits, `error` is the code itself, and there is one for all their kinds."""
    code, what = status_and_code(error)[1], str(error)
    if isinstance(error, errors.NoCredits | errors.MonthUsedUp):
        code = what = TABLE[errors.NoCredits][1]
    return ErrorMessage(False, code, str(error), what, _details(error))


def close_code(error: errors.TritoneError) -> int:
    if isinstance(error, errors.ShuttingDown):
        return close_code_of(error)
    return POLICY_VIOLATION if status_and_code(error)[0] < 500 else OUR_FAULT


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """What a route may answer instead."""
    return {
        status: ResponseSpec(ErrorBody, generate_examples=False, description=REFUSALS.get(status, "The client left"))
        for status in statuses
    }


class SixtyDbDialect:
    key_fields = ("apiKey", "token")

    def speaks(self, path: str) -> bool:
        return path.rstrip("/") in ("/stt", "/ws/stt") or path.startswith("/stt/")

    def is_free(self, path: str) -> bool:
        """What asks whether the WebSocket is there has no key."""
        return path.rstrip("/") == "/ws/stt"

    def needs_key(self, path: str) -> bool:
        """What can be asked for may be looked up without one."""
        return path.rstrip("/") in ("/stt", "/ws/stt")

    def refusal(self, error: errors.TritoneError) -> Refusal:
        status, code = status_and_code(error)
        return Refusal(status, ErrorBody(False, code, str(error), str(error), _details(error)), headers_of(error))

    def failure(self, status: int, message: str) -> Any:
        code = OF_THE_FRAMEWORK.get(status, "INVALID_REQUEST" if status < 500 else "INTERNAL_ERROR")
        return ErrorBody(False, code, message, message, Details())

    def farewell(self, error: errors.TritoneError) -> Farewell:
        return Farewell([error_message(error)], close_code(error))


def _details(error: errors.TritoneError) -> Details:
    return Details(
        limit=error.limit if isinstance(error, errors.TooManyAtOnce) else None,
        retry_after=error.retry_after_s if isinstance(error, errors.Unavailable | errors.TooMany) else None,
    )
