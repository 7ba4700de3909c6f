"""Server-sent events: a response without an end, for as long as its client stays."""

from __future__ import annotations

import asyncio

import aiohttp
import httpx
import pytest

from support.looks import resident_kib, until_it_stands
from support.server import PATIENCE_S, Server


@pytest.fixture(scope="module")
def server():
    with Server("apps.sse_app:application") as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def fields(lines, name):
    return [line.partition(": ")[2] for line in lines if line.startswith(f"{name}: ")]


def first_lines(server, path, count, headers=None):
    with (
        httpx.Client(trust_env=False, timeout=PATIENCE_S) as client,
        client.stream("GET", server.url(path), headers=headers) as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        return [next(lines) for _ in range(count)]


def test_events_come_one_by_one_and_the_source_is_closed_with_its_client(server, name):
    lines = first_lines(server, f"/tides?name={name}", 40)
    assert fields(lines, "data") == [f"tide {number}" for number in range(10)]
    server.wait_for_log(f"{name} events closed")


def test_a_client_that_comes_back_says_where_it_was(server, name):
    lines = first_lines(server, f"/tides?name={name}", 8, {"Last-Event-ID": "41"})
    assert fields(lines, "id") == ["42", "43"]
    server.wait_for_log(f"{name} events closed")


def test_many_clients_hear_at_once(server, name):
    async def hear(session):
        async with session.get(f"/tides?name={name}") as answer:
            heard = [line async for line, _ in numbered(answer.content) if line.startswith(b"data:")]
            return len(heard)

    async def numbered(lines):
        seen = 0
        while seen < 20:
            line = await lines.readline()
            seen += line.startswith(b"data:")
            yield line, seen

    async def all_of_them():
        timeout = aiohttp.ClientTimeout(PATIENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        base = f"http://{server.authority}"
        async with aiohttp.ClientSession(base, timeout=timeout, connector=connector) as session:
            return await asyncio.gather(*(hear(session) for _ in range(100)))

    assert asyncio.run(all_of_them()) == [20] * 100
    server.wait_until(lambda: server.log.count(f"{name} events closed") == 100 or None)


def test_a_reader_that_stops_suspends_the_source_and_memory_does_not_grow(server, name):
    def how_far():
        with server.connect() as wire:
            return int(wire.ask("GET", f"/how-far?name={name}").text)

    with server.connect() as wire:
        before = resident_kib(server.pid)
        wire.send(f"GET /plain?name={name}&filler=1000 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.receive(1000)
        stood_at = until_it_stands(how_far)
        # Events of a kilobyte: what the kernel holds on both sides, and a little in the server.
        assert 0 < stood_at < 16 * 1024
        for _ in range(30):
            assert wire.receive(1 << 18)
        assert until_it_stands(how_far) > stood_at
        assert resident_kib(server.pid) - before < 8 * 1024
        wire.reset()
    server.wait_for_log(f"{name} ended by ClientDisconnected")
