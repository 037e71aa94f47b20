"""What the API description needs beyond what Litestar reads off the handlers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import msgspec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIFormat,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.router import Router
from litestar.static_files import create_static_files_router

from api import __version__

ASSETS = "/schema/assets"
TRANSLATE_TO = "the code of a language that /v1/translate/languages lists"


class ErrorBody(msgspec.Struct):
    error: str


KEY = "key"
WITH_KEY: list[dict[str, list[str]]] = [{KEY: []}]
WITH_OR_WITHOUT_KEY: list[dict[str, list[str]]] = [{}, {KEY: []}]
REFUSALS = {
    400: "What was sent is not right",
    401: "There is no key, or a wrong one",
    402: "There are not enough credits",
    403: "The key is not for this",
    404: "There is no such thing",
    409: "Not in its present state",
    413: "The file is too large",
    429: "A limit is reached; try again after `Retry-After` seconds",
    500: "It failed on our side",
    503: "Try again after `Retry-After` seconds",
    507: "There is no room to store the file",
}


def refusals(*statuses: int) -> dict[int, ResponseSpec]:
    """What a route may answer instead, each as {"error": "…"}."""
    return {
        status: ResponseSpec(ErrorBody, generate_examples=False, description=REFUSALS[status]) for status in statuses
    }


def openapi_config() -> OpenAPIConfig:
    """The description at /schema/openapi.json, and at /schema a page that shows it; its scripts come from here, too."""
    page = SwaggerRenderPlugin(
        path="/",
        js_url=f"{ASSETS}/swagger-ui-bundle.js",
        css_url=f"{ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
        favicon=f"<link rel='icon' href='{ASSETS}/favicon-32x32.png'>",
    )
    return OpenAPIConfig(
        title="tritone",
        version=__version__,
        description="Speech-to-text in your own house.",
        path="/schema",
        render_plugins=[page, JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={KEY: SecurityScheme(type="http", scheme="bearer", description="An API key, tt_live_…")}
        ),
    )


def assets_router() -> Router:
    package = find_spec("swagger_ui")  # for the files in it; its code is for other frameworks and stays out of memory
    assert package is not None
    assert package.origin is not None
    static = Path(package.origin).parent / "static"
    return create_static_files_router(path=ASSETS, directories=[static], include_in_schema=False)


def json_body(kind: type[msgspec.Struct], **constraints: Any) -> RequestBody:
    """A body that is read by hand: Litestar's own reading takes 0 for false, its schema leaves out bounds."""
    _, components = msgspec.json.schema_components([kind])
    for name, schema in components.items():
        _inline(schema, {other: body for other, body in components.items() if other != name})
    schema = cast(Schema, components[kind.__name__] | constraints)
    return RequestBody({"application/json": OpenAPIMediaType(schema)}, required=True)


def _inline(schema: Any, components: dict[str, Any]) -> None:
    """Put in place of each reference what it refers to."""
    for name, value in list(schema.items()) if isinstance(schema, dict) else list(enumerate(schema)):
        if isinstance(value, dict) and "$ref" in value:
            schema[name] = value = components[value["$ref"].rpartition("/")[2]]
        if isinstance(value, dict | list):
            _inline(value, components)


def form_body(fields: type[msgspec.Struct], *, file: str, name: str = "file") -> dict[str, OpenAPIMediaType]:
    """multipart/form-data with a required file, described by `file`, and the fields of a struct."""
    _, components = msgspec.json.schema_components([fields])
    properties: dict[str, Reference | Schema] = {
        name: Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description=file),
        **{field: _schema(schema) for field, schema in components[fields.__name__]["properties"].items()},
    }
    required = [name, *components[fields.__name__].get("required", [])]
    schema = Schema(type=OpenAPIType.OBJECT, properties=properties, required=required)
    return {"multipart/form-data": OpenAPIMediaType(schema=schema)}


def describe_file(operation: Operation, media_type: str, headers: dict[str, tuple[OpenAPIType, str]]) -> None:
    """The answer of an operation is a file, and its headers have these types and meanings."""
    assert operation.responses is not None
    answer = cast(OpenAPIResponse, operation.responses["200"])
    file = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    answer.content = {media_type: OpenAPIMediaType(file)}
    answer.headers = {
        name: OpenAPIHeader(schema=Schema(type=type_), description=meaning)
        for name, (type_, meaning) in headers.items()
    }


def _schema(schema: dict[str, Any]) -> Schema:
    """Of a field that may be left out: of what it is when it is there."""
    schema = {**schema, **next((kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"), {})}
    return Schema(
        type=OpenAPIType(schema.get("type", "string")),
        enum=schema.get("enum"),
        default=schema.get("default"),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        description=schema.get("description"),
    )
