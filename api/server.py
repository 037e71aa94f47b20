"""How the application is served: one uvicorn process."""

from __future__ import annotations

import logging

import uvicorn
from litestar import Litestar
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api.settings import Settings

PING_INTERVAL_S = 20.0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's neither answers nor closes a handshake that its parser refuses, and stumbles over it when it stops."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self.transport.close()


def serve(app: Litestar, settings: Settings, *, log_level: str = "info") -> None:
    """Until SIGINT or SIGTERM."""
    logging.getLogger("uvicorn.error").addFilter(_is_no_connection)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",  # unlike httptools, it bounds the size of headers
        ws=WebSocketProtocol,
        # A message that is larger than it may be is answered with an error; one much larger just ends the connection.
        ws_max_size=2 * settings.max_frame_bytes,
        # Pings keep proxies from closing a quiet connection. They end none: while a client sends faster than it is
        # transcribed, its answers to them wait behind its audio. Who is silent for too long is the session's matter.
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,  # samples do not compress
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        log_level=log_level,
        timeout_graceful_shutdown=10,
    )


def _is_no_connection(record: logging.LogRecord) -> bool:
    """uvicorn logs every WebSocket with its address, in which clients send their keys."""
    return '"WebSocket %s"' not in str(record.msg)
