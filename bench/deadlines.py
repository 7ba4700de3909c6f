"""What requests that are stuck do to the others, with a deadline: `python bench/deadlines.py`.

Beside requests of 10 ms that come at a steady rate, 200 come within a second that sleep for 30 s, and 200
that are stuck in C for as long; --request-timeout is 1 s. Each of the 400 must be answered with 504 within
1.1 s, no other one may fail, and their p99 must be less than twice what it is without the 400. It is taken
over some seconds in which all of that happens: their beginning, their being stuck, their end. `--spread 0`
has the 400 come at once, which is a burst of 400 requests whatever they do then, and told apart from
deadlines so. In greenlets and asyncio what is stuck in C is so in a thread pool: in the loop's own thread
it would stop everybody, on any server. Exit status 1 when a figure is not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import socket
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import peers
from arrivals import Client, Seen, percentile_ms
from processes import free_port, raise_file_limit, running

HOSTS = {
    # So many are lost for good, as a thread that sleeps is one in C too, and others take their places.
    "threads": ("--threads", "500", "--max-lost-threads", "400", "app_late:threads"),
    "greenlets": ("--concurrency", "greenlets", "app_late:greenlets"),
    "asyncio": ("app_late:asyncio_app",),
}
STUCK = 200
OTHER = "/sleep/10"
WITHIN_MS = 1_100.0
P99_RATIO_MAX = 2.0
# Since the beginning of the others.
BEGIN_S = 1.0
PATIENCE_S = 5.0


def stuck(port: int, count: int, spread_s: float) -> list[tuple[int, float]]:
    """Have requests stuck, half of them in C; return the status of each (0: none) and in how many seconds."""
    came, sent = [], 0
    begun = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        while len(came) < count and (now := time.perf_counter()) < begun + spread_s + PATIENCE_S:
            if sent < count and now >= begun + sent * spread_s / count:
                connection = socket.create_connection(("127.0.0.1", port))
                how = "c" if sent % 2 else "sleep"
                connection.sendall(f"GET /{how}/30000 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                selector.register(connection, selectors.EVENT_READ, now)
                sent += 1
                continue
            due = begun + (sent * spread_s / count if sent < count else spread_s + PATIENCE_S)
            for key, _ in selector.select(max(0.0, due - now)):
                assert isinstance(key.fileobj, socket.socket)
                head = key.fileobj.recv(4096)
                came.append((int(head[9:12] or 0), time.perf_counter() - key.data))
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return came + [(0, PATIENCE_S)] * (count - len(came))


async def measure(
    port: int, load: argparse.Namespace, pool: ProcessPoolExecutor
) -> tuple[Seen, Seen, list[tuple[int, float]]]:
    """Let the others come, alone and then beside those that are stuck."""
    rate, seconds = load.rate, load.seconds
    client = Client(port)
    await client.arrive(OTHER, rate, 1.0, patience_s=PATIENCE_S)
    alone = await client.arrive(OTHER, rate, seconds, patience_s=PATIENCE_S)
    beside = asyncio.create_task(client.arrive(OTHER, rate, seconds, patience_s=PATIENCE_S))
    await asyncio.sleep(BEGIN_S)
    came = await asyncio.get_running_loop().run_in_executor(pool, stuck, port, 2 * STUCK, load.spread)
    try:
        return alone, await beside, came
    finally:
        client.close()


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rate", type=float, default=200.0, help="other requests a second (default: %(default)s)")
    add("--seconds", type=float, default=6.0, help="of each half of a round (default: %(default)s)")
    add("--spread", type=float, default=1.0, help="seconds within which the 400 come (default: %(default)s)")
    add("--rounds", type=int, default=5, help="of which the median p99 counts (default: %(default)s)")
    add("--hosts", default=",".join(HOSTS), help="(default: %(default)s)")
    add("options", nargs="*", help="further flags for tidegate, after --")
    arguments = parser.parse_args()
    raise_file_limit(5_000)
    print("| host | 504 | first | last | others failed | p99 alone | p99 beside | slowest beside | times | |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    passed = True
    with ProcessPoolExecutor(1) as pool:
        # Started now, so that its start is no part of what is measured.
        pool.submit(int).result()
        for host in arguments.hosts.split(","):
            rounds: list[tuple[Seen, Seen, list[tuple[int, float]]]] = []
            for _ in range(arguments.rounds):
                port = free_port()
                command = [
                    *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--workers", "1"),
                    *("--log-level", "error", "--request-timeout", "1s", "--graceful-timeout", "1s"),
                    *arguments.options,
                    *HOSTS[host],
                ]
                with running(command, port, peers.environ(), peers.BENCH):
                    rounds.append(asyncio.run(measure(port, arguments, pool)))
            came = [one for *_, stuck_ones in rounds for one in stuck_ones]
            answered = sum(status == 504 for status, _ in came)
            took_ms = [took_s * 1000 for _, took_s in came]
            failed = sum(
                seen.sent - seen.statuses[200] for alone, beside, _ in rounds for seen in (alone, beside)
            )
            p99s = [(percentile_ms(a.served_s, 99), percentile_ms(b.served_s, 99)) for a, b, _ in rounds]
            ratio = statistics.median(beside / alone for alone, beside in p99s)
            slowest = max(percentile_ms(beside.served_s, 100) for _, beside, _ in rounds)
            good = (
                answered == len(came) and max(took_ms) <= WITHIN_MS and not failed and ratio < P99_RATIO_MAX
            )
            passed = passed and good
            print(
                f"| {host} | {answered} of {len(came)} | {min(took_ms):.0f} ms | {max(took_ms):.0f} ms "
                f"| {failed} | {statistics.median(alone for alone, _ in p99s):.1f} ms "
                f"| {statistics.median(beside for _, beside in p99s):.1f} ms | {slowest:.1f} ms "
                f"| {ratio:.2f} | {'pass' if good else 'FAIL'} |",
                flush=True,
            )
    print(
        f"\ntarget: each 504 within {WITHIN_MS:.0f} ms, no other request fails, "
        f"p99 less than {P99_RATIO_MAX:.0f} times; {'pass' if passed else 'FAIL'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
