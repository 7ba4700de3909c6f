"""A WebSocket client that does as it is told, frame by frame: `with open_websocket(server) as peer: ...`.

It masks what it sends and sees to nothing else, so that a test can break any rule of RFC 6455, and shows each
frame that comes back. Pings are answered only when a test says so.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Iterable
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from support.server import PATIENCE_S
from support.wire import Answer, Wire

if TYPE_CHECKING:
    from typing_extensions import Self

# Zero is a mask like any other, and leaves the payload as it is.
NO_MASK = bytes(4)


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """One frame as it came."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False

    @property
    def code(self) -> int | None:
        """The status code of a close frame; None if it has none."""
        return struct.unpack_from("!H", self.payload)[0] if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        return self.payload[2:].decode()


class Connects(Protocol):
    """A server, or a proxy before one."""

    def connect(self, *, timeout_s: float) -> Wire:
        """A connection of the client's own making."""


class Refused(Exception):
    """The server answered the handshake with something other than 101."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status} {answer.reason}: {answer.body!r}")
        self.answer = answer


class Peer:
    """The client's end after the handshake, closed on exit without a closing handshake."""

    def __init__(self, wire: Wire, answer: Answer) -> None:
        self.wire = wire
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wire.close()

    def send(self, payload: str | bytes, *, opcode: int | None = None, fin: bool = True) -> None:
        """Send one frame; without an opcode, a text frame for str and a binary one for bytes."""
        self.wire.send(frame(payload, opcode=opcode, fin=fin))

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame; without a code, an empty one."""
        payload = b"" if code is None else struct.pack("!H", code) + reason.encode()
        self.send(payload, opcode=Opcode.CLOSE)

    def frame(self) -> Frame:
        """The next frame. Raises EOFError when the connection ends before it is whole."""
        first, second = self._exactly(2)
        size = second & 0x7F
        assert not second & 0x80, "a server does not mask (RFC 6455 section 5.1)"
        if size == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        return Frame(first & 0x0F, self._exactly(size), bool(first & 0x80), bool(first & 0x40))

    def message(self) -> str | bytes:
        """The next message, which must come whole, in frames without compression."""
        found = self.frame()
        opcode, payload = found.opcode, found.payload
        while not found.fin:
            found = self.frame()
            assert found.opcode == Opcode.CONTINUATION, found
            payload += found.payload
        assert opcode in (Opcode.TEXT, Opcode.BINARY), (opcode, payload)
        return payload.decode() if opcode == Opcode.TEXT else payload

    def json(self) -> Any:
        """What the next message says in JSON."""
        return json.loads(self.message())

    def closing(self) -> Frame:
        """The server's close frame; messages, pings and pongs before it are passed over."""
        while (found := self.frame()).opcode != Opcode.CLOSE:
            pass
        return found

    def end(self) -> bytes:
        """What else comes until the server closes the connection: nothing, if all is well."""
        return self.wire.rest()

    def _exactly(self, size: int) -> bytes:
        received = self.wire.receive(size)
        if len(received) < size:
            raise EOFError(f"{len(received)} of {size} bytes came")
        return received


def frame(
    payload: str | bytes,
    *,
    opcode: int | None = None,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = NO_MASK,
    announce: int | None = None,
) -> bytes:
    """A client's frame. `rsv` are the three reserved bits, `announce` a length other than the payload's."""
    if opcode is None:
        opcode = Opcode.TEXT if isinstance(payload, str) else Opcode.BINARY
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) if announce is None else announce
    masked = 0 if mask is None else 0x80
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 1 << 16:
        head += bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", size)
    if mask is None:
        return head + data
    if mask != NO_MASK:
        data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    return head + mask + data


def request(path: str = "/", *fields: str, key: str | None = None) -> bytes:
    """The head of a handshake; `fields` follow those that it must have."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    head = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(head).encode("latin-1")


def open_websocket(
    server: Connects, path: str = "/", *, fields: Iterable[str] = (), timeout_s: float = PATIENCE_S
) -> Peer:
    """Connect and shake hands. Raises `Refused` when the server answers with anything but 101."""
    wire = server.connect(timeout_s=timeout_s)
    try:
        wire.send(request(path, *fields))
        answer = wire.answer()
        if answer.status != 101:
            raise Refused(answer)
    except BaseException:
        wire.close()
        raise
    return Peer(wire, answer)
