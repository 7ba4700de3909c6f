"""What servers in front say of a request: whom it is believed of, and where it shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin
from support.collector import Collector
from support.server import Server
from support.websocket import open_websocket
from support.wire import Wire

TRUST = ("--trusted-proxies", "127.0.0.1", "--trusted-proxies", "10.0.0.0/8")
ALL = ("--forwarded-facts", "for,proto,host,port,prefix")
STANDARD = ("--forwarded", "forwarded")

APPS = {
    "main thread": ("apps.fronted:application", ("--threads", "1")),
    "threads": ("apps.fronted:application", ()),
    "greenlets": ("apps.fronted:application", ("--concurrency", "greenlets")),
    "asyncio": ("apps.fronted:asynchronous", ()),
}


@pytest.fixture(scope="module", params=["threads", "asyncio"])
def servers(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, ...], Server]]:
    """One for each set of options that a test asks for."""
    with ExitStack() as stack:
        yield _Servers(stack, *APPS[request.param])


class _Servers(dict[tuple[str, ...], Server]):
    def __init__(self, stack: ExitStack, app: str, options: tuple[str, ...]) -> None:
        self._stack, self._app, self._options = stack, app, options

    def __missing__(self, options: tuple[str, ...]) -> Server:
        server = self._stack.enter_context(Server(self._app, options=(*self._options, *options)))
        self[options] = server
        return server


def told(server: Server, *fields: str, path: str = "/", host: str = "site.example") -> dict[str, Any]:
    with server.connect() as wire:
        return ask(wire, *fields, path=path, host=host)


def ask(wire: Wire, *fields: str, path: str = "/", host: str = "site.example") -> dict[str, Any]:
    answer = wire.ask("GET", path, *fields, host=host)
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.text)
    return found


def status(server: Server, *fields: str) -> int:
    with server.connect() as wire:
        answer = wire.ask("GET", "/", *fields)
        if answer.status == 400:
            assert answer.headers["Connection"] == "close"
            assert wire.rest() == b""
        return answer.status


def options(*flags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for flag in flags for part in flag)


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ([], "127.0.0.1"),
        (["X-Forwarded-For: 192.0.2.1"], "192.0.2.1"),
        (["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
        (["X-Forwarded-For: [2001:db8::1]:80"], "2001:db8::1"),
        (["X-Forwarded-For: 203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        (["X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.0.0.7"], "192.0.2.1"),
        (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 192.0.2.1,10.0.0.7"], "192.0.2.1"),
        (["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.0.0.8,, 10.0.0.7 "], "192.0.2.1"),
        (["X-Forwarded-For: 10.0.0.8, 10.0.0.7"], "10.0.0.8"),
        (["X-Forwarded-For: <oops>, 192.0.2.1"], "192.0.2.1"),
        (["X-Forwarded-For: 192.0.2.1, unknown"], "127.0.0.1"),
        (["X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.7"], "10.0.0.7"),
        (["X-Forwarded-For: "], "127.0.0.1"),
        # That of the other kind is a client's.
        (["Forwarded: for=203.0.113.9"], "127.0.0.1"),
        (["Forwarded: for=203.0.113.9", "X-Forwarded-For: 192.0.2.1"], "192.0.2.1"),
    ],
)
def test_the_client_is_the_first_from_the_end_that_is_not_trusted(servers, fields, client):
    seen = told(servers[options(TRUST)], *fields)
    assert seen["client"][0] == client
    # What is passed on is what has come.
    assert ("x-forwarded-for" in seen["fields"]) == any(field.startswith("X-") for field in fields)


@pytest.mark.parametrize(
    ("fields", "client", "scheme", "server"),
    [
        (["Forwarded: for=192.0.2.1"], ["192.0.2.1", 0], "http", None),
        (['Forwarded: for="192.0.2.1:4711";proto=https'], ["192.0.2.1", 4711], "https", None),
        (
            ['Forwarded: For="[2001:db8::1]:4711";Proto=HTTPS;Host="shop.example:8443"'],
            ["2001:db8::1", 4711],
            "https",
            ["shop.example", 8443],
        ),
        (
            ["Forwarded: for=203.0.113.9;proto=https, for=192.0.2.1;proto=http"],
            ["192.0.2.1", 0],
            "http",
            None,
        ),
        (
            [
                "Forwarded: for=192.0.2.1;proto=https;host=shop.example",
                "Forwarded: for=10.0.0.7;host=inner;proto=http",
            ],
            ["192.0.2.1", 0],
            "https",
            ["shop.example", 443],
        ),
        (["Forwarded: for=192.0.2.1;proto=https, for=_hidden, for=10.0.0.7"], ["10.0.0.7", 0], "http", None),
        (["Forwarded: for=192.0.2.1, proto=https"], None, "https", None),
        (['Forwarded: by=_x;secret="a,b\\"";for=192.0.2.1'], ["192.0.2.1", 0], "http", None),
        (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"], None, "http", None),
    ],
)
def test_forwarded_is_believed_where_it_is_asked_for(servers, fields, client, scheme, server):
    at = servers[options(TRUST, STANDARD, ALL)]
    with at.connect() as wire:
        own = list(wire.sock.getsockname())
        seen = ask(wire, *fields)
    assert seen["client"] == (client or own)
    assert seen["scheme"] == scheme
    assert seen["server"] == (server or [at.host, at.port])
    if server:
        assert seen["fields"]["host"] == (server[0] if server[1] == 443 else f"{server[0]}:{server[1]}")


@pytest.mark.parametrize(
    ("fields", "scheme", "server", "host"),
    [
        (["X-Forwarded-Proto: https"], "https", None, "site.example"),
        (["X-Forwarded-Proto: http, https"], "https", None, "site.example"),
        (["X-Forwarded-Proto: wss"], "https", None, "site.example"),
        (["X-Forwarded-Host: shop.example"], "http", ["shop.example", 80], "shop.example"),
        (["X-Forwarded-Host: evil, shop.example:81"], "http", ["shop.example", 81], "shop.example:81"),
        (
            ["X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 443"],
            "https",
            ["shop.example", 443],
            "shop.example",
        ),
        (
            ["X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"],
            "https",
            ["site.example", 8443],
            "site.example:8443",
        ),
        (["X-Forwarded-Host: [::1]:81"], "http", ["[::1]", 81], "[::1]:81"),
    ],
)
def test_scheme_host_and_port_are_the_clients(servers, fields, scheme, server, host):
    at = servers[options(TRUST, ALL)]
    seen = told(at, *fields)
    assert seen["scheme"] == scheme
    assert seen["server"] == (server or [at.host, at.port])
    assert seen["fields"]["host"] == host


def test_only_the_client_and_the_scheme_are_believed_unless_more_is_asked_for(servers):
    fields = ["Proto: https", "Host: evil.example", "Port: 1", "Prefix: /evil", "For: 192.0.2.1"]
    at = servers[options(TRUST)]
    seen = told(at, *(f"X-Forwarded-{field}" for field in fields))
    assert (seen["client"], seen["scheme"]) == (["192.0.2.1", 0], "https")
    assert (seen["server"], seen["fields"]["host"], seen["root"]) == ([at.host, at.port], "site.example", "")


def test_a_prefix_that_was_taken_off_is_put_before_the_path(servers):
    prefix = "X-Forwarded-Prefix: /app/one/"
    at = servers[options(TRUST, ALL)]
    assert [told(at, prefix, path="/a%20b")[key] for key in ("root", "path")] == ["/app/one", "/app/one/a b"]
    assert [told(at, "X-Forwarded-Prefix: /", path="/a")[key] for key in ("root", "path")] == ["", "/a"]
    below = servers[options(TRUST, ALL, ("--script-name", "/shop"))]
    seen = told(below, prefix, path="/shop/a")
    assert (seen["root"], seen["path"]) == ("/app/one/shop", "/app/one/shop/a")


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-For: oops",
        "X-Forwarded-For: 192.0.2.1, 10.0.0",
        "X-Forwarded-For: 192.0.2.1:65536",
        "X-Forwarded-Proto: ftp",
        "X-Forwarded-Proto: https://",
        "X-Forwarded-Host: a b",
        "X-Forwarded-Host: u@a",
        "X-Forwarded-Port: 0",
        "X-Forwarded-Port: 80a",
        "X-Forwarded-Prefix: app",
        "X-Forwarded-Prefix: //evil.example",
        "X-Forwarded-Prefix: /a/../b",
        "X-Forwarded-Prefix: /a%2f",
    ],
)
def test_what_is_malformed_is_answered_with_400(servers, field):
    assert status(servers[options(TRUST, ALL)], field) == 400
    # Of nobody that is trusted it means nothing.
    assert status(servers[options(("--trusted-proxies", "10.0.0.1"), ALL)], field) == 200


@pytest.mark.parametrize(
    "value",
    ["for", "for=", 'for="192.0.2.1', "for=a;for=b", "for=oops", "for=192.0.2.1;proto=ftp", 'host="a b"'],
)
def test_what_is_malformed_in_forwarded_is_answered_with_400(servers, value):
    assert status(servers[options(TRUST, STANDARD, ALL)], f"Forwarded: {value}") == 400


def test_a_client_that_leaves_a_quote_open_does_not_hide_what_a_proxy_adds(servers):
    at = servers[options(TRUST, STANDARD)]
    assert status(at, 'Forwarded: for=203.0.113.9;x=", for="[2001:db8::1]"') == 400
    assert status(at, 'Forwarded: for=203.0.113.9;x="', "Forwarded: for=192.0.2.1") == 400


FORGED = [
    "Forwarded: for=203.0.113.9",
    "X-Forwarded-For: 203.0.113.9",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Ssl: on",
    "X-Real-IP: 203.0.113.9",
]


@pytest.mark.parametrize(
    ("flags", "is_passed_on"),
    [
        ([], True),
        ([("--untrusted-forwarded", "drop")], False),
        ([("--trusted-proxies", "10.0.0.1")], False),
        ([("--trusted-proxies", "10.0.0.1"), ("--untrusted-forwarded", "keep")], True),
        ([("--trusted-proxies", "10.0.0.1"), ("--underscore-names", "keep")], False),
    ],
)
def test_nobody_else_is_believed_nor_passed_on_where_proxies_are_known(servers, flags, is_passed_on):
    at = servers[options(*flags)]
    forged = [*FORGED, "X_Forwarded_For: 203.0.113.9"] if ("--underscore-names", "keep") in flags else FORGED
    with at.connect() as wire:
        own = list(wire.sock.getsockname())
        seen = ask(wire, *forged, "X-Other: kept")
    assert (seen["client"], seen["scheme"]) == (own, "http")
    names = {field.partition(":")[0].lower() for field in FORGED}
    assert set(seen["fields"]) == {"host", "x-other"} | (names if is_passed_on else set())


def test_nothing_is_believed_where_that_is_off(servers):
    seen = told(servers[options(TRUST, ("--forwarded", "off"))], "X-Forwarded-For: 192.0.2.1")
    assert seen["client"][0] == "127.0.0.1"
    assert seen["fields"]["x-forwarded-for"] == "192.0.2.1"


@pytest.mark.parametrize("host", APPS)
def test_each_request_of_a_connection_has_its_own_client(host):
    app, flags = APPS[host]
    trusts = [*flags, *TRUST, *ALL]
    with Server(app, options=trusts) as server, server.connect() as wire:
        own = list(wire.sock.getsockname())
        for number in range(1, 9):
            fields = [
                f"X-Forwarded-For: 192.0.2.{number}",
                "X-Forwarded-Proto: https",
                f"X-Forwarded-Prefix: /{number}",
            ]
            seen = ask(wire, *fields)
            assert (seen["client"], seen["scheme"], seen["root"]) == (
                [f"192.0.2.{number}", 0],
                "https",
                f"/{number}",
            )
            seen = ask(wire)
            assert (seen["client"], seen["scheme"], seen["root"]) == (own, "http", "")
            seen = ask(wire, "X-Forwarded-Host: shop.example")
            assert (seen["server"], seen["fields"]["host"]) == (["shop.example", 80], "shop.example")
            seen = ask(wire)
            assert (seen["server"], seen["fields"]["host"]) == ([server.host, server.port], "site.example")


def test_a_websocket_has_the_clients_scheme_and_address():
    with Server(APPS["asyncio"][0], options=TRUST) as server:
        fields = ["X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"]
        with open_websocket(server, "/", fields=fields) as peer:
            seen = json.loads(peer.message())
        assert (seen["scheme"], seen["client"]) == ("wss", ["192.0.2.1", 0])


def test_the_client_stands_in_the_access_log_and_in_spans(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Collector() as collector:
        flags = [*TRUST, *ALL, "--access-log", str(log), "--otlp-endpoint", collector.endpoint]
        with Server(APPS["threads"][0], options=flags) as server:
            fields = [
                "X-Forwarded-For: 192.0.2.1",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: shop.example:81",
            ]
            with server.connect() as wire:
                ask(wire, *fields)
                ask(wire)
            assert server.stop() == 0
        spans = sorted(collector.wait(), key=lambda span: span.began_s)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["192.0.2.1", "127.0.0.1"]
    keys = ("url.scheme", "client.address", "server.address", "server.port")
    assert [[span.attributes.get(key) for key in keys] for span in spans] == [
        ["https", "192.0.2.1", "shop.example", 81],
        ["http", "127.0.0.1", "site.example", None],
    ]


def test_the_client_stands_among_the_requests_in_flight(tmp_path: Path) -> None:
    let_go = tmp_path / "let go"
    flags = [*TRUST, "--admin", "127.0.0.1:0"]
    env = {"LET_GO": str(let_go)}
    with Server("apps.observed:application", options=flags, env=env) as server, server.connect() as wire:
        wire.send(b"GET /hold HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        request = Admin(server).wait_for(lambda admin: next(iter(admin.state()["requests"]), None))
        assert request["peer"].startswith("192.0.2.1")
        let_go.touch()
        assert wire.answer().status == 200
