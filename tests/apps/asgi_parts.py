"""What probing ASGI applications are made of: words on standard error, gates between requests, messages.

What a probe sees goes into its response where that is possible, and to standard error where it is not: a line
`probe: ...` with the name that the query gave it, so that a test knows its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import parse_qs

from asgiref.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPRequestEvent,
    HTTPResponseBodyEvent,
    WWWScope,
)

Receive = ASGIReceiveCallable
Send = ASGISendCallable
Fields = Iterable[tuple[bytes, bytes]]

PATIENCE_S = 20
TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
BINARY = [(b"content-type", b"application/octet-stream")]
BLOCK = bytes(65536)

# By name: what one request waits for and another sends, and how far a stream has come.
gates: dict[str, asyncio.Event] = {}
progress: dict[str, int] = {}


def tell(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
    sys.stderr.flush()


def query(scope: WWWScope) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}


def named(scope: WWWScope) -> str:
    return query(scope).get("name", "")


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


async def start(send: Send, fields: Fields = (), *, status: int = 200, trailers: bool = False) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*fields], "trailers": trailers})


async def part(send: Send, body: bytes, *, more: bool = True) -> None:
    await send(block(body, more=more))


def block(body: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def answer(send: Send, body: str | bytes, *, status: int = 200) -> None:
    data = body.encode() if isinstance(body, str) else body
    await start(send, [*TEXT, (b"content-length", b"%d" % len(data))], status=status)
    await part(send, data, more=False)


async def request_part(receive: Receive) -> HTTPRequestEvent:
    message = await receive()
    assert message["type"] == "http.request", message
    return message


async def whole_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await request_part(receive)
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def beyond_types(message: dict[str, object]) -> ASGISendEvent:
    """A message of an extension that asgiref has no type for, or not this one."""
    return cast(ASGISendEvent, message)


def literally(scope: WWWScope) -> str:
    """The scope as Python writes it, with the exact type of each value."""
    values = cast(dict[str, Any], scope)
    types = {name: type(value).__name__ for name, value in values.items()}
    pairs = {type(pair).__name__ for pair in scope["headers"]}
    return repr({"scope": {**values}, "types": types, "pairs": pairs})
