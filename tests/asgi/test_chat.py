"""A chat in plain ASGI, by the clients that people use: websockets, aiohttp, and a browser's manners."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.server import PATIENCE_S, Server


@pytest.fixture(scope="module")
def server(loop):
    with Server("apps.chat:application", options=["--loop", loop]) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.fixture(autouse=True)
def empty(server):
    """Everybody has left before the next test begins."""
    yield
    server_is_empty = lambda: names(server) == [] or None  # noqa: E731
    server.wait_until(server_is_empty)


def names(server):
    with server.connect() as wire:
        return json.loads(wire.ask("GET", "/").body)


def enter(server, name, **options):
    return connect(f"ws://{server.authority}/{name}", proxy=None, **options)


def test_what_one_says_all_hear(server):
    with enter(server, "ebb") as ebb:
        assert ebb.recv(PATIENCE_S) == "ebb came"
        with enter(server, "flood") as flood:
            assert ebb.recv(PATIENCE_S) == flood.recv(PATIENCE_S) == "flood came"
            assert names(server) == ["ebb", "flood"]
            flood.send("the water rises")
            assert ebb.recv(PATIENCE_S) == flood.recv(PATIENCE_S) == "flood: the water rises"
        assert ebb.recv(PATIENCE_S) == "flood left"


def test_a_name_that_is_taken_is_refused(server):
    with enter(server, "ebb"), pytest.raises(InvalidStatus) as refused:
        enter(server, "ebb")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websockets_talks_with_and_without_compression(server, compression):
    text = "high water " * 5000
    with enter(server, "ebb", compression=compression) as ebb:
        ebb.recv(PATIENCE_S)
        negotiated = ebb.response.headers.get("Sec-WebSocket-Extensions", "")
        assert ("permessage-deflate" in negotiated) == (compression is not None)
        for _ in range(5):
            ebb.send(text)
            assert ebb.recv(PATIENCE_S) == f"ebb: {text}"
        ebb.send(["in ", "frag", "ments"])
        assert ebb.recv(PATIENCE_S) == "ebb: in fragments"
        assert ebb.ping(b"?").wait(PATIENCE_S)


def test_a_hundred_clients_hear_a_hundred_times_a_hundred_words(server):
    count = 100

    async def one(name, ready):
        async with connect_async(f"ws://{server.authority}/{name}", proxy=None, max_queue=None) as websocket:
            ready.release()
            heard = 0
            while heard < count:
                text = await websocket.recv()
                if text == f"n{count - 1} came":
                    await websocket.send("here")
                heard += text.endswith(": here")
            return heard

    async def all_of_them():
        ready = asyncio.Semaphore(0)
        tasks = []
        for number in range(count):
            # One after the other, so that everybody hears of the last.
            tasks.append(asyncio.create_task(one(f"n{number}", ready)))
            await ready.acquire()
        return await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    assert asyncio.run(all_of_them()) == [count] * count


def test_aiohttp_talks_and_leaves(server):
    async def talk():
        timeout = aiohttp.ClientTimeout(PATIENCE_S)
        async with aiohttp.ClientSession(f"http://{server.authority}", timeout=timeout) as session:
            async with session.ws_connect("/ebb", compress=15, heartbeat=0.2) as websocket:
                assert await websocket.receive_str() == "ebb came"
                for size in (1, 1000, 100_000):
                    await websocket.send_str("x" * size)
                    assert await websocket.receive_str() == "ebb: " + "x" * size
                await websocket.close(code=4000, message=b"enough")
                assert websocket.close_code == 4000
            async with session.get("/") as answer:
                return await answer.json(content_type=None)

    assert asyncio.run(talk()) == []


def test_who_is_lost_is_missed(server):
    with enter(server, "ebb") as ebb:
        ebb.recv(PATIENCE_S)
        with contextlib.closing(enter(server, "lost")) as lost:
            assert ebb.recv(PATIENCE_S) == "lost came"
            lost.socket.shutdown(2)
            assert ebb.recv(PATIENCE_S) == "lost left"
