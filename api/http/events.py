"""Answers that come as they are written: server-sent events (HTML Living Standard, section 9.2).

event: delta    data: {"delta": "The team "}
event: done     data: the whole answer, as it would have come without a stream
event: error    data: {"error": "…"}, instead of done
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.response import Stream
from litestar.response.base import ASGIResponse

from api.errors import TritoneError
from api.http.connection import disconnected, while_connected
from api.http.errors import UNEXPECTED, count_refusal
from api.transcripts.jobs import Errand

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
EVENT = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "event": Schema(type=OpenAPIType.STRING, enum=["delta", "done", "error"]),
        "data": Schema(type=OpenAPIType.STRING, description="JSON"),
    },
    required=["event", "data"],
)


class EventStream(Stream):
    def to_asgi_response(self, *arguments: Any, **named: Any) -> ASGIResponse:
        """Litestar would take the media type of the route's other answer."""
        return super().to_asgi_response(*arguments, **{**named, "media_type": MEDIA_TYPE})


async def event_stream(
    request: Request[Any, Any, Any],
    pieces: AsyncGenerator[str | msgspec.Struct, None],
    errand: Errand,
    held: AsyncExitStack,
) -> EventStream:
    """The last of `pieces` is the whole answer. What `held` holds is let go when the stream ends, or its client leaves.

    Waits for the first piece: what fails before it is an answer with a status of its own.
    """
    first = await while_connected(_next(pieces), disconnected(request))
    mine = held.pop_all()

    async def events() -> AsyncIterator[bytes]:
        whole = piece = first
        try:
            async with mine, aclosing(pieces):
                while piece is not None:
                    if isinstance(piece, str):
                        errand.told = True
                        yield _event("delta", {"delta": piece})
                    whole, piece = piece, await _next(pieces)
            yield _event("done", whole)
        except TritoneError as error:
            count_refusal(error)
            yield _event("error", {"error": str(error)})
        except Exception:
            log.exception("A stream failed")
            count_refusal(TritoneError())
            yield _event("error", {"error": UNEXPECTED})

    # No proxy on the way may wait for more of it.
    return EventStream(events(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _next(pieces: AsyncGenerator[str | msgspec.Struct, None]) -> str | msgspec.Struct | None:
    return await anext(pieces, None)


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


def with_events(operation: type[Operation]) -> type[Operation]:
    """The same, of which the answer may come as events."""

    @dataclass
    class WithEvents(operation):  # type: ignore[valid-type, misc]
        def __post_init__(self) -> None:
            super().__post_init__()
            answer = cast(OpenAPIResponse, self.responses["200"])
            assert answer.content is not None
            answer.content[MEDIA_TYPE] = OpenAPIMediaType(EVENT)

    return WithEvents
