"""An application for tests of logs: answers as its path says."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


def breaks() -> Iterator[bytes]:
    yield b"a part"
    raise ValueError("as asked")


def short() -> Iterator[bytes]:
    yield b"a part"


def endless() -> Iterator[bytes]:
    print("endless", file=sys.stderr, flush=True)
    for _ in range(900):
        yield b"."
        time.sleep(0.01)


STREAMS = {"/breaks": breaks, "/short": short, "/endless": endless}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path: str = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    status, body = "200 OK", b"hello\n"
    if path.startswith("/status/") and path[8:].isdigit():
        status = f"{path[8:]} As asked"
        body = b"" if path == "/status/204" else b"not so"
    elif path == "/slow":
        time.sleep(0.3)
    elif path == "/unanswered":
        # The server has no more than to see that nobody waits.
        print("waiting", file=sys.stderr, flush=True)
        threading.Event().wait(1)
    elif path == "/fail":
        raise ValueError("as asked")
    elif path in STREAMS:
        start_response(status, [("Content-Length", "1000")])
        return STREAMS[path]()
    fields = [("Content-Length", str(len(body))), ("Content-Type", "text/plain")]
    if path == "/status/204":
        fields = []
    if path == "/fields":
        fields += [("X-Seen", "once"), ("x-seen", 'twice "so"')]
    if "HTTP_X" in environ:
        fields.append(("X-Seen", environ["HTTP_X"]))
    start_response(status, fields)
    return [body]
