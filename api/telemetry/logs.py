"""Log lines, for people or as JSON, each with the request that it was written for.

What was sent never gets into one: of an error that may quote it, its kind and where it was raised are written, not what
it says. Messages are our own, and have ids and names in them at most.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from api.errors import TritoneError

FIELDS: Final = "fields"
"""The name under which a record has more than its message, by `extra`."""
# What these say is of the system or of the code. Of any other error it may be what somebody sent, as of a ValueError.
OUTSPOKEN: Final = (OSError, AttributeError, TypeError, NameError, ImportError, MemoryError)
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_request: ContextVar[Mapping[str, str]] = ContextVar("request", default=NOTHING)


def about(fields: Mapping[str, str]) -> Any:
    """From now on, lines of this task and of those that it starts have these fields; a token for `not_about`."""
    return _request.set(fields)


def not_about(token: Any) -> None:
    _request.reset(token)


def configure(form: Literal["text", "json"], level: str) -> None:
    """All lines of this process go to stderr in one form, the libraries' as well, but for what they tell debuggers:
    that is frames, headers and statements with all that is in them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    chosen = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(chosen, logging.INFO), force=True)
    logging.getLogger("api").setLevel(chosen)
    # It tells of each request that it sends, with its address; uvicorn of each WebSocket, with its key.
    logging.getLogger("httpx").setLevel(max(chosen, logging.WARNING))
    logging.getLogger("uvicorn.error").addFilter(_is_no_connection)
    # A library's warning may quote what was sent.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)


def report(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """An event loop's handler of exceptions that nobody caught; asyncio's own quotes them."""
    logging.getLogger("asyncio").error("%s", context["message"], exc_info=context.get("exception"))


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        named = " ".join(f"{name}={value}" for name, value in _request.get().items())
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}"
        return "\n".join(part for part in (f"{line} {named}".rstrip(), _failure(record)) if part)


class JsonFormatter(logging.Formatter):
    """Field names after those of OpenTelemetry's logs, as far as it has any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_request.get(),
            **getattr(record, FIELDS, {}),
        }
        if failure := _failure(record):
            line["exception"] = failure
        return msgspec.json.encode(line).decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _failure(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return "" if error is None else told(error)


def told(error: BaseException) -> str:
    """What a log may say of it."""
    return "".join(_told(error, set())).rstrip()


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    """Where it was raised and what it is, after what led to it; in the order in which Python prints them."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "\nwhich led to\n\n"
    yield from traceback.format_tb(error.__traceback__)
    kind = type(error)
    yield f"{kind.__module__}.{kind.__qualname__}{_words(error)}\n"
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(part) not in seen:
            yield from _told(part, seen)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and not isinstance(error, TritoneError):
        return f": {error.strerror or error.args}"  # without the names of files
    return f": {error}" if isinstance(error, OUTSPOKEN) else ""


def _is_no_connection(record: logging.LogRecord) -> bool:
    """uvicorn logs every WebSocket with its address, in which clients send their keys."""
    return '"WebSocket %s"' not in str(record.msg)
