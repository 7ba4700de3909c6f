"""The ASGI applications that are measured, as plain as the WSGI ones in apps.py.

None takes part in the lifespan protocol: they refuse its scope by raising, which servers have to accept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

HELLO = b"Hello, World!"

# As JSON.stringify writes, so that Node.js's answer is the same. Made once: json.dumps would make it anew.
encode_json = json.JSONEncoder(separators=(",", ":")).encode


async def answer(send: Send, body: bytes, content_type: bytes) -> None:
    """Answer in two events, the length said, as every framework does."""
    fields = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 13 bytes."""
    assert scope["type"] == "http"
    await answer(send, HELLO, b"text/plain")


async def sleep(scope: Scope, receive: Receive, send: Send) -> None:
    """Sleep for as many milliseconds as the path says, then answer as `hello` does; at / and /0 at once."""
    assert scope["type"] == "http"
    if ms := int(scope["path"][1:] or 0):
        await asyncio.sleep(ms / 1000)
    await answer(send, HELLO, b"text/plain")


async def echo_json(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, parse it, and answer it written anew."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    await answer(send, encode_json(json.loads(body)).encode(), b"application/json")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept every WebSocket and send each message back as it came."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        # Servers may leave the other one of the two out, or say None.
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
