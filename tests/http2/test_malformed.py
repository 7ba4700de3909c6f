"""Requests that are no HTTP/2 are reset (RFC 9113 section 8.1.1); those that are too much are answered."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes

from support.http2 import Http2, frame, serving
from support.server import Server

PSEUDO = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]

MALFORMED = {
    "a name in upper case": [*PSEUDO, ("X-Upper", "a")],
    "CR LF in a value": [*PSEUDO, ("x", "a\r\nevil: b")],
    "NUL in a value": [*PSEUDO, ("x", "a\0b")],
    "LF in a name": [*PSEUDO, ("x\ny", "a")],
    "a colon in a name": [*PSEUDO, ("x:y", "a")],
    "an empty name": [*PSEUDO, ("", "a")],
    "Connection": [*PSEUDO, ("connection", "keep-alive")],
    "Keep-Alive": [*PSEUDO, ("keep-alive", "timeout=5")],
    "Proxy-Connection": [*PSEUDO, ("proxy-connection", "keep-alive")],
    "Transfer-Encoding": [*PSEUDO, ("transfer-encoding", "chunked")],
    "Upgrade": [*PSEUDO, ("upgrade", "h2c")],
    "TE but trailers": [*PSEUDO, ("te", "gzip")],
    "a method twice": [PSEUDO[0], *PSEUDO],
    "a path twice": [PSEUDO[1], *PSEUDO],
    "an authority twice": [*PSEUDO, PSEUDO[3]],
    "a pseudo-field after others": [PSEUDO[0], *PSEUDO[2:], ("x", "y"), PSEUDO[1]],
    "a pseudo-field of responses": [*PSEUDO, (":status", "200")],
    "a pseudo-field that there is not": [*PSEUDO, (":colour", "blue")],
    "no method": PSEUDO[1:],
    "no path": [PSEUDO[0], *PSEUDO[2:]],
    "no scheme": [*PSEUDO[:2], PSEUDO[3]],
    "an empty path": [PSEUDO[0], (":path", ""), *PSEUDO[2:]],
    "a path without a slash": [PSEUDO[0], (":path", "a"), *PSEUDO[2:]],
    "another Host than :authority": [*PSEUDO, ("host", "example.com")],
    "no authority and no Host": PSEUDO[:3],
    "user information in :authority": [*PSEUDO[:3], (":authority", "u@localhost")],
    "a space before a value": [*PSEUDO, ("x", " a")],
    "a tab after a value": [*PSEUDO, ("x", "a\t")],
    "two lengths": [*PSEUDO, ("content-length", "1"), ("content-length", "2")],
    "a length that is no number": [*PSEUDO, ("content-length", "+1")],
    "a protocol without CONNECT": [*PSEUDO, (":protocol", "websocket")],
}

NO_FIELDS = {
    "a name in upper case",
    "CR LF in a value",
    "NUL in a value",
    "LF in a name",
    "a colon in a name",
    "an empty name",
    "a pseudo-field that there is not",
}


@pytest.fixture(scope="module")
def server():
    with serving("apps.streams:wsgi") as server:
        yield server


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_is_reset(server, case):
    head = MALFORMED[case]
    with Http2(server) as http2:
        neighbour = http2.ask("/echo", method="POST", end=False)
        stream = http2.begin(head)
        http2.pump(lambda: stream.over or http2.goaway is not None)
        if http2.goaway:
            # What no field can be made of ends the connection (RFC 9113 section 5.4.2 lets it).
            assert case in NO_FIELDS
            assert http2.goaway.error_code in (ErrorCodes.PROTOCOL_ERROR, ErrorCodes.COMPRESSION_ERROR)
            return
        assert stream.reset == ErrorCodes.PROTOCOL_ERROR, stream
        http2.send(neighbour, b"lives")
        assert bytes(http2.response(neighbour).body) == b"lives"


@pytest.mark.parametrize("sent", [1, 4])
def test_a_body_that_is_not_of_its_length_is_reset(server, sent):
    with Http2(server) as http2:
        stream = http2.ask("/echo", method="POST", fields=[("content-length", "3")], end=False)
        http2.conn.send_data(stream.number, b"x" * sent, end_stream=True)
        http2.flush()
        http2.pump(lambda: stream.over)
        assert stream.reset == ErrorCodes.PROTOCOL_ERROR
        assert http2.get("/").status == 200


def test_te_trailers_and_a_host_that_is_the_authority_are_well(server):
    with Http2(server) as http2:
        assert http2.get("/", fields=[("te", "trailers"), ("host", "localhost")]).status == 200
        assert http2.response(http2.begin([*PSEUDO[:3], ("host", "localhost")])).status == 200


def test_what_is_too_much_is_answered():
    options = ("--head-size-max", "8KiB", "--field-count-max", "20", "--line-size-max", "2KiB")
    with serving("apps.streams:wsgi", *options, "--body-size-max", "1000") as server, Http2(server) as http2:
        assert http2.get("/", fields=[(f"x-{number}", "y") for number in range(21)]).status == 431
        assert http2.get("/", fields=[("x", "y" * 3000)]).status == 431
        assert http2.get("/", fields=[(f"x-{number}", "y" * 1900) for number in range(6)]).status == 431
        assert http2.get("/" + "a" * 3000).status == 414
        stream = http2.ask("/echo", method="POST", fields=[("content-length", "1001")], end=False)
        assert http2.response(stream).status == 413
        assert http2.get("/echo", method="POST", body=b"x" * 1001).status == 413
        assert http2.get("/echo", method="POST", body=b"x" * 1000).status == 200


def test_underscores_follow_the_setting():
    with serving("apps.streams:wsgi", "--underscore-names", "refuse") as server, Http2(server) as http2:
        assert http2.get("/", fields=[("x_y", "z")]).status == 400
        assert http2.get("/").status == 200


def test_the_preface_is_refused_where_it_is_not_asked_for():
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    for options in ((), ("--http", "auto"), ("--http", "1")):
        with Server("apps.streams:wsgi", options=options) as server:
            answer = server.raw(preface)
            assert answer.startswith(b"HTTP/1.1 400 ") and b"--http h2c" in answer


def test_a_preface_is_taken_however_it_comes(server):
    with server.connect() as wire:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0):
            wire.send(bytes([byte]))
        # The server's SETTINGS, and that it has seen the client's.
        head = wire.receive(9)
        assert head[3] == 4
        wire.receive(int.from_bytes(head[:3], "big"))


def test_something_else_than_the_preface_is_not_taken_for_it(server):
    with server.connect() as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 20)
        wire.rest()


def test_upgrade_to_h2c_is_ignored(server):
    with server.connect() as wire:
        answer = wire.ask(
            "GET", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
        )
        assert answer.status == 200
