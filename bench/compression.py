"""What compressed responses cost: `python bench/compression.py [--rounds N] [--seconds N]`.

A page of JSON, as it is, compressed by Starlette's middleware and by the server. Servers run side by side,
and short windows of load go to each in turn. CPU time is that of the server's processes for each request.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
from contextlib import ExitStack

import clients
import loads
import peers
from app_compressed import PAGE
from processes import Server, free_port, running

# Each: the application, what the server is told, and what the client accepts.
WAYS = {
    "nothing": ("plain", [], "gzip"),
    "on, but not accepted": ("plain", ["--compress", "gzip"], "identity"),
    "Starlette: gzip": ("gzip", [], "gzip"),
    "gzip": ("plain", ["--compress", "gzip"], "gzip"),
    "br": ("plain", ["--compress", "br"], "br"),
    "zstd": ("plain", ["--compress", "zstd"], "zstd"),
}


def load_of(coding: str) -> loads.Load:
    """Requests that accept this coding."""
    fields = {"Accept-Encoding": coding}
    return loads.Load("page", "a page of JSON", "page", connections=16, fields=fields, answer=PAGE)


def size(port: int, coding: str) -> int:
    """How large the answer is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"Accept-Encoding": coding})
    received = len(connection.getresponse().read())
    connection.close()
    return received


def cpu_us(server: Server, coding: str, seconds: float) -> float:
    """CPU time for each request of a window."""
    before = server.cpu_seconds()
    count = clients.run_client(load_of(coding), server.port, seconds)
    return (server.cpu_seconds() - before) / count.requests * 1e6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="windows of each (5)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a window (2)")
    arguments = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in WAYS}
    sizes = {}
    with ExitStack() as stack:
        servers = {}
        for name, (app, options, coding) in WAYS.items():
            port = free_port()
            command = [sys.executable, "-m", "tidegate", "--bind", f"127.0.0.1:{port}", *options]
            command += ["--log-level", "warning", f"app_compressed:{app}"]
            server = running(command, port, peers.environ(), peers.BENCH)
            servers[name] = stack.enter_context(server)
            sizes[name] = size(port, coding)
        for _ in range(arguments.rounds):
            for name, (_, _, coding) in WAYS.items():
                took[name].append(cpu_us(servers[name], coding, arguments.seconds))
    print(f"{'compressed by':22} {'bytes':>8} {'CPU/us':>8}")
    for name in WAYS:
        print(f"{name:22} {sizes[name]:8} {statistics.median(took[name]):8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
