"""wsgi.file_wrapper, which a server may leave out; then these checks are skipped."""

from __future__ import annotations

import os
import re

from conformance.model import Failed, Level, Registry, Skipped, expect
from conformance.server import Live, probe_path, request
from conformance.wire import Response

registry = Registry()
check = registry.check
WRAPPER = "PEP 3333, Optional Platform-Specific File Handling"
CONTENT = bytes(range(256)) * 1200


def ask(
    server: Live, kind: str, *, content: bytes = CONTENT, method: str = "GET", **query: object
) -> tuple[str, Response]:
    """Put a file into the server's folder and ask for it."""
    token = server.token()
    name = f"file-{token}"
    (server.folder / name).write_bytes(content)
    try:
        response = server.ask(probe_path("file", token, kind=kind, name=name, **query), method=method)
    finally:
        need_wrapper(server, token)
    return token, response


def need_wrapper(server: Live, token: str) -> None:
    if any(not event["offered"] for event in server.events(token, "wrapper")):
        raise Skipped("the server offers no wsgi.file_wrapper")


def judge_body(response: Response, wanted: bytes) -> None:
    expect(response.status == 200, f"answered {response.status}")
    got = response.body
    expect(
        got == wanted,
        f"{len(got)} bytes arrived, {len(wanted)} expected" if len(got) != len(wanted) else "other bytes",
    )
    expect(response.complete, "the response is incomplete")


@check("PEP-28a", "A real file is sent whole, with and without a Content-Length.", WRAPPER)
def _(server: Live) -> None:
    judge_body(ask(server, "real")[1], CONTENT)
    judge_body(ask(server, "real", length=len(CONTENT))[1], CONTENT)
    judge_body(ask(server, "real", block=100)[1], CONTENT)


@check("PEP-28b", "An object without a file descriptor is sent by its read().", WRAPPER)
def _(server: Live) -> None:
    judge_body(ask(server, "bytesio")[1], b"from memory")
    judge_body(ask(server, "plain")[1], b"from a reader")


@check(
    "PEP-28c",
    "A file is sent from its current position, which a buffered file's descriptor does not tell.",
    WRAPPER,
)
def _(server: Live) -> None:
    judge_body(ask(server, "offset")[1], CONTENT[5:])
    judge_body(ask(server, "at-end")[1], b"")


@check("PEP-28d", "No more than Content-Length is sent of a file.", WRAPPER, Level.SHOULD)
def _(server: Live) -> None:
    token = server.token()
    name = f"file-{token}"
    (server.folder / name).write_bytes(CONTENT)
    with server.connect() as wire:
        wire.send(request(probe_path("file", token, kind="real", name=name, length=1000)))
        response = wire.response()
        need_wrapper(server, token)
        judge_body(response, CONTENT[:1000])
        if response.says_close:
            expect(wire.end(), "bytes follow the body")
        else:
            wire.send(request("/probe/ping", headers=["Connection: close"]))
            expect(wire.end() or wire.response().status == 200, "bytes follow the body")


@check("PEP-28e", "close() of the file is called, once, whatever kind it is.", WRAPPER)
def _(server: Live) -> None:
    for kind in ("closing", "closing-file"):
        for method in ("GET", "HEAD"):
            token, _ = ask(server, kind, method=method)
            server.wait_for(token, "close")
            server.ask("/probe/ping")
            count = len(server.events(token, "close"))
            expect(count == 1, f"close() of the {kind} was called {count} times for {method}")


@check(
    "PEP-28f",
    "A wrapper that is not returned has no effect, and one that is iterated gives its blocks.",
    WRAPPER,
)
def _(server: Live) -> None:
    judge_body(ask(server, "not-returned")[1], b"something else")
    body = ask(server, "iterated", content=b"abc")[1].body
    expect(re.fullmatch(rb"<abc>(<>)*", body), f"a generator over the wrapper sent {body[:40]!r}")


@check(
    "PEP-28g",
    "A file that shrinks while it is sent cuts the response off; the server goes on.",
    WRAPPER,
    Level.SHOULD,
)
def _(server: Live) -> None:
    token = server.token()
    path = server.folder / f"file-{token}"
    with path.open("wb") as made:
        made.truncate(64 * 1024 * 1024)
    with server.connect() as wire:
        target = probe_path("file", token, kind="real", name=path.name, length=64 * 1024 * 1024)
        wire.send(request(target, headers=["Connection: close"]))
        head = wire.head()
        need_wrapper(server, token)
        wire.read_some(65536)
        os.truncate(path, 1024)
        try:
            wire.body(head)
        except Failed as failure:
            raise Failed(f"after the file had shrunk: {failure}") from None
    # A server that has taken all of the file before sending it has nothing to fear.
    expect(head.status == 200, f"answered {head.status}")
    expect(server.ask("/probe/ping").status == 200, "the server does not go on")


@check("PEP-28h", "HEAD of a file has its head and no body.", WRAPPER)
def _(server: Live) -> None:
    _, response = ask(server, "real", method="HEAD", length=len(CONTENT))
    expect(response.status == 200, f"answered {response.status}")
    expect(
        response.get("Content-Length") == str(len(CONTENT)),
        f"Content-Length {response.get('Content-Length')}",
    )


@check("PEP-28i", "The server offers wsgi.file_wrapper.", WRAPPER + " (optional)", Level.ADVICE)
def _(server: Live) -> None:
    token, _ = server.probe("file", kind="bytesio")
    expect(server.events(token, "wrapper")[0]["offered"], "there is none")
