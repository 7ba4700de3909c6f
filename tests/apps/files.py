"""Applications that name files by the heads of their responses, in WSGI and in ASGI.

The query says what the head has: `status`, and `field=Name:value` as often as wanted. `body` is the body.
With `fails` they fail after its first block; with `mends` the WSGI one catches that and responds anew.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl


def wanted(query: str) -> tuple[str, list[tuple[str, str]], bytes]:
    status, body = "200 OK", b"the application"
    fields = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "status":
            status = value
        elif name == "field":
            key, _, text = value.partition(":")
            fields.append((key, text))
        elif name == "body":
            body = value.encode()
    return status, fields, body


class Failed(Exception):
    """What the query asks for."""


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    status, fields, body = wanted(environ["QUERY_STRING"])
    start_response(status, [*fields, ("X-Path", environ["PATH_INFO"])])
    # Block by block, so that the body is dropped wherever it comes from.
    yield body[:3]
    try:
        if "fails" in environ["QUERY_STRING"]:
            raise Failed
    except Failed:
        if "mends" not in environ["QUERY_STRING"]:
            raise
        start_response("503 Low Water", [("X-Mended", "yes")], sys.exc_info())
        yield b"mended"
        return
    yield body[3:]


async def asynchronous(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    status, fields, body = wanted(scope["query_string"].decode())
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    headers.append((b"x-path", scope["path"].encode()))
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": headers})
    await send({"type": "http.response.body", "body": body[:3], "more_body": True})
    if b"fails" in scope["query_string"]:
        raise Failed
    await send({"type": "http.response.body", "body": body[3:]})
