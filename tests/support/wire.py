"""The client's end of one connection: bytes go out as given, responses come back one by one."""

from __future__ import annotations

import http.client
import io
import socket
from dataclasses import dataclass
from email.message import Message
from types import TracebackType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Answer:
    """One response. `headers` looks names up without regard to case; `get_all` gives repeated ones."""

    status: int
    reason: str
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Wire:
    """A connected socket, closed on exit. All reads share one buffer, so pipelined responses are not lost."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._stream = sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> bytes:
        """The next line as it came; empty when the server has closed."""
        return self._stream.readline()

    def receive(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer when the server closes first."""
        return self._stream.read(size)

    def receive_some(self) -> bytes:
        """Whatever has arrived, at least one byte; empty when the server has closed."""
        return self._stream.read1()

    def rest(self) -> bytes:
        """All bytes until the server closes the connection."""
        return self._stream.read()

    def answer(self, method: str = "GET") -> Answer:
        """Read one response to a request with this method; interim ones (100) are passed over.

        Raises `http.client.IncompleteRead` when the connection ends inside the body.
        """
        source = cast(socket.socket, _Borrowed(self._stream))
        response = http.client.HTTPResponse(source, method=method)
        response.begin()
        return Answer(response.status, response.reason, response.headers, response.read())

    def ask(self, method: str, path: str, *fields: str, body: bytes = b"", host: str = "localhost") -> Answer:
        """Send one request, with a Content-Length if it has a body, and read its response."""
        head = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields]
        if body or method in ("POST", "PUT"):
            head.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        return self.answer(method)

    def end_sending(self) -> None:
        """Half-close: the server sees the end of what this client sends, and can still answer."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave at once: the server's next read or write fails with a connection reset."""
        linger_for_no_time = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time)
        self.close()

    def close(self) -> None:
        self._stream.close()
        self.sock.close()


class _Borrowed:
    """Stands in for the socket that HTTPResponse asks for a file: lends the wire's buffer, keeps it open."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self.read = stream.read
        self.read1 = stream.read1
        self.readline = stream.readline
        self.readinto = stream.readinto
        self.peek = stream.peek

    def makefile(self, mode: str) -> _Borrowed:
        return self

    def flush(self) -> None:
        """HTTPResponse flushes what it is about to close; there is nothing to flush in what is only read."""

    def close(self) -> None:
        """The wire closes the stream, not the response that was read from it."""
