"""GET /metrics"""

from __future__ import annotations

from litestar import Response, get

from api.metrics import exposition


@get(
    "/metrics",
    tags=["health"],
    sync_to_thread=False,
    media_type="text/plain",
    summary="What Prometheus asks for",
    description="In Prometheus's text format.",
)
def metrics() -> Response[bytes]:
    return Response(exposition(), media_type="text/plain; version=0.0.4")
