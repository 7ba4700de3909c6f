"""An application to be looked into: it answers, holds its request, or holds the interpreter too.

`/hold` goes on when there is a file of the name in the variable LET_GO, and so does `/goes-on`, although its
time is over (`/goes-on-awaiting` waits on the bridge's loop meanwhile); `/stuck` reads from the FIFO in
STUCK, in C and with the interpreter in hand; `/status?404` answers with that status.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import tidegate

LET_GO = os.environ.get("LET_GO", "")
STUCK = os.environ.get("STUCK", "")

Message = MutableMapping[str, Any]


def hold_the_interpreter() -> None:
    fifo = os.open(STUCK, os.O_RDWR)
    try:
        # Unlike CDLL, it lets go of the interpreter for no call.
        ctypes.PyDLL(None).read(fifo, ctypes.create_string_buffer(1), 1)
    finally:
        os.close(fifo)


def go_on(wait: Callable[[], object]) -> None:
    # Told once, anywhere in here.
    with contextlib.suppress(tidegate.RequestTimeout):
        while not os.path.exists(LET_GO):
            wait()
    while not os.path.exists(LET_GO):
        wait()


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path, status = environ["PATH_INFO"], "200 OK"
    if path.endswith("/hold"):
        while not os.path.exists(LET_GO):
            time.sleep(0.01)
    elif path.endswith(("/goes-on", "/goes-on-awaiting")):
        awaits = path.endswith("awaiting")
        go_on(lambda: tidegate.await_(asyncio.sleep(0.01)) if awaits else time.sleep(0.01))
    elif path == "/stuck":
        hold_the_interpreter()
    elif path == "/status":
        status = f"{environ['QUERY_STRING']} Said"
    body = f"{os.getpid()}\n".encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asynchronous(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    path, status = scope["path"], 200
    if path.endswith("/hold"):
        while not os.path.exists(LET_GO):
            await asyncio.sleep(0.01)
    elif path.endswith("/goes-on"):
        while not os.path.exists(LET_GO):
            with contextlib.suppress(tidegate.RequestTimeout):
                await asyncio.sleep(0.01)
    elif path == "/stuck":
        hold_the_interpreter()
    elif path == "/status":
        status = int(scope["query_string"])
    body = f"{os.getpid()}\n".encode()
    fields = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
