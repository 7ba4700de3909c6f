"""An application for random load: each path does one thing that a server must clean up after.

What it sends and what it is sent are pieces of SEA, so that both sides know every byte. Each call and each
iterable is counted in and out, and `/state` says what the process holds.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

SEA = random.Random(1).randbytes(4 * 1024 * 1024)
PLAIN = ("Content-Type", "text/plain")
BYTES = ("Content-Type", "application/octet-stream")

counting = threading.Lock()
counts = {"calls": 0, "iterables": 0, "callbacks": 0}


def no_tasks() -> int:
    return 0


# How a call waits, and counts asyncio's tasks besides its own. The bridge has other ways: `apps.soak_bridge`.
sleep: Callable[[float], object] = time.sleep
count_tasks: Callable[[], int] = no_tasks


class OnPurpose(Exception):
    """What a failing call raises. It is not logged, so that any other traceback shows."""


def is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], OnPurpose))


logging.getLogger("tidegate.error").addFilter(is_news)


def count(name: str, by: int) -> None:
    with counting:
        counts[name] += by


class Blocks:
    """A piece of SEA in blocks; complains when it is closed twice, and is missed when it is never closed."""

    def __init__(self, start: int, size: int, block: int, pause_s: float) -> None:
        self.left = memoryview(SEA)[start : start + size]
        self.block = block
        self.pause_s = pause_s
        self.closed = False
        count("iterables", 1)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        if self.pause_s:
            sleep(self.pause_s)
        block, self.left = self.left[: self.block], self.left[self.block :]
        return bytes(block)

    def close(self) -> None:
        if self.closed:
            raise AssertionError("closed twice")
        self.closed = True
        count("iterables", -1)


class Broken(Blocks):
    """Blocks that come to an end too early."""

    def __next__(self) -> bytes:
        if len(self.left) < self.block:
            raise OnPurpose("within the response")
        return super().__next__()


class File:
    """An unlinked file that holds SEA, with a descriptor of its own for each request."""

    shared = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)

    def __init__(self, start: int) -> None:
        # Opened anew, for a position of its own: a descriptor that is a copy would share one.
        self.file = open(f"/proc/self/fd/{self.shared.fileno()}", "rb")  # noqa: SIM115 (see close)
        self.file.seek(start)
        self.read, self.tell, self.fileno = self.file.read, self.file.tell, self.file.fileno
        count("iterables", 1)

    def close(self) -> None:
        self.file.close()
        count("iterables", -1)


File.shared.write(SEA)
File.shared.flush()


def read_all(environ: Environ) -> bytes:
    """What was sent, as its length and checksum."""
    stream = environ["wsgi.input"]
    length, crc = 0, 0
    while block := stream.read(65536):
        length += len(block)
        crc = zlib.crc32(block, crc)
    return f"{length} {crc}".encode()


def linger(environ: Environ, seconds: float) -> bytes:
    """Wait for the client to leave, but no longer than that."""
    cancelled = environ.get("tidegate.cancelled")
    if cancelled is None:
        sleep(seconds)
        return b"stayed"
    cancelled.add_callback(lambda: count("callbacks", 1))
    return b"left" if cancelled.wait(seconds) else b"stayed"


def compute(seconds: float) -> None:
    number = 1
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        number = number * 3 % 1000003


def state(tasks: int) -> bytes:
    """What the process holds, once what is only waiting to be collected is gone."""
    gc.collect()
    found: dict[str, int] = dict(counts)
    # This call.
    found["calls"] -= 1
    found["tasks"] = tasks
    found["python_threads"] = threading.active_count()
    kind = getattr(sys.modules.get("greenlet"), "greenlet", None)
    found["greenlets"] = sum(1 for thing in gc.get_objects() if isinstance(thing, kind)) if kind else 0
    found["blocks"] = sys.getallocatedblocks()
    return json.dumps(found).encode()


def respond(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if path == "/read":
        try:
            answer = read_all(environ)
        except OSError as error:
            # The client has left or broken its promise; whatever is answered, it will not see it.
            answer = type(error).__name__.encode()
    elif path == "/echo":
        try:
            answer = environ["wsgi.input"].read()
        except OSError as error:
            answer = type(error).__name__.encode()
    elif path == "/unread":
        answer = b"unread"
    elif path == "/glance":
        try:
            answer = str(len(environ["wsgi.input"].read(10))).encode()
        except OSError as error:
            answer = type(error).__name__.encode()
    elif path == "/sleep":
        sleep(float(query["seconds"]))
        answer = query["word"].encode()
    elif path == "/linger":
        answer = linger(environ, float(query["seconds"]))
    elif path == "/compute":
        compute(float(query["seconds"]))
        answer = query["word"].encode()
    elif path == "/stream":
        start, size = int(query["start"]), int(query["size"])
        fields = [BYTES, ("Content-Length", str(size))] if query["framed"] == "length" else [BYTES]
        start_response("200 OK", fields)
        return Blocks(start, size, int(query["block"]), float(query["pause"]))
    elif path == "/large":
        start, size = int(query["start"]), int(query["size"])
        start_response("200 OK", [BYTES])
        return [SEA[start : start + size]]
    elif path == "/write":
        start, size, block = int(query["start"]), int(query["size"]), int(query["block"])
        write = start_response("200 OK", [BYTES])
        try:
            for at in range(start, start + size, block):
                write(SEA[at : min(at + block, start + size)])
        except OSError:
            # The client has left.
            return []
        return []
    elif path == "/file":
        start_response("200 OK", [BYTES, ("Content-Length", str(len(SEA) - int(query["start"])))])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](File(int(query["start"])), 65536)
        return wrapped
    elif path == "/fail":
        raise OnPurpose("before the response")
    elif path == "/break":
        start_response("200 OK", [BYTES])
        return Broken(int(query["start"]), int(query["size"]), int(query["block"]), 0)
    elif path == "/state":
        answer = state(count_tasks())
    else:
        answer = query.get("word", "").encode()
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(answer)))])
    return [answer]


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    count("calls", 1)
    try:
        return respond(environ, start_response)
    finally:
        count("calls", -1)


def keeping(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same, but for a descriptor that each upload leaves open: what a soak must find."""
    if environ["PATH_INFO"] == "/read":
        os.dup(File.shared.fileno())
    return application(environ, start_response)


kept: list[bytes] = []


def leaking(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same, but for some bytes that each request leaves behind: why workers are replaced."""
    kept.append(SEA[: int(os.environ["SOAK_LEAK"])])
    return application(environ, start_response)
