"""Carries WebSockets of HTTP/1.1 over HTTP/2: `websocket_bridge.py PORT SERVER_PORT [tls]`.

Listens on PORT for clients that know no HTTP/2, as the Autobahn suite. Each gets a connection of HTTP/2 to
the server, by prior knowledge or by ALPN over TLS, and a stream with an extended CONNECT (RFC 8441) there.
The handshake is translated; from then on every byte goes through as it comes, in either direction, so that
what is tested is the server's WebSocket and not one of the bridge's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import sys
from collections.abc import Mapping

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

READ_SIZE = 64 * 1024
PATIENCE_S = 30.0
# RFC 6455, section 1.3.
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# What the extended CONNECT has of a handshake of HTTP/1.1 (RFC 8441, section 5).
REQUEST_FIELDS = ("sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions", "origin")
RESPONSE_FIELDS = ("sec-websocket-protocol", "sec-websocket-extensions")


class Refused(Exception):
    """The server does not open the WebSocket; the text is the response's status."""


async def read_handshake(reader: asyncio.StreamReader) -> tuple[str, Mapping[str, str]]:
    """Read the head of a request; return its target and its fields."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    return line.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


class Bridge:
    """One WebSocket: a client's connection of HTTP/1.1, and a stream of the server's."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        # What the server sends is whatever the application wants: it is the server that is to check it.
        config = h2.config.H2Configuration(validate_inbound_headers=False)
        self._http2 = h2.connection.H2Connection(config)
        self._stream = 0
        # Set whenever the server may have made room for more.
        self._room = asyncio.Event()
        self._is_over = False

    async def run(self, scheme: str) -> None:
        """Open the stream and carry bytes both ways, until both directions have ended or one failed."""
        try:
            target, fields = await read_handshake(self._from_client)
        except EOFError:
            # Who only looks whether there is anybody sends nothing.
            return
        self._http2.initiate_connection()
        await self._flush()
        await self._until_it_takes_connect()
        self._stream = self._http2.get_next_available_stream_id()
        request = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", scheme)]
        request += [(":path", target), (":authority", fields["host"])]
        request += [(name, fields[name]) for name in REQUEST_FIELDS if name in fields]
        self._http2.send_headers(self._stream, request)
        await self._flush()
        try:
            answer = await self._until_answered()
        except Refused as refused:
            print(f"the extended CONNECT was answered with {refused}", file=sys.stderr, flush=True)
            self._to_client.write(f"HTTP/1.1 {refused} Refused\r\nConnection: close\r\n\r\n".encode())
            return
        key = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + ACCEPT_GUID).digest())
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {key.decode()}"]
        lines += [f"{name}: {answer[name]}" for name in RESPONSE_FIELDS if name in answer]
        self._to_client.write("\r\n".join([*lines, "", ""]).encode())
        upwards = asyncio.ensure_future(self._carry_upwards())
        try:
            await self._carry_downwards()
        finally:
            upwards.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await upwards

    async def _flush(self) -> None:
        if data := self._http2.data_to_send():
            self._to_server.write(data)
            await self._to_server.drain()

    async def _events(self) -> list[h2.events.Event]:
        data = await self._from_server.read(READ_SIZE)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        events: list[h2.events.Event] = self._http2.receive_data(data)
        await self._flush()
        return events

    async def _until_it_takes_connect(self) -> None:
        async def wait() -> None:
            while not self._http2.remote_settings.enable_connect_protocol:
                await self._events()

        await asyncio.wait_for(wait(), PATIENCE_S)

    async def _until_answered(self) -> Mapping[str, str]:
        while True:
            for event in await asyncio.wait_for(self._events(), PATIENCE_S):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = {name.decode(): value.decode() for name, value in event.headers}
                    if fields[":status"] != "200":
                        raise Refused(fields[":status"])
                    return fields
                if isinstance(event, h2.events.StreamReset):
                    raise Refused("502")

    async def _carry_upwards(self) -> None:
        while data := await self._from_client.read(READ_SIZE):
            while data:
                size = min(
                    self._http2.local_flow_control_window(self._stream), self._http2.max_outbound_frame_size
                )
                if size <= 0:
                    self._room.clear()
                    await self._room.wait()
                    continue
                self._http2.send_data(self._stream, data[:size])
                data = data[size:]
                await self._flush()
        self._http2.end_stream(self._stream)
        await self._flush()

    async def _carry_downwards(self) -> None:
        while not self._is_over:
            for event in await self._events():
                await self._take(event)

    async def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._to_client.write(event.data)
            # A client that reads slowly is to slow the server down.
            await self._to_client.drain()
            self._http2.acknowledge_received_data(event.flow_controlled_length, self._stream)
            await self._flush()
        elif isinstance(event, h2.events.StreamEnded):
            # As the end of a connection, which is what it stands for (RFC 8441, section 5.1).
            self._is_over = True
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            self._to_client.transport.abort()
            self._is_over = True
        self._room.set()


async def serve(port: int, server_port: int, *, secure: bool) -> None:
    """Take clients until the process is ended."""
    context = None
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])

    # The event loop itself holds on to none.
    tasks: set[asyncio.Task[None] | None] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        to_server = None
        try:
            server = await asyncio.open_connection("127.0.0.1", server_port, ssl=context)
            to_server = server[1]
            await Bridge((reader, writer), server).run("https" if secure else "http")
        except (OSError, EOFError, asyncio.TimeoutError, h2.exceptions.ProtocolError) as problem:
            print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
        finally:
            tasks.discard(asyncio.current_task())
            for end in (writer, to_server):
                if end is not None:
                    end.close()

    listener = await asyncio.start_server(take, "127.0.0.1", port)
    async with listener:
        await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), secure="tls" in sys.argv[3:]))
