"""The HTTP rows: reads tests/corpus/http1.tsv, whose first lines explain its format, and puts each input to
the server.

An input goes out in three ways: whole, split at every byte, and with a request for /canary behind it. Where
the connection has to close, the canary must never reach the application.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import unquote_to_bytes

from conformance.model import Check, Failed, Skipped, Step, Variant, expect
from conformance.rows import ROWS
from conformance.server import Live
from conformance.wire import Response, Wire

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "corpus" / "http1.tsv"
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"
# Rows whose case is about what the application reads: the application may run before the fault is met.
BODY_FAMILIES = ("CH",)
# Rows that http-cases.tsv lets a server ignore rather than refuse, or refuse rather than repair.
MAY_IGNORE = ("HD18",)
MAY_REFUSE = ("HD15", "HD16", "EX03-b")
# Cases in which it is no fault to wait for the rest: a huge size was announced, but has not overflowed.
MAY_WAIT = ("CH02", "CL01-k", "CL01-l")
# RFC 9112 section 3.2.2 has a server ignore a Host that differs from an absolute target's, and use that.
MAY_USE_TARGET = {"RL15-h": "b", "RL15-i": "b", "RL15-j": "b", "RL15-k": "b"}
WAIT_S = 1.0

ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
ESCAPE = re.compile(r"\\(?:\{(\d+) (.*?)\\\}|x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def unescape(text: str) -> bytes:
    """Return the bytes that a column of the corpus stands for."""
    out = bytearray()
    at = 0
    for match in ESCAPE.finditer(text):
        out += text[at : match.start()].encode("ascii")
        count, repeated, code, letter = match.groups()
        if count is not None:
            out += unescape(repeated) * int(count)
        elif code is not None:
            out.append(int(code, 16))
        else:
            out += ESCAPES[letter]
        at = match.end()
    return bytes(out + text[at:].encode("ascii"))


@dataclass(frozen=True)
class Case:
    """One line of the corpus."""

    id: str
    statuses: tuple[frozenset[str], ...]
    words: frozenset[str]
    wanted: tuple[tuple[str, str], ...]
    data: bytes = field(repr=False)

    @property
    def row(self) -> str:
        """The row of http-cases.tsv."""
        return self.id.split("-")[0]

    @property
    def closes(self) -> bool:
        """Whether the connection closes after the last response."""
        return "close" in self.words

    @property
    def needs_limit(self) -> bool:
        """Whether the server must have been started with a limit of ten bytes for request bodies."""
        return ("body-size-max", "10") in self.wanted

    @property
    def refused(self) -> bool:
        """Whether the last request is refused."""
        return not any(status.startswith("2") for status in self.statuses[-1])


def read_corpus(path: Path = CORPUS) -> list[Case]:
    """Read every case of the corpus."""
    cases = []
    for line in path.read_text(encoding="ascii").splitlines():
        if not line or line.startswith("#"):
            continue
        identifier, expected, data = line.split("\t")
        first, *words = expected.split(" ")
        statuses = tuple(frozenset(part.split("|")) for part in first.split(",") if part != "-")
        pairs = tuple(
            tuple(unescape(part).decode("latin-1") for part in word.split("=", 1))
            for word in words
            if "=" in word
        )
        flags = frozenset(word for word in words if "=" not in word)
        cases.append(Case(identifier, statuses, flags, pairs, unescape(data)))  # type: ignore[arg-type]
    return cases


def corpus_checks() -> list[Check]:
    """Return one check for each row of the corpus, with a step for each of its lines."""
    steps: dict[str, list[Step]] = {}
    for case in read_corpus():
        steps.setdefault(case.row, []).append(Step(case.id, partial(put, case)))
    limited = {case.row for case in read_corpus() if case.needs_limit}
    return [
        Check(row, *ROWS[row], tuple(of_row), variant=Variant.LIMITED if row in limited else Variant.TCP)
        for row, of_row in steps.items()
    ]


def put(case: Case, server: Live) -> None:
    """Send one case in every way and fail with the way in which it went wrong."""
    ways: list[tuple[str, Callable[[Case, Live], None]]] = [("whole", whole), ("split", split)]
    if "eof" not in case.words and "continue" not in case.words:
        ways.append(("canary", canary))
    for name, way in ways:
        try:
            way(case, server)
        except Failed as failure:
            raise Failed(f"{name}: {failure}") from None


def whole(case: Case, server: Live) -> None:
    mark = server.mark()
    with server.connect() as wire:
        wire.send(case.data)
        answers(case, server, wire, mark)


def split(case: Case, server: Live) -> None:
    mark = server.mark()
    with server.connect() as wire:
        wire.send_split(case.data)
        answers(case, server, wire, mark)


def canary(case: Case, server: Live) -> None:
    mark = server.mark()
    with server.connect() as wire:
        wire.send(case.data + CANARY)
        last = answers(case, server, wire, mark, canary=True)
        ignored = last is not None and last.status == 200 and case.refused
        if case.closes and not ignored:
            # The connection is at its end, or answers() would have failed: what was to run has run.
            expect("/canary" not in server.calls_since(mark), "the canary behind it reached the application")
        elif last is not None and not last.says_close and not wire.end():
            # A server may close after any response (RFC 9112 section 9.6), but if it does not it has to go
            # on.
            following = wire.response()
            expect(following.status == 200, f"the request behind it was answered with {following.status}")
            seen = environ_of(following).get("PATH_INFO")
            expect(seen == "/canary", f"the request behind it arrived as {seen!r}")


def answers(case: Case, server: Live, wire: Wire, mark: int, *, canary: bool = False) -> Response | None:
    """Read the responses of one case and judge them; return the last."""
    if "eof" in case.words:
        wire.send_end()
    if "truncated" in case.words:
        judge_truncated(server, wire, mark)
        return None
    last = None
    for number, statuses in enumerate(case.statuses):
        if case.id.startswith(MAY_WAIT) and not server.exact and wire.quiet(WAIT_S):
            return None
        if last is not None and (last.says_close or last.framing == "close" or wire.end()):
            # The requests before it were right; this server closes after each response.
            refused = case.refused and number == len(case.statuses) - 1
            if not refused:
                raise Skipped("the server closes after each response")
            return last
        if "continue" in case.words:
            offer_body(case, wire)
        last = judge_one(case, server, wire, mark, number, statuses)
    if last is not None and not case.refused:
        judge_seen(case, last, exact=server.exact)
    if case.closes:
        if last is not None and last.status == 200 and case.refused:
            return last
        expect(
            wire.end(),
            "the connection stays open" if not wire.buffer else "more was sent behind the response",
        )
    elif not canary and last is not None and not last.says_close and "continue" not in case.words:
        expect(wire.quiet(0.0) or wire.end(), "more was sent behind the response")
    return last


def judge_one(
    case: Case, server: Live, wire: Wire, mark: int, number: int, statuses: frozenset[str]
) -> Response:
    """Read one response and compare its status."""
    response = wire.response()
    status = str(response.status)
    if "no-interim" in case.words:
        expect(not response.interim, f"interim response {response.interim}")
    if status not in statuses and (server.exact or not agrees(case, response, statuses)):
        raise Failed(f"answered {status}, expected {'|'.join(sorted(statuses))}")
    if number == len(case.statuses) - 1 and not status.startswith("2"):
        judge_not_run(case, server, mark)
    return response


def agrees(case: Case, response: Response, statuses: frozenset[str]) -> bool:
    """Return whether a status other than the one named means the same: a refusal is a refusal.

    500 is none: it says that the server, or the application, met the fault unprepared. Where the fault is in
    the body the application may have been running, and its failing read ends in 500.
    """
    status = str(response.status)
    if case.id in MAY_USE_TARGET and status == "200":
        host = environ_of(response).get("HTTP_HOST", "").removesuffix(":80")
        return host == MAY_USE_TARGET[case.id]
    refusal = status[0] in "45" and (status != "500" or case.row.startswith(BODY_FAMILIES))
    if any(wanted[0] in "45" for wanted in statuses):
        return refusal or (case.id.startswith(MAY_IGNORE) and status == "200")
    return case.id.startswith(MAY_REFUSE) and refusal


def judge_not_run(case: Case, server: Live, mark: int) -> None:
    """Fail when a refused request reached the application all the same."""
    before = len(case.statuses) - 1
    if case.row.startswith(BODY_FAMILIES) and not server.exact:
        # The application may have started; it must not have taken the body for a whole one.
        whole_bodies = server.events_since(mark, "echoed")
        expect(not whole_bodies, "the application read the body without an error")
        return
    calls = server.calls_since(mark)
    expect(len(calls) <= before, f"refused, but the application ran for {calls[before:]}")


def judge_truncated(server: Live, wire: Wire, mark: int) -> None:
    """The body ended early: no 200, and no application that believes it has it all."""
    try:
        response = wire.response()
    except Failed:
        response = None
    expect(
        response is None or response.status >= 400,
        f"answered {response.status if response else ''} to half a body",
    )
    echoed = server.events_since(mark, "echoed")
    expect(
        not echoed,
        f"the application read {echoed[0]['body_size'] if echoed else 0} bytes and then a clean end",
    )
    failures = server.events_since(mark, "read-failed")
    expect(
        not failures or failures[0]["oserror"] or not server.exact,
        f"read() raised {failures[0]['type'] if failures else ''}, no OSError",
    )


def offer_body(case: Case, wire: Wire) -> None:
    """Wait for 100 Continue, then send the body."""
    interim = wire.head()
    expect(interim.status == 100, f"answered {interim.status}, no 100 Continue")
    wire.send(b"5\r\nhello\r\n0\r\n\r\n" if b"chunked" in case.data else b"hello")


def environ_of(response: Response) -> dict[str, str]:
    """Return the text variables that the echoing application answered with."""
    try:
        environ: dict[str, str] = json.loads(response.body)["environ"]
    except (ValueError, KeyError):
        raise Failed(f"the application's answer is garbled: {response.body[:60]!r}") from None
    return environ


def judge_seen(case: Case, response: Response, *, exact: bool) -> None:
    """Compare what the application saw with what the case says it sees."""
    if response.status != 200:
        return
    environ = environ_of(response)
    facts = json.loads(response.body)
    fields = {name.partition(":")[2] for name, _ in case.wanted if name.startswith("field:")}
    for word in case.words:
        if word.startswith("no-field:"):
            name = word.partition(":")[2]
            twin = name.replace("_", "-")
            if twin in fields:
                # They share a key; its value is compared below.
                continue
            key = cgi_key(name)
            expect(key not in environ, f"{key} is {environ.get(key)!r}")
    for name, value in case.wanted:
        kind, _, field_name = name.partition(":")
        if kind == "field":
            key = cgi_key(field_name)
            # Dropping both of a pair that differs by a dash loses the value, but lets nobody forge it.
            if key in environ or not case.id.startswith(MAY_REFUSE) or exact:
                seen(key, environ.get(key), value)
        elif kind == "method":
            seen("REQUEST_METHOD", environ.get("REQUEST_METHOD"), value)
        elif kind == "path":
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            seen("PATH_INFO", path, unquote_to_bytes(value).decode("latin-1"))
        elif kind == "query":
            seen("QUERY_STRING", environ.get("QUERY_STRING"), value)
        elif kind == "host":
            seen(
                "HTTP_HOST",
                environ.get("HTTP_HOST", "").lower().removesuffix(":80"),
                value.lower().removesuffix(":80"),
            )
        elif kind == "target" and value == "*":
            expect(environ.get("PATH_INFO", "") in ("", "*"), f"PATH_INFO is {environ.get('PATH_INFO')!r}")
        elif kind == "body":
            seen("the body", facts["body"], value)
        elif kind == "body-size":
            seen("the size of the body", str(facts["body_size"]), value)


def cgi_key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def seen(what: str, value: object, wanted: object) -> None:
    expect(value == wanted, f"{what} is {value!r}, expected {wanted!r}")
