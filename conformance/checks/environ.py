"""What the application is told: environ, threads and contexts, the two error and input objects apart."""

from __future__ import annotations

import itertools
import json
from typing import Any

from conformance.model import Failed, Level, Registry, Skipped, Variant, expect
from conformance.server import Live, probe_path, request
from conformance.wire import Response

registry = Registry()
check = registry.check
ENVIRON = "PEP 3333, environ Variables"

REQUIRED = {
    "REQUEST_METHOD": "str",
    "SCRIPT_NAME": "str",
    "PATH_INFO": "str",
    "SERVER_NAME": "str",
    "SERVER_PORT": "str",
    "SERVER_PROTOCOL": "str",
    "wsgi.version": "tuple",
    "wsgi.url_scheme": "str",
}
PRESENT = ("wsgi.input", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once")


def facts_of(response: Response) -> Any:
    """Return the JSON of a probe's answer."""
    if response.status != 200:
        raise Failed(f"the probe was answered with {response.status} {response.reason}")
    try:
        return json.loads(response.body)
    except ValueError:
        raise Failed(f"the application's answer is garbled: {response.body[:60]!r}") from None


def environ_of(server: Live, path: str, **options: Any) -> dict[str, str]:
    """Return the text variables that the echoing application saw."""
    seen: dict[str, str] = facts_of(server.ask(path, **options))["environ"]
    return seen


def types(server: Live) -> Any:
    return facts_of(server.probe("environ-types")[1])


@check(
    "PEP-01a",
    "environ is a built-in dict, no subclass and no copy of another kind.",
    "PEP 3333, Specification Details",
)
def _(server: Live) -> None:
    expect(types(server)["is_dict"], "type(environ) is not dict")


@check("PEP-01b", "environ is fresh: what one request changes in it the next does not see.", ENVIRON)
def _(server: Live) -> None:
    path = probe_path("dirty", server.token())
    with server.connect() as wire:
        for _ in range(2):
            wire.send(request(path))
            response = wire.response()
            judge_clean(facts_of(response))
            if response.says_close or response.framing == "close" or wire.ended():
                break
    for _ in range(2):
        judge_clean(facts_of(server.ask(path)))


def judge_clean(facts: Any) -> None:
    expect(not facts["found"], "a key that the request before had set was there")
    expect(not facts["lost"], f"keys that the request before had deleted were missing: {facts['lost']}")


@check(
    "PEP-01c", "The application is called with two positional arguments.", "PEP 3333, Specification Details"
)
def _(server: Live) -> None:
    called = types(server)["called"]
    expect(called == {"positional": 2, "keywords": []}, f"called with {called}")


@check("PEP-01d", "The variables that must be there are there, with their types.", ENVIRON)
def _(server: Live) -> None:
    facts = types(server)
    for name, kind in REQUIRED.items():
        expect(
            facts["types"].get(name) == kind, f"{name} is {facts['types'].get(name, 'missing')}, no {kind}"
        )
    missing = [name for name in PRESENT if name not in facts["types"]]
    expect(not missing, f"missing: {', '.join(missing)}")
    expect(facts["version"] == "(1, 0)", f"wsgi.version is {facts['version']}")
    expect(
        facts["values"]["wsgi.url_scheme"] == "http", f"url_scheme is {facts['values']['wsgi.url_scheme']!r}"
    )
    expect(not facts["input_methods"], f"wsgi.input lacks {facts['input_methods']}")
    expect(not facts["errors_methods"], f"wsgi.errors lacks {facts['errors_methods']}")


@check(
    "PEP-18a", "multithread, multiprocess and run_once are there, and run_once is false in a server.", ENVIRON
)
def _(server: Live) -> None:
    facts = types(server)
    missing = [name for name, value in facts["flags"].items() if value == "'missing'"]
    expect(not missing, f"missing: {missing}")
    expect(not facts["truths"]["run_once"], "wsgi.run_once is true")


def overlapping(server: Live) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Ask for four slow calls at once; return the pairs that ran at the same time."""
    tokens = [server.token() for _ in range(4)]
    wires = [server.connect() for _ in tokens]
    try:
        for wire, token in zip(wires, tokens, strict=True):
            wire.send(request(probe_path("overlap", token), headers=["Connection: close"]))
        for wire in wires:
            facts_of(wire.response())
    finally:
        for wire in wires:
            wire.socket.close()
    spans = [
        server.wait_for(token, "enter")[0] | {"end": server.wait_for(token, "exit")[0]["at"]}
        for token in tokens
    ]
    return [(a, b) for a, b in itertools.combinations(spans, 2) if a["at"] < b["end"] and b["at"] < a["end"]]


@check(
    "PEP-18b",
    "Calls that overlap in one process do so under multithread, in two under multiprocess.",
    ENVIRON,
    Level.SHOULD,
)
def _(server: Live) -> None:
    for one, other in overlapping(server):
        flag = "multithread" if one["pid"] == other["pid"] else "multiprocess"
        expect(one[flag] and other[flag], f"two calls ran at once, but wsgi.{flag} is false")


@check("PEP-19a", "Every CGI variable is a built-in str.", "PEP 3333, A Note On String Types")
def _(server: Live) -> None:
    token = server.token()
    response = server.ask(probe_path("environ-types", token), headers=["X-Obs: \xe9\xff", "Cookie: a=\xe9"])
    kinds = facts_of(response)["types"]
    wrong = {
        name: kind for name, kind in kinds.items() if name.isupper() and name.isascii() and kind != "str"
    }
    expect(not wrong, f"not str: {wrong}")


@check(
    "PEP-19b",
    "Bytes above 127 in headers and paths become the latin-1 characters of the same number.",
    "PEP 3333, Unicode Issues",
)
def _(server: Live) -> None:
    seen = environ_of(server, "/caf%C3%A9/%E9", headers=["X-Obs: caf\xc3\xa9 \xe9\xff"])
    expect(seen.get("HTTP_X_OBS") == "caf\xc3\xa9 \xe9\xff", f"the header is {seen.get('HTTP_X_OBS')!r}")
    expect(seen["PATH_INFO"] == "/caf\xc3\xa9/\xe9", f"PATH_INFO is {seen['PATH_INFO']!r}")


@check("PEP-19c", "Status and headers of the response are sent as latin-1.", "PEP 3333, Unicode Issues")
def _(server: Live) -> None:
    _, response = server.probe("latin")
    expect(
        response.get("X-Latin") == "caf\xe9 \xff",
        f"sent {response.get('X-Latin')!r} (status {response.status})",
    )
    expect(response.reason == "Tr\xe8s bien", f"the reason was sent as {response.reason!r}")


@check("PEP-20a", "SERVER_NAME and SERVER_PORT are never empty; the port is a number.", ENVIRON)
def _(server: Live) -> None:
    judge_server_name(environ_of(server, "/"))


def judge_server_name(seen: dict[str, str]) -> None:
    expect(seen.get("SERVER_NAME"), f"SERVER_NAME is {seen.get('SERVER_NAME')!r}")
    expect(seen.get("SERVER_PORT", "").isdigit(), f"SERVER_PORT is {seen.get('SERVER_PORT')!r}")


@check("PEP-20b", "SERVER_PROTOCOL is the version of the request to the letter.", ENVIRON)
def _(server: Live) -> None:
    for version in ("HTTP/1.1", "HTTP/1.0"):
        seen = environ_of(server, "/", version=version).get("SERVER_PROTOCOL")
        expect(seen == version, f"SERVER_PROTOCOL is {seen!r} for {version}")


@check(
    "PEP-20c", "SERVER_NAME and SERVER_PORT are not empty on a unix socket.", ENVIRON, variant=Variant.UNIX
)
def _(server: Live) -> None:
    judge_server_name(environ_of(server, "/"))


@check("PEP-21a", "REMOTE_ADDR is the client's bare IPv4 address.", "RFC 3875 4.1.8")
def _(server: Live) -> None:
    seen = environ_of(server, "/").get("REMOTE_ADDR")
    expect(seen == "127.0.0.1", f"REMOTE_ADDR is {seen!r}")


@check(
    "PEP-21b",
    "REMOTE_ADDR is the client's bare IPv6 address, without brackets.",
    "RFC 3875 4.1.8",
    variant=Variant.IPV6,
)
def _(server: Live) -> None:
    seen = environ_of(server, "/").get("REMOTE_ADDR")
    expect(seen == "::1", f"REMOTE_ADDR is {seen!r}")


@check(
    "PEP-21c",
    "REMOTE_ADDR is not empty for a client on a unix socket.",
    "RFC 3875 4.1.8",
    Level.ADVICE,
    variant=Variant.UNIX,
)
def _(server: Live) -> None:
    seen = environ_of(server, "/").get("REMOTE_ADDR")
    expect(seen, f"REMOTE_ADDR is {seen!r}")


@check("PEP-21d", "REMOTE_PORT is the client's port.", "custom of CGI servers", Level.ADVICE)
def _(server: Live) -> None:
    with server.connect() as wire:
        port = str(wire.socket.getsockname()[1])
        wire.send(request("/", headers=["Connection: close"]))
        seen = facts_of(wire.response())["environ"].get("REMOTE_PORT")
    expect(seen == port, f"REMOTE_PORT is {seen!r}, the client's port {port}")


# Target, PATH_INFO, QUERY_STRING
PATHS = (
    ("/", "/", ""),
    ("/a%20b", "/a b", ""),
    ("/a%2Fb", "/a/b", ""),
    ("/%2561", "/%61", ""),
    ("/a//b", "/a//b", ""),
    ("/a/", "/a/", ""),
    ("/a+b", "/a+b", ""),
    ("/a;p=1", "/a;p=1", ""),
    ("/a?x=%20&y=+", "/a", "x=%20&y=+"),
    ("/a?", "/a", ""),
    ("/a??b=/c?d", "/a", "?b=/c?d"),
    ("/a%3Fb?c", "/a?b", "c"),
    ("/%7euser", "/~user", ""),
)


@check(
    "PEP-22a", "PATH_INFO is decoded once, QUERY_STRING not at all.", "RFC 3875 4.1.5, 4.1.7", Level.SHOULD
)
def _(server: Live) -> None:
    for target, path, query in PATHS:
        seen = environ_of(server, target)
        expect(seen["PATH_INFO"] == path, f"{target} has PATH_INFO {seen['PATH_INFO']!r}, expected {path!r}")
        expect(
            seen.get("QUERY_STRING", "") == query, f"{target} has QUERY_STRING {seen.get('QUERY_STRING')!r}"
        )
        expect(seen["SCRIPT_NAME"] == "", f"{target} has SCRIPT_NAME {seen['SCRIPT_NAME']!r}")


@check(
    "PEP-22b", "A path that begins with two slashes keeps them.", "RFC 3986 3.3; open redirects", Level.SHOULD
)
def _(server: Live) -> None:
    seen = environ_of(server, "//evil/x")["PATH_INFO"]
    expect(seen == "//evil/x", f"PATH_INFO is {seen!r}")


@check(
    "PEP-22c",
    "Dot segments reach the application as they were sent, or the request is refused.",
    "RFC 3875 4.1.5",
    Level.ADVICE,
)
def _(server: Live) -> None:
    response = server.ask("/a/../b/./c")
    if response.status != 400:
        seen = facts_of(response)["environ"]["PATH_INFO"]
        expect(seen == "/a/../b/./c", f"PATH_INFO is {seen!r}")


@check(
    "PEP-22d",
    "REQUEST_URI or RAW_URI gives the target as it was sent.",
    "custom of servers: %2F is lost in PATH_INFO",
    Level.ADVICE,
)
def _(server: Live) -> None:
    seen = environ_of(server, "/a%2Fb?c=%20")
    raw = seen.get("REQUEST_URI", seen.get("RAW_URI"))
    expect(raw == "/a%2Fb?c=%20", f"REQUEST_URI or RAW_URI is {raw!r}")


@check(
    "PEP-22e",
    "A mount point ends on a segment: /mountain is not inside /mount.",
    "PEP 3333, SCRIPT_NAME",
    Level.SHOULD,
    variant=Variant.MOUNTED,
)
def _(server: Live) -> None:
    seen = environ_of(server, "/mount/x")
    split = (seen["SCRIPT_NAME"], seen["PATH_INFO"])
    expect(split == ("/mount", "/x"), f"/mount/x is split into {split}")
    response = server.ask("/mountain")
    if response.status == 200:
        seen = facts_of(response)["environ"]
        split = (seen["SCRIPT_NAME"], seen["PATH_INFO"])
        expect(split == ("", "/mountain"), f"/mountain is split into {split}")


@check("PEP-23a", "Fields that repeat are joined with commas, in order.", "RFC 3875 4.1.18; RFC 9110 5.3")
def _(server: Live) -> None:
    seen = environ_of(server, "/", headers=["X-List: a", "X-Other: o", "X-List: b", "x-list: c"]).get(
        "HTTP_X_LIST", ""
    )
    parts = [part.strip() for part in seen.split(",")]
    expect(parts == ["a", "b", "c"], f"HTTP_X_LIST is {seen!r}")


@check(
    "PEP-23b",
    "Cookie fields that repeat are joined with a semicolon and a space.",
    "RFC 9113 8.2.3; RFC 6265 5.4",
    Level.SHOULD,
)
def _(server: Live) -> None:
    response = server.ask("/", headers=["Cookie: a=1", "Cookie: b=2"])
    if response.status == 400:
        # RFC 6265 section 5.4 lets a client send one Cookie field only.
        return
    seen = facts_of(response)["environ"].get("HTTP_COOKIE")
    expect(seen == "a=1; b=2", f"HTTP_COOKIE is {seen!r}")


@check("PEP-23c", "CONTENT_TYPE and CONTENT_LENGTH have no HTTP_ twin.", "RFC 3875 4.1.18", Level.SHOULD)
def _(server: Live) -> None:
    seen = environ_of(server, "/", method="POST", headers=["Content-Type: a/b"], body=b"abc")
    expect(seen.get("CONTENT_TYPE") == "a/b", f"CONTENT_TYPE is {seen.get('CONTENT_TYPE')!r}")
    expect(seen.get("CONTENT_LENGTH") == "3", f"CONTENT_LENGTH is {seen.get('CONTENT_LENGTH')!r}")
    twins = [name for name in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH") if name in seen]
    expect(not twins, f"there is {', '.join(twins)} as well")


@check(
    "PEP-23d", "A field becomes HTTP_ and its name in capitals with dashes as underscores.", "RFC 3875 4.1.18"
)
def _(server: Live) -> None:
    seen = environ_of(server, "/", headers=["x-Some.Thing!1: yes", "X-Empty:"])
    expect(seen.get("HTTP_X_SOME.THING!1") == "yes", "HTTP_X_SOME.THING!1 is missing")
    expect(seen.get("HTTP_X_EMPTY") == "", f"an empty field is {seen.get('HTTP_X_EMPTY')!r}")


@check(
    "PEP-24a",
    "A field with an underscore does not stand in for one with a dash.",
    "RFC 3875 4.1.18",
    Level.ADVICE,
)
def _(server: Live) -> None:
    for headers in (
        ["X_Real_Id: forged"],
        ["X_Real_Id: forged", "X-Real-Id: true"],
        ["X-Real-Id: true", "X_Real_Id: forged"],
    ):
        response = server.ask("/", headers=headers)
        if response.status < 400:
            seen = facts_of(response)["environ"].get("HTTP_X_REAL_ID", "")
            expect("forged" not in seen, f"HTTP_X_REAL_ID is {seen!r} for {headers}")


@check(
    "PEP-24b", "A Proxy field does not become HTTP_PROXY.", "httpoxy (CVE-2016-5385 and others)", Level.ADVICE
)
def _(server: Live) -> None:
    response = server.ask("/", headers=["Proxy: http://evil/"])
    if response.status < 400:
        seen = facts_of(response)["environ"].get("HTTP_PROXY")
        expect(seen is None, f"HTTP_PROXY is {seen!r}")


@check(
    "PEP-30a",
    "The call, the iteration and close() run on one thread.",
    "PEP 3333, Thread Support (as applications rely on it)",
    Level.SHOULD,
)
def _(server: Live) -> None:
    for _ in range(4):
        token, _ = server.probe("context")
        closed = server.wait_for(token, "close")
        threads = {
            event["thread"] for event in server.events(token) if event["event"] in ("begin", "next", "close")
        }
        expect(closed and len(threads) == 1, f"{len(threads)} threads")


@check(
    "PEP-30b",
    "A context variable set in the call is seen in the iteration and in close().",
    "PEP 567; PEP 3333 Thread Support",
    Level.SHOULD,
)
def _(server: Live) -> None:
    token, _ = server.probe("context")
    server.wait_for(token, "close")
    for event in server.events(token):
        if event["event"] in ("next", "close"):
            expect(event["mark"] == token, f"in {event['event']} it is {event['mark']!r}")


@check("PEP-30c", "A context variable that one request set is not seen by another.", "PEP 567", Level.ADVICE)
def _(server: Live) -> None:
    with server.connect() as wire:
        for _ in range(6):
            token = server.token()
            wire.send(request(probe_path("context", token)))
            response = wire.response()
            before = server.wait_for(token, "begin")[0]["before"]
            expect(before == "", f"the variable still had the value of request {before!r}")
            if response.says_close or response.framing == "close" or wire.ended():
                break
    for _ in range(6):
        token, _ = server.probe("context")
        before = server.wait_for(token, "begin")[0]["before"]
        expect(before == "", f"the variable still had the value of request {before!r}")


@check(
    "PEP-31a",
    "With one thread wsgi.multithread is false.",
    "PEP 3333, Thread Support",
    Level.SHOULD,
    variant=Variant.SINGLE,
)
def _(server: Live) -> None:
    expect(not types(server)["truths"]["multithread"], "wsgi.multithread is true")


@check(
    "PEP-31b",
    "With one thread calls do not overlap.",
    "PEP 3333, Thread Support",
    Level.SHOULD,
    variant=Variant.SINGLE,
)
def _(server: Live) -> None:
    pairs = [pair for pair in overlapping(server) if pair[0]["pid"] == pair[1]["pid"]]
    expect(not pairs, f"{len(pairs)} pairs of calls ran at once in one process")


def judge_lint(server: Live, by: str) -> None:
    requests: list[tuple[str, dict[str, Any]]] = [
        ("GET", {}),
        ("POST", {"body": b"hello"}),
        ("HEAD", {}),
        ("GET", {"version": "HTTP/1.0"}),
        ("PUT", {"body": b"", "headers": ["Content-Type: text/plain"]}),
        ("GET", {"headers": ["Cookie: a=1", "Accept: */*", "X-Obs: \xe9"]}),
    ]
    for method, options in requests:
        token = server.token()
        response = server.ask(probe_path("lint", token, by=by), method=method, **options)
        report = server.wait_for(token, "lint")[0]
        if report.get("missing"):
            raise Skipped("werkzeug is not installed beside the server")
        expect(not report["complaints"], f"{method}: {report['complaints']}")
        expect(response.status == 200, f"{method} was answered with {response.status}")


@check("PEP-32a", "wsgiref.validate has no complaint.", "Python library, wsgiref.validate", Level.SHOULD)
def _(server: Live) -> None:
    judge_lint(server, "wsgiref")


@check("PEP-32b", "werkzeug's LintMiddleware has no complaint.", "werkzeug, LintMiddleware", Level.SHOULD)
def _(server: Live) -> None:
    judge_lint(server, "werkzeug")
