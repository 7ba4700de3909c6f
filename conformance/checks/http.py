"""The rows of the HTTP corpus that one string of bytes cannot express: time, volume, resets, and
responses."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial

from conformance.checks.environ import facts_of
from conformance.checks.responses import BAD_HEADERS, BAD_STATUSES, judge_refused
from conformance.model import Check, Closed, Failed, Probe, Skipped, Step, expect
from conformance.rows import ROWS
from conformance.server import Live, probe_path, request

# What a server may take for ten thousand headers, generously: quadratic parsers take minutes.
LINEAR_S = 3.0
PIPELINED = 10_000
GROWTH_MAX = 48 * 1024 * 1024
# A client that trickles is cut within this time, or the server has no deadline worth the name.
TRICKLE_S = 90.0

STEPS: list[tuple[str, Step, bool, bool]] = []

# The system's buffers take megabytes before a server on a busy machine has seen the first.
SCHEDULED_S = 5.0


def row(identifier: str, *, lawful: bool = True, slow: bool = False) -> Callable[[Probe], Probe]:
    """Register the decorated function as a step of a row."""

    def register(probe: Probe) -> Probe:
        STEPS.append((identifier, Step(identifier, probe), lawful, slow))
        return probe

    return register


def row_checks() -> list[Check]:
    """Return the checks of this module, to be merged with those of the corpus by their identifiers."""
    made: dict[str, Check] = {}
    for name, step, lawful, slow in STEPS:
        identifier = name.split("-")[0]
        steps = made[identifier].steps if identifier in made else ()
        made[identifier] = Check(identifier, *ROWS[identifier], (*steps, step), lawful=lawful, slow=slow)
    return list(made.values())


@row("RL17-segments")
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(b"GET /")
        # One byte per segment at first, then larger ones: the line must be refused before it ends.
        for piece in [b"a"] * 2000 + [b"a" * 1000] * 2000:
            if not wire.send(piece) or not wire.quiet(0.0):
                break
        else:
            if wire.quiet(SCHEDULED_S):
                raise Failed("2 MB of request line were taken without an answer")
        response = wire.response()
        expect(response.status in (414, 400, 431), f"answered {response.status}")
        expect(wire.end(), "the connection stays open")


@row("HD13-endless")
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for _ in range(2000):
            if not wire.send(b"A: b\r\n" * 850) or not wire.quiet(0.0):
                break
        else:
            if wire.quiet(SCHEDULED_S):
                raise Failed("10 MB of header fields were taken without an answer")
        response = wire.response()
        expect(400 <= response.status < 500, f"answered {response.status}")
        expect(wire.end(), "the connection stays open")


@row("HD14-time")
def _(server: Live) -> None:
    for head in (
        b"A: b\r\n" * 10_000,
        b"Bad-header: " + b"x" * 60_000 + b"\x10\r\n",
        b"A: " + b" " * 60_000 + b"\r\n",
    ):
        with server.connect() as wire:
            began = time.monotonic()
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + head + b"\r\n")
            # A refusal without an answer is another row's affair.
            with contextlib.suppress(Failed):
                wire.head()
            took = time.monotonic() - began
            expect(took < LINEAR_S, f"{len(head)} bytes of {head[:10]!r} took {took:.1f} s")


@row("CL05-reset")
def _(server: Live) -> None:
    mark = server.mark()
    with server.connect() as wire:
        wire.send(b"POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
        server.poll(lambda: True if server.calls_since(mark) else None, 0.3)
        wire.reset()
    server.poll(
        lambda: server.events_since(mark, "read-failed") or server.events_since(mark, "echoed") or None, 0.5
    )
    expect(not server.events_since(mark, "echoed"), "the application took the part for the whole body")


@row("CL06-unread")
def _(server: Live) -> None:
    for method in ("GET", "POST"):
        with server.connect() as wire:
            wire.send(
                request(
                    probe_path("unread", server.token()),
                    method=method,
                    body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
                )
            )
            mark = server.mark()
            response = wire.response()
            expect(response.status == 200, f"answered {response.status}")
            if not response.says_close:
                wire.send(request("/canary", headers=["Connection: close"]))
                if not wire.end():
                    following = facts_of(wire.response())["environ"]["PATH_INFO"]
                    expect(following == "/canary", f"the next request arrived as {following}")
            expect("/smuggled" not in server.calls_since(mark), "the unread body was run as a request")


@row("CL07")
def _(server: Live) -> None:
    """Announce 1 GB, keep sending: the answer comes, and the connection ends long before the body does."""
    with server.connect() as wire:
        path = probe_path("unread", server.token())
        wire.send(request(path, method="POST", headers=[f"Content-Length: {1 << 30}"]))
        sent = 0
        while sent < 1 << 30:
            try:
                if not wire.send(b"x" * (1 << 18)):
                    break
            except Failed:
                break
            sent += 1 << 18
        response = wire.response()
        expect(response.status in (200, 413), f"answered {response.status}")
        expect(sent < 1 << 29, f"{sent >> 20} MiB of a body that nobody reads were taken")


@row("CL08-head", slow=True)
def _(server: Live) -> None:
    trickle(server, b"GET / HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n", 5.0)


@row("CL08-body", slow=True)
def _(server: Live) -> None:
    trickle(server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x", 1.0)


def trickle(server: Live, head: bytes, piece: bytes, every_s: float) -> None:
    end = time.monotonic() + TRICKLE_S
    server.deadline = end + 10.0
    with server.connect() as wire:
        wire.send(head)
        while time.monotonic() < end:
            if not wire.quiet(every_s) or not wire.send(piece):
                return
    raise Failed(
        f"a client that sends {len(piece)} bytes every {every_s:.0f} s was served for {TRICKLE_S:.0f} s"
    )


@row("PL01-slow")
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("held-head", token)) + request("/second") + request("/third"))
        server.wait_for(token, "waiting")
        server.open_gate(token)
        response = wire.response()
        expect(response.body == b"body", f"the first answer is {response.body[:40]!r}")
        for path in ("/second", "/third"):
            if response.says_close or response.framing == "close":
                raise Skipped("the server closes after each response")
            response = wire.response()
            seen = facts_of(response)["environ"]["PATH_INFO"]
            expect(seen == path, f"{seen} was answered where {path} was next")


@row("PL04")
def _(server: Live) -> None:
    """Pipeline behind a request that waits: the server stops reading, or at least keeps them small."""
    token = server.token()
    before = server.resident_bytes()
    with server.connect() as wire:
        wire.send(request(probe_path("held-head", token)))
        server.wait_for(token, "waiting")
        padded = request("/x", headers=["X-Padding: " + "x" * 2000])
        wire.socket.settimeout(0.5)
        sent = 0
        try:
            for _ in range(PIPELINED):
                wire.socket.sendall(padded)
                sent += len(padded)
        except OSError:
            pass
        after = server.resident_bytes()
        server.open_gate(token)
        wire.response()
    if before is None or after is None:
        raise Skipped("there is no /proc to look in")
    expect(
        after - before < min(GROWTH_MAX, max(sent, 1 << 24)),
        f"resident memory grew by {(after - before) >> 20} MiB",
    )


@row("PL06")
def _(server: Live) -> None:
    """One connection pipelines without end; another asks for one thing."""
    leave = threading.Event()
    answered = threading.Event()

    def hog() -> None:
        try:
            with server.connect() as wire:
                while not leave.is_set():
                    wire.send(request("/probe/ping") * 50)
                    for _ in range(50):
                        response = wire.response()
                        answered.set()
                        if response.says_close:
                            return
        except (Failed, OSError):
            return

    thread = threading.Thread(target=hog)
    thread.start()
    try:
        answered.wait(3.0)
        for _ in range(5):
            began = time.monotonic()
            expect(server.ask("/probe/ping").status == 200, "the other connection was refused")
            expect(time.monotonic() - began < 2.0, "the other connection waited for over 2 s")
    finally:
        leave.set()
        thread.join()


@row("EX02")
def _(server: Live) -> None:
    """The body that was never asked for must not be taken for the next request."""
    head = request(
        probe_path("unread", server.token(), status="401 Unauthorized"),
        method="POST",
        headers=["Expect: 100-continue", "Content-Length: 34"],
    )
    with server.connect() as wire:
        wire.send(head)
        response = wire.head()
        expect(response.status == 401, f"answered {response.status}")
        wire.body(response)
        mark = server.mark()
        # Either it closes, or it still counts these bytes as the body.
        wire.send(b"GET /smuggle HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.send(request("/canary"))
        if not wire.end():
            wire.response()
        expect("/smuggle" not in server.calls_since(mark), "the unsent body was run as a request")


@row("EX03-hints")
def _(server: Live) -> None:
    token = server.token()
    response = server.ask(probe_path("early-hints", token), version="HTTP/1.0")
    if not server.wait_for(token, "hints")[0]["offered"]:
        raise Skipped("the server offers no wsgi.early_hints")
    expect(not response.interim, f"interim response {response.interim}")


def bad_output(name: str, case: str, server: Live) -> None:
    problem = judge_refused(server, name, case)
    expect(problem is None, problem or "")


for _case in BAD_STATUSES:
    row(f"OUT01-{_case}", lawful=False)(partial(bad_output, "status", _case))
for _case in BAD_HEADERS:
    row(f"OUT02-{_case}", lawful=False)(partial(bad_output, "header", _case))


@row("OUT03", lawful=False)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("early-hints", token, bad=1), headers=["Connection: close"]))
        answer = b""
        while piece := wire.read_some(65536):
            answer += piece
    if not server.wait_for(token, "hints")[0]["offered"]:
        raise Skipped("the server offers no wsgi.early_hints")
    expect(b"\r\nX-Injected" not in answer, "a header was injected")


def judge_bodiless(server: Live, method: str, **query: object) -> None:
    """Have an application send a body where none may be; the next response must not begin with it."""
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token(), **query), method=method))
        response = wire.response(method)
        if response.status >= 500:
            return
        if response.status == 204:
            expect(
                response.get("Content-Length") is None,
                f"204 with Content-Length: {response.get('Content-Length')}",
            )
        expect(
            response.get("Transfer-Encoding") is None or method == "HEAD",
            f"{response.status} with Transfer-Encoding",
        )
        if response.says_close:
            expect(wire.end(), "the body was sent")
            return
        wire.send(request("/probe/ping", headers=["Connection: close"]))
        if not wire.end():
            expect(wire.response().status == 200, "the next response is not 200")


@row("OUT04-head", lawful=False)
def _(server: Live) -> None:
    judge_bodiless(server, "HEAD", length=30)


@row("OUT04-204", lawful=False)
def _(server: Live) -> None:
    judge_bodiless(server, "GET", status="204 No Content", bare=1)


@row("OUT04-204-length", lawful=False)
def _(server: Live) -> None:
    judge_bodiless(server, "GET", status="204 No Content", bare=1, length=30)


@row("OUT04-304", lawful=False)
def _(server: Live) -> None:
    judge_bodiless(server, "GET", status="304 Not Modified", bare=1)


@row("OUT04-hop", lawful=False)
def _(server: Live) -> None:
    try:
        _, response = server.probe("hop", name="Transfer-Encoding", value="chunked")
    except Closed:
        return
    expect(response.status >= 500 or response.body == b"body", f"the body is {response.body!r}")


@row("OUT05")
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token(), length=100)) + request("/canary"))
        try:
            head = wire.head()
        except Closed:
            return
        if head.status < 500:
            wire.body(head)
            expect(not head.complete, "the next response was sent inside the body that was too short")


@row("OUT06")
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token(), length=15)))
        response = wire.response()
        if response.status >= 500:
            return
        expect(len(response.body) == 15, f"the body has {len(response.body)} bytes")
        wire.send(request("/probe/ping", headers=["Connection: close"]))
        if not wire.end():
            expect(wire.response().status == 200, "the surplus was sent")


MARKER = b"xq7zk"
ECHOED = (
    ("name", b"GET / HTTP/1.1\r\nHost: a\r\nX(%s: 1\r\n\r\n"),
    ("no-colon", b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n"),
    ("method", b"%s@: / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target", b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("version", b"GET / %s\r\nHost: a\r\n\r\n"),
    ("length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n"),
    ("coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %s\r\n\r\n"),
)


def echoes(template: bytes, server: Live) -> None:
    with server.connect() as wire:
        wire.send(template % MARKER)
        wire.send_end()
        answer = b""
        try:
            while piece := wire.read_some(65536):
                answer += piece
        except Failed:
            raise Skipped("the server does not refuse this input") from None
    if answer.startswith(b"HTTP/1.") and answer.split(b" ")[1][:1] == b"2":
        raise Skipped("the server does not refuse this input")
    expect(MARKER not in answer, "the error page holds what was sent")


for _case, _template in ECHOED:
    row(f"OUT08-{_case}")(partial(echoes, _template))
