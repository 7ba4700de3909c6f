"""Small applications, one per path, that each probe one promise of PEP 3333.

They are served three times: as they are (`plain`), behind the standard library's validator (`validated`) and
behind werkzeug's (`linted`). Both watch the server and the application at once, so a legal probe must leave
them silent. Everything in `LEGAL` is; `STANDARD_READS` are the reads of `wsgi.input` that PEP 3333 allows and
a validator calls unsafe; `OFFENDERS` break a rule on purpose.
"""

from __future__ import annotations

import contextvars
import io
import json
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from wsgiref.validate import validator

from werkzeug.middleware.lint import HTTPWarning, LintMiddleware, WSGIWarning

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]

TEXT = [("Content-Type", "text/plain; charset=utf-8")]
BINARY = [("Content-Type", "application/octet-stream")]
TIDES = b"".join(b"%06d: the tide turns at the gate.\n" % number for number in range(5000))

LEGAL: dict[str, App] = {}
STANDARD_READS: dict[str, App] = {}
OFFENDERS: dict[str, App] = {}


def legal(probe: App) -> App:
    LEGAL[probe.__name__] = probe
    return probe


def standard_read(probe: App) -> App:
    STANDARD_READS[probe.__name__] = probe
    return probe


def offender(probe: App) -> App:
    OFFENDERS[probe.__name__] = probe
    return probe


def query(environ: Environ) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}


def length(environ: Environ) -> int:
    return int(environ.get("CONTENT_LENGTH") or 0)


def as_json(start_response: StartResponse, value: object) -> list[bytes]:
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def exc_info() -> ExcInfo:
    kind, error, trace = sys.exc_info()
    assert kind and error and trace
    return kind, error, trace


# Ways to respond


@legal
def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return [b"Hello, world!"]


@legal
def with_length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "13")])
    return [b"Hello,", b" ", b"world!"]


@legal
def empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "0")])
    return []


@legal
def generator(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return (b"%d\n" % number for number in range(100))


@legal
def empty_blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    yield b""
    yield b"Hello, "
    yield b""
    yield b"world!"
    yield b""


@legal
def late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Being a generator function, it calls start_response only when the first block is asked for."""
    start_response("404 Not Found", list(TEXT))
    yield b"Nobody is here."


@legal
def write(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    send = start_response("200 OK", list(TEXT))
    send(b"written, ")
    send(b"")
    send(b"written again, ")
    return [b"returned"]


@legal
def only_write(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "7")])(b"written")
    return []


@legal
def large(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """`size` bytes in one block."""
    start_response("200 OK", list(BINARY))
    return [b"\xa5" * int(query(environ)["size"])]


@legal
def no_content(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    # werkzeug wants a Content-Length of 0, which RFC 9110 8.6 forbids on the wire: the server removes it.
    start_response("204 No Content", [("Content-Length", "0")])
    return []


@legal
def not_modified(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"high-water"')])
    return []


@legal
def repeated_fields(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    cookies = [("Set-Cookie", "moon=full; Path=/"), ("Set-Cookie", "sun=down; Path=/")]
    start_response("299 Unusual But Fine", [*TEXT, *cookies, ("X-Latin", "\xe9t\xe9")])
    return [b"two cookies"]


# Ways to read the request


@legal
def environment(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    types = {type(value).__name__ for name, value in environ.items() if "." not in name}
    strings = {name: value for name, value in environ.items() if isinstance(value, str)}
    flags = {name: environ[name] for name in ("wsgi.version", "wsgi.multithread", "wsgi.run_once")}
    stale = "probe.left_behind" in environ
    environ["probe.left_behind"] = True
    return as_json(start_response, {"types": sorted(types), "stale": stale, "flags": flags, **strings})


@legal
def read_length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(length(environ))
    start_response("200 OK", list(BINARY))
    return [body]


@legal
def read_blocks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Reads on until the end shows itself, which is twice: the end lasts."""
    start_response("200 OK", list(BINARY))
    while block := environ["wsgi.input"].read(7):
        yield block
    yield b"[end]" + environ["wsgi.input"].read(7)


@legal
def read_some(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Leaves the rest of the body for the server to skip."""
    start_response("200 OK", list(BINARY))
    return [environ["wsgi.input"].read(7)]


@legal
def read_minus_one(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(-1)
    start_response("200 OK", list(BINARY))
    return [body]


@legal
def iterate_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    lines = [line.decode() for line in environ["wsgi.input"]]
    return as_json(start_response, lines)


@standard_read
def read_all(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", list(BINARY))
    return [body]


@standard_read
def read_line(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    lines = iter(environ["wsgi.input"].readline, b"")
    return as_json(start_response, [line.decode() for line in lines])


@standard_read
def read_line_size(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    lines = iter(lambda: environ["wsgi.input"].readline(4), b"")
    return as_json(start_response, [line.decode() for line in lines])


@standard_read
def read_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return as_json(start_response, [line.decode() for line in environ["wsgi.input"].readlines()])


@standard_read
def read_lines_hint(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    # A hint is a hint: the lines may come in several calls, and all of them come.
    first = environ["wsgi.input"].readlines(5)
    return as_json(start_response, [line.decode() for line in [*first, *environ["wsgi.input"].readlines()]])


@legal
def ignore_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return [b"not read"]


@legal
def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The body comes back as it went, in blocks of the size that `wsgi.input` gives for 64 KiB."""
    start_response("200 OK", list(BINARY))
    while block := environ["wsgi.input"].read(65536):
        yield block


# Files


class Closing(io.BytesIO):
    """A file without a descriptor, which says on `wsgi.errors` that it was closed."""

    def __init__(self, body: bytes, errors: Any) -> None:
        super().__init__(body)
        self.errors = errors

    def close(self) -> None:
        if not self.closed:
            self.errors.write("probe: file closed\n")
        super().close()


def tides() -> Any:
    """A real file, open; the server closes what it sends."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(TIDES)
    file.seek(0)
    return file


@legal
def real_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*BINARY, ("Content-Length", str(len(TIDES)))])
    return environ["wsgi.file_wrapper"](tides())


@legal
def real_file_without_length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(BINARY))
    return environ["wsgi.file_wrapper"](tides(), 1000)


@legal
def file_from_the_middle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """From the file's position on."""
    file = tides()
    file.seek(1000)
    start_response("200 OK", [*BINARY, ("Content-Length", str(len(TIDES) - 1000))])
    return environ["wsgi.file_wrapper"](file, 4096)


@legal
def memory_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*BINARY, ("Content-Length", str(len(TIDES)))])
    return environ["wsgi.file_wrapper"](Closing(TIDES, environ["wsgi.errors"]), 4096)


@legal
def wrapped_not_returned(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A wrapper is an iterable like any other: an application may read it, and answer with something else."""
    wrapper = environ["wsgi.file_wrapper"](Closing(TIDES, environ["wsgi.errors"]), 4096)
    size = sum(len(block) for block in wrapper)
    wrapper.close()
    return as_json(start_response, size)


# Ends, good and bad


class Blocks:
    """An iterable with `close()`, which reports on `wsgi.errors`; it may fail at a block."""

    def __init__(self, environ: Environ, count: int, fail_at: int = -1) -> None:
        self.errors = environ["wsgi.errors"]
        self.name = query(environ).get("name", "")
        self.blocks = iter(range(count))
        self.fail_at = fail_at
        self.thread = threading.get_ident()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        number = next(self.blocks)
        if number == self.fail_at:
            raise RuntimeError("probe: failed in iteration")
        return b"%d\n" % number

    def close(self) -> None:
        where = "same" if threading.get_ident() == self.thread else "other"
        self.errors.write(f"probe: closed {self.name} on the {where} thread\n")
        self.errors.flush()


@legal
def closing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Blocks(environ, 3)


@legal
def endless(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Blocks(environ, sys.maxsize)


@legal
def replaced(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An error found before anything was sent: `exc_info` replaces the status and every field."""
    start_response("200 OK", [*TEXT, ("X-Kept", "no")])
    try:
        raise LookupError("probe: handled")
    except LookupError:
        start_response(
            "503 Service Unavailable", [("Content-Type", "text/plain"), ("X-Error", "yes")], exc_info()
        )
    return [b"an error page"]


@legal
def replaced_after_an_empty_block(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An empty block sends nothing, not even the head."""
    start_response("200 OK", [*TEXT, ("X-Kept", "no")])
    yield b""
    try:
        raise LookupError("probe: handled")
    except LookupError:
        start_response(
            "503 Service Unavailable", [("Content-Type", "text/plain"), ("X-Error", "yes")], exc_info()
        )
    yield b"an error page"


VOYAGE: contextvars.ContextVar[str] = contextvars.ContextVar("voyage", default="none")


@legal
def context(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What the call sets, its iteration sees, on the same thread; what an earlier request set is gone."""
    start_response("200 OK", list(TEXT))
    before = VOYAGE.get()
    VOYAGE.set("this one")
    thread = threading.get_ident()

    def blocks() -> Iterator[bytes]:
        yield f"{before}, {VOYAGE.get()}, {thread == threading.get_ident()}".encode()

    return blocks()


@legal
def errors(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ["wsgi.errors"]
    stream.write("probe: Gezeiten \N{WATER WAVE} \N{LATIN SMALL LETTER E WITH ACUTE}\n")
    stream.writelines(["probe: one\n", "probe: two\n"])
    stream.write("probe: lone \ud800 surrogate\n")
    stream.flush()
    start_response("200 OK", list(TEXT))
    return [b"written"]


@legal
def say(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Writes `word` to the log, which tells a test that all before it has been written too."""
    environ["wsgi.errors"].write(f"probe: said {query(environ)['word']}\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", list(TEXT))
    return [b"said"]


# Applications that break a rule


@offender
def raises(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError("probe: failed before start_response")


@offender
def raises_after_start(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    raise RuntimeError("probe: failed after start_response")


@offender
def raises_at_first_block(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Blocks(environ, 3, fail_at=0)


@offender
def raises_in_the_middle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Blocks(environ, 3, fail_at=2)


@offender
def too_late_to_replace(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    yield b"sent already"
    try:
        raise LookupError("probe: found too late")
    except LookupError:
        start_response("500 Internal Server Error", list(TEXT), exc_info())
    yield b"never sent"


@offender
def starts_twice(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    start_response("200 OK", list(TEXT))
    return [b"never sent"]


@offender
def never_starts(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return [b"never sent"]


@offender
def exits(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    sys.exit("probe: leaving")


@offender
def interrupts(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise KeyboardInterrupt


@offender
def returns_none(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return None  # type: ignore[return-value]


@offender
def returns_str(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return "text"  # type: ignore[return-value]


@offender
def yields_str(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    yield "text"  # type: ignore[misc]


@offender
def splits_the_response(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("X-Bad", "a\r\nSet-Cookie: stolen=1")])
    return [b"never sent"]


@offender
def too_few_bytes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "20")])
    return [b"only ten b"]


@offender
def too_many_bytes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [b"right", b"HTTP/1.1 200 OK\r\n\r\n"]


PROBES = LEGAL | STANDARD_READS | OFFENDERS


def plain(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    probe = PROBES.get(environ["PATH_INFO"].strip("/"))
    if probe is None:
        start_response("404 Not Found", list(TEXT))
        return [b"no such probe"]
    return probe(environ, start_response)


validated: App = validator(plain)

linted: App = LintMiddleware(plain)
# Every complaint, not the first from each line.
warnings.simplefilter("always", WSGIWarning)
warnings.simplefilter("always", HTTPWarning)
