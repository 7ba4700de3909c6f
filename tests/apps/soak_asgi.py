"""The ASGI side of `apps.soak`: the same paths for HTTP, and WebSockets under some of them.

The counts are those of `apps.soak`, so that both may be in one process.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.typing import HTTPScope, Scope, WebSocketScope, WWWScope

from apps import soak
from apps.asgi_parts import BINARY, Receive, Send, answer, beyond_types, part, query, start
from apps.soak import SEA, File, OnPurpose, compute, count, state


async def departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def piece(scope: WWWScope) -> tuple[memoryview, int]:
    """The piece of SEA that the query names, and the size of its blocks."""
    asked = query(scope)
    begin, size = int(asked["start"]), int(asked["size"])
    return memoryview(SEA)[begin : begin + size], int(asked.get("block", size))


def other_tasks() -> int:
    return len(asyncio.all_tasks()) - 1


# HTTP


async def plain(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, query(scope).get("word", ""))


async def read(scope: HTTPScope, receive: Receive, send: Send) -> None:
    length, crc = 0, 0
    whole = False
    while not whole:
        message = await receive()
        if message["type"] != "http.request":
            # It has left or broken its promise; whatever is answered, it will not see it.
            return
        length += len(message["body"])
        crc = zlib.crc32(message["body"], crc)
        whole = not message["more_body"]
    await answer(send, f"{length} {crc}")


async def echo(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Sends back as it comes what may be more than the server keeps."""
    await start(send, BINARY)
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        more = message["more_body"]
        await part(send, message["body"], more=more)


async def unread(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, "unread")


async def glance(scope: HTTPScope, receive: Receive, send: Send) -> None:
    message = await receive()
    await answer(send, str(min(len(message.get("body", b"")), 10)))  # type: ignore[arg-type]


async def sleep(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(query(scope)["seconds"]))
    await plain(scope, receive, send)


async def linger(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Waits for the client to leave, but no longer than that."""
    try:
        await asyncio.wait_for(departure(receive), float(query(scope)["seconds"]))
    except asyncio.TimeoutError:
        await answer(send, "stayed")
        return
    count("callbacks", 1)
    await answer(send, "left")


async def compute_(scope: HTTPScope, receive: Receive, send: Send) -> None:
    compute(float(query(scope)["seconds"]))
    await plain(scope, receive, send)


async def stream(scope: HTTPScope, receive: Receive, send: Send) -> None:
    left, block = piece(scope)
    asked = query(scope)
    length = [(b"content-length", b"%d" % len(left))] if asked["framed"] == "length" else []
    await start(send, [*BINARY, *length])
    while left:
        if pause_s := float(asked["pause"]):
            await asyncio.sleep(pause_s)
        await part(send, bytes(left[:block]))
        left = left[block:]
    await part(send, b"", more=False)


async def large(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, BINARY)
    await part(send, bytes(piece(scope)[0]), more=False)


async def write(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """A stream, while a task looks out for the client's departure as those of frameworks do."""
    left, block = piece(scope)
    lookout = asyncio.create_task(departure(receive))
    try:
        await start(send, BINARY)
        while left and not lookout.done():
            await part(send, bytes(left[:block]))
            left = left[block:]
        await part(send, b"", more=False)
    finally:
        lookout.cancel()


async def file(scope: HTTPScope, receive: Receive, send: Send) -> None:
    begin = int(query(scope)["start"])
    opened = File(begin)
    try:
        await start(send, [*BINARY, (b"content-length", b"%d" % (len(SEA) - begin))])
        await send(beyond_types({"type": "http.response.zerocopysend", "file": opened.fileno()}))
    finally:
        opened.close()


async def path(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, BINARY)
    await send(beyond_types({"type": "http.response.pathsend", "path": __file__}))


async def background(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Goes on when the response is complete."""
    await plain(scope, receive, send)
    await asyncio.sleep(float(query(scope)["seconds"]))


async def fail(scope: HTTPScope, receive: Receive, send: Send) -> None:
    raise OnPurpose("before the response")


async def break_(scope: HTTPScope, receive: Receive, send: Send) -> None:
    left, block = piece(scope)
    await start(send, BINARY)
    while len(left) >= block:
        await part(send, bytes(left[:block]))
        left = left[block:]
    raise OnPurpose("within the response")


async def state_(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, state(other_tasks()))


# WebSockets


async def accept(receive: Receive, send: Send) -> None:
    await receive()
    await send(beyond_types({"type": "websocket.accept"}))


async def say_back(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        said = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}  # type: ignore[literal-required]
        await send(beyond_types({"type": "websocket.send", **said}))


async def ws_echo(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await say_back(receive, send)


async def ws_late(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(query(scope)["seconds"]))
    await ws_echo(scope, receive, send)


async def ws_push(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Sends a piece of SEA in blocks and closes."""
    left, block = piece(scope)
    await accept(receive, send)
    while left:
        await send(beyond_types({"type": "websocket.send", "bytes": bytes(left[:block])}))
        left = left[block:]
    await send(beyond_types({"type": "websocket.close", "code": 3001, "reason": "pushed"}))
    await receive()


async def ws_talk(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Speaks on its own while it says back what it hears."""
    await accept(receive, send)

    async def speak() -> None:
        while True:
            await send(beyond_types({"type": "websocket.send", "text": "tick"}))
            await asyncio.sleep(0.01)

    speaker = asyncio.create_task(speak())
    try:
        await say_back(receive, send)
    finally:
        speaker.cancel()
        # What became of it: the client may have left first.
        await asyncio.gather(speaker, return_exceptions=True)


async def ws_deaf(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Takes nothing, and returns without closing."""
    await accept(receive, send)
    await asyncio.sleep(float(query(scope)["seconds"]))


async def ws_refuse(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await send(beyond_types({"type": "websocket.close"}))


async def ws_deny(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    body = query(scope)["word"].encode()
    await send(beyond_types({"type": "websocket.http.response.start", "status": 401, "headers": []}))
    await send(beyond_types({"type": "websocket.http.response.body", "body": body}))


async def ws_fail(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    raise OnPurpose("before the handshake's end")


async def ws_break(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await receive()
    raise OnPurpose("within the conversation")


Call = Callable[[Any, Receive, Send], Awaitable[None]]


def calls(*functions: Call) -> dict[str, Call]:
    """By the paths that their names say."""
    names = [(function.__name__.removeprefix("ws_").strip("_"), function) for function in functions]
    return {f"/{name}": function for name, function in names}


HTTP = calls(
    plain, read, echo, unread, glance, sleep, linger, compute_, stream, large, write, file, path, background
) | calls(fail, break_, state_)
WEBSOCKETS = calls(ws_echo, ws_late, ws_push, ws_talk, ws_deaf, ws_refuse, ws_deny, ws_fail, ws_break)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        # How an application says that it has no part in it.
        raise NotImplementedError(scope["type"])
    where = scope["path"].removeprefix(scope["root_path"])
    # The corpus of malformed requests has other paths, and applications that read are told of what is wrong.
    call = HTTP.get(where, read) if scope["type"] == "http" else WEBSOCKETS[where]
    count("calls", 1)
    try:
        await call(scope, receive, send)
    finally:
        count("calls", -1)


kept = set()


async def keeping(scope: Scope, receive: Receive, send: Send) -> None:
    """The same, but for a task that each upload leaves behind: what a soak must find."""
    if scope["type"] == "http" and scope["path"] == "/read":
        kept.add(asyncio.create_task(asyncio.sleep(3600)))
    await app(scope, receive, send)


async def leaking(scope: Scope, receive: Receive, send: Send) -> None:
    """The same, but for some bytes that each request leaves behind: why workers are replaced."""
    soak.kept.append(SEA[: int(os.environ["SOAK_LEAK"])])
    await app(scope, receive, send)
