"""One connection, many requests: what one of them leaves behind must not reach the next."""

from __future__ import annotations

import contextlib
import threading

import pytest

from support.server import Server

HELLO = b"Hello, world!"


@pytest.fixture(scope="module", params=["plain", "validated"])
def server(request):
    with Server(f"apps.probes:{request.param}") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def wire(server):
    with server.connect() as wire:
        yield wire


def test_a_hundred_requests_fit_on_one_connection(wire):
    for _ in range(100):
        answer = wire.ask("GET", "/hello")
        assert answer.body == HELLO
        assert answer.headers["Connection"] != "close"


def test_an_upload_that_the_application_did_not_read_is_skipped(wire):
    for _ in range(5):
        # A body that looks like a request: it must not be taken for one.
        answer = wire.ask("POST", "/ignore_body", body=b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
        assert answer.body == b"not read"
        assert wire.ask("GET", "/hello").body == HELLO


def test_an_unread_chunked_upload_is_skipped(wire):
    for _ in range(5):
        head = b"POST /ignore_body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.send(head + b"5\r\nGET /\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert wire.answer("POST").body == b"not read"
        assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.parametrize("size", [1_000_000, 20_000_000])
def test_a_large_unread_upload_is_answered_and_what_follows_is_not_mistaken(server, size):
    with server.connect() as wire:

        def upload():
            # The server may well have answered and closed before it has seen all of this.
            with contextlib.suppress(OSError):
                wire.send(f"POST /ignore_body HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
                wire.send(b"z" * size)

        uploading = threading.Thread(target=upload)
        uploading.start()
        answer = wire.answer("POST")
        assert answer.body == b"not read"
        uploading.join()
        if answer.headers["Connection"] != "close":
            assert wire.ask("GET", "/hello").body == HELLO


def test_a_partly_read_body_is_skipped(wire):
    for _ in range(3):
        assert wire.ask("POST", "/read_some", body=b"0123456789" * 100).body == b"0123456"
        assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.parametrize(
    "path", ["raises", "raises_after_start", "raises_at_first_block", "returns_none", "starts_twice"]
)
def test_the_connection_is_whole_after_an_error_before_the_first_byte(server, path):
    with server.connect() as wire:
        for _ in range(3):
            answer = wire.ask("GET", f"/{path}")
            assert answer.status == 500
            if answer.headers["Connection"] == "close":
                assert wire.rest() == b""
                return
            assert wire.ask("GET", "/hello").body == HELLO


def test_an_error_with_a_body_unread_does_not_confuse_the_connection(server):
    with server.connect() as wire:
        body = b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n" * 10
        answer = wire.ask("POST", "/raises", body=body)
        assert answer.status == 500
        if answer.headers["Connection"] == "close":
            assert wire.rest() == b""
        else:
            assert wire.ask("GET", "/hello").body == HELLO


def test_responses_of_every_framing_follow_one_another(wire):
    paths = ["hello", "generator", "no_content", "not_modified", "real_file", "empty", "write", "memory_file"]
    first = {path: wire.ask("GET", f"/{path}") for path in paths}
    for method in ("HEAD", "GET", "GET", "HEAD", "GET"):
        for path in paths:
            answer = wire.ask(method, f"/{path}")
            assert answer.status == first[path].status
            assert answer.body == (b"" if method == "HEAD" else first[path].body)


def test_the_client_may_end_the_connection_with_any_request(server):
    for path in ("hello", "generator", "real_file", "no_content"):
        with server.connect() as wire:
            answer = wire.ask("GET", f"/{path}", "Connection: close")
            assert answer.headers["Connection"] == "close"
            assert wire.rest() == b""


def test_an_http_1_0_client_may_ask_to_keep_the_connection(server):
    with server.connect() as wire:
        for _ in range(3):
            wire.send(b"GET /with_length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = wire.answer()
            assert answer.body == HELLO
            if (answer.headers["Connection"] or "close").lower() != "keep-alive":
                assert wire.rest() == b""
                return
