"""Calls that no server can end, and a signal handler that ends the process."""

from __future__ import annotations

import atexit
import signal
import sys
import time
from typing import Any


def application(environ: Any, start_response: Any) -> list[bytes]:
    print(f"called {environ['PATH_INFO']}", file=sys.stderr, flush=True)
    if environ["PATH_INFO"] == "/computes":
        while True:
            pass
    if environ["PATH_INFO"] == "/sleeps":
        time.sleep(1000)
    start_response("200 OK", [("Content-Length", "0")])
    return []


async def asynchronous(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def _exit_with_a_status(number: int, frame: Any) -> None:
    raise SystemExit(7)


def _exit_with_a_message(number: int, frame: Any) -> None:
    raise SystemExit("high water")


class _Late:
    """Makes Python's finalisation wait, so that threads come to want the interpreter meanwhile."""

    def __init__(self) -> None:
        self.sleep = time.sleep

    def __del__(self) -> None:
        self.sleep(0.2)


signal.signal(signal.SIGUSR1, _exit_with_a_status)
signal.signal(signal.SIGUSR2, _exit_with_a_message)
# Without a flush: that is for the end.
atexit.register(print, "atexit", end="")
sys.late = _Late()  # type: ignore[attr-defined]
