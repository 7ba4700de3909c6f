"""What one slow endpoint does to the others: `python bench/bulkhead.py`.

Two endpoints have as many requests each, 50 ms long, twenty of which may run at once. Then one of them takes
30 s, without a limit of its own and with one of a quarter of the places. With it the other endpoint must
answer 95% of what it did before. Exit status 1 when it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import peers
from arrivals import Client, Seen, percentile_ms
from processes import free_port, raise_file_limit, running

HOSTS = {
    "threads": ("--threads", "20", "apps:sleep"),
    "greenlets": ("--concurrency", "greenlets", "--max-concurrency", "20", "apps:sleep"),
    "asyncio": ("--max-concurrency", "20", "app_asgi:sleep"),
}
OTHER, USUAL, SLOW = "/50", "/050", "/30000"
BULKHEAD = "max-concurrency=5 queue-size=5 queue-timeout=1s"
KEPT_MIN = 0.95


async def load(port: int, path: str, rate: float, seconds: float) -> tuple[Seen, Seen]:
    """Let requests come for the other endpoint and for this one."""
    client, other = Client(port), Client(port)
    begun = asyncio.create_task(client.arrive(path, rate, seconds, patience_s=1))
    try:
        return await other.arrive(OTHER, rate, seconds, patience_s=1), await begun
    finally:
        client.close()
        other.close()


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rate", type=float, default=150.0, help="requests a second for each (default: %(default)s)")
    add("--seconds", type=float, default=10.0, help="of each run (default: %(default)s)")
    add("--hosts", default=",".join(HOSTS), help="(default: %(default)s)")
    arguments = parser.parse_args()
    raise_file_limit(20_000)
    print("| host | one endpoint | answers/s of the other | kept | p99 | refused of the slow one | |")
    print("|---|---|---:|---:|---:|---:|---|")
    passed = True
    for host in arguments.hosts.split(","):
        usual = 0.0
        for what, path, limits in (
            ("as the other", USUAL, ()),
            ("30 s, no limit", SLOW, ()),
            ("30 s, bulkhead", SLOW, ("--limits", f"{SLOW} {BULKHEAD}")),
        ):
            port = free_port()
            command = [
                *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--no-supervisor"),
                *("--log-level", "error", *limits, *HOSTS[host]),
            ]
            with running(command, port, peers.environ(), peers.BENCH):
                other, slow = asyncio.run(load(port, path, arguments.rate, arguments.seconds))
            answered = other.statuses[200] / arguments.seconds
            usual = usual or answered
            kept = answered / usual
            verdict = ""
            if limits:
                verdict = "pass" if kept >= KEPT_MIN else "FAIL"
                passed = passed and kept >= KEPT_MIN
            p99 = percentile_ms(other.served_s, 99)
            print(
                f"| {host} | {what} | {answered:.0f} | {kept:.1%} | {p99:.0f} ms "
                f"| {slow.statuses[503] / slow.sent:.0%} | {verdict} |",
                flush=True,
            )
    print(f"\ntarget: {KEPT_MIN:.0%} kept with a bulkhead; {'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
