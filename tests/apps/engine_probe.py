"""An application for tests of the server underneath: each path makes it do one thing. Times in seconds."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


class Stream:
    """Blocks one after the other; says on standard error how far it came and that it was closed."""

    def __init__(self, count: int, size: int, pause: float) -> None:
        self.left = count
        self.sent = 0
        self.block = b"x" * size
        self.pause = pause

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.left == 0:
            raise StopIteration
        if self.pause and self.sent:
            time.sleep(self.pause)
        self.left -= 1
        self.sent += 1
        return self.block

    def close(self) -> None:
        print(f"stream closed after {self.sent} blocks", file=sys.stderr, flush=True)


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    print(f"called {path}", file=sys.stderr, flush=True)
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return Stream(int(query["count"]), int(query["size"]), float(query.get("pause", "0")))
    if path == "/large":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return [b"x" * int(query["size"])]
    if path == "/read":
        try:
            body = environ["wsgi.input"].read()
        except OSError as error:
            print(f"read failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            raise
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % len(body)]
    if path == "/count":
        total = 0
        while block := environ["wsgi.input"].read(65536):
            total += len(block)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % total]
    if path == "/slow":
        time.sleep(float(query["for"]))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"slow"]
    if path == "/stuck":
        # Only an exception gets it out of here.
        while True:
            time.sleep(0.05)
    if path == "/environ":
        start_response("200 OK", [("Content-Type", "application/json")])
        plain = {key: value for key, value in environ.items() if isinstance(value, (str, bool, int))}
        return [json.dumps(plain).encode()]
    if path == "/threads":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [threading.current_thread().name.encode()]
    if path == "/fail":
        raise RuntimeError("as asked")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
