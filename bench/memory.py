"""What a server holds and does when it should hold and do little: `python bench/memory.py`.

Streams 10 GiB out of an application and 2 GiB into one and takes the highest resident memory above that at
the start; opens 10,000 connections, each of which makes one request and then stays open, and takes the growth
for each; counts how often a server that nobody talks to wakes up.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import peers
from processes import LOAD_CPU, Server, ServerFailed, free_port, on_core, raise_file_limit, running

BLOCK = 64 * 1024
STREAMED = 10 * 2**30
UPLOADED = 2 * 2**30
IDLE_CONNECTIONS = 10_000
QUIET_SECONDS = 10

# How long the client stops in the middle of a body: a server that runs ahead of its client fills up then.
STALL_SECONDS = 3

# Every connection to one address and port takes one of about 28,000 local ports, or of fewer where a machine
# is set so; several source addresses keep away from that limit.
SOURCES = [f"127.0.0.{number}" for number in range(2, 6)]


@contextmanager
def serving(peer: peers.Peer, app: str) -> Iterator[Server]:
    """Run a server with one of the applications."""
    port = free_port()
    with running(peer.command(port, peers.Work(app)), port, peers.environ(), peers.BENCH) as server:
        yield server


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Open one connection to the server."""
    return socket.create_connection(("127.0.0.1", port), 30, source_address=(source, 0))


def streamed_mib(peer: peers.Peer, size: int) -> float:
    """Read a response of that many bytes, with one pause; return the peak above the start in MiB."""
    with serving(peer, "apps:stream") as server:
        _read_stream(server.port, 100 * BLOCK, stall_at=None)
        start = server.rss_bytes()
        server.forget_peak()
        _read_stream(server.port, size, stall_at=size // 8)
        return (server.peak_rss_bytes() - start) / 2**20


def _read_stream(port: int, size: int, stall_at: int | None) -> None:
    with connect(port) as peer:
        peer.sendall(f"GET /?{size // BLOCK} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        response = http.client.HTTPResponse(peer, method="GET")
        response.begin()
        buffer = memoryview(bytearray(2**20))
        received = 0
        while taken := response.readinto(buffer):
            received += taken
            if stall_at is not None and received >= stall_at:
                time.sleep(STALL_SECONDS)
                stall_at = None
    if received != size // BLOCK * BLOCK:
        raise ServerFailed(f"streamed {received} bytes instead of {size}")


def uploaded_mib(peer: peers.Peer, size: int) -> float:
    """Send a request body of that many bytes, with one pause; return the peak above the start in MiB."""
    with serving(peer, "apps:upload") as server:
        _upload(server.port, 100 * BLOCK, stall_at=None)
        start = server.rss_bytes()
        server.forget_peak()
        _upload(server.port, size, stall_at=size // 8)
        return (server.peak_rss_bytes() - start) / 2**20


def _upload(port: int, size: int, stall_at: int | None) -> None:
    block = b"x" * BLOCK
    with connect(port) as peer:
        peer.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        for sent in range(0, size, BLOCK):
            if stall_at is not None and sent >= stall_at:
                time.sleep(STALL_SECONDS)
                stall_at = None
            peer.sendall(block[: size - sent])
        response = http.client.HTTPResponse(peer, method="POST")
        response.begin()
        answer = response.read()
    if answer != str(size).encode():
        raise ServerFailed(f"uploaded {size} bytes and was answered {answer[:40]!r}")


def idle_connection_kib(peer: peers.Peer, count: int) -> float:
    """Leave that many connections open, each after one request; return the growth for each in KiB."""
    # Ours and the server's descriptors, and some to spare; a child inherits the limit.
    if raise_file_limit(count + 1000) < count + 100:
        raise ServerFailed(f"the limit on open files does not allow {count} connections")
    with serving(peer, "apps:hello") as server, ExitStack() as stack:
        for _ in range(200):
            with connect(server.port) as client:
                _hello(client)
        time.sleep(0.5)
        start = server.rss_bytes()
        opened: list[socket.socket] = []
        for number in range(count):
            client = stack.enter_context(connect(server.port, SOURCES[number % len(SOURCES)]))
            _hello(client)
            opened.append(client)
        time.sleep(0.5)
        grown = server.rss_bytes() - start
        # Memory of connections that the server has closed meanwhile would flatter it.
        for client in opened:
            _hello(client)
        return grown / count / 1024


def _hello(client: socket.socket) -> None:
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"Hello, World!"):
        block = client.recv(65536)
        if not block:
            raise ServerFailed("a connection was closed before its answer was whole")
        received += block


def wakeups_per_s(peer: peers.Peer, seconds: float) -> float:
    """Leave a server alone, first with no connection, then with an idle one; return the higher rate."""
    with serving(peer, "apps:hello") as server:
        with connect(server.port) as client:
            _hello(client)
        rates = [_rate(server, seconds)]
        with connect(server.port) as client:
            _hello(client)
            rates.append(_rate(server, seconds))
        return max(rates)


def _rate(server: Server, seconds: float) -> float:
    # What the last request left to do is not idleness.
    time.sleep(1.5)
    before = server.wakeups()
    time.sleep(seconds)
    return (server.wakeups() - before) / seconds


FIGURES = ("stream_mib", "upload_mib", "idle_connection_kib", "wakeups_per_s")


def measure(peer: peers.Peer, *, quick: bool) -> dict[str, float]:
    """Take every figure of one server; one that fails is said and left out."""
    share = 50 if quick else 1
    figures: dict[str, Callable[[], float]] = {
        "stream_mib": lambda: streamed_mib(peer, STREAMED // share),
        "upload_mib": lambda: uploaded_mib(peer, UPLOADED // share),
        "idle_connection_kib": lambda: idle_connection_kib(peer, IDLE_CONNECTIONS // share),
        "wakeups_per_s": lambda: wakeups_per_s(peer, QUIET_SECONDS if not quick else 2),
    }
    measured: dict[str, float] = {}
    for name, take in figures.items():
        began = time.monotonic()
        try:
            measured[name] = take()
        except (ServerFailed, OSError, http.client.HTTPException) as error:
            print(f"{peer.name}: {name}: {error!r}", file=sys.stderr)
            continue
        print(f"{peer.name}: {name} {measured[name]:.2f} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return measured


def main() -> int:
    """Measure the servers named on the command line and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [peer.name for peer in peers.PEERS if peer.interface == "wsgi"]
    parser.add_argument("--servers", default="tidegate", help="some of " + ",".join(known))
    parser.add_argument("--quick", action="store_true", help="a fiftieth of everything: does it run?")
    arguments = parser.parse_args()
    names = arguments.servers.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no WSGI server of the table: {', '.join(unknown)}")
    chosen = [peers.BY_NAME[name] for name in names]
    left_out = peers.install(chosen)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}", file=sys.stderr)
    print("| server | 10 GiB out, MiB | 2 GiB in, MiB | idle connection, KiB | idle wake-ups/s |")
    print("|---|---:|---:|---:|---:|")
    for peer in chosen:
        if peer.name not in left_out:
            with on_core(LOAD_CPU):
                figures = measure(peer, quick=arguments.quick)
            cells = [f"{figures[name]:.2f}" if name in figures else "failed" for name in FIGURES]
            print(f"| {peer.name} | {' | '.join(cells)} |")
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
