"""Applications that see how requests share a connection: the same paths for WSGI and for ASGI."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections import defaultdict
from typing import Any

PIECE = b"0123456789abcdef" * 1024
LARGE = 256

gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
async_gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


def wsgi(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    fields = [("Content-Type", "application/octet-stream")]
    if path == "/environ":
        start_response("200 OK", fields)
        return [json.dumps({k: v for k, v in environ.items() if isinstance(v, str)}).encode()]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", fields)
        return [body]
    if path == "/large":
        start_response("200 OK", fields)
        return (PIECE for _ in range(LARGE))
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(PIECE * LARGE)
        file.seek(0)
        start_response("200 OK", fields)
        return environ["wsgi.file_wrapper"](file)
    if path == "/reads_late":
        assert gates[query].wait(30)
        body = environ["wsgi.input"].read()
        start_response("200 OK", fields)
        return [str(len(body)).encode()]
    if path == "/waits":
        assert gates[query].wait(30)
    if path == "/open":
        gates[query].set()
    if path == "/fails":
        start_response("200 OK", fields)
        return fails()
    if path == "/short":
        start_response("200 OK", [*fields, ("Content-Length", "1000")])
        return [b"short"]
    if path == "/empty":
        start_response("204 No Content", [("X-Nothing", "here")])
        return []
    if path == "/fields":
        start_response(
            "200 OK", [*fields, ("Connection", "close"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        )
        return [b"fields"]
    start_response("200 OK", [*fields, ("Content-Length", "13")])
    return [b"Hello, world!"]


def fails():
    yield b"before"
    raise RuntimeError("in the middle of a response")


async def asgi(scope: dict[str, Any], receive, send):
    assert scope["type"] in ("http", "websocket"), "no part in the lifespan"
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    path, query = scope["path"], scope["query_string"].decode()
    fields = [(b"content-type", b"application/octet-stream")]
    body, pieces, trailers = b"Hello, world!", 1, False
    if path == "/scope":
        body = json.dumps({k: v for k, v in scope.items() if isinstance(v, str)}).encode()
    elif path == "/fields":
        body = json.dumps([(name.decode(), value.decode()) for name, value in scope["headers"]]).encode()
    elif path == "/echo":
        body = await whole(receive)
    elif path == "/reads_late":
        await async_gates[query].wait()
        body = str(len(await whole(receive))).encode()
    elif path == "/large":
        body, pieces = PIECE, LARGE
    elif path == "/waits":
        await async_gates[query].wait()
    elif path == "/open":
        async_gates[query].set()
    elif path == "/trailers":
        trailers = "http.response.trailers" in scope.get("extensions", {})
    elif path == "/hints":
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    elif path == "/leaves":
        while (await receive())["type"] != "http.disconnect":
            pass
        async_gates[query].set()
        return
    await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": trailers})
    for _ in range(pieces - 1):
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": body})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-after", b"all")]})
    if path == "/fails":
        raise RuntimeError("after the response")


async def whole(receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    chosen = next(iter(scope["subprotocols"]), None)
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": [(b"x-accepted", b"yes")]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "asked to"})
            return
        answer = {"type": "websocket.send"}
        answer |= {kind: message[kind] for kind in ("text", "bytes") if message.get(kind) is not None}
        await send(answer)
