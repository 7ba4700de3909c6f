"""A Socket.IO server, by its own client, over polling, WebSockets, and the upgrade from one to the other."""

from __future__ import annotations

import asyncio
import itertools

import aiohttp
import pytest
import socketio

from support.server import PATIENCE_S, Server

TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}


@pytest.fixture(scope="module")
def server():
    with Server("apps.socketio_app:app") as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


class Sailor:
    """A client that is connected once entered, and keeps what it hears."""

    def __init__(self, server, name, transports, **options):
        self.server, self.name, self.transports, self.options = server, name, transports, options
        self.heard = asyncio.Queue()

    async def __aenter__(self):
        # A session of our own, so that no proxy settings are heeded and nothing stays open.
        self.session = aiohttp.ClientSession()
        self.client = socketio.AsyncClient(reconnection=False, http_session=self.session)
        for event in ("said", "reversed", "connect_error"):
            self.client.on(event, self.heard.put)
        url = self.server.url("")
        try:
            await self.client.connect(url, auth=self.name, transports=self.transports, **self.options)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info):
        # The connection beneath may be there though Socket.IO was refused.
        await self.client.disconnect()
        await self.client.eio.disconnect()
        await self.session.close()

    async def call(self, event, *arguments, **options):
        return await self.client.call(event, arguments, timeout=PATIENCE_S, **options)

    async def hear(self):
        return await asyncio.wait_for(self.heard.get(), PATIENCE_S)


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
def test_calls_are_acknowledged_and_bytes_come_back(server, name, transports):
    async def talk():
        async with Sailor(server, name, transports) as sailor:
            for number in range(20):
                assert await sailor.call("add", number, 1) == number + 1
            await sailor.client.emit("reverse", bytes(range(256)) * 100)
            assert await sailor.hear() == (bytes(range(256)) * 100)[::-1]
            return sailor.client.transport()

    used = asyncio.run(talk())
    assert used == transports[-1]
    server.wait_for_log(f"{name} connected by {transports[0]}")
    server.wait_for_log(f"{name} disconnected")


def test_what_is_said_in_a_room_is_heard_there_by_every_transport(server, name):
    async def talk():
        sailors = [Sailor(server, f"{name}-{kind}", TRANSPORTS[kind]) for kind in TRANSPORTS]
        async with sailors[0] as first, sailors[1] as second, sailors[2] as third:
            for sailor in (first, second, third):
                assert await sailor.call("enter", name)
            for speaker, listener in itertools.product((first, second, third), repeat=2):
                await speaker.client.emit("say", (name, f"to {listener.name}"))
                for sailor in (first, second, third):
                    assert await sailor.hear() == {"by": speaker.name, "text": f"to {listener.name}"}

    asyncio.run(talk())


def test_a_namespace_has_handlers_of_its_own(server, name):
    async def talk():
        async with Sailor(server, name, ["websocket"], namespaces=["/pilot"]) as sailor:
            return await sailor.call("add", 1, 2, namespace="/pilot")

    assert asyncio.run(talk()) == 30


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_who_is_refused_is_told_why(server, transport):
    async def talk():
        sailor = Sailor(server, "low", [transport])
        with pytest.raises(socketio.exceptions.ConnectionError):
            async with sailor:
                pass
        return await sailor.hear()

    assert asyncio.run(talk()) == {"message": "the tide is out"}
