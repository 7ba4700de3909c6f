"""Many clients at once, for where wrk is not installed: `demo_client.py PORT CLIENTS SECONDS`.

Each client sends a request when it has the answer to its last one. One epoll loop and no objects but what a
request needs: about 30,000 requests a second on one core of a usual machine, half of what wrk can do. Prints
one line of JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

# Connections that are being made at the same time: more than a listener's backlog would be dropped, and tried
# again a second later.
CONNECTING_MAX = 500
PATIENCE_S = 30.0


class Crowd:
    """All clients, by the descriptors of their connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.began: dict[int, float] = {}
        self.received: dict[int, bytes] = {}
        self.waits_s: list[float] = []
        self.errors = 0

    def connect(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = sock.fileno()
        self.sockets[number] = sock
        self.epoll.register(number, select.EPOLLIN)
        self.ask(number)

    def ask(self, number: int) -> None:
        self.received[number] = b""
        self.began[number] = time.perf_counter()
        self.sockets[number].send(self.request)

    def hear(self, number: int) -> None:
        """Read what has come; with the answer whole, ask again."""
        block = self.sockets[number].recv(65536)
        received = self.received[number] + block
        head, blank, body = received.partition(b"\r\n\r\n")
        if not block:
            raise ConnectionError("closed within a response")
        if not blank or len(body) < content_length(head):
            self.received[number] = received
            return
        if head.startswith(b"HTTP/1.1 200 "):
            self.waits_s.append(time.perf_counter() - self.began[number])
        else:
            self.errors += 1
        self.ask(number)

    def turn(self) -> None:
        """Serve all connections that have something."""
        for number, _ in self.epoll.poll(0.1):
            try:
                self.hear(number)
            except OSError:
                self.errors += 1
                self.sockets.pop(number).close()
                self.connect()


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    raise ValueError("a response without a Content-Length")


def main() -> None:
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    crowd = Crowd(port)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(min(CONNECTING_MAX, clients - len(crowd.sockets))):
            crowd.connect()
        crowd.turn()
    took_s = time.perf_counter() - began
    # Who has waited long without an answer is no success, and who has only just asked no failure.
    now = time.perf_counter()
    crowd.errors += sum(1 for asked in crowd.began.values() if now - asked > PATIENCE_S)
    waits_s = sorted(crowd.waits_s) or [0.0]
    print(
        json.dumps(
            {
                "requests": len(crowd.waits_s),
                "seconds": took_s,
                "p50_ms": waits_s[len(waits_s) // 2] * 1000,
                "p99_ms": waits_s[len(waits_s) * 99 // 100] * 1000,
                "errors": crowd.errors,
            }
        )
    )


if __name__ == "__main__":
    main()
