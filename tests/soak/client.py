"""The client's end of one connection, asynchronous: it sends what it is told and reads responses strictly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from support.server import Address

# A server that has not gone on for this long has hung.
PATIENCE_S = 60.0
# An abortive close: the peer sees a reset (SO_LINGER, on and zero seconds).
LINGER_FOR_NO_TIME = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class Wrong(Exception):
    """The server did what it must not; the text says what."""


class Cut(Wrong):
    """It closed before a response was whole."""


@dataclass(frozen=True)
class Response:
    """One final response."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"


class Client:
    """A connected socket and the bytes read ahead from it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.ahead = bytearray()
        # What a slow reader takes at a time, and how long it rests between; a fast one takes what there is.
        self.gulp = 262144
        self.rest_s = 0.0

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), PATIENCE_S)

    def end_sending(self) -> None:
        """Half-close; the peer may have gone already."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Let the coming close be a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_FOR_NO_TIME)

    async def more(self) -> bool:
        """Read something more; False at the end of what the server sends."""
        if self.rest_s:
            await asyncio.sleep(self.rest_s)
        receiving = asyncio.get_running_loop().sock_recv(self.sock, self.gulp)
        try:
            block = await asyncio.wait_for(receiving, PATIENCE_S)
        except asyncio.TimeoutError:
            raise Wrong(f"silence for {PATIENCE_S:.0f} s") from None
        self.ahead += block
        return bool(block)

    async def ended(self) -> bool:
        """Whether the server closes without another word."""
        return not self.ahead and not await self.more()

    async def take(self, size: int) -> bytes:
        """Exactly that many bytes."""
        while len(self.ahead) < size:
            if not await self.more():
                raise Cut(f"closed within a response, {size - len(self.ahead)} bytes too early")
        taken = bytes(self.ahead[:size])
        del self.ahead[:size]
        return taken

    async def take_until(self, mark: bytes) -> bytes:
        """All up to the mark, without it."""
        searched = 0
        while (at := self.ahead.find(mark, searched)) < 0:
            searched = max(0, len(self.ahead) - len(mark))
            if not await self.more():
                raise Cut(f"closed before a response was whole: {bytes(self.ahead[:80])!r}")
        taken = bytes(self.ahead[:at])
        del self.ahead[: at + len(mark)]
        return taken

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the fields, their names in lower case, of the next response, interim ones too."""
        line, *rest = (await self.take_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, status = line.partition(" ")
        if version != "HTTP/1.1" or not status[:3].isdigit():
            raise Wrong(f"no status line: {line!r}")
        fields = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
        return int(status[:3]), fields

    async def response(self, method: str = "GET") -> Response:
        """The next final response, whole."""
        status, fields = await self.head()
        while status < 200:
            status, fields = await self.head()
        if method == "HEAD" or status in (204, 304):
            return Response(status, fields, b"")
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return Response(status, fields, await self.chunks())
        if "content-length" in fields:
            return Response(status, fields, await self.take(int(fields["content-length"])))
        if not Response(status, fields, b"").closes:
            raise Wrong("a response whose end nothing marks")
        while await self.more():
            pass
        body, self.ahead = bytes(self.ahead), bytearray()
        return Response(status, fields, body)

    async def chunks(self) -> bytes:
        """A chunked body, decoded."""
        body = bytearray()
        while size := int(await self.take_until(b"\r\n"), 16):
            body += await self.take(size)
            if await self.take(2) != b"\r\n":
                raise Wrong("a chunk that is longer than its size")
        if await self.take(2) != b"\r\n":
            raise Wrong("a trailer that nobody sent")
        return bytes(body)


@contextlib.asynccontextmanager
async def connected(address: Address, *, receive_buffer: int = 0) -> AsyncIterator[Client]:
    """A connection for the length of a with block."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            # Before connecting: the window is agreed on then.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_connect(sock, (address.host, address.port)), PATIENCE_S)
        yield Client(sock)
