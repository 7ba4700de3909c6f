"""Clients that come by plain text are sent to https, and told to stay there."""

from __future__ import annotations

import pytest

from support.server import Server
from support.tls import Authority, secure_wire

APP = "apps.secure:application"
BINDS = ["redirect://127.0.0.1:0", "https://127.0.0.1:0"]


@pytest.mark.parametrize(
    ("method", "target", "host", "status", "path"),
    [
        ("GET", "/", "example.com", 301, "/"),
        ("HEAD", "/a?b=c", "example.com:80", 301, "/a?b=c"),
        ("GET", "/%0d%0aSet-Cookie:%20a", "example.com", 301, "/%0d%0aSet-Cookie:%20a"),
        ("GET", "//evil.example/x", "example.com", 301, "//evil.example/x"),
        ("GET", "/x", "[::1]:8080", 301, "/x"),
        ("GET", "http://example.org/y?z", "example.org", 301, "/y?z"),
        ("DELETE", "/x", "example.com", 308, "/x"),
        ("OPTIONS", "*", "example.com", 308, "/"),
    ],
)
def test_every_request_is_redirected(
    authority: Authority, method: str, target: str, host: str, status: int, path: str
) -> None:
    with Server(APP, options=authority.options(), binds=BINDS) as server, server.connect() as wire:
        port = server.addresses[1].port
        for _ in range(2):
            answer = wire.ask(method, target, host=host)
            name = host.removesuffix(":80").removesuffix(":8080")
            assert (answer.status, answer.headers["Location"]) == (status, f"https://{name}:{port}{path}")


def test_a_body_goes_elsewhere_with_its_request(authority: Authority) -> None:
    with Server(APP, options=authority.options(), binds=BINDS) as server:
        with server.connect() as wire:
            assert wire.ask("POST", "/", host="example.com", body=b"x" * 1000).status == 308
            assert wire.ask("GET", "/", host="example.com").status == 301
        with server.connect() as wire:
            wire.send(
                b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n"
            )
            assert wire.line().startswith(b"HTTP/1.1 308")


@pytest.mark.parametrize("host", ["a b", "a@b", "a/b", "a\\b", "a:b", ""])
def test_a_host_that_is_none_is_not_redirected_to(authority: Authority, host: str) -> None:
    with Server(APP, options=authority.options(), binds=BINDS) as server, server.connect() as wire:
        answer = wire.ask("GET", "/", host=host)
        assert answer.status == 400
        assert "Location" not in answer.headers


def test_a_request_that_names_no_host_is_refused(authority: Authority) -> None:
    with Server(APP, options=authority.options(), binds=BINDS) as server:
        assert server.raw(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_the_health_of_the_server_is_told_there_too(authority: Authority) -> None:
    options = [*authority.options(), "--live-path", "/live", "--ready-path", "/ready", "--ready-by", "server"]
    with Server(APP, options=options, binds=BINDS) as server, server.connect() as wire:
        assert wire.ask("GET", "/live").status == 200
        assert wire.ask("GET", "/ready").status == 200


def test_the_usual_port_goes_without_saying() -> None:
    """Where something in front of the server speaks https."""
    with Server(APP, binds=["redirect://127.0.0.1:0"]) as server, server.connect() as wire:
        assert wire.ask("GET", "/x", host="example.com:8080").headers["Location"] == "https://example.com/x"


def test_browsers_are_told_to_come_by_https_alone(authority: Authority) -> None:
    options = [*authority.options(), "--hsts", "300; includeSubDomains"]
    with Server(APP, options=options, binds=["https://127.0.0.1:0", "http://127.0.0.1:0"]) as server:
        with secure_wire(server, authority.context()) as wire:
            field = "Strict-Transport-Security"
            assert wire.ask("GET", "/").headers.get_all(field) == ["max-age=300; includeSubDomains"]
            assert wire.ask("GET", "/hsts").headers.get_all(field) == ["max-age=1"]
        with server.connect(1) as wire:
            assert field not in wire.ask("GET", "/").headers
