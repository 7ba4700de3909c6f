"""Applications whose answer is the worker's process, after a little work."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

# Enough for the workers to be busy, and not the client alone.
WORK_S = 0.0003

Send = Callable[[dict[str, Any]], Awaitable[None]]


def work() -> bytes:
    """Compute a little; return the number of the process."""
    until = time.thread_time() + WORK_S
    while time.thread_time() < until:
        pass
    return b"%d" % os.getpid()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer by WSGI."""
    body = work()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Send) -> None:
    """Answer by ASGI."""
    if scope["type"] == "lifespan":
        raise NotImplementedError(scope["type"])
    body = work()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
