"""The one table from errors to statuses."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request
from litestar.exceptions import HTTPException

from api import errors
from api.metrics import REFUSALS

UNEXPECTED: Final = "Something went wrong on our side. It has been logged."
# Nobody reads it; it stands for the client that left, in logs and metrics (nginx's convention).
CLIENT_CLOSED_REQUEST = 499

STATUSES: Final[dict[type[errors.TritoneError], int]] = {
    errors.InvalidRequest: 400,
    errors.InvalidKey: 401,
    errors.NoCredits: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.TooMany: 429,
    errors.ClientGone: CLIENT_CLOSED_REQUEST,
    errors.Unavailable: 503,
    errors.NoRoom: 507,
    errors.InferenceFailed: 500,
    errors.TritoneError: 500,
}


# RFC 6455, section 7.4.1, and the registry that goes with it: what a WebSocket is closed with.
CLOSE_CODES: Final[dict[type[errors.TritoneError], int]] = {
    errors.InvalidRequest: 1008,
    errors.InvalidKey: 1008,
    errors.NoCredits: 1008,
    errors.Forbidden: 1008,
    errors.TooLarge: 1009,
    errors.TooMany: 1013,
    errors.Unavailable: 1013,
    errors.ShuttingDown: 1012,
    errors.TritoneError: 1011,
}


# What a refusal is counted as: that of the nearest ancestor. Who left was refused nothing.
REASONS: Final[dict[type[errors.TritoneError], str]] = {
    errors.InvalidRequest: "request",
    errors.UnreadableMedia: "media",
    errors.UnknownModel: "model",
    errors.InvalidKey: "key",
    errors.Forbidden: "scope",
    errors.NotFound: "missing",
    errors.Conflict: "conflict",
    errors.NoCredits: "credits",
    errors.TooMany: "rate",
    errors.TooManyAtOnce: "place",
    errors.MonthUsedUp: "month",
    errors.TooLarge: "size",
    errors.ClientGone: "",
    errors.Unavailable: "other",
    errors.NoRoom: "disk",
    errors.ShuttingDown: "restart",
    errors.NoSlot: "slot",
    errors.Overloaded: "backlog",
    errors.StorageUnavailable: "database",
    errors.FontMissing: "font",
    errors.InferenceUnavailable: "triton",
    errors.ModelMissing: "model",
    errors.TritoneError: "failed",
}


def count_refusal(error: errors.TritoneError) -> None:
    if reason := next(REASONS[kind] for kind in type(error).__mro__ if kind in REASONS):
        REFUSALS.labels(reason).inc()


def close_code_of(error: errors.TritoneError) -> int:
    """That of the nearest ancestor in the table."""
    return next(CLOSE_CODES[kind] for kind in type(error).__mro__ if kind in CLOSE_CODES)


def status_of(error: errors.TritoneError) -> int:
    """The status of the nearest ancestor in the table."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def headers_of(error: errors.TritoneError) -> dict[str, str]:
    match error:
        case errors.Unavailable() | errors.TooMany():
            return {"Retry-After": str(error.retry_after_s)}
        case errors.InvalidKey():
            return {"WWW-Authenticate": "Bearer"}
        case _:
            return {}


def message_of(error: errors.TritoneError) -> dict[str, Any]:
    """What a live session is told."""
    retry = {"retry_after": error.retry_after_s} if isinstance(error, errors.Unavailable | errors.TooMany) else {}
    return {"text": "", "error": str(error), **retry}


def what_is_wrong(request: Request[Any, Any, Any], error: HTTPException) -> str:
    """Of what the framework itself refuses: no such route, no such method."""
    return (
        {
            404: f"There is no {request.url.path}; the routes are listed at /schema.",
            405: f"{request.method} is not a method of {request.url.path}.",
        }.get(error.status_code)
        or _wrong_fields(error)
        or error.detail
    )


def _wrong_fields(error: HTTPException) -> str:
    """What the framework found wrong with a body or the query, field by field."""
    if not isinstance(error.extra, list):
        return ""
    found = [f"{wrong.get('key') or 'The body'}: {wrong['message']}" for wrong in error.extra if "message" in wrong]
    return "; ".join(found)
