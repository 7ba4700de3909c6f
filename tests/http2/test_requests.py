"""Requests by HTTP/2, under every host and both gateways."""

from __future__ import annotations

import json
import os
import subprocess

import httpx
import pytest

from support.http2 import Http2, serving

WSGI = {
    "threads": ("--threads", "8"),
    "inline": ("--threads", "1"),
    "greenlets": ("--concurrency", "greenlets"),
}


@pytest.fixture(scope="module", params=[*WSGI, "asgi"])
def server(request):
    app = "apps.streams:asgi" if request.param == "asgi" else "apps.streams:wsgi"
    with serving(app, *WSGI.get(request.param, ())) as server:
        server.gateway = "asgi" if request.param == "asgi" else "wsgi"
        yield server


def test_a_response_that_is_known_is_a_head_and_one_frame(server):
    with Http2(server) as http2:
        for _ in range(3):
            response = http2.get("/")
            assert (response.status, bytes(response.body)) == (200, b"Hello, world!")
            assert response.data_frames == 1
            assert response.get("date") and response.get("server") == "tidegate"


def test_the_application_is_told_of_http_2(server):
    with Http2(server) as http2:
        if server.gateway == "wsgi":
            environ = json.loads(http2.get("/environ?a=b%20c", fields=[("x-field", "value")]).body)
            assert environ["SERVER_PROTOCOL"] == "HTTP/2"
            assert environ["HTTP_HOST"] == "localhost"
            assert environ["QUERY_STRING"] == "a=b%20c"
            assert environ["HTTP_X_FIELD"] == "value"
        else:
            scope = json.loads(http2.get("/scope").body)
            assert (scope["http_version"], scope["path"], scope["scheme"]) == ("2", "/scope", "http")


def test_many_requests_at_once_each_get_their_own_response(server):
    with Http2(server) as http2:
        streams = [http2.ask("/echo", method="POST", body=b"%d " % number * 1000) for number in range(100)]
        for number, stream in enumerate(streams):
            assert bytes(http2.response(stream).body) == b"%d " % number * 1000


@pytest.mark.parametrize("size", [0, 1, 16_384, 131_072, 1_000_000])
@pytest.mark.parametrize("tells", [True, False])
def test_a_body_comes_whole_with_and_without_its_length(server, size, tells):
    body = os.urandom(size)
    fields = [("content-length", str(size))] if tells else []
    with Http2(server) as http2:
        response = http2.get("/echo", method="POST", fields=fields, body=body)
        assert response.status == 200
        assert bytes(response.body) == body


def test_a_large_response_comes_whole(server):
    with Http2(server) as http2:
        assert len(http2.get("/large").body) == 256 * 16 * 1024


def test_head_and_no_content_have_no_body(server):
    with Http2(server) as http2:
        response = http2.get("/", method="HEAD")
        assert (response.status, response.data_frames) == (200, 0)
        if server.gateway == "wsgi":
            assert response.get("content-length") == "13"
            response = http2.get("/empty")
            assert (response.status, response.data_frames, response.get("x-nothing")) == (204, 0, "here")


def test_a_request_that_asks_whether_to_go_on_is_told_to(server):
    with Http2(server) as http2:
        stream = http2.ask("/echo", method="POST", fields=[("expect", "100-continue")], end=False)
        http2.pump(lambda: bool(stream.interim))
        assert stream.interim == [100]
        http2.send(stream, b"body")
        assert bytes(http2.response(stream).body) == b"body"


def test_cookies_that_come_apart_are_joined(server):
    with Http2(server) as http2:
        fields = [("cookie", "a=1"), ("x-between", "y"), ("cookie", "b=2"), ("cookie", "c=3")]
        joined = "a=1; b=2; c=3"
        if server.gateway == "asgi":
            seen = json.loads(http2.get("/fields", fields=fields).body)
            assert [value for name, value in seen if name == "cookie"] == [joined]
        else:
            assert json.loads(http2.get("/environ", fields=fields).body)["HTTP_COOKIE"] == joined


def test_http_1_is_still_spoken_beside_it(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/").text == "Hello, world!"


def test_curl_speaks_to_it(server):
    command = ["curl", "-sS", "--http2-prior-knowledge", "-w", " %{http_version}", server.url("/")]
    assert subprocess.check_output(command, text=True) == "Hello, world! 2"


def test_httpx_speaks_to_it(server):
    with httpx.Client(http1=False, http2=True) as client:
        for _ in range(5):
            response = client.post(server.url("/echo"), content=b"abc" * 100_000)
            assert (response.http_version, response.content) == ("HTTP/2", b"abc" * 100_000)
