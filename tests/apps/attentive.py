"""Takes the whole request in before it answers, for suites that go on after the headers: WSGI and ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Event = dict[str, Any]

ANSWER = b"Hello, World!"


def wsgi(environ: Event, start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Read the body to its end and answer."""
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]


async def asgi(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    """The same; a client that goes before its request is whole gets no answer."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    while (event := await receive())["type"] == "http.request" and event.get("more_body"):
        pass
    if event["type"] == "http.disconnect":
        return
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": ANSWER})
