"""WebSockets over HTTP/2 (RFC 8441)."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from support.http2 import Http2, serving

ASKS = [("sec-websocket-version", "13")]


@pytest.fixture(scope="module")
def server():
    with serving("apps.streams:asgi", "--access-log", "-") as server:
        yield server


def begin(http2, path="/", fields=ASKS):
    head = [*http2.head("CONNECT", path), *fields]
    head.insert(1, (":protocol", "websocket"))
    stream = http2.begin(head, end=False)
    http2.pump(lambda: stream.status or stream.over)
    return stream


class Socket:
    """A WebSocket on a stream."""

    def __init__(self, http2, stream, extensions=()):
        self.http2, self.stream, self.taken = http2, stream, 0
        self.protocol = Connection(ConnectionType.CLIENT, list(extensions))

    def send(self, event):
        self.http2.send(self.stream, self.protocol.send(event), end=False)

    def receive(self):
        """The next event."""
        while True:
            for event in self.protocol.events():
                return event
            self.http2.pump(lambda: len(self.stream.body) > self.taken or self.stream.over)
            self.protocol.receive_data(bytes(self.stream.body[self.taken :]) or None)
            self.taken = len(self.stream.body)

    def message(self):
        parts = []
        while isinstance(event := self.receive(), Message):
            parts.append(event.data)
            if event.message_finished:
                return type(parts[0])().join(parts)
        raise AssertionError(event)


def test_messages_go_both_ways(server):
    with Http2(server) as http2:
        stream = begin(http2)
        assert (stream.status, stream.get("x-accepted")) == (200, "yes")
        assert stream.get("sec-websocket-accept") is None
        socket = Socket(http2, stream)
        for text in ("first", "second", "x" * 100_000):
            socket.send(TextMessage(text))
            assert socket.message() == text
        socket.send(BytesMessage(b"\x00\x01"))
        assert socket.message() == b"\x00\x01"
        socket.send(Ping(b"there?"))
        event = socket.receive()
        assert isinstance(event, Pong) and event.payload == b"there?"


def test_the_peer_closes(server):
    with Http2(server) as http2:
        socket = Socket(http2, begin(http2))
        socket.send(CloseConnection(1000, "done"))
        assert socket.receive().code == 1000
        http2.pump(lambda: socket.stream.over)
        assert socket.stream.ended and socket.stream.reset in (None, 0)


def test_the_application_closes(server):
    with Http2(server) as http2:
        socket = Socket(http2, begin(http2))
        socket.send(TextMessage("close"))
        closed = socket.receive()
        assert (closed.code, closed.reason) == (4001, "asked to")
        socket.send(closed.response())
        http2.pump(lambda: socket.stream.over)
        assert socket.stream.ended


def test_a_stream_that_ends_without_a_close_is_a_lost_websocket(server):
    with Http2(server) as http2:
        stream = begin(http2)
        http2.conn.end_stream(stream.number)
        http2.flush()
        http2.pump(lambda: stream.over)


def test_a_subprotocol_and_compression_are_agreed_on(server):
    with Http2(server) as http2:
        extension = PerMessageDeflate()
        offer = f"permessage-deflate; {extension.offer()}".rstrip("; ")
        fields = [*ASKS, ("sec-websocket-protocol", "chat, talk"), ("sec-websocket-extensions", offer)]
        stream = begin(http2, fields=fields)
        assert stream.get("sec-websocket-protocol") == "chat"
        extension.finalize(stream.get("sec-websocket-extensions"))
        socket = Socket(http2, stream, [extension])
        socket.send(TextMessage("again " * 1000))
        assert socket.message() == "again " * 1000


def test_websockets_and_requests_share_a_connection(server):
    with Http2(server) as http2:
        sockets = [Socket(http2, begin(http2)) for _ in range(10)]
        for number, socket in enumerate(sockets):
            socket.send(TextMessage(str(number)))
        assert bytes(http2.get("/").body) == b"Hello, world!"
        for number, socket in enumerate(sockets):
            assert socket.message() == str(number)


def test_a_refusal_is_a_response(server):
    with Http2(server) as http2:
        stream = http2.response(begin(http2, "/refused"))
        assert stream.status == 403


def test_another_version_is_refused(server):
    with Http2(server) as http2:
        stream = http2.response(begin(http2, fields=[("sec-websocket-version", "12")]))
        assert (stream.status, stream.get("sec-websocket-version")) == (426, "13")


def test_a_wsgi_application_speaks_none():
    with serving("apps.streams:wsgi") as server, Http2(server) as http2:
        stream = http2.response(begin(http2))
        assert stream.status == 501
        assert http2.get("/").status == 200


def test_a_tunnel_is_refused(server):
    with Http2(server) as http2:
        head = [(":method", "CONNECT"), (":authority", "example.org:443")]
        stream = http2.response(http2.begin(head, end=False))
        assert stream.status == 501 or stream.reset is not None
