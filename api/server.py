"""How the application is served: one uvicorn process, and how that ends."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import threading
from contextlib import suppress

import uvicorn
from litestar import Litestar
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api.http.drain import Drain
from api.settings import Settings
from api.telemetry import logs

log = logging.getLogger(__name__)

PING_INTERVAL_S = 20.0
GIVE_BACK_S = 12.0
"""What is cancelled after the drain has so long to give back what it holds."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's neither answers nor closes a handshake that its parser refuses, and stumbles over it when it stops. It
    also cuts off every session at that moment; ours end by themselves."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self.transport.close()

    def shutdown(self) -> None:
        if self.close_sent:
            super().shutdown()


class Server(uvicorn.Server):
    """Ends after SIGINT or SIGTERM: nothing new is taken, what is under way goes on for `drain_s`, what is left then is
    cancelled, and whatever keeps the process from ending after that is not waited for."""

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(logs.report)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A thread, because what hangs may be the event loop, or another thread that its end waits for.
        watchdog = threading.Timer(self._drain_s + GIVE_BACK_S, _end)
        watchdog.daemon = True
        watchdog.start()
        self._drain.begin()
        await super().shutdown(sockets)


def serve(app: Litestar, settings: Settings) -> None:
    """Until SIGINT or SIGTERM."""
    logs.configure(settings.log_format, settings.log_level)
    config = uvicorn.Config(
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
        log_config=None,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
    with suppress(KeyboardInterrupt):
        Server(config, app.state.drain, settings.drain_s).run()


def _end() -> None:
    log.critical("The process does not come to its end, and is ended")
    os._exit(1)
