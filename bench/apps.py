"""The WSGI applications that are measured: nothing but the standard library, and as little of it as possible.

Each does the least that its load needs, so that what is measured is the server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

HELLO = b"Hello, World!"
HELLO_FIELDS = [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))]

BLOCKS = [b"x" * 1024] * 10

LARGE = b"x" * (64 * 1024)
LARGE_FIELDS = [("Content-Type", "text/plain"), ("Content-Length", str(len(LARGE)))]


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 13 bytes as a list of one, the length said."""
    start_response("200 OK", HELLO_FIELDS[:])
    return [HELLO]


def process(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer the number of the process."""
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def sleep(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Sleep for as many milliseconds as the path says, then answer as `hello` does; at / and /0 at once."""
    if ms := int(environ["PATH_INFO"][1:] or 0):
        time.sleep(ms / 1000)
    start_response("200 OK", HELLO_FIELDS[:])
    return [HELLO]


def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer 64 KiB as a list of one, the length said."""
    start_response("200 OK", LARGE_FIELDS[:])
    return [LARGE]


def blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a list of ten blocks of 1 KiB, the length not said: the server chooses the framing."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return BLOCKS[:]


def generator(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Yield the same ten blocks; each must be passed on before the next is asked for (PEP 3333)."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield from BLOCKS


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the whole request body in blocks of 64 KiB and answer its length as decimal digits."""
    missing = int(environ.get("CONTENT_LENGTH") or 0)
    received = 0
    read = environ["wsgi.input"].read
    while missing:
        block = read(min(missing, 65536))
        if not block:
            break
        received += len(block)
        missing -= len(block)
    body = str(received).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Yield as many blocks of 64 KiB as the query string says; no length, so that framing is measured too."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(int(environ["QUERY_STRING"])):
        yield LARGE
