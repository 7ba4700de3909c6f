"""What real clients do of their own accord: keep connections, expect 100, send chunks, stream, leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess

import aiohttp
import httpx
import pytest

from support.server import PATIENCE_S, Server

BODY = os.urandom(300_000)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def server():
    with Server("apps.asgi_probes:application") as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def curl(*arguments, data=b""):
    # --disable comes first: a user's own configuration must not take part.
    command = ["curl", "--disable", "--silent", "--show-error", "--noproxy", "*", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE_S, check=True).stdout


@needs_curl
def test_curl_keeps_one_connection_for_several_urls(server):
    urls = [server.url(path) for path in ("/hello", "/parts", "/one_part", "/pathsend")]
    downloads = [argument for url in urls for argument in ("--output", "/dev/null", url)]
    assert curl("--write-out", "%{num_connects} ", *downloads).split() == [b"1", b"0", b"0", b"0"]


@needs_curl
@pytest.mark.parametrize(
    ("path", "how"),
    [
        ("/whole", "with a length"),
        ("/whole", "in chunks"),
        ("/whole", "after 100 Continue"),
        ("/whole", "in chunks after 100 Continue"),
        ("/echo", "with a length"),
        ("/echo", "in chunks"),
    ],
)
def test_curl_uploads(server, path, how):
    fields = ["-H", "Expect: 100-continue" if "100" in how else "Expect:"]
    if "chunks" in how:
        fields += ["-H", "Transfer-Encoding: chunked"]
    received = curl(*fields, "-T", "-", "-X", "POST", server.url(path), data=BODY)
    assert received.removeprefix(b"ready\n") == BODY


@needs_curl
def test_curl_speaks_http_1_0_and_asks_for_heads(server):
    assert curl("--http1.0", server.url("/parts"), server.url("/one_part")) == b"Hello, world!" * 2
    assert b"HTTP/1.1 200 OK\r\n" in curl("--head", server.url("/parts_with_length"))


@needs_curl
def test_curl_shows_a_stream_as_it_comes_and_leaves(server, name):
    command = ["curl", "--disable", "--silent", "--no-buffer", "--noproxy", "*"]
    url = server.url(f"/task_group?name={name}")
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"speaking\n"
        process.terminate()
    server.wait_for_log(f"{name} heard http.disconnect")
    server.wait_for_log(f"{name} is through")


def test_httpx_streams_both_ways(server):
    with httpx.Client(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client:
        pieces = (BODY[start : start + 30_000] for start in range(0, len(BODY), 30_000))
        assert client.post("/whole", content=pieces).content == BODY
        with client.stream("GET", "/large?size=5000000") as answer:
            # Left early: the next request needs a connection of its own, and gets it.
            next(answer.iter_bytes())
        assert client.get("/hello").text == "Hello, world!"


def test_httpx_asks_for_many_things_at_once(server):
    async def ask_all():
        async with httpx.AsyncClient(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client:

            async def one(number):
                body = b"%d " % number * 1000
                return (await client.post("/whole", content=body)).content == body

            return await asyncio.gather(*(one(number) for number in range(200)))

    assert all(asyncio.run(ask_all()))


def test_aiohttp_streams_both_ways_at_once(server):
    async def talk():
        turns = asyncio.Queue()

        async def pieces():
            while (piece := await turns.get()) is not None:
                yield piece

        timeout = aiohttp.ClientTimeout(PATIENCE_S)
        async with aiohttp.ClientSession(f"http://{server.authority}", timeout=timeout) as session:
            # aiohttp keeps the head back until it can send some of the body with it.
            await turns.put(b"begin\n")
            async with session.post("/echo", data=pieces()) as answer:
                assert await answer.content.readline() == b"ready\n"
                assert await answer.content.readline() == b"begin\n"
                for number in range(50):
                    # The next piece goes out only when this one is back.
                    await turns.put(b"piece %d\n" % number)
                    assert await answer.content.readline() == b"piece %d\n" % number
                await turns.put(None)
                assert await answer.content.read() == b""
            async with session.get("/parts") as answer:
                return await answer.text()

    assert asyncio.run(talk()) == "Hello, world!"


def test_aiohttp_reuses_its_connections(server):
    async def talk():
        connector = aiohttp.TCPConnector(limit=1)
        timeout = aiohttp.ClientTimeout(PATIENCE_S)
        async with aiohttp.ClientSession(
            f"http://{server.authority}", timeout=timeout, connector=connector
        ) as session:
            for size in (0, 10, 70_000, 300_000):
                async with session.post("/whole", data=BODY[:size]) as answer:
                    assert await answer.read() == BODY[:size]
                async with session.post("/ignores_body", data=BODY[:size]) as answer:
                    assert await answer.text() == "not read"

    asyncio.run(talk())
