"""The API's own description as a judge: whether an answer is one of those that it promises."""

from __future__ import annotations

import re
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import jsonschema_rs

from api.app import create_app
from api.settings import Settings

NOT_DESCRIBED = 405  # of a path, not of an operation


@cache
def description() -> dict[str, Any]:
    with TemporaryDirectory() as home:
        return create_app(Settings(home=home)).openapi_schema.to_schema()


def client(url: str, headers: dict[str, str] | None = None) -> httpx.Client:
    """One that holds every answer against the description."""
    return httpx.Client(base_url=url, headers=headers, timeout=120, event_hooks={"response": [check]})


def check(answer: httpx.Response) -> None:
    """Paths that are not described are not looked at."""
    operation = _operation(answer.request)
    if operation is None or answer.status_code == NOT_DESCRIBED:
        return
    where = f"{answer.request.method} {answer.request.url.path}: {answer.status_code}"
    assert str(answer.status_code) in operation["responses"], f"{where} is not described"
    content = operation["responses"][str(answer.status_code)].get("content", {})
    answer.read()
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    assert media_type in content if answer.content else not content, f"{where} is described as {list(content)}"
    if media_type == "application/json":
        schema = {**content[media_type]["schema"], "components": description()["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        errors = [error.message for error in validator.iter_errors(answer.json())]
        assert not errors, f"{where} is not as described: {errors}"


def _operation(request: httpx.Request) -> dict[str, Any] | None:
    path = request.url.path.rstrip("/")
    for template, operations in description()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            found: dict[str, Any] | None = operations.get(request.method.lower())
            return found
    return None
