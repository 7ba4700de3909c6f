"""The iterable: close(), Content-Length, buffering, back-pressure, and the framing of what it yields."""

from __future__ import annotations

import contextlib

from conformance.model import Closed, Failed, Level, Registry, Skipped, expect
from conformance.server import Live, probe_path, request
from conformance.wire import Response

registry = Registry()
check = registry.check
CLOSE = "PEP 3333, Specification Details (close())"
LENGTH = "PEP 3333, Handling the Content-Length Header"
STREAM = "PEP 3333, Buffering and Streaming"

# More than any server should gather for a client that reads nothing: kernels hold up to 6 MiB, waitress 16
# MiB.
AHEAD_MAX = 64 * 1024 * 1024
# An application that has not produced a MiB for this long has been stopped.
STILL_S = 0.8
FLOOD_MIB = 192
GROWTH_MAX = 48 * 1024 * 1024


def judge_closed(server: Live, token: str, *, taken: int | None = None) -> None:
    """Fail unless close() was called once, after the blocks were taken."""
    closed = server.wait_for(token, "close")
    # A second call would follow the first at once; the next request to be answered is later than that.
    server.ask("/probe/ping")
    closed = server.events(token, "close")
    expect(len(closed) == 1, f"close() was called {len(closed)} times")
    if taken is not None:
        expect(
            closed[0]["taken"] == taken, f"close() was called after {closed[0]['taken']} of {taken} blocks"
        )


@check("PEP-09a", "close() is called once at the normal end, after the last block.", CLOSE)
def _(server: Live) -> None:
    for count, options in ((3, {}), (3, {"length": 30}), (0, {}), (1, {})):
        token = server.token()
        server.ask(probe_path("blocks", token, n=count, **options))
        judge_closed(server, token, taken=count)


@check("PEP-09b", "close() is called when the iteration raises.", CLOSE)
def _(server: Live) -> None:
    for number in (0, 2):
        token = server.token()
        with contextlib.suppress(Failed):
            server.ask(probe_path("blocks", token, **{"raise": number}))
        judge_closed(server, token, taken=number)


@check("PEP-09c", "close() is called when the client goes away.", CLOSE)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("endless", token)))
        wire.read_some(65536)
        wire.reset()
    server.wait_for(token, "close")
    server.ask("/probe/ping")
    expect(len(server.events(token, "close")) == 1, "close() was called more than once")


@check("PEP-09d", "close() is called for HEAD.", CLOSE)
def _(server: Live) -> None:
    token = server.token()
    server.ask(probe_path("blocks", token, length=30), method="HEAD")
    judge_closed(server, token)


@check("PEP-09e", "close() is called when Content-Length is reached before the iterable's end.", CLOSE)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", token, n=50, length=15), headers=["Connection: close"]))
        with contextlib.suppress(Failed):
            wire.response()
        judge_closed(server, token)


@check("PEP-09f", "close() is called for 204 and 304.", CLOSE)
def _(server: Live) -> None:
    for status in ("204 No Content", "304 Not Modified"):
        token, _ = server.probe("blocks", n=0, bare=1, status=status)
        judge_closed(server, token)


@check("PEP-09g", "close() is called when a length was declared that the iterable does not fill.", CLOSE)
def _(server: Live) -> None:
    token = server.token()
    with contextlib.suppress(Failed):
        server.ask(probe_path("blocks", token, length=1000))
    judge_closed(server, token)


@check("PEP-09h", "close() is called for an iterable that has a length.", CLOSE)
def _(server: Live) -> None:
    for count in (1, 2):
        token, response = server.probe("blocks", sized=1, n=count)
        expect(len(response.body) == 10 * count, f"the body is {response.body!r}")
        judge_closed(server, token)


@check("PEP-09i", "A close() that raises harms neither the response nor the server.", CLOSE, Level.ADVICE)
def _(server: Live) -> None:
    for options in ({}, {"length": 30}):
        token = server.token()
        response = server.ask(probe_path("blocks", token, close_raises=1, **options))
        expect(len(response.body) == 30, f"the body has {len(response.body)} of 30 bytes")
        judge_closed(server, token)


@check("PEP-10a", "A body of one block gets a Content-Length.", LENGTH, Level.ADVICE, lawful=False)
def _(server: Live) -> None:
    _, response = server.probe("single")
    expect(response.body == b"only", f"the body is {response.body!r}")
    expect(response.get("Content-Length") == "4", f"framed by {response.framing}")


@check(
    "PEP-10b",
    "read() or fileno() on an iterable mean nothing: it is iterated.",
    "PEP 3333, Optional Platform-Specific File Handling",
)
def _(server: Live) -> None:
    _, response = server.probe("misleading")
    expect(response.body == b"from the iterator", f"the body is {response.body!r} (status {response.status})")


@check("PEP-11a", "Bytes beyond Content-Length do not reach the wire.", LENGTH, Level.SHOULD)
def _(server: Live) -> None:
    judge_truncated(server, "blocks", 15, n=50, length=15)
    judge_truncated(server, "overlong-write", 5)


def judge_truncated(server: Live, name: str, size: int, **query: object) -> None:
    """Ask without Connection: close, so that surplus bytes would be taken for the next response."""
    with server.connect() as wire:
        wire.send(request(probe_path(name, server.token(), **query)))
        response = wire.response()
        if response.status >= 500:
            return
        expect(len(response.body) == size, f"the body has {len(response.body)} bytes, not {size}")
        if not response.says_close:
            wire.send(request("/probe/ping"))
            # Closing the connection is a legal way not to send the rest.
            if wire.end():
                return
            following = wire.response()
            expect(following.status == 200, f"the next response is {following.status}")
        else:
            expect(wire.end(), "bytes follow the body")


@check(
    "PEP-11b",
    "A response with fewer bytes than its Content-Length ends with the connection.",
    LENGTH,
    Level.SHOULD,
)
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token(), length=1000)))
        try:
            head = wire.head()
        except Closed:
            return
        if head.status >= 500:
            return
        wire.body(head)
        expect(not head.complete, f"the body was filled up to {len(head.body)} bytes")


@check("PEP-11c", "The iterable is not run to its end when Content-Length is reached.", LENGTH, Level.SHOULD)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", token, n=50, length=15), headers=["Connection: close"]))
        with contextlib.suppress(Failed):
            wire.response()
        # While the client is still there, so that it is not its leaving that ends the iteration.
        taken = server.wait_for(token, "close")[0]["taken"]
    expect(taken < 50, f"{taken} of 50 blocks were taken for the 15 bytes of the first two")


def judge_no_stall(server: Live, version: str = "HTTP/1.1", **query: object) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(
            request(probe_path("ticks", token, **query), headers=["Connection: close"], version=version)
        )
        server.wait_for(token, "waiting")
        try:
            wire.head()
            wire.read_until(b"tick 1")
        except Failed:
            raise Failed("the first block was not sent while the application worked on the second") from None
        finally:
            server.open_gate(token)
        wire.read_until(b"tick 2")


@check("PEP-12a", "Each block is sent before the next one is asked for.", STREAM)
def _(server: Live) -> None:
    judge_no_stall(server)


@check("PEP-12b", "So is what write() is given.", "PEP 3333, The write() Callable")
def _(server: Live) -> None:
    judge_no_stall(server, write=1)


@check("PEP-12c", "So is a block of a body with a Content-Length.", STREAM)
def _(server: Live) -> None:
    judge_no_stall(server, length=1)


@check("PEP-12d", "So is a block for an HTTP/1.0 client.", STREAM)
def _(server: Live) -> None:
    judge_no_stall(server, "HTTP/1.0")


def judge_back_pressure(server: Live, **query: object) -> None:
    """Ask for an endless body and read nothing: production has to stop."""
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("endless", token, **query)))

        def produced() -> int:
            return max((event["size"] for event in server.events(token, "produced")), default=0)

        last = -1
        while (now := produced()) != last:
            last = now
            expect(now <= AHEAD_MAX, f"{now >> 20} MiB were produced for a client that reads nothing")
            server.poll(lambda: True if produced() != now else None, STILL_S)
        # A client that reads again gets on.
        before = produced()
        for _ in range(4000):
            if produced() > before + (1 << 20) or not wire.read_some(1 << 18):
                break
        expect(produced() > before, "production did not go on when the client read again")
        wire.reset()


@check("PEP-13a", "An application does not run ahead of a client that reads nothing.", STREAM, Level.SHOULD)
def _(server: Live) -> None:
    judge_back_pressure(server)


@check(
    "PEP-13b",
    "write() waits for a client that reads nothing.",
    "PEP 3333, The write() Callable",
    Level.SHOULD,
)
def _(server: Live) -> None:
    judge_back_pressure(server, write=1)


@check("PEP-13c", "A long body streams through without growing the server.", STREAM, Level.SHOULD)
def _(server: Live) -> None:
    before = server.resident_bytes()
    if before is None:
        raise Skipped("there is no /proc to look in")
    with server.connect() as wire:
        wire.send(request(probe_path("flood", server.token(), mib=FLOOD_MIB), headers=["Connection: close"]))
        wire.head()
        size, peak = 0, before
        while piece := wire.read_some(1 << 18):
            size += len(piece)
            if size % (1 << 24) < len(piece):
                peak = max(peak, server.resident_bytes() or 0)
    expect(size >= FLOOD_MIB << 20, f"{size >> 20} of {FLOOD_MIB} MiB arrived")
    expect(
        peak - before < GROWTH_MAX,
        f"resident memory grew by {(peak - before) >> 20} MiB over {FLOOD_MIB} MiB",
    )


def head_request(server: Live, **query: object) -> Response:
    """Ask with HEAD on a kept connection, with another request behind it: body bytes would garble the next
    answer."""
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token(), **query), method="HEAD"))
        response = wire.response("HEAD")
        if response.says_close:
            expect(wire.end(), "a body follows the head")
            return response
        wire.send(request("/probe/ping", headers=["Connection: close"]))
        if not wire.end():
            following = wire.response()
            expect(following.status == 200, f"the next response is {following.status}")
    return response


@check(
    "PEP-14a",
    "HEAD runs the application and sends its head, Content-Length included, without a body.",
    "RFC 9110 9.3.2",
)
def _(server: Live) -> None:
    response = head_request(server, length=30)
    expect(response.status == 200, f"answered {response.status}")
    expect(response.get("Content-Length") == "30", f"Content-Length is {response.get('Content-Length')}")


@check(
    "PEP-14b",
    "HEAD without a Content-Length has no body either, and no invented length of 0.",
    "RFC 9110 9.3.2, 8.6",
)
def _(server: Live) -> None:
    response = head_request(server)
    expect(response.status == 200, f"answered {response.status}")
    expect(
        response.get("Content-Length") in (None, "30"), f"Content-Length is {response.get('Content-Length')}"
    )


@check("PEP-14c", "The application sees HEAD as the method.", "PEP 3333, environ Variables")
def _(server: Live) -> None:
    token = server.token()
    server.ask(probe_path("lint", token, by="wsgiref"), method="HEAD")
    mark = server.mark()
    server.ask("/x", method="HEAD")
    expect(server.calls_since(mark) == ["/x"], f"called for {server.calls_since(mark)}")


def bodiless(server: Live, status: str, **query: object) -> Response:
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token(), bare=1, status=status, **query)))
        response = wire.response()
        if response.says_close:
            expect(wire.end(), "a body follows the head")
            return response
        wire.send(request("/probe/ping", headers=["Connection: close"]))
        if not wire.end():
            following = wire.response()
            expect(following.status == 200, f"the next response is {following.status}")
    return response


@check(
    "PEP-14d",
    "204 has no body, no Content-Length and no Transfer-Encoding.",
    "RFC 9110 8.6, 6.4.1; RFC 9112 6.1",
)
def _(server: Live) -> None:
    response = bodiless(server, "204 No Content", n=0)
    expect(response.status == 204, f"answered {response.status}")
    framing = [name for name in ("Content-Length", "Transfer-Encoding") if response.get(name) is not None]
    expect(not framing, f"204 with {framing}")


@check("PEP-14e", "304 has no body and no Transfer-Encoding.", "RFC 9110 15.4.5; RFC 9112 6.1")
def _(server: Live) -> None:
    response = bodiless(server, "304 Not Modified", n=0)
    expect(response.status == 304, f"answered {response.status}")
    expect(response.get("Transfer-Encoding") is None, "304 with Transfer-Encoding")
    expect(
        response.get("Content-Length") != "0", "304 with Content-Length: 0, which is not the length of a 200"
    )


@check("PEP-14f", "HTTP/1.0 clients get no chunks.", "RFC 9112 6.1")
def _(server: Live) -> None:
    for headers in (["Connection: close"], ["Connection: keep-alive"]):
        with server.connect() as wire:
            wire.send(request(probe_path("blocks", server.token()), version="HTTP/1.0", headers=headers))
            response = wire.response()
        expect(response.framing in ("close", "length"), f"framed by {response.framing}")
        expect(len(response.body) == 30, f"the body is {response.body!r}")


@check(
    "PEP-14g",
    "The end of a body without a length can be told from a cut connection.",
    "RFC 9112 6.3, 8",
    Level.SHOULD,
)
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(request(probe_path("blocks", server.token())))
        response = wire.response()
    expect(len(response.body) == 30, f"the body is {response.body!r}")
    expect(response.framing != "close", "it ends with the connection, though HTTP/1.1 has chunks")
