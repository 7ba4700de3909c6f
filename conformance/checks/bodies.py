"""wsgi.input: its methods, its end, chunked bodies, and Expect: 100-continue."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from conformance.checks.environ import facts_of
from conformance.model import Failed, Level, Registry, expect
from conformance.server import Live, probe_path, request

registry = Registry()
check = registry.check
INPUT = "PEP 3333, Input and Error Streams"
EXPECT = "PEP 3333, HTTP 1.1 Expect/Continue"
LINES = b"one\ntwo\nthree"
# How long nothing must arrive to count as nothing sent.
QUIET_S = 0.15


def results_of(server: Live, how: str, body: bytes | None, **options: Any) -> Any:
    """Have the application call methods of wsgi.input; return what they returned."""
    token = server.token()
    method = "GET" if body is None else "POST"
    response = server.ask(probe_path("read", token, how=how), method=method, body=body, **options)
    failed = server.events(token, "read-failed")
    if failed:
        raise Failed(f"{how} raised {failed[0]['type']}")
    return facts_of(response)["results"]


def judge_reads(server: Live, cases: tuple[tuple[str, bytes | None, list[Any]], ...]) -> None:
    for how, body, wanted in cases:
        results = results_of(server, how, body)
        expect(results == wanted, f"{how} of {body!r} gave {results!r:.90}, expected {wanted!r:.90}")


@check(
    "PEP-15a",
    "read() and read(n) give what is asked for, then b'' for ever.",
    INPUT,
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    judge_reads(
        server,
        (
            ("read,read,read", LINES, ["one\ntwo\nthree", "", ""]),
            ("read:3,read:1,read:100,read:1,read:1", LINES, ["one", "\n", "two\nthree", "", ""]),
            ("read:0,read", b"abc", ["", "abc"]),
            ("read:13,read:1,read", LINES, ["one\ntwo\nthree", "", ""]),
        ),
    )


@check(
    "PEP-15b",
    "read(-1) and read(None) read to the end.",
    "Python's io.RawIOBase.read, as file-like objects do",
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    judge_reads(
        server,
        (
            ("read:-1,read", LINES, ["one\ntwo\nthree", ""]),
            ("read:None,read", LINES, ["one\ntwo\nthree", ""]),
        ),
    )


@check("PEP-15c", "readline() gives lines, the last without an end, then b''.", INPUT)
def _(server: Live) -> None:
    judge_reads(
        server,
        (
            ("readline,readline,readline,readline", LINES, ["one\n", "two\n", "three", ""]),
            ("readline,readline", b"\n\n", ["\n", "\n"]),
        ),
    )


@check("PEP-15d", "readline(n) gives at most n bytes.", INPUT, Level.SHOULD)
def _(server: Live) -> None:
    judge_reads(
        server,
        (
            (
                "readline:2,readline:2,readline:100,readline:100,readline:1",
                LINES,
                ["on", "e\n", "two\n", "three", ""],
            ),
        ),
    )
    judge_reads(server, (("readline:-1,readline:0", LINES, ["one\n", ""]),))


@check(
    "PEP-15e",
    "readlines() gives all lines; with a hint it may give fewer, but loses none.",
    INPUT,
    lawful=False,
)
def _(server: Live) -> None:
    judge_reads(server, (("readlines,read", LINES, [["one\n", "two\n", "three"], ""]),))
    first, second = results_of(server, "readlines:4,readlines", LINES)
    expect(first + second == ["one\n", "two\n", "three"], f"readlines(4), readlines() gave {first}, {second}")


@check("PEP-15f", "Iterating gives lines, and mixes with the other methods.", INPUT)
def _(server: Live) -> None:
    judge_reads(
        server,
        (
            ("iterate", LINES, [["one\n", "two\n", "three"]]),
            ("read:2,iterate", LINES, ["on", ["e\n", "two\n", "three"]]),
        ),
    )
    judge_reads(server, (("next,readline:9,read:9", LINES, ["one\n", "two\n", "three"]),))


@check("PEP-15g", "A request without a body gives b'' at once.", INPUT, Level.SHOULD, lawful=False)
def _(server: Live) -> None:
    judge_reads(server, (("read,readline,readlines,read:10", None, ["", "", [], ""]),))
    judge_reads(server, (("read,readline,readlines,read:10", b"", ["", "", [], ""]),))


@check("PEP-15h", "Reading ends with the body, where the next request begins.", INPUT, Level.SHOULD)
def _(server: Live) -> None:
    with server.connect() as wire:
        path = probe_path("read", server.token(), how="read:1000,read:1000,readline:1000")
        first = request(path, method="POST", body=b"abc")
        wire.send(first + request("/probe/ping"))
        response = wire.response()
        results = facts_of(response)["results"]
        expect(results == ["abc", "", ""], f"the application read {results}")
        if not response.says_close and not wire.end():
            expect(wire.response().status == 200, "the next request was not answered")


@check("PEP-15i", "read(n) waits for n bytes, and readline() for its line, when they come slowly.", INPUT)
def _(server: Live) -> None:
    body = b"0123456789" * 10 + b"\n" + b"tail"
    for how, wanted in (
        ("read:105,read:1", [body.decode(), ""]),
        ("readline,read:4", [body[:-4].decode(), "tail"]),
    ):
        with server.connect() as wire:
            data = request(
                probe_path("read", server.token(), how=how),
                method="POST",
                headers=["Connection: close"],
                body=body,
            )
            wire.send_split(data)
            results = facts_of(wire.response())["results"]
        expect(results == wanted, f"{how} gave {results!r:.90}")


@check("PEP-15j", "A body of 3 MiB arrives whole, in any way of reading.", INPUT, lawful=False)
def _(server: Live) -> None:
    body = (b"x" * 99_999 + b"\n") * 32
    token = server.token()
    response = server.ask(probe_path("count-body", token), method="POST", body=body)
    expect(facts_of(response)["size"] == len(body), f"read {facts_of(response)['size']} of {len(body)} bytes")
    lines = results_of(server, "readline,read:10,readlines", body)
    sizes = [len(lines[0]), len(lines[1]), len(lines[2])]
    expect(sizes == [100_000, 10, 31], f"readline, read(10), readlines gave {sizes}")


def judge_cut(server: Live, data: bytes, how: str) -> dict[str, Any] | None:
    """Send half a body and leave; return how the application's read failed, None if it never ran."""
    mark = server.mark()
    with server.connect() as wire:
        wire.send(data)
        if how == "reset":
            # The server has to be reading by then, or it would see nothing at all.
            server.poll(lambda: True if server.calls_since(mark) else None, 0.3)
            wire.reset()
        else:
            wire.send_end()
            with contextlib.suppress(Failed):
                wire.response()
    failed = server.poll(
        lambda: server.events_since(mark, "read-failed") or server.events_since(mark, "echoed") or None,
        2.0 if server.calls_since(mark) else 0.3,
    )
    if not failed:
        expect(not server.calls_since(mark), "read() neither returned nor raised after the client had gone")
        return None
    expect(
        failed[0]["event"] == "read-failed",
        f"read() took {failed[0].get('body_size')} bytes for the whole body",
    )
    failure: dict[str, Any] = failed[0]
    return failure


CUT = "POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx"
CUT_CHUNKED = "POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo"


@check(
    "PEP-16a",
    "A body cut short is not taken for a whole one: reading it raises, or the application does not run.",
    "RFC 9112 8",
    Level.SHOULD,
)
def _(server: Live) -> None:
    for data in (CUT, CUT_CHUNKED):
        for how in ("end", "reset"):
            judge_cut(server, data.encode(), how)


@check(
    "PEP-16b",
    "What is raised is an OSError, as for any file whose device fails.",
    "custom: mod_wsgi, gunicorn; frameworks catch it",
    Level.ADVICE,
)
def _(server: Live) -> None:
    for data in (CUT, CUT_CHUNKED):
        failure = judge_cut(server, data.encode(), "end")
        expect(failure is None or failure["oserror"], f"read() raised {failure['type'] if failure else ''}")


CHUNKED = b"4\r\none\n\r\n3;x=y\r\ntwo\r\n0\r\nX-Trailer: z\r\n\r\n"


def chunked(server: Live, how: str) -> Any:
    path = probe_path("read", server.token(), how=how)
    head = request(path, method="POST", headers=["Connection: close", "Transfer-Encoding: chunked"])
    with server.connect() as wire:
        wire.send(head + CHUNKED)
        return facts_of(wire.response())


@check("PEP-17a", "A chunked body is decoded.", "RFC 9112 7.1; PEP 3333 Other HTTP Features", lawful=False)
def _(server: Live) -> None:
    facts = chunked(server, "read,read")
    expect(facts["results"] == ["one\ntwo", ""], f"read() gave {facts['results']}")
    facts = chunked(server, "read:2,readline,read:100,read:1")
    expect(
        facts["results"] == ["on", "e\n", "two", ""],
        f"read(2), readline(), read(100) gave {facts['results']}",
    )


@check(
    "PEP-17b",
    "The application can tell that a chunked body has an end: input_terminated or CONTENT_LENGTH.",
    "RFC 3875 4.1.2; wsgi.input_terminated",
    Level.SHOULD,
)
def _(server: Live) -> None:
    facts = chunked(server, "read:7")
    known = facts["wsgi.input_terminated"] is True or facts["CONTENT_LENGTH"] == "7"
    seen = {name: facts[name] for name in ("wsgi.input_terminated", "CONTENT_LENGTH")}
    expect(known, f"there is {seen}")


@check(
    "PEP-17c",
    "CONTENT_LENGTH, where it is given, has no HTTP_TRANSFER_ENCODING beside it.",
    "RFC 9112 7.1.3",
    Level.SHOULD,
)
def _(server: Live) -> None:
    facts = chunked(server, "read:7")
    both = facts["CONTENT_LENGTH"] and facts["HTTP_TRANSFER_ENCODING"]
    expect(not both, f"CONTENT_LENGTH {facts['CONTENT_LENGTH']} beside HTTP_TRANSFER_ENCODING {both!r}")


@check(
    "PEP-17d",
    "A framework that knows CONTENT_LENGTH only gets a chunked body whole.",
    "RFC 3875 4.1.2; Django",
    Level.ADVICE,
)
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(
            request("/x", method="PUT", headers=["Connection: close", "Transfer-Encoding: chunked"]) + CHUNKED
        )
        facts = facts_of(wire.response())
    expect(
        facts["body"] == "one\ntwo",
        f"with CONTENT_LENGTH {facts['environ'].get('CONTENT_LENGTH')} it read {facts['body']!r}",
    )


def expecting(path: str, version: str = "HTTP/1.1") -> bytes:
    return request(
        path, method="POST", headers=["Expect: 100-continue", "Content-Length: 5"], version=version
    )


@check("PEP-25a", "A client that waits for 100 Continue is not left waiting.", EXPECT)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(expecting(probe_path("read", token, how="read:5")))
        interim = wire.head()
        expect(interim.status == 100, f"answered {interim.status}")
        wire.send(b"hello")
        response = wire.response()
        expect(not response.interim, "100 Continue was sent twice")
        expect(facts_of(response)["results"] == ["hello"], f"read(5) gave {response.body!r}")


@check(
    "PEP-25b",
    "100 Continue is sent when the application first reads, not before.",
    EXPECT + " (sending it at once is allowed)",
    Level.ADVICE,
)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(expecting(probe_path("lazy-read", token)))
        server.poll(lambda: True if server.events(token, "waiting") or not wire.quiet(0.0) else None)
        quiet = wire.quiet(QUIET_S)
        server.open_gate(token)
        interim = wire.head()
        if interim.status == 100:
            wire.send(b"hello")
            wire.response()
    expect(quiet, f"{interim.status} was sent before the application read")


@check(
    "PEP-25c",
    "Without a read the final status comes without a 100 before it.",
    EXPECT + " (sending it at once is allowed)",
    Level.ADVICE,
)
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(expecting(probe_path("unread", server.token(), status="401 Unauthorized")))
        response = wire.head()
    expect(response.status == 401, f"answered {response.status}")


@check("PEP-25d", "No 100 Continue is sent to HTTP/1.0.", "RFC 9110 10.1.1")
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(expecting(probe_path("read", server.token(), how="read:5"), "HTTP/1.0") + b"hello")
        response = wire.response()
    expect(not response.interim, f"interim response {response.interim}")
    expect(json.loads(response.body)["results"] == ["hello"], f"read(5) gave {response.body!r}")


@check("PEP-25e", "No 100 Continue follows the final head.", "RFC 9110 10.1.1, 15.2", lawful=False)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(expecting(probe_path("late-read", token)))
        early = wire.head()
        if early.status == 100:
            wire.send(b"hello")
            server.open_gate(token)
            wire.response()
            return
        # The final head is out. What follows has to be its body, whatever the application reads.
        server.wait_for(token, "waiting")
        server.open_gate(token)
        wire.send(b"hello")
        try:
            wire.body(early)
        except Failed as failure:
            raise Failed(f"after the final head: {failure}") from None
        expect(b"HTTP/1.1 100" not in early.body, "100 Continue stands in the body")
