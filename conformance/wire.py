"""A client that hides nothing: raw bytes out, responses in with their framing named.

Standard HTTP clients repair what they receive; a conformance suite must see it as it is.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from dataclasses import dataclass, field

from conformance.model import Closed, Failed, Silent

# How long a server may take for anything. Generous, since only servers that fail ever use it up.
PATIENCE_S = 6.0
# The pause between two bytes of a split input: long enough for a waiting server to read what is there.
SPLIT_PAUSE_S = 0.0003
# How soon a server that closes after its response does so.
CLOSE_PAUSE_S = 0.05
# Inputs above this size are split at some places only: at every byte of their beginning and their end.
SPLIT_WHOLE_MAX = 1500
SPLIT_EDGE = 400
SPLIT_PIECE = 1447
HEAD_MAX = 256 * 1024


@dataclass
class Response:
    """One response as it was on the wire."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    # Statuses of the interim responses before it.
    interim: list[int] = field(default_factory=list)
    body: bytes = b""
    # How the end of the body is told: none, length, chunked or close.
    framing: str = "none"
    complete: bool = True

    def all(self, name: str) -> list[str]:
        """Return the values of every field of that name."""
        return [value for field_name, value in self.headers if field_name.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the first value of that name."""
        values = self.all(name)
        return values[0] if values else None

    @property
    def says_close(self) -> bool:
        """Whether the server announces that it closes the connection."""
        tokens = ",".join(self.all("Connection")).lower()
        return "close" in [token.strip() for token in tokens.split(",")] or (
            self.version == "HTTP/1.0" and "keep-alive" not in tokens
        )


class Wire:
    """One connection to the server."""

    def __init__(self, address: tuple[str, int] | str, deadline: float) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if isinstance(address, tuple) and ":" in address[0]:
            family = socket.AF_INET6
        self.deadline = deadline
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(address)
        except OSError as error:
            self.socket.close()
            raise Failed(f"the server takes no connection: {error}") from None
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at_end = False
        self.was_reset = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send all; return False when the server has closed before it took everything."""
        self.socket.settimeout(self._patience())
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise Failed(f"the server stopped reading for {PATIENCE_S:.0f} s") from None
        except OSError:
            return False
        return True

    def send_split(self, data: bytes) -> bool:
        """Send byte by byte, large inputs in part; stop when the server has answered or closed."""
        if len(data) <= SPLIT_WHOLE_MAX:
            pieces = [data[at : at + 1] for at in range(len(data))]
        else:
            middle = data[SPLIT_EDGE:-SPLIT_EDGE]
            pieces = [data[at : at + 1] for at in range(SPLIT_EDGE)]
            pieces += [middle[at : at + SPLIT_PIECE] for at in range(0, len(middle), SPLIT_PIECE)]
            pieces += [data[at : at + 1] for at in range(len(data) - SPLIT_EDGE, len(data))]
        for piece in pieces:
            if not self.send(piece):
                return False
            # An input may be several requests, so answers are gathered while it is being sent.
            if self._readable(SPLIT_PAUSE_S):
                self._receive(0.0)
                if self.at_end:
                    return False
        return True

    def send_end(self) -> None:
        """Close our sending side: the server reads an end of file."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def quiet(self, seconds: float) -> bool:
        """Return whether nothing arrives, not even the end, for that long."""
        return not self.buffer and not self._readable(seconds)

    def read_some(self, size: int) -> bytes:
        """Return up to size bytes as they come, b"" at the end."""
        if not self.buffer and not self.at_end:
            self._receive(self._patience())
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        return piece

    def read_until(self, marker: bytes) -> bytes:
        """Return what arrives up to and including the marker; fail when it does not come."""
        end = time.monotonic() + self._patience()
        while marker not in self.buffer:
            if self.at_end or len(self.buffer) > HEAD_MAX:
                raise Failed(f"no {marker!r} in what the server sent: {bytes(self.buffer[:80])!r}")
            self._receive(end - time.monotonic())
        at = self.buffer.index(marker) + len(marker)
        piece = bytes(self.buffer[:at])
        del self.buffer[:at]
        return piece

    def end(self) -> bool:
        """Wait for the server to close; return False when it sends more or keeps the connection open."""
        if not self.buffer and not self.at_end:
            with contextlib.suppress(Failed):
                self._receive(self._patience())
        return self.at_end and not self.buffer

    def ended(self) -> bool:
        """Return whether the server closes now that it has answered, without the patience of `end`."""
        if not self.buffer and not self.at_end and self._readable(CLOSE_PAUSE_S):
            self._receive(0.0)
        return self.at_end and not self.buffer

    def response(self, method: str = "GET") -> Response:
        """Read one response and its body, which depends on the request's method (RFC 9112 section 6.3)."""
        interim = []
        head = self.head()
        while 100 <= head.status < 200 and head.status != 101:
            interim.append(head.status)
            head = self.head()
        head.interim = interim
        self.body(head, method)
        return head

    def head(self) -> Response:
        """Read one status line and its fields."""
        if not self.buffer and not self.at_end:
            self._receive(self._patience())
        if not self.buffer and self.at_end:
            raise Closed("the connection was " + ("reset" if self.was_reset else "closed without an answer"))
        if not b"HTTP/1.".startswith(self.buffer[:7]) and not self.buffer.startswith(b"HTTP/1."):
            raise Failed(f"not an HTTP/1 response: {bytes(self.buffer[:60])!r}")
        lines = self.read_until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        code, _, reason = rest.partition(" ")
        if not (len(code) == 3 and code.isdigit()):
            raise Failed(f"malformed status line {lines[0]!r}")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
                raise Failed(f"malformed header line {line!r}")
            headers.append((name, value.strip(" \t")))
        return Response(version, int(code), reason, headers)

    def body(self, head: Response, method: str = "GET") -> None:
        """Read the body that belongs to a head already read, and note how its end was told."""
        lengths = head.all("Content-Length")
        codings = ",".join(head.all("Transfer-Encoding")).lower()
        if method == "HEAD" or head.status in (204, 304) or 100 <= head.status < 200:
            return
        if codings:
            if codings != "chunked" or lengths:
                raise Failed(f"ambiguous framing: Transfer-Encoding {codings!r}, Content-Length {lengths}")
            head.framing = "chunked"
            self._chunks(head)
        elif lengths:
            if len(set(lengths)) != 1 or not lengths[0].isdigit():
                raise Failed(f"invalid Content-Length {lengths}")
            head.framing = "length"
            head.body = self._exactly(int(lengths[0]))
            head.complete = len(head.body) == int(lengths[0])
        else:
            head.framing = "close"
            while piece := self.read_some(65536):
                head.body += piece
            head.complete = not self.was_reset

    def _exactly(self, size: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < size and (piece := self.read_some(size - len(pieces))):
            pieces += piece
        return bytes(pieces)

    def _chunks(self, head: Response) -> None:
        head.complete = False
        body = bytearray()
        while True:
            try:
                line = self.read_until(b"\r\n")[:-2]
            except Failed:
                if self.at_end:
                    break
                raise
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                raise Failed(f"malformed chunk size {line[:40]!r}") from None
            if size == 0:
                while self.read_until(b"\r\n") != b"\r\n":
                    pass
                head.complete = True
                break
            piece = self._exactly(size)
            body += piece
            if len(piece) < size or self._exactly(2) != b"\r\n":
                if self.at_end:
                    break
                raise Failed("a chunk is longer than its size says")
        head.body = bytes(body)

    def _patience(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failed("the check ran out of time")
        return min(PATIENCE_S, left)

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self.socket], [], [], max(seconds, 0.0))[0])

    def _receive(self, seconds: float) -> None:
        if not self._readable(seconds):
            raise Silent(
                f"no answer within {PATIENCE_S:.0f} s" if not self.buffer else "the answer stops midway"
            )
        try:
            piece = self.socket.recv(1 << 18)
        except OSError:
            piece = b""
            self.was_reset = True
        self.buffer += piece
        self.at_end = not piece
