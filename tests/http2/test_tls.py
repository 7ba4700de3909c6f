"""HTTP/2 over TLS, where both want it."""

from __future__ import annotations

import subprocess

import pytest

from support.http2 import Http2
from support.server import Server
from support.tls import Authority, secure_wire


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls(authority):
    return authority.context(protocols=["h2", "http/1.1"])


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def server(request, authority):
    with Server(f"apps.streams:{request.param}", options=authority.options()) as server:
        yield server


def test_a_client_that_wants_it_is_spoken_to_in_it(server, tls):
    with Http2(server, tls=tls) as http2:
        for _ in range(3):
            assert bytes(http2.get("/").body) == b"Hello, world!"


def test_large_bodies_go_both_ways(server, tls):
    body = b"tide" * 250_000
    with Http2(server, tls=tls) as http2:
        streams = [http2.ask("/large") for _ in range(4)]
        assert bytes(http2.get("/echo", method="POST", body=body).body) == body
        assert all(len(http2.response(stream).body) == 256 * 16 * 1024 for stream in streams)


def test_the_application_is_told_of_https(authority, tls):
    with Server("apps.streams:wsgi", options=authority.options()) as server, Http2(server, tls=tls) as http2:
        assert b'"HTTPS": "on"' in bytes(http2.get("/environ").body)


def test_a_client_that_does_not_want_it_is_spoken_to_in_http_1(server, authority):
    with secure_wire(server, authority.context(protocols=["http/1.1"])) as wire:
        assert wire.ask("GET", "/").text == "Hello, world!"


def test_it_can_be_turned_off(authority, tls):
    with Server("apps.streams:wsgi", options=[*authority.options(), "--http", "1"]) as server:
        command = ["curl", "-sS", "--http2", "--cacert", str(authority.file), "-w", " %{http_version}"]
        command += ["--resolve", f"localhost:{server.port}:127.0.0.1", f"https://localhost:{server.port}/"]
        assert subprocess.check_output(command, text=True) == "Hello, world! 1.1"


def test_curl_speaks_to_it(server, authority):
    command = ["curl", "-sS", "--cacert", str(authority.file), "-w", " %{http_version}"]
    command += ["--resolve", f"localhost:{server.port}:127.0.0.1", f"https://localhost:{server.port}/"]
    assert subprocess.check_output(command, text=True) == "Hello, world! 2"
