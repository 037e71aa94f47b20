"""Fields that arrive as text, or as JSON, into a struct that says what each must be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import msgspec
from litestar import Request
from msgspec import Meta

from api.errors import InvalidRequest, TooLarge

PRINTABLE = r"^(?!\s*$)[^\x00-\x1f\x7f-\x9f]*$(?!\n)"
"""A line with something in it. Python's $ alone lets a line end in another."""
EMAIL = r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s.\x00-\x1f]+$(?!\n)"
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
        elif field.required:
            raise InvalidRequest(f"Send {field.name}: {_expected(field.type)}.")
    return msgspec.convert(given, kind, strict=False)


async def read_json(kind: type[Fields], request: Request[Any, Any, Any], most_bytes: int = 64 * 1024) -> Fields:
    """The body of a request whose caller may make it. Raises InvalidRequest: where in it what is wrong; TooLarge."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise TooLarge(f"The body may have {most_bytes // 1024} kB.")
        if not body:
            raise InvalidRequest("The body is empty; it must be JSON.")
        return msgspec.json.decode(body, type=kind)
    except TimeoutError:
        raise InvalidRequest(f"The body did not come within {BODY_TIMEOUT_S:g} s.") from None
    except msgspec.ValidationError as error:
        raise InvalidRequest(_what_is_right(kind, str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is no JSON: {error}.") from None


def _what_is_right(kind: type[msgspec.Struct], error: str) -> str:
    """By the field's description, where it has one; nobody wants to read a regular expression."""
    for field in msgspec.structs.fields(kind):
        is_it = re.search(rf"`\$\.{field.name}(\[\d+\])?`$", error)  # or one of a list
        is_missing = f"missing required field `{field.name}`" in error
        if (is_it or is_missing) and (expected := _description(field.type)):
            return f"{field.name} must be {expected}."
    return "The body is not right: " + re.sub(" matching regex '.*'", " of another form", error)


def _expected(annotation: Any) -> str:
    description = _description(annotation)
    assert description is not None
    return description


def _description(annotation: Any) -> str | None:
    """That of an annotated type, or of one of those that it is a union of."""
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    return next(filter(None, map(_description, get_args(annotation))), None)
