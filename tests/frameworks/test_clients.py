"""What real clients do of their own accord: keep connections, expect 100, send chunks, leave."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess

import httpx
import pytest
import urllib3

from support.clients import Client
from support.server import PATIENCE_S, Server

BODY = os.urandom(200_000)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def server():
    with Server("apps.probes:validated") as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def curl(*arguments, data=b""):
    # --disable comes first: a user's own configuration must not take part.
    command = ["curl", "--disable", "--silent", "--show-error", "--noproxy", "*", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE_S, check=True).stdout


@needs_curl
def test_curl_keeps_one_connection_for_several_urls(server):
    urls = [server.url(path) for path in ("/hello", "/generator", "/late", "/real_file")]
    downloads = [argument for url in urls for argument in ("--output", "/dev/null", url)]
    opened = curl("--write-out", "%{num_connects} ", *downloads)
    assert opened.split() == [b"1", b"0", b"0", b"0"]


@needs_curl
@pytest.mark.parametrize(
    "how", ["with a length", "in chunks", "after 100 Continue", "in chunks after 100 Continue"]
)
def test_curl_uploads(server, how):
    fields = ["-H", "Expect: 100-continue" if "100" in how else "Expect:"]
    if "chunks" in how:
        fields += ["-H", "Transfer-Encoding: chunked"]
    assert curl(*fields, "-T", "-", "-X", "POST", server.url("/read_minus_one"), data=BODY) == BODY


@needs_curl
def test_curl_speaks_http_1_0(server):
    expected = b"".join(b"%d\n" % number for number in range(100))
    assert curl("--http1.0", server.url("/generator"), server.url("/generator")) == expected * 2


@needs_curl
def test_curl_asks_for_the_head_alone(server):
    head = curl("--head", server.url("/with_length"))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 13\r\n" in head


@needs_curl
def test_curl_is_offered_a_websocket_or_http_2_upgrade_in_vain(server):
    assert curl("--http2", server.url("/hello")) == b"Hello, world!"


def test_requests_reuses_its_connection_for_every_kind_of_request(server):
    with Client() as client:
        port = client.get(server.url("/environment")).json()["REMOTE_PORT"]
        for _ in range(3):
            assert client.get(server.url("/hello")).text == "Hello, world!"
            assert client.post(server.url("/read_length"), data=BODY).content == BODY
            assert client.post(server.url("/read_minus_one"), data=iter([BODY[:9], BODY[9:]])).content == BODY
            assert client.head(server.url("/generator")).status_code == 200
            assert client.post(server.url("/ignore_body"), data=BODY).text == "not read"
        assert client.get(server.url("/environment")).json()["REMOTE_PORT"] == port


def test_httpx_streams_both_ways(server):
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        content = (BODY[start : start + 30_000] for start in range(0, len(BODY), 30_000))
        assert client.post(server.url("/read_minus_one"), content=content).content == BODY
        with client.stream("GET", server.url("/generator")) as answer:
            assert list(answer.iter_lines()) == [str(number) for number in range(100)]
        with client.stream("GET", server.url("/large?size=5000000")) as answer:
            # Left early: the next request needs a connection of its own, and gets it.
            next(answer.iter_bytes())
        assert client.get(server.url("/hello")).text == "Hello, world!"


def test_urllib3_reads_a_chunked_response_as_it_comes(server):
    with urllib3.PoolManager(timeout=PATIENCE_S) as pool:
        answer = pool.request("GET", server.url("/generator"), preload_content=False)
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert b"".join(answer.stream(16)) == b"".join(b"%d\n" % number for number in range(100))
        assert pool.request("PUT", server.url("/read_length"), body=BODY).data == BODY


def test_several_clients_at_once_are_all_answered(server):
    def talk(number):
        with Client() as client:
            body = b"%d " % number * 1000
            for _ in range(10):
                if client.post(server.url("/read_length"), data=body).content != body:
                    return False
        return True

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(talk, range(32)))


def test_odd_paths_and_queries_arrive_decoded_once(server):
    with server.connect() as wire:
        for path, expected in (
            ("/environment/", "/environment/"),
            ("//environment", "//environment"),
            ("/environment%2F", "/environment/"),
            ("/%65nvironment", "/environment"),
        ):
            seen = json.loads(wire.ask("GET", f"{path}?q=%2520&r=%C3%A9").body)
            assert seen["PATH_INFO"] == expected
            assert seen["QUERY_STRING"] == "q=%2520&r=%C3%A9"
