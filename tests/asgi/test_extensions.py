"""Extensions of HTTP: trailers, early hints, and files that the server sends."""

from __future__ import annotations

import pytest

from apps.asgi_probes import TIDES
from support.server import Server


@pytest.fixture(scope="module")
def server():
    with Server("apps.asgi_probes:application") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def wire(server):
    with server.connect() as wire:
        yield wire


def exchange(server, request):
    """Everything that comes back, cut at the blank lines."""
    return server.raw(request.replace("\n", "\r\n").encode()).split(b"\r\n\r\n")


def test_trailers_follow_the_body_for_a_client_that_wants_them(server):
    since = len(server.log)
    parts = exchange(server, "GET /trailers HTTP/1.1\nHost: a\nTE: trailers\nConnection: close, TE\n\n")
    assert b"\r\ntransfer-encoding: chunked" in parts[0].lower()
    body = b"\r\n\r\n".join(parts[1:])
    assert body == b"4\r\nbody\r\n0\r\nx-tide: high\r\nx-moon: full\r\n\r\n"
    server.wait_for_log("trailers offered: True", since=since)


def test_trailers_are_not_offered_to_others(server):
    since = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/trailers").text == "body"
        assert wire.ask("GET", "/hello").status == 200
    received = server.raw(b"GET /trailers HTTP/1.0\r\nTE: trailers\r\n\r\n")
    assert received.endswith(b"\r\n\r\nbody")
    server.wait_until(lambda: server.log.count("trailers offered: False", since) == 2 or None)


def test_an_early_hint_comes_before_the_response(server, wire):
    hint = wire.ask("GET", "/early_hint")
    assert (hint.status, hint.reason) == (103, "Early Hints")
    assert hint.headers.get_all("Link") == [
        "</tide.css>; rel=preload; as=style",
        "</moon.js>; rel=preload; as=script",
    ]
    assert "Content-Length" not in hint.headers
    assert wire.answer().text == "offered: True"
    # An HTTP/1.0 client would take it for the response (RFC 9110 section 15.2).
    received = server.raw(b"GET /early_hint HTTP/1.0\r\n\r\n")
    assert b"103" not in received.partition(b"\r\n")[0]
    assert b"preload" not in received


def test_a_file_is_sent_by_its_path(wire):
    for _ in range(2):
        answer = wire.ask("GET", "/pathsend")
        assert answer.body == TIDES
        assert answer.headers["Content-Length"] == str(len(TIDES))
    head = wire.ask("HEAD", "/pathsend")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(TIDES)))
    assert wire.ask("GET", "/hello").status == 200


def test_a_path_that_leads_nowhere_raises_and_nothing_is_sent(server, wire):
    since = len(server.log)
    assert wire.ask("GET", "/pathsend_nowhere").status == 500
    server.wait_for_log("FileNotFoundError.*/nowhere/at/all", since=since)
    with server.connect() as other:
        assert other.ask("GET", "/hello").status == 200


def test_parts_of_a_file_are_sent_between_other_parts(wire):
    for _ in range(2):
        answer = wire.ask("GET", "/zerocopysend")
        assert answer.body == b"from the middle\n" + TIDES[1000:3000] + b"from the start\n" + TIDES
    assert wire.ask("HEAD", "/zerocopysend").status == 200
    assert wire.ask("GET", "/hello").status == 200


def test_the_scope_names_what_is_there_and_nothing_else():
    with Server("apps.scope_mirror:application") as server, server.connect() as wire:
        text = wire.ask("GET", "/", "TE: trailers").text
        for extension in ("trailers", "early_hint", "pathsend", "zerocopysend"):
            assert f"'http.response.{extension}': {{}}" in text
        # Server push is no part of HTTP/1.1, and there is no TLS here.
        assert "http.response.push" not in text
        assert "'tls'" not in text
