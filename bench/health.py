"""How soon a health path is answered when everything is full: `python bench/health.py`.

Twenty requests may run, and sleep for 30 s; a hundred may wait, and do. A question to a path with
`priority = "health"` must be answered by the application within 50 ms, on a new connection each time.
Exit status 1 when one is not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import peers
from arrivals import Client, Seen, percentile_ms
from bulkhead import HOSTS, SLOW
from processes import free_port, raise_file_limit, running

QUEUE = 100
HEALTH, ANY = "/0", "/00"
WITHIN_MS = 50.0


async def measure(port: int, count: int) -> Seen:
    """Fill the server, and ask after its health."""
    crowd = Client(port)
    tasks = [asyncio.create_task(crowd.ask(SLOW, Seen())) for _ in range(20 + QUEUE)]
    while await (probe := Client(port)).ask(ANY, Seen()) != 503:
        probe.close()
        await asyncio.sleep(0.01)
    probe.close()
    seen = Seen()
    for _ in range(count):
        client = Client(port)
        began = time.perf_counter()
        if await client.ask(HEALTH, Seen()) == 200:
            seen.served_s.append(time.perf_counter() - began)
        client.close()
        await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    crowd.close()
    return seen


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--count", type=int, default=500, help="questions to each host (default: %(default)s)")
    add("--hosts", default=",".join(HOSTS), help="(default: %(default)s)")
    arguments = parser.parse_args()
    raise_file_limit(2_000)
    print("| host | answered | p50 | p99 | slowest | |")
    print("|---|---:|---:|---:|---:|---|")
    passed = True
    for host in arguments.hosts.split(","):
        port = free_port()
        command = [
            *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--no-supervisor", "--log-level", "error"),
            *("--queue-size", str(QUEUE), "--queue-timeout", "60s"),
            *("--limits", f"{HEALTH} priority=health", *HOSTS[host]),
        ]
        with running(command, port, peers.environ(), peers.BENCH):
            seen = asyncio.run(measure(port, arguments.count))
        slowest = percentile_ms(seen.served_s, 100)
        good = len(seen.served_s) == arguments.count and slowest <= WITHIN_MS
        passed = passed and good
        p50, p99 = (percentile_ms(seen.served_s, percent) for percent in (50, 99))
        print(
            f"| {host} | {len(seen.served_s)} of {arguments.count} | {p50:.1f} ms | {p99:.1f} ms "
            f"| {slowest:.1f} ms | {'pass' if good else 'FAIL'} |",
            flush=True,
        )
    print(f"\ntarget: all within {WITHIN_MS:.0f} ms; {'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
