"""An ASGI application whose calls wait at a gate that SIGUSR1 opens."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]

opened: list[bool] = []
signal.signal(signal.SIGUSR1, lambda _number, _frame: opened.append(True))


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    answer = b"hello"
    if scope["path"] == "/wait":
        sys.stderr.write("at the gate\n")
        sys.stderr.flush()
        while not opened:
            await asyncio.sleep(0.01)
        answer = b"opened"
    elif scope["path"] == "/read":
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        answer = b"%d" % size
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer})
