"""Requests that take far too long, and others beside them: for deadlines.py.

The path says how, and for how many milliseconds: /sleep/30000 as Python code waits, and can be interrupted
where the host can; /c/30000 in a call of C that lets the interpreter go, and that nothing can interrupt.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from app_asgi import Receive, Scope, Send, answer

from apps import HELLO, HELLO_FIELDS, Environ, StartResponse

# More than ever call C at once.
POOL = 300

libc = ctypes.CDLL(None)


def wait(path: str) -> tuple[bool, float]:
    """Return whether to wait in C, and for how many seconds."""
    _, how, milliseconds = path.split("/")
    return how == "c", int(milliseconds) / 1000


def in_c(seconds: float) -> None:
    """Be stuck."""
    libc.usleep(int(seconds * 1_000_000))


def threads(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Wait in the request's own thread."""
    is_c, seconds = wait(environ["PATH_INFO"])
    (in_c if is_c else time.sleep)(seconds)
    start_response("200 OK", HELLO_FIELDS[:])
    return [HELLO]


def greenlets(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Wait in the request's greenlet; call C in gevent's threads, as a call in the loop's would stop all."""
    import gevent

    is_c, seconds = wait(environ["PATH_INFO"])
    if is_c:
        pool = gevent.get_hub().threadpool
        pool.maxsize = POOL
        pool.apply(in_c, (seconds,))
    else:
        time.sleep(seconds)
    start_response("200 OK", HELLO_FIELDS[:])
    return [HELLO]


executor = ThreadPoolExecutor(POOL)


async def asyncio_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Wait in the request's task; call C in other threads, as a call in the loop's would stop all."""
    assert scope["type"] == "http"
    is_c, seconds = wait(scope["path"])
    if is_c:
        await asyncio.get_running_loop().run_in_executor(executor, in_c, seconds)
    else:
        await asyncio.sleep(seconds)
    await answer(send, HELLO, b"text/plain")
