"""start_response, write(), and the statuses and headers that an application may and may not send."""

from __future__ import annotations

import contextlib
import json

from conformance.apps import HEADERS, STATUSES
from conformance.model import Closed, Failed, Level, Registry, expect
from conformance.server import Live, probe_path, request

registry = Registry()
check = registry.check
START = "PEP 3333, The start_response() Callable"
WRITE = "PEP 3333, The write() Callable"
STREAM = "PEP 3333, Buffering and Streaming"
# How long nothing must arrive to count as nothing sent.
QUIET_S = 0.15


@check("PEP-02a", "start_response returns write(), and what is written precedes the iterable.", WRITE)
def _(server: Live) -> None:
    token, response = server.probe("written", more=1)
    expect(server.wait_for(token, "writer")[0]["callable"], "start_response returned no callable")
    expect(
        response.body == b"one,two,three,four", f"the body is {response.body!r} (status {response.status})"
    )
    expect(response.complete, "the response is incomplete")


@check("PEP-02b", "A body may be written wholly through write().", WRITE)
def _(server: Live) -> None:
    _, response = server.probe("written")
    expect(response.body == b"one,two,", f"the body is {response.body!r} (status {response.status})")
    expect(response.complete, "the response is incomplete")


@check(
    "PEP-02c",
    "write() takes bytes only; text is not encoded behind the application's back.",
    "PEP 3333, A Note On String Types",
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    try:
        _, response = server.probe("write-str")
    except Failed:
        return
    expect(b"text" not in response.body or response.status >= 500, "write('text') was sent")


@check("PEP-03a", "An empty block does not send the headers: they can still be replaced.", START)
def _(server: Live) -> None:
    _, response = server.probe("empty-first")
    expect(response.status == 503, f"answered {response.status}, the application changed it to 503")
    expect(response.get("X-New") and not response.get("X-Old"), "the headers were not replaced")
    expect(response.body == b"new", f"the body is {response.body!r}")


@check("PEP-03b", "A response without any block has its headers sent all the same.", START)
def _(server: Live) -> None:
    _, response = server.probe("nothing")
    expect(
        response.status == 200 and response.complete,
        f"answered {response.status}, complete: {response.complete}",
    )
    expect(response.body == b"", f"the body is {response.body!r}")


@check("PEP-03c", "Nothing is on the wire before the first block that is not empty.", START)
def _(server: Live) -> None:
    token = server.token()
    with server.connect() as wire:
        wire.send(request(probe_path("held-head", token), headers=["Connection: close"]))
        server.wait_for(token, "waiting")
        quiet = wire.quiet(QUIET_S)
        server.open_gate(token)
        response = wire.response()
    expect(response.body == b"body", f"the body is {response.body!r}")
    expect(quiet, "the head was sent after start_response or an empty block")


@check("PEP-04a", "start_response may be called in the first step of the iterable.", START, lawful=False)
def _(server: Live) -> None:
    _, response = server.probe("generator")
    expect(response.status == 404, f"answered {response.status}, expected 404")
    expect(response.get("X-Late") == "1" and response.body == b"late", f"the body is {response.body!r}")


@check(
    "PEP-05a",
    "With exc_info, before the headers are sent, status and all headers are replaced.",
    "PEP 3333, Error Handling",
)
def _(server: Live) -> None:
    _, response = server.probe("exc-before")
    expect(
        response.status == 500 and response.reason == "New", f"answered {response.status} {response.reason}"
    )
    expect(response.get("X-New") == "1", "the new headers are missing")
    expect(response.get("X-Old") is None, "the old headers were sent too")
    expect(response.body == b"new", f"the body is {response.body!r}")


@check(
    "PEP-05b",
    "With exc_info, after the headers were sent, the same exception is raised again.",
    "PEP 3333, Error Handling",
)
def _(server: Live) -> None:
    token = server.token()
    with contextlib.suppress(Failed):
        server.ask(probe_path("exc-after", token))
    raised = server.wait_for(token, "raised")[0]
    expect(raised["type"] is not None, "start_response returned as if nothing had been sent")
    expect(raised["same"], f"it raised {raised['type']}, not the application's exception")


@check(
    "PEP-05c", "A response that fails midway does not end as if it were whole.", "RFC 9112 8", Level.SHOULD
)
def _(server: Live) -> None:
    with server.connect() as wire:
        wire.send(request(probe_path("exc-after", server.token())))
        try:
            response = wire.response()
        except Failed:
            return
    expect(
        b"<" not in response.body and b"500" not in response.body,
        f"an error page was appended: {response.body!r}",
    )
    if response.framing == "close":
        expect(
            not response.complete, "the body ends with the connection, so nobody can tell it from a whole one"
        )
    expect(not response.complete, f"it ended cleanly with {response.body!r}")


@check(
    "PEP-05d",
    "The server keeps no reference to exc_info after the request.",
    "PEP 3333, Error Handling (circular references)",
    Level.SHOULD,
)
def _(server: Live) -> None:
    for _ in range(8):
        server.probe("exc-kept")
        _, response = server.probe("exc-kept-still")
        facts = json.loads(response.body)
        # Of several processes the one that answers may not be the one that was asked before.
        if facts["known"]:
            expect(not facts["alive"], "the exception was still alive after the request")
            return


@check("PEP-06a", "A second start_response without exc_info raises.", START)
def _(server: Live) -> None:
    judge_second(server, "twice")


@check("PEP-06b", "So it does after the headers were sent.", START)
def _(server: Live) -> None:
    judge_second(server, "twice-late")


@check("PEP-06c", "So it does after a first call that was refused.", START, Level.ADVICE, lawful=False)
def _(server: Live) -> None:
    token = server.token()
    with contextlib.suppress(Failed):
        server.ask(probe_path("twice-after-refused", token))
    if not server.events(token, "accepted"):
        expect(server.wait_for(token, "raised")[0]["type"], "the second call returned")


def judge_second(server: Live, name: str) -> None:
    token = server.token()
    try:
        response = server.ask(probe_path(name, token))
    except Failed:
        response = None
    expect(server.wait_for(token, "raised")[0]["type"], "the second call returned")
    expect(response is None or response.get("X-Again") is None, "the second headers were sent")


def judge_refused(server: Live, name: str, case: str) -> str | None:
    """Return what a bad status or header did to the response, None when it was kept off the wire."""
    token = server.token()
    try:
        response = server.ask(probe_path(name, token, case=case))
    except Closed:
        # This keeps it off the wire as well; a malformed answer does not.
        return None
    except Failed as failure:
        return str(failure)
    if response.get("X-Injected") is not None:
        return "a header was injected"
    probed = [field for field in response.headers if field[0].startswith("X")]
    clean = response.reason.isprintable() and not probed
    if response.status >= 500 or (clean and case not in TYPES_OF_STATUS):
        return None
    return f"sent as {response.status} {response.reason!r} {probed}"


def judge_early(server: Live, name: str, cases: list[str]) -> None:
    late = []
    for case in cases:
        token = server.token()
        with contextlib.suppress(Failed):
            server.ask(probe_path(name, token, case=case))
        if not server.events(token, "refused"):
            late.append(case)
    expect(not late, f"start_response took {', '.join(late)}")


TYPES_OF_STATUS = ["bytes", "integer"]
TYPES_OF_HEADERS = ["integer-value", "none-value", "bytes-value", "bytes-name", "triple"]


@check(
    "PEP-07a",
    "A status or header that cannot be sent is refused while start_response runs.",
    START,
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    judge_early(server, "status", ["injected", "newline", "no-code"])
    judge_early(server, "header", ["crlf-in-value", "crlf-in-name", "lf-in-value", "empty-name"])


@check(
    "PEP-07b",
    "Statuses and headers of wrong types do not reach the wire.",
    "PEP 3333, A Note On String Types",
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    for name, cases in (("status", TYPES_OF_STATUS), ("header", TYPES_OF_HEADERS)):
        for case in cases:
            problem = judge_refused(server, name, case)
            expect(problem is None, f"{name} {case}: {problem}")


@check("PEP-07c", "The headers are a list; a tuple is refused.", START, Level.ADVICE, lawful=False)
def _(server: Live) -> None:
    token, response = server.probe("header-tuple")
    expect(response.status >= 500 or server.events(token, "refused"), f"answered {response.status}")


HOP = (
    ("Connection", "x-conformance"),
    ("Keep-Alive", "timeout=987"),
    ("Proxy-Authenticate", "conformance"),
    ("TE", "conformance"),
    ("Transfer-Encoding", "gzip"),
    ("Upgrade", "conformance"),
)


@check(
    "PEP-08a",
    "Hop-by-hop headers of the application are refused or dropped, not sent.",
    "PEP 3333, Other HTTP Features",
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    sent = []
    for name, value in HOP:
        try:
            _, response = server.probe("hop", name=name, value=value)
        except Closed:
            continue
        except Failed as failure:
            sent.append(f"{name} ({failure})")
            continue
        if value in ",".join(response.all(name)):
            sent.append(name)
    expect(not sent, f"sent: {', '.join(sent)}")


# Rows of the corpus that speak about statuses and headers: http.py adds these as steps.
BAD_STATUSES = [case for case in STATUSES if case not in TYPES_OF_STATUS]
BAD_HEADERS = [case for case in HEADERS if case not in TYPES_OF_HEADERS]
