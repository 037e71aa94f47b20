"""Fields that arrive as text, or as JSON, into a struct that says what each must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Meta

from api.errors import InvalidRequest

PRINTABLE = r"^(?!\s*$)[^\x00-\x1f\x7f]*$"
"""A line with something in it."""

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


def read_json(kind: type[Fields], body: Any) -> Fields:
    """A JSON body that is exactly what it should be. Raises InvalidRequest: where in it what is wrong."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not right: {error}") from None


def _expected(annotation: Any) -> str:
    return next(meta.description for meta in annotation.__metadata__ if isinstance(meta, Meta) and meta.description)
