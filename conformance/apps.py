"""The probing applications: `application`, and `validated`, the same wrapped in wsgiref.validate.

A path `/probe/NAME` leads to the function NAME below; every other path is echoed. What an application sees it
answers as JSON; what happens outside the response (calls, reads that fail, close()) it writes to the side
channel, a file named by CONFORMANCE_TRACE, one JSON object per line. The request's `t` parameter marks its
lines. An application that has to wait for the client waits for a file, its gate, in CONFORMANCE_FOLDER, which
works the same on every kind of server.

Several of these break PEP 3333 on purpose: what a server makes of that is what they are for.
"""

from __future__ import annotations

import contextvars
import gc
import importlib
import io
import json
import os
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.validate import validator

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Probe = Callable[[Environ, StartResponse], Any]

TRACE = os.environ.get("CONFORMANCE_TRACE", os.devnull)
FOLDER = os.environ.get("CONFORMANCE_FOLDER", ".")
# A gate opens by itself after this time, so that a probe whose client has gone does not hold its server for
# ever.
GATE_S = 10.0
# Where an endless response ends after all, on a server that would buffer it without bound.
ENDLESS_MAX = 512 * 1024 * 1024
BLOCK = b"x" * 65536
TEXT = [("Content-Type", "text/plain")]

PROBES: dict[str, Probe] = {}


def probe(function: Probe) -> Probe:
    """Make a function reachable under its name."""
    PROBES[function.__name__.replace("_", "-")] = function
    return function


# What the probes share


def query(environ: Environ) -> dict[str, str]:
    return dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))


def trace(environ: Environ, event: str, **facts: Any) -> None:
    """Report an event to the runner: one write, so that lines of several threads or processes do not mix."""
    line = json.dumps({"t": environ.get("conformance.token", ""), "event": event, **facts}) + "\n"
    descriptor = os.open(TRACE, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line.encode("ascii"))
    finally:
        os.close(descriptor)


def wait_for_gate(environ: Environ) -> None:
    """Wait until the runner opens this request's gate."""
    gate = os.path.join(FOLDER, f"gate-{environ['conformance.token']}")
    end = time.monotonic() + GATE_S
    while not os.path.exists(gate) and time.monotonic() < end:
        time.sleep(0.005)


def reply(start_response: StartResponse, facts: Any, status: str = "200 OK") -> list[bytes]:
    body = json.dumps(facts).encode("ascii")
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def is_text(value: object) -> bool:
    return type(value) is str


class Blocks:
    """A response body that reports when it is iterated and closed."""

    def __init__(self, environ: Environ, blocks: Iterable[Any], *, close_raises: bool = False) -> None:
        self.environ = environ
        self.iterator = iter(blocks)
        self.taken = 0
        self.close_raises = close_raises

    def __iter__(self) -> Blocks:
        return self

    def __next__(self) -> Any:
        block = next(self.iterator)
        self.taken += 1
        trace(self.environ, "next", thread=threading.get_ident(), mark=MARK.get())
        return block

    def close(self) -> None:
        trace(self.environ, "close", thread=threading.get_ident(), taken=self.taken, mark=MARK.get())
        if self.close_raises:
            raise RuntimeError("close() of a probe raises on purpose")


class Sized(Blocks):
    """The same with a length, as a list has one."""

    def __init__(self, environ: Environ, blocks: list[bytes]) -> None:
        super().__init__(environ, blocks)
        self.size = len(blocks)

    def __len__(self) -> int:
        return self.size


# The application objects


def application(*args: Any, **kwargs: Any) -> Any:
    """Lead a request to its probe; how it was called is one of the things probed."""
    environ, start_response = args if len(args) == 2 else (kwargs["environ"], kwargs["start_response"])
    environ["conformance.token"] = query(environ).get("t", "")
    environ["conformance.called"] = {"positional": len(args), "keywords": sorted(kwargs)}
    path = environ.get("PATH_INFO", "")
    trace(environ, "call", path=path, pid=os.getpid(), thread=threading.get_ident())
    if path.startswith("/probe/"):
        return PROBES[path[len("/probe/") :]](environ, start_response)
    return echo(environ, start_response)


validated = validator(application)


def echo(environ: Environ, start_response: StartResponse) -> Any:
    """Read the whole body and answer what was seen."""
    body = b""
    try:
        length = environ.get("CONTENT_LENGTH")
        if length:
            while len(body) < int(length) and (piece := environ["wsgi.input"].read(int(length) - len(body))):
                body += piece
        elif environ["REQUEST_METHOD"] == "POST":
            while piece := environ["wsgi.input"].read(65536):
                body += piece
    except Exception as error:
        trace(
            environ,
            "read-failed",
            type=type(error).__name__,
            oserror=isinstance(error, OSError),
            got=len(body),
        )
        raise
    short = bool(environ.get("CONTENT_LENGTH")) and len(body) < int(environ["CONTENT_LENGTH"])
    facts = {
        "environ": {key: value for key, value in environ.items() if isinstance(value, str)},
        "body": body.decode("latin-1") if len(body) < 1024 else "",
        "body_size": len(body),
    }
    # On a short read without an error an application that trusts its server believes the body complete.
    trace(environ, "echoed", short=short, body_size=len(body))
    return reply(start_response, facts)


@probe
def ping(environ: Environ, start_response: StartResponse) -> Any:
    return reply(start_response, {"pid": os.getpid()})


# environ


@probe
def environ_types(environ: Environ, start_response: StartResponse) -> Any:
    facts = {
        "is_dict": type(environ) is dict,
        "called": environ["conformance.called"],
        "types": {key: type(value).__name__ for key, value in environ.items()},
        "values": {key: value for key, value in environ.items() if is_text(value)},
        "version": repr(environ.get("wsgi.version")),
        "flags": {
            key: repr(environ.get(f"wsgi.{key}", "missing"))
            for key in ("multithread", "multiprocess", "run_once")
        },
        "truths": {
            key: bool(environ.get(f"wsgi.{key}")) for key in ("multithread", "multiprocess", "run_once")
        },
        "input_methods": [
            name
            for name in ("read", "readline", "readlines", "__iter__")
            if not callable(getattr(environ.get("wsgi.input"), name, None))
        ],
        "errors_methods": [
            name
            for name in ("write", "writelines", "flush")
            if not callable(getattr(environ.get("wsgi.errors"), name, None))
        ],
    }
    return reply(start_response, facts)


@probe
def dirty(environ: Environ, start_response: StartResponse) -> Any:
    found = "conformance.dirt" in environ or "HTTP_DIRT" in environ
    lost = [
        key
        for key in ("SERVER_NAME", "wsgi.version", "wsgi.url_scheme", "REQUEST_METHOD")
        if key not in environ
    ]
    facts = {"found": found, "lost": lost}
    environ["conformance.dirt"] = environ["HTTP_DIRT"] = "dirt"
    for key in ("SERVER_NAME", "wsgi.version", "wsgi.url_scheme"):
        environ.pop(key, None)
    return reply(start_response, facts)


@probe
def overlap(environ: Environ, start_response: StartResponse) -> Any:
    trace(
        environ,
        "enter",
        pid=os.getpid(),
        thread=threading.get_ident(),
        multithread=bool(environ["wsgi.multithread"]),
        multiprocess=bool(environ["wsgi.multiprocess"]),
        at=time.monotonic(),
    )
    time.sleep(0.4)
    trace(environ, "exit", pid=os.getpid(), at=time.monotonic())
    return reply(start_response, {})


# start_response and write()


@probe
def written(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", TEXT)
    trace(environ, "writer", callable=callable(write))
    write(b"one,")
    write(b"two,")
    return [b"three", b",four"] if query(environ).get("more") else []


@probe
def write_str(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", TEXT)
    write("text")
    return []


@probe
def empty_first(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 Old", [*TEXT, ("X-Old", "1")])
    return empty_then_changed(start_response)


def empty_then_changed(start_response: StartResponse) -> Iterator[bytes]:
    yield b""
    try:
        raise LookupError("found out late")
    except LookupError:
        start_response("503 New", [*TEXT, ("X-New", "1")], sys.exc_info())
    yield b"new"


@probe
def held_head(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)
    return empty_then_held(environ)


def empty_then_held(environ: Environ) -> Iterator[bytes]:
    yield b""
    trace(environ, "waiting")
    wait_for_gate(environ)
    yield b"body"


@probe
def nothing(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)
    return []


@probe
def generator(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("404 Late", [*TEXT, ("X-Late", "1")])
    yield b"late"


@probe
def exc_before(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 Old", [*TEXT, ("X-Old", "1"), ("Content-Length", "99")])
    try:
        raise LookupError("before the headers were sent")
    except LookupError:
        start_response("500 New", [*TEXT, ("X-New", "1"), ("Content-Length", "3")], sys.exc_info())
    return [b"new"]


@probe
def exc_after(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"first,"
    original = LookupError("after the headers were sent")
    try:
        raise original
    except LookupError:
        try:
            start_response("500 New", TEXT, sys.exc_info())
        except BaseException as error:
            trace(environ, "raised", same=error is original, type=type(error).__name__)
            raise
    trace(environ, "raised", same=False, type=None)
    yield b"second"


class Marker(Exception):
    """An exception that a weak reference can follow."""


MARKERS: list[weakref.ref[Marker]] = []


@probe
def exc_kept(environ: Environ, start_response: StartResponse) -> Any:
    gc.disable()
    try:
        raise Marker
    except Marker as error:
        MARKERS[:] = [weakref.ref(error)]
        start_response("200 OK", TEXT, sys.exc_info())
    return [b"x"]


@probe
def exc_kept_still(environ: Environ, start_response: StartResponse) -> Any:
    alive = bool(MARKERS) and MARKERS[0]() is not None
    gc.enable()
    return reply(start_response, {"known": bool(MARKERS), "alive": alive})


def call_again(environ: Environ, start_response: StartResponse) -> None:
    try:
        start_response("202 Again", [*TEXT, ("X-Again", "1")])
    except Exception as error:
        trace(environ, "raised", type=type(error).__name__)
    else:
        trace(environ, "raised", type=None)


@probe
def twice(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)
    call_again(environ, start_response)
    return [b"x"]


@probe
def twice_late(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"x"
    call_again(environ, start_response)


@probe
def twice_after_refused(environ: Environ, start_response: StartResponse) -> Any:
    try:
        start_response("200 OK\r\nX-Injected: 1", TEXT)
    except Exception:
        call_again(environ, start_response)
    else:
        trace(environ, "accepted")
    return [b"x"]


STATUSES: dict[str, Any] = {
    "injected": "200 OK\r\nX-Injected: 1",
    "newline": "200 OK\nX-Injected: 1",
    "carriage-return": "200 OK\r",
    "no-code": "OK",
    "four-digits": "2000 OK",
    "two-digits": "20 OK",
    "nul": "200 O\0K",
    "bytes": b"200 OK",
    "integer": 200,
    "not-latin-1": "200 \u20ac",
}
HEADERS: dict[str, Any] = {
    "empty-name": [("", "x")],
    "space-in-name": [("X Y", "x")],
    "colon-in-name": [("X:Y", "x")],
    "crlf-in-name": [("X\r\nX-Injected", "1")],
    "not-latin-1-name": [("X-\u20ac", "x")],
    "crlf-in-value": [("X-Bad", "a\r\nX-Injected: 1")],
    "lf-in-value": [("X-Bad", "a\nX-Injected: 1")],
    "cr-in-value": [("X-Bad", "a\rX-Injected: 1")],
    "nul-in-value": [("X-Bad", "a\0b")],
    "control-in-value": [("X-Bad", "a\x07b")],
    "not-latin-1-value": [("X-Bad", "\u20ac")],
    "integer-value": [("X-Bad", 1)],
    "none-value": [("X-Bad", None)],
    "bytes-value": [("X-Bad", b"a")],
    "bytes-name": [(b"X-Bad", "a")],
    "triple": [("X-Bad", "a", "b")],
}


def attempt(environ: Environ, start_response: StartResponse, status: Any, headers: Any) -> Any:
    """Call start_response with arguments it may refuse, and report whether it did so at once."""
    try:
        start_response(status, headers)
    except Exception as error:
        trace(environ, "refused", type=type(error).__name__)
        raise
    trace(environ, "accepted")
    return [b"body"]


@probe
def status(environ: Environ, start_response: StartResponse) -> Any:
    return attempt(environ, start_response, STATUSES[query(environ)["case"]], TEXT)


@probe
def header(environ: Environ, start_response: StartResponse) -> Any:
    return attempt(environ, start_response, "200 OK", [*TEXT, *HEADERS[query(environ)["case"]]])


@probe
def header_tuple(environ: Environ, start_response: StartResponse) -> Any:
    return attempt(environ, start_response, "200 OK", tuple(TEXT))


@probe
def hop(environ: Environ, start_response: StartResponse) -> Any:
    asked = query(environ)
    return attempt(environ, start_response, "200 OK", [*TEXT, (asked["name"], asked["value"])])


@probe
def early_hints(environ: Environ, start_response: StartResponse) -> Any:
    hints = environ.get("wsgi.early_hints")
    trace(environ, "hints", offered=hints is not None)
    if hints is not None:
        try:
            hints(
                [
                    (
                        "Link",
                        "</a.css>; rel=preload\r\nX-Injected: 1" if query(environ).get("bad") else "</a.css>",
                    )
                ]
            )
        except Exception as error:
            trace(environ, "refused", type=type(error).__name__)
            raise
    start_response("200 OK", TEXT)
    return [b"body"]


# The iterable


@probe
def blocks(environ: Environ, start_response: StartResponse) -> Any:
    """Answer n blocks of a given size, with whatever mishap the query asks for."""
    asked = query(environ)
    headers = list(TEXT) if not asked.get("bare") else []
    if "length" in asked:
        headers.append(("Content-Length", asked["length"]))
    count, size = int(asked.get("n", 3)), int(asked.get("size", 10))

    def made() -> Iterator[bytes]:
        for number in range(count):
            if asked.get("raise") == str(number):
                raise LookupError("an iterable that raises on purpose")
            if asked.get("gate") == str(number):
                trace(environ, "waiting")
                wait_for_gate(environ)
            yield b"%d" % (number % 10) * size

    start_response(asked.get("status", "200 OK"), headers)
    if asked.get("sized"):
        return Sized(environ, list(made()))
    return Blocks(environ, made(), close_raises=bool(asked.get("close_raises")))


@probe
def single(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)
    return [b"only"]


class Misleading:
    """An iterable with the attributes of a file, which PEP 3333 gives no meaning here."""

    name = "misleading"

    def __init__(self) -> None:
        self.blocks = iter([b"from", b" the", b" iterator"])

    def __iter__(self) -> Iterator[bytes]:
        return self.blocks

    def read(self, size: int = -1) -> bytes:
        return b"from read()"

    def fileno(self) -> int:
        return 0


@probe
def misleading(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)
    return Misleading()


@probe
def overlong_write(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    write(b"12345")
    write(b"67890")
    return []


@probe
def ticks(environ: Environ, start_response: StartResponse) -> Any:
    """Send one block, wait for the gate, send another: the first must be on the wire meanwhile."""
    asked = query(environ)
    headers = [*TEXT, ("Content-Length", "12")] if asked.get("length") else TEXT
    write = start_response("200 OK", headers)
    if not asked.get("write"):
        return second_after_gate(environ)
    write(b"tick 1")
    trace(environ, "waiting")
    wait_for_gate(environ)
    write(b"tick 2")
    return []


def second_after_gate(environ: Environ) -> Iterator[bytes]:
    yield b"tick 1"
    trace(environ, "waiting")
    wait_for_gate(environ)
    yield b"tick 2"


@probe
def endless(environ: Environ, start_response: StartResponse) -> Any:
    write = start_response("200 OK", TEXT)
    if not query(environ).get("write"):
        return Endless(environ)
    produced = 0
    while produced < ENDLESS_MAX:
        write(BLOCK)
        produced += len(BLOCK)
        if produced % (1 << 20) == 0:
            trace(environ, "produced", size=produced)
    return []


class Endless:
    """Blocks until the server stops asking, with a report at each MiB."""

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.produced = 0

    def __iter__(self) -> Endless:
        return self

    def __next__(self) -> bytes:
        if self.produced >= ENDLESS_MAX:
            raise StopIteration
        self.produced += len(BLOCK)
        if self.produced % (1 << 20) == 0:
            trace(self.environ, "produced", size=self.produced)
        return BLOCK

    def close(self) -> None:
        trace(self.environ, "close")


@probe
def flood(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)
    return (BLOCK for _ in range(int(query(environ)["mib"]) * 16))


@probe
def latin(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 Tr\xe8s bien", [*TEXT, ("X-Latin", "caf\xe9 \xff")])
    return [b"x"]


# wsgi.input


@probe
def read(environ: Environ, start_response: StartResponse) -> Any:
    """Call methods of wsgi.input in the order the query names them, `read:5,readline,iterate`, and answer
    their results."""
    stream = environ["wsgi.input"]
    results: list[Any] = []
    try:
        for step in query(environ)["how"].split(","):
            name, _, size = step.partition(":")
            arguments = () if not size else (None if size == "None" else int(size),)
            if name == "iterate":
                result: Any = list(stream)
            elif name == "next":
                result = next(iter(stream))
            else:
                result = getattr(stream, name)(*arguments)
            results.append(
                [line.decode("latin-1") for line in result]
                if isinstance(result, list)
                else result.decode("latin-1")
            )
    except Exception as error:
        trace(environ, "read-failed", type=type(error).__name__, oserror=isinstance(error, OSError))
        raise
    trace(environ, "read-done")
    known = {
        key: environ.get(key) for key in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "wsgi.input_terminated")
    }
    return reply(start_response, {"results": results, **known})


@probe
def count_body(environ: Environ, start_response: StartResponse) -> Any:
    size = 0
    while piece := environ["wsgi.input"].read(65536):
        size += len(piece)
    return reply(start_response, {"size": size})


@probe
def unread(environ: Environ, start_response: StartResponse) -> Any:
    return reply(start_response, {"read": False}, query(environ).get("status", "200 OK"))


@probe
def lazy_read(environ: Environ, start_response: StartResponse) -> Any:
    """Read only when the gate is open, so that the client sees what the server sent before."""
    trace(environ, "waiting")
    wait_for_gate(environ)
    return reply(start_response, {"body": environ["wsgi.input"].read(5).decode("latin-1")})


@probe
def late_read(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"first,"
    trace(environ, "waiting")
    wait_for_gate(environ)
    yield environ["wsgi.input"].read(5)


# wsgi.errors

LINES = {
    "ascii": "plain text\n",
    "latin": "caf\xe9\n",
    "emoji": "tide \U0001f30a gate\n",
    "surrogate": "lone \udc80 surrogate\n",
    "nul": "a\0b\r\n",
    "long": "x" * 100_000 + "\n",
    "empty": "",
}


@probe
def errors(environ: Environ, start_response: StartResponse) -> Any:
    stream = environ["wsgi.errors"]
    failures = {}
    for name, text in LINES.items():
        try:
            stream.write(text)
            stream.flush()
        except Exception as error:
            failures[f"write of {name}"] = repr(error)
    try:
        stream.writelines(["several ", "lines\n"])
        print("printed", file=stream)
        try:
            raise LookupError("printed on purpose")
        except LookupError:
            traceback.print_exc(file=stream)
    except Exception as error:
        failures["writelines, print or traceback"] = repr(error)
    return reply(start_response, failures)


@probe
def errors_elsewhere(environ: Environ, start_response: StartResponse) -> Any:
    """Write from another thread, and once more when this request is over."""
    stream = environ["wsgi.errors"]
    failures: list[str] = []

    def write() -> None:
        try:
            stream.write("from another thread\n")
            stream.flush()
        except Exception as error:
            failures.append(repr(error))

    def write_late() -> None:
        wait_for_gate(environ)
        write()
        trace(environ, "late", failures=failures)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    threading.Thread(target=write_late, daemon=True).start()
    return reply(start_response, {"failures": list(failures)})


# Applications that go wrong

RAISED: dict[str, type[BaseException]] = {
    "LookupError": LookupError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
}


@probe
def raising(environ: Environ, start_response: StartResponse) -> Any:
    asked = query(environ)
    error = RAISED[asked["what"]]
    if asked["where"] == "call":
        raise error("raised on purpose")
    start_response("200 OK", TEXT)
    return RaisingIterable(error, 0 if asked["where"] == "first" else 1)


class RaisingIterable:
    def __init__(self, error: type[BaseException], after: int) -> None:
        self.error = error
        self.after = after

    def __iter__(self) -> RaisingIterable:
        return self

    def __next__(self) -> bytes:
        if self.after == 0:
            raise self.error("raised on purpose")
        self.after -= 1
        return b"first,"


@probe
def wrong(environ: Environ, start_response: StartResponse) -> Any:
    kind = query(environ)["kind"]
    if kind == "no-start-response":
        return [b"body"]
    if kind == "generator-without-start-response":
        return iter([b"body"])
    start_response("200 OK", TEXT)
    return {
        "none": None,
        "str": "some text that is not bytes",
        "bytes": b"some bytes",
        "integer": 7,
        "yields-str": ["some text"],
        "yields-str-late": [b"first,", "some text", b"last"],
        "yields-none": [None],
        "yields-integer": [7],
        "yields-bytearray": [bytearray(b"mutable")],
    }[kind]


# wsgi.file_wrapper


class PlainReader:
    """An object with read() and nothing else, which is all that PEP 3333 asks of a file-like object."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self.stream.read(size)


class ClosingReader(PlainReader):
    """The same with a close() that reports."""

    def __init__(self, environ: Environ, data: bytes) -> None:
        super().__init__(data)
        self.environ = environ

    def close(self) -> None:
        trace(self.environ, "close", thread=threading.get_ident())


class ClosingFile(io.FileIO):
    """A real file whose close() reports."""

    environ: Environ

    def close(self) -> None:
        if not self.closed:
            trace(self.environ, "close", thread=threading.get_ident())
        super().close()


@probe
def file(environ: Environ, start_response: StartResponse) -> Any:
    """Answer with wsgi.file_wrapper around a file that the runner has put into its folder, or around what
    acts like one."""
    wrapper = environ.get("wsgi.file_wrapper")
    trace(environ, "wrapper", offered=wrapper is not None)
    if wrapper is None:
        start_response("200 OK", TEXT)
        return []
    asked = query(environ)
    path = os.path.join(FOLDER, asked.get("name", "file"))
    headers = [*TEXT, ("Content-Length", asked["length"])] if "length" in asked else TEXT
    start_response("200 OK", headers)
    kind = asked["kind"]
    if kind == "bytesio":
        opened: Any = io.BytesIO(b"from memory")
    elif kind == "plain":
        opened = PlainReader(b"from a reader")
    elif kind == "closing":
        opened = ClosingReader(environ, b"from a reader")
    elif kind == "closing-file":
        opened = ClosingFile(path)
        opened.environ = environ
    else:
        opened = open(path, "rb")  # noqa: SIM115 - the server closes it, which is the point
    if kind == "offset":
        # A buffered file reads ahead: its descriptor stands further than its position.
        opened.read(5)
    if kind == "at-end":
        opened.seek(0, os.SEEK_END)
    wrapped = wrapper(opened, int(asked["block"])) if "block" in asked else wrapper(opened)
    if kind == "not-returned":
        return [b"something else"]
    if kind == "iterated":
        return (b"<" + block + b">" for block in wrapped)
    return wrapped


# Threads and contexts

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("MARK", default="")


@probe
def context(environ: Environ, start_response: StartResponse) -> Any:
    trace(environ, "begin", before=MARK.get(), thread=threading.get_ident())
    MARK.set(environ["conformance.token"])
    start_response("200 OK", TEXT)
    return Blocks(environ, (block for block in (b"a", b"b", b"c")))


# Validators


@probe
def lint(environ: Environ, start_response: StartResponse) -> Any:
    """Run a well-behaved application inside a validator, and report what the validator says."""
    name = query(environ)["by"]
    if name == "werkzeug":
        try:
            lint_module = importlib.import_module("werkzeug.middleware.lint")
        except ImportError:
            trace(environ, "lint", missing=True)
            return reply(start_response, {})
        wrapped: Any = lint_module.LintMiddleware(well_behaved)
    else:
        wrapped = validator(well_behaved)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            iterable = wrapped(environ, start_response)
        complaints = [str(warning.message) for warning in caught]
    except Exception as error:
        trace(environ, "lint", complaints=[f"{type(error).__name__}: {error}"])
        raise
    trace(environ, "lint", complaints=complaints)
    return iterable


def well_behaved(environ: Environ, start_response: StartResponse) -> list[bytes]:
    stream = environ["wsgi.input"]
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = stream.read(size) if size else b""
    print("a line in the log", file=environ["wsgi.errors"])
    environ["wsgi.errors"].flush()
    text = b"read %d bytes" % len(body)
    write = start_response("200 OK", [*TEXT, ("Content-Length", str(len(text)))])
    write(text[:4])
    return [text[4:]]
