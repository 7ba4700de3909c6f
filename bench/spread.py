"""How evenly connections and requests are spread over workers: `python bench/spread.py`.

Three kinds of clients, one after the other, on each host and with two and four workers. Some connect at
random times within a second and stay; some stay for a second, more or less, and come again; some connect for
each request. All ask again as soon as they have an answer, which says who has given it. The share that is
farthest from the mean counts, of connections that are open (on average over the time) and of requests. Exit
status 1 when it is farther than 20%. On a machine that has other things to do it says little.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import peers
from processes import free_port, running

DISTANCE_MAX = 0.2
PATIENCE_S = 30.0
HOSTS = {
    "threads": ("--threads", "20", "app_spread:wsgi"),
    "greenlets": ("--concurrency", "greenlets", "app_spread:wsgi"),
    "asyncio": ("app_spread:asgi",),
}
# How many clients there are of each kind.
KINDS = {"stay": 80, "come and go": 80, "once": 32}


@dataclass
class Tally:
    """What was seen of each worker, by its process's number."""

    requests: Counter[int] = field(default_factory=Counter)
    # In seconds of open connections.
    connected: dict[int, float] = field(default_factory=dict)
    connections: Counter[int] = field(default_factory=Counter)
    counts_from: float = 0.0
    until: float = 0.0


async def client(port: int, kind: str, tally: Tally, dice: random.Random) -> None:
    """Ask until the time is over."""
    close = b"Connection: close\r\n" if kind == "once" else b""
    request = b"GET / HTTP/1.1\r\nHost: a\r\n" + close + b"\r\n"
    if kind != "once":
        await asyncio.sleep(dice.random())
    while time.monotonic() < tally.until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        leaves = began + dice.uniform(0.5, 1.5) if kind == "come and go" else tally.until
        pid = 0
        while time.monotonic() < leaves:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            pid = int(await reader.readexactly(length))
            if time.monotonic() >= tally.counts_from:
                tally.requests[pid] += 1
            if kind == "once":
                break
        writer.close()
        ended = min(time.monotonic(), tally.until)
        if pid and ended > tally.counts_from:
            tally.connections[pid] += 1
            open_s = ended - max(began, tally.counts_from)
            tally.connected[pid] = tally.connected.get(pid, 0) + open_s


async def load(port: int, kind: str, seconds: float, seed: int) -> Tally:
    """Have all clients of a kind ask; the first second, in which they come, does not count."""
    now = time.monotonic()
    tally = Tally(counts_from=now + 1.5, until=now + 1.5 + seconds)
    dice = [random.Random(f"{seed}/{number}") for number in range(KINDS[kind])]
    await asyncio.gather(*(client(port, kind, tally, each) for each in dice))
    return tally


def distance(counts: Mapping[int, float], workers: int) -> float:
    """Return how far a worker's share is from the mean at most, as a part of the mean."""
    shares = [*counts.values(), *[0] * (workers - len(counts))]
    mean = sum(shares) / workers
    return max(abs(share - mean) for share in shares) / mean


def measure(host: str, workers: int, seconds: float, seed: int, more: list[str]) -> list[float]:
    """Run a server and all kinds of clients; return all distances from the mean."""
    port = free_port()
    command = [
        str(peers.TIDEGATE),
        "--bind",
        f"127.0.0.1:{port}",
        "--workers",
        str(workers),
        *more,
        *HOSTS[host],
    ]
    distances: list[float] = []
    # The scheduler's choice of cores is part of what is measured.
    with running(command, port, peers.environ(), peers.BENCH, core=None) as server:
        deadline = time.monotonic() + PATIENCE_S
        while server.log.read_text().count("a worker serves") < workers:
            if time.monotonic() > deadline:
                raise SystemExit(f"no {workers} workers: {server.last_words()}")
            time.sleep(0.05)
        for kind in KINDS:
            tally = asyncio.run(load(port, kind, seconds, seed))
            if kind == "once":
                tally.connected = dict(tally.connections)
            apart = (distance(tally.connected, workers), distance(tally.requests, workers))
            distances.extend(apart)
            shares = " ".join(str(count) for _, count in sorted(tally.requests.items()))
            print(f"| {host} | {workers} | {kind} | {apart[0]:.0%} | {apart[1]:.0%} | {shares} |", flush=True)
    return distances


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=5.0, help="of each kind (default: %(default)s)")
    add("--hosts", default=",".join(HOSTS), help="(default: %(default)s)")
    add("--workers", default="2,4", help="(default: %(default)s)")
    add("--seed", type=int, default=1, help="of the clients' dice (default: %(default)s)")
    add("options", nargs="*", help="further flags for tidegate, after --")
    arguments = parser.parse_args()
    print("| host | workers | clients | connections, distance from the mean | requests | requests of each |")
    print("|---|---:|---|---:|---:|---|")
    worst = 0.0
    for host in arguments.hosts.split(","):
        for workers in map(int, arguments.workers.split(",")):
            found = measure(host, workers, arguments.seconds, arguments.seed, arguments.options)
            worst = max(worst, *found)
    passed = worst <= DISTANCE_MAX
    verdict = "pass" if passed else "FAIL"
    print(f"\nfarthest from the mean: {worst:.0%}; target: at most {DISTANCE_MAX:.0%}; {verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
