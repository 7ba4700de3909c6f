"""An application that waits for another service: each request makes one of its own, with urllib3."""

from __future__ import annotations

import os
from collections.abc import Iterable

import urllib3

from apps import HELLO_FIELDS, Environ, StartResponse

# As many connections as there are requests at once: what is measured is waiting, not the pool.
POOL = urllib3.HTTPConnectionPool(
    "127.0.0.1", int(os.environ["BENCH_BACKEND_PORT"]), maxsize=int(os.environ["BENCH_BACKEND_POOL"])
)


def call(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Ask the backend for the path that was asked for, and pass on what it answers."""
    body = POOL.request("GET", environ["PATH_INFO"], retries=False).data
    start_response("200 OK", HELLO_FIELDS[:])
    return [body]
