"""What is asked for through a proxy: digests of uploads, streams, statuses, echoes, what it is told."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from asgiref.typing import Scope

from apps.asgi_parts import (
    TEXT,
    Receive,
    Send,
    answer,
    gate,
    named,
    part,
    query,
    start,
    tell,
    whole_body,
)

EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        while (message := await receive())["type"] == "websocket.receive":
            with suppress(OSError):
                await send(
                    {"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")}
                )
        return
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = scope["path"]
    if path == "/digest":
        await answer(send, hashlib.sha256(await whole_body(receive)).hexdigest())
    elif path == "/stream":
        # The end comes when somebody asks for it: who sees the beginning before has not waited for the end.
        await start(send, [*TEXT, (b"x-accel-buffering", b"no")])
        await part(send, b"flood ")
        await gate(named(scope)).wait()
        await part(send, b"ebb", more=False)
    elif path == "/events":
        # Each comes when it is asked for.
        await start(send, [*EVENTS, (b"x-accel-buffering", b"no")])
        for number in range(3):
            await part(send, f"data: {number}\n\n".encode())
            await gate(f"{named(scope)} {number}").wait()
        await part(send, b"", more=False)
    elif path == "/open":
        gate(query(scope)["gate"]).set()
        await answer(send, "")
    elif path == "/departure":
        await whole_body(receive)
        tell(f"{named(scope)} waits")
        message = await receive()
        tell(f"{named(scope)}: {message['type']}")
    elif path == "/flood":
        try:
            await start(send, [*TEXT, (b"x-accel-buffering", b"no")])
            while True:
                await part(send, bytes(65536))
        except OSError:
            tell(f"{named(scope)} is cut off")
    elif path == "/status":
        status = int(query(scope)["status"])
        await start(send, [(b"etag", b'"tide"'), (b"content-length", b"5")], status=status)
        await part(send, b"tides", more=False)
    elif path == "/cookies":
        fields = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; HttpOnly"), *TEXT]
        await start(send, fields)
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        await part(send, b"|".join(cookies), more=False)
    else:
        fields = {name.decode(): value.decode() for name, value in scope["headers"]}
        client = scope["client"]
        told = {
            "fields": fields,
            "scheme": scope["scheme"],
            "client": client,
            "version": scope["http_version"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "server": scope["server"],
        }
        await answer(send, json.dumps(told))
