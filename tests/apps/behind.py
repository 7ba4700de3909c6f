"""What is asked for through a proxy: an upload's digest, a stream, an echo, what it is told of its client."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from asgiref.typing import Scope

from apps.asgi_parts import TEXT, Receive, Send, answer, gate, part, start, whole_body


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
        await gate("ebb").wait()
        await part(send, b"ebb", more=False)
    elif path == "/ebb":
        gate("ebb").set()
        await answer(send, "")
    else:
        fields = {name.decode(): value.decode() for name, value in scope["headers"]}
        client = scope["client"]
        told = {
            "fields": fields,
            "scheme": scope["scheme"],
            "client": client,
            "version": scope["http_version"],
        }
        await answer(send, json.dumps(told))
