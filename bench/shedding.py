"""What `--shed codel` does for those who are served under overload: `python bench/shedding.py`.

Twenty requests of 50 ms run at once, 400 a second, and twice as many come. What counts is the answers of 200
within half a second, which is what a client here waits for; the others are work for nobody.
"""

from __future__ import annotations

import argparse
import asyncio

import peers
from arrivals import Client, Seen, percentile_ms
from bulkhead import HOSTS
from processes import free_port, raise_file_limit, running

PATH, WITHIN_S = "/50", 0.5
CAPACITY = 400


async def load(port: int, rate: float, seconds: float) -> Seen:
    """Let requests come, each of which is waited for."""
    client = Client(port)
    try:
        return await client.arrive(PATH, rate, seconds, patience_s=15)
    finally:
        client.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--over", type=float, default=2.0, help="times what can be served (default: %(default)s)")
    add("--seconds", type=float, default=10.0, help="of each run (default: %(default)s)")
    add("--target", default="50ms", help="--queue-target (default: %(default)s)")
    add("--hosts", default=",".join(HOSTS), help="(default: %(default)s)")
    arguments = parser.parse_args()
    raise_file_limit(20_000)
    print("| host | --shed | 200 within 0.5 s, a second | of the most | served p50 | p99 | refused | p99 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for host in arguments.hosts.split(","):
        for shed in ("off", "codel"):
            port = free_port()
            command = [
                *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--no-supervisor"),
                *("--log-level", "error"),
                *("--shed", shed, "--queue-target", arguments.target, *HOSTS[host]),
            ]
            with running(command, port, peers.environ(), peers.BENCH):
                seen = asyncio.run(load(port, CAPACITY * arguments.over, arguments.seconds))
            good = seen.served_within(WITHIN_S) / arguments.seconds
            p50, p99 = (percentile_ms(seen.served_s, percent) for percent in (50, 99))
            print(
                f"| {host} | {shed} | {good:.0f} | {good / CAPACITY:.0%} | {p50:.0f} ms | {p99:.0f} ms "
                f"| {seen.statuses[503] / seen.sent:.0%} | {percentile_ms(seen.refused_s, 99):.0f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main()
