"""What the API description needs beyond what Litestar reads off the handlers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, OpenAPIFormat, OpenAPIMediaType, OpenAPIType, Reference, Schema
from litestar.router import Router
from litestar.static_files import create_static_files_router

from api import __version__

ASSETS = "/schema/assets"


class ErrorBody(msgspec.Struct):
    error: str


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
        components=Components(),
    )


def assets_router() -> Router:
    package = find_spec("swagger_ui")  # for the files in it; its code is for other frameworks and stays out of memory
    assert package is not None
    assert package.origin is not None
    static = Path(package.origin).parent / "static"
    return create_static_files_router(path=ASSETS, directories=[static], include_in_schema=False)


def form_body(fields: type[msgspec.Struct], *, file: str) -> dict[str, OpenAPIMediaType]:
    """multipart/form-data with a required `file` and the optional fields of a struct."""
    _, components = msgspec.json.schema_components([fields])
    properties: dict[str, Reference | Schema] = {
        "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description=file),
        **{name: _schema(schema) for name, schema in components[fields.__name__]["properties"].items()},
    }
    schema = Schema(type=OpenAPIType.OBJECT, properties=properties, required=["file"])
    return {"multipart/form-data": OpenAPIMediaType(schema=schema)}


def _schema(schema: dict[str, Any]) -> Schema:
    return Schema(
        type=OpenAPIType(schema.get("type", "string")),
        enum=schema.get("enum"),
        default=schema.get("default"),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        description=schema.get("description"),
    )
