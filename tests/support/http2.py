"""A client of HTTP/2 that does what it is told: windows that stay shut, frames that nobody should send."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes

from support.server import PATIENCE_S, Server

if TYPE_CHECKING:
    from typing_extensions import Self

Fields = Sequence[tuple[str, str]]

GOAWAY = 7


class Goaway(NamedTuple):
    """The last word of a server, and the last stream that it has answered or will."""

    error_code: int
    last_stream_id: int


@dataclass
class Stream:
    """What has come on one stream."""

    number: int
    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    data_frames: int = 0
    ended: bool = False
    reset: int | None = None
    # Whether what comes makes room for more.
    reads: bool = True

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def get(self, name: str) -> str | None:
        return next((value for other, value in self.fields if other == name), None)


class Http2:
    """A connection of its own, which begins with HTTP/2 at once."""

    def __init__(
        self,
        server: Server,
        *,
        settings: dict[SettingCodes, int] | None = None,
        timeout_s: float = PATIENCE_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.sock = server.addresses[0].connect(timeout_s)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
            assert self.sock.selected_alpn_protocol() == "h2"
        self.authority = "localhost"
        config = h2.config.H2Configuration(
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            split_outbound_cookies=False,
        )
        self.conn = h2.connection.H2Connection(config)
        if settings:
            self.conn.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.streams: dict[int, Stream] = {}
        self.goaway: Goaway | None = None
        self.closed = False
        self.pongs = 0
        # Whether only a GOAWAY is of interest: frames were sent that python-h2 does not know of.
        self.deaf = False
        self._received = bytearray()
        self.conn.initiate_connection()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    # Sending

    def flush(self) -> None:
        self.raw(self.conn.data_to_send())

    def raw(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def head(self, method: str = "GET", path: str = "/", fields: Fields = ()) -> list[tuple[str, str]]:
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", self.authority)]
        return [*pseudo, *fields]

    def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        fields: Fields = (),
        body: bytes | None = None,
        end: bool = True,
        reads: bool = True,
    ) -> Stream:
        """Begin a request; with a body, send all of that."""
        return self.begin(self.head(method, path, fields), body, end=end, reads=reads)

    def begin(
        self,
        head: Iterable[tuple[str, str]],
        body: bytes | None = None,
        *,
        end: bool = True,
        reads: bool = True,
    ) -> Stream:
        number = self.conn.get_next_available_stream_id()
        stream = self.streams[number] = Stream(number, reads=reads)
        self.conn.send_headers(number, list(head), end_stream=end and body is None)
        self.flush()
        if body is not None:
            self.send(stream, body, end=end)
        return stream

    def send(self, stream: Stream, body: bytes, *, end: bool = True) -> None:
        """Send all of this, waiting for room."""
        while body:
            self.pump(lambda: stream.over or self.window(stream) > 0)
            if stream.over:
                return
            piece = body[: min(self.window(stream), self.conn.max_outbound_frame_size)]
            body = body[len(piece) :]
            self.conn.send_data(stream.number, piece)
            self.flush()
        if end:
            self.conn.end_stream(stream.number)
            self.flush()

    def fill(self, stream: Stream) -> int:
        """Send as much as there is room for now; say how much."""
        sent = 0
        while (room := self.window(stream)) > 0:
            piece = b"x" * min(room, self.conn.max_outbound_frame_size)
            self.conn.send_data(stream.number, piece)
            self.flush()
            sent += len(piece)
        return sent

    def window(self, stream: Stream) -> int:
        return self.conn.local_flow_control_window(stream.number)

    # Receiving

    def pump(self, until: Callable[[], bool]) -> None:
        """Take what comes until `until` holds."""
        while not until():
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.closed = True
                assert until(), f"the server closed; {self.goaway} {self.streams}"
                return
            self._received += data
            while (received := self._next_frame()) is not None:
                for event in self.conn.receive_data(received):
                    self._take(event)
            self.flush()

    def _next_frame(self) -> bytes | None:
        """The next whole frame; a GOAWAY is taken note of here, as python-h2 is deaf from there on."""
        while len(self._received) >= 9:
            size = 9 + int.from_bytes(self._received[:3], "big")
            if len(self._received) < size:
                return None
            received = bytes(self._received[:size])
            del self._received[:size]
            if received[3] == GOAWAY:
                self.goaway = Goaway(*(int.from_bytes(received[at : at + 4], "big") for at in (13, 9)))
            elif not self.deaf:
                return received
        return None

    def response(self, stream: Stream) -> Stream:
        self.pump(lambda: stream.over)
        return stream

    def get(self, path: str = "/", **more: object) -> Stream:
        return self.response(self.ask(path, **more))  # type: ignore[arg-type]

    def settle(self) -> None:
        """Wait until the server has seen all that was sent."""
        before = self.pongs
        self.conn.ping(b"settled?")
        self.flush()
        self.pump(lambda: self.pongs > before)

    def end(self) -> Goaway | None:
        """Wait until the server has closed; give its last word."""
        self.pump(lambda: self.closed)
        return self.goaway

    def _take(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", None)
        stream = self.streams.get(number) if number else None
        if isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        elif stream is None:
            return
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(int(texts(event.headers)[0][1]))
        elif isinstance(event, h2.events.ResponseReceived):
            (_, status), *stream.fields = texts(event.headers)
            stream.status = int(status)
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
            stream.data_frames += 1
            if stream.reads and event.flow_controlled_length:
                self.conn.acknowledge_received_data(event.flow_controlled_length, stream.number)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = texts(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)


def texts(headers: Iterable[tuple[str | bytes, str | bytes]]) -> list[tuple[str, str]]:
    """Fields as python-h2 gives them, whose types do not know that they are decoded."""
    decoded = [
        [part if isinstance(part, str) else part.decode("latin-1") for part in pair] for pair in headers
    ]
    return [(name, value) for name, value in decoded]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as it is on the wire (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def serving(app: str, *options: str, **more: object) -> Server:
    """A server that speaks HTTP/2 in plain text."""
    return Server(app, options=["--http", "h2c", *options], **more)  # type: ignore[arg-type]


def half_close(http2: Http2) -> None:
    http2.sock.shutdown(socket.SHUT_WR)
