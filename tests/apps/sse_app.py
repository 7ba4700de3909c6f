"""Server-sent events: by sse-starlette at `/tides`, and in plain ASGI at `/plain`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from asgiref.typing import Scope
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from apps.asgi_parts import Receive, Send, named, part, progress, query, start, tell

EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


async def tides(request: Request) -> EventSourceResponse:
    name = request.query_params.get("name", "")
    first = int(request.headers.get("Last-Event-ID", -1)) + 1

    async def events() -> AsyncIterator[ServerSentEvent]:
        try:
            for number in itertools.count(first):
                yield ServerSentEvent(f"tide {number}", event="tide", id=str(number))
                await asyncio.sleep(0.005)
        finally:
            tell(f"{name} events closed")

    return EventSourceResponse(events(), ping=1)


starlette = Starlette(routes=[Route("/tides", tides)])


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http" or scope["path"] not in ("/plain", "/how-far"):
        await starlette(scope, receive, send)
        return
    if scope["path"] == "/how-far":
        await start(send)
        await part(send, b"%d" % progress.get(named(scope), 0), more=False)
        return
    filler = "." * int(query(scope).get("filler", 0))
    await start(send, EVENTS)
    try:
        for number in itertools.count():
            await part(send, f"id: {number}\ndata: {filler}\n\n".encode())
            progress[named(scope)] = number
            await asyncio.sleep(0)
    except OSError as error:
        tell(f"{named(scope)} ended by {type(error).__name__}")
