"""A chat in plain ASGI: who opens `/NAME` hears what everybody says, and `GET /` tells who is there."""

from __future__ import annotations

import json
from contextlib import suppress

from asgiref.typing import Scope

from apps.asgi_parts import Receive, Send, answer

there: dict[str, Send] = {}


async def tell_all(text: str) -> None:
    for name, send in list(there.items()):
        try:
            await send({"type": "websocket.send", "text": text, "bytes": None})
        except OSError:
            # Gone; the call that has it finds out by itself.
            there.pop(name, None)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(send, json.dumps(sorted(there)))
        return
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    name = scope["path"].strip("/")
    await receive()
    if name in there:
        await send({"type": "websocket.close", "code": 4000, "reason": "the name is taken"})
        return
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    there[name] = send
    try:
        await tell_all(f"{name} came")
        while (message := await receive())["type"] == "websocket.receive":
            await tell_all(f"{name}: {message.get('text')}")
    finally:
        there.pop(name, None)
        with suppress(OSError):
            await tell_all(f"{name} left")
