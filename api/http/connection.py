"""Work that is worth doing only while somebody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from api.errors import ClientGone

T = TypeVar("T")


async def disconnected(request: Request[Any, Any, Any]) -> None:
    """Returns when the client of a request that was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def while_connected(work: Coroutine[Any, Any, T], leaving: Coroutine[Any, Any, None]) -> T:
    """The work's result. When `leaving` ends first, the work is cancelled and ClientGone raised, or what it raised."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(leaving)
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            watching.result()
            raise ClientGone("The client left before it was ready.")
        return working.result()
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
        del working, watching  # an error holds this frame, and its task would hold the error: a ring with audio in it
