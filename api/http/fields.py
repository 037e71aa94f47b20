"""Fields that arrive as text, or as JSON, into a struct that says what each must be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Request
from msgspec import Meta

from api.errors import InvalidRequest, TooLarge

PRINTABLE = r"^(?!\s*$)[^\x00-\x1f\x7f-\x9f]*$(?!\n)"
"""A line with something in it. Python's $ alone lets a line end in another."""
BODY_TIMEOUT_S = 30.0

Fields = TypeVar("Fields", bound=msgspec.Struct)


def parse(kind: type[Fields], fields: Mapping[str, Any]) -> Fields:
    """Raises InvalidRequest: the field, what its description says it must be, what came. Empty text is none at all."""
    given = {name: value.strip() if isinstance(value, str) else value for name, value in fields.items()}
    given = {name: value for name, value in given.items() if value not in ("", None)}
    for field in msgspec.structs.fields(kind):
        if field.name in given:
            try:
                msgspec.convert(given[field.name], field.type, strict=False)
            except msgspec.ValidationError:
                value = repr(given[field.name])[:50]
                raise InvalidRequest(f"{field.name} must be {_expected(field.type)}, not {value}.") from None
    return msgspec.convert(given, kind, strict=False)


async def read_json(kind: type[Fields], request: Request[Any, Any, Any], most_bytes: int = 64 * 1024) -> Fields:
    """The body of a request whose caller may make it. Raises InvalidRequest: where in it what is wrong; TooLarge."""
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise TooLarge(f"The body may have {most_bytes // 1024} kB.")
        return msgspec.json.decode(body, type=kind)
    except TimeoutError:
        raise InvalidRequest(f"The body did not come within {BODY_TIMEOUT_S:g} s.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not the JSON that it should be: {error}") from None


def _expected(annotation: Any) -> str:
    return next(meta.description for meta in annotation.__metadata__ if isinstance(meta, Meta) and meta.description)
