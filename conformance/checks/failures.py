"""wsgi.errors, and what becomes of an application that goes wrong."""

from __future__ import annotations

import json

from conformance.checks.environ import facts_of
from conformance.model import Closed, Failed, Level, Registry, Silent, expect
from conformance.server import Live, probe_path
from conformance.wire import Response

registry = Registry()
check = registry.check
ERRORS = "PEP 3333, Input and Error Streams"
# How long a server that means to stop may take to be seen doing so.
GRACE_S = 0.5
SURROGATE = "write of surrogate"
WRONG = "PEP 3333, Error Handling; Specification Details"


def failures_of(server: Live) -> dict[str, str]:
    """Return which writes to wsgi.errors raised, and what."""
    failures: dict[str, str] = facts_of(server.probe("errors")[1])
    return failures


@check("PEP-26a", "wsgi.errors takes text: write, writelines, flush, print and tracebacks.", ERRORS)
def _(server: Live) -> None:
    failures = failures_of(server)
    failures.pop(SURROGATE, None)
    expect(not failures, "; ".join(f"{what} raised {error}" for what, error in failures.items()))


@check(
    "PEP-26c",
    "wsgi.errors takes any str, lone surrogates (undecodable file names) among them.",
    "PEP 383; sys.stderr does",
    Level.ADVICE,
)
def _(server: Live) -> None:
    error = failures_of(server).get(SURROGATE)
    expect(error is None, f"it raised {error}")


@check(
    "PEP-26b",
    "wsgi.errors can be written to from other threads, and after the request.",
    "custom: loggers keep the stream",
    Level.SHOULD,
)
def _(server: Live) -> None:
    token, response = server.probe("errors-elsewhere")
    failures = facts_of(response)["failures"]
    expect(not failures, f"from another thread: {failures}")
    server.ask("/probe/ping")
    server.open_gate(token)
    failures = server.wait_for(token, "late")[0]["failures"]
    expect(not failures, f"after the request: {failures}")


def pid_of(server: Live) -> int:
    pid: int = json.loads(server.ask("/probe/ping").body)["pid"]
    return pid


def judge_survives(server: Live, what: str, where: str) -> Response | None:
    """Have an application raise; fail unless the same process serves on. Return the response, if there was
    one."""
    before = pid_of(server)
    token = server.token()
    try:
        response: Response | None = server.ask(probe_path("raising", token, what=what, where=where))
    except Silent as failure:
        raise Failed(f"{what} in the {where}: {failure}") from None
    except Failed:
        # What the client sees of a response cut off midway is not asked here.
        response = None
    raised_in = server.wait_for(token, "call")[0]["pid"]
    after = pid_of(server)
    if raised_in == before and after != before:
        # Several processes may take turns; look once more for the one that met the exception.
        expect(
            any(pid_of(server) == before for _ in range(8)), f"{what} in the {where} ended the worker process"
        )
    return response


def judge_stays(server: Live) -> None:
    """Fail when the server goes down after all: some take a moment to do so."""
    server.poll(lambda: None, GRACE_S)
    expect(server.ask("/probe/ping").status == 200, "the server does not go on")


def judge_500(server: Live, what: str, wheres: tuple[str, ...]) -> None:
    for where in wheres:
        response = judge_survives(server, what, where)
        if where == "second":
            expect(
                response is None or not response.complete or response.framing == "close",
                f"{where}: it ended cleanly",
            )
        else:
            expect(response is not None, f"{what} in the {where}: closed without an answer")
            assert response is not None
            expect(response.status == 500, f"{what} in the {where}: answered {response.status}")


@check(
    "PEP-27a",
    "An exception gives 500, wherever it is raised, and the server goes on.",
    "PEP 3333, Error Handling",
    Level.SHOULD,
)
def _(server: Live) -> None:
    judge_500(server, "LookupError", ("call", "first", "second"))


@check(
    "PEP-27b", "SystemExit from an application ends neither the server nor the worker.", WRONG, Level.SHOULD
)
def _(server: Live) -> None:
    for where in ("call", "first", "second"):
        judge_survives(server, "SystemExit", where)
    judge_stays(server)


@check("PEP-27c", "Nor does KeyboardInterrupt.", WRONG, Level.SHOULD)
def _(server: Live) -> None:
    for where in ("call", "first", "second"):
        judge_survives(server, "KeyboardInterrupt", where)
    judge_stays(server)


@check("PEP-27d", "Nor does GeneratorExit.", WRONG, Level.SHOULD)
def _(server: Live) -> None:
    for where in ("call", "first", "second"):
        judge_survives(server, "GeneratorExit", where)
    judge_stays(server)


@check("PEP-27e", "All of these are answered with 500 when nothing was sent yet.", WRONG, Level.ADVICE)
def _(server: Live) -> None:
    for what in ("SystemExit", "KeyboardInterrupt", "GeneratorExit"):
        judge_500(server, what, ("call", "first"))


def judge_wrong(server: Live, kind: str, *, sent: bytes = b"text") -> None:
    """An application that breaks PEP 3333 gets 500 or a cut connection; its wrong answer is not sent."""
    try:
        _, response = server.probe("wrong", kind=kind)
    except Closed:
        return
    except Failed as failure:
        raise Failed(f"{kind}: {failure}") from None
    expect(response.status >= 500 or sent not in response.body, f"{kind}: {response.body[:40]!r} was sent")
    expect(
        response.status >= 500 or not response.complete,
        f"{kind}: answered {response.status} with {response.body[:40]!r}",
    )


@check("PEP-29a", "An application that returns None gets 500.", WRONG, Level.SHOULD, lawful=False)
def _(server: Live) -> None:
    judge_wrong(server, "none")


@check(
    "PEP-29b",
    "An application that returns a str gets 500; it is not sent character by character.",
    WRONG,
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    judge_wrong(server, "str")


@check(
    "PEP-29c",
    "bytes as the iterable are sent whole or refused, not taken for numbers.",
    WRONG,
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    try:
        _, response = server.probe("wrong", kind="bytes")
    except Closed:
        return
    whole = response.status == 200 and response.body == b"some bytes"
    expect(
        whole or response.status >= 500 or not response.complete,
        f"answered {response.status} {response.body[:40]!r}",
    )


@check(
    "PEP-29d",
    "A block that is a str is not sent.",
    "PEP 3333, A Note On String Types",
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    judge_wrong(server, "yields-str")


@check(
    "PEP-29e",
    "A block that is a str after others cuts the response off.",
    "PEP 3333, A Note On String Types",
    Level.SHOULD,
    lawful=False,
)
def _(server: Live) -> None:
    try:
        _, response = server.probe("wrong", kind="yields-str-late")
    except Failed:
        return
    expect(b"some text" not in response.body, f"the str was sent: {response.body!r}")
    expect(b"last" not in response.body, "the response went on after the str")


@check("PEP-29f", "A block that is None, or a number, is not sent.", WRONG, Level.SHOULD, lawful=False)
def _(server: Live) -> None:
    judge_wrong(server, "yields-none", sent=b"None")
    judge_wrong(server, "yields-integer", sent=b"7")


@check(
    "PEP-29g", "An application that never calls start_response gets 500.", WRONG, Level.SHOULD, lawful=False
)
def _(server: Live) -> None:
    judge_wrong(server, "no-start-response", sent=b"body")
    judge_wrong(server, "generator-without-start-response", sent=b"body")


@check("PEP-29h", "An application that returns a number gets 500.", WRONG, Level.SHOULD, lawful=False)
def _(server: Live) -> None:
    judge_wrong(server, "integer", sent=b"7")
