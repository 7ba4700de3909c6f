"""What clients notice of reloads, upgrades, workers that die, and of the end: `python bench/restarts.py`.

Four workers serve; half of the clients keep their connections, the other half connect for each request. A
request is lost when its connection ends before the answer has come; a connection is refused when nobody takes
it. Each event comes so many seconds after the one before; a second counts as a dip when fewer than 70% of the
usual requests were answered in it. Exit status 1 when a figure is not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import peers
from processes import free_port

WORKERS = 4
CLIENTS = 32
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n"


@dataclass
class Tally:
    """What the clients have seen."""

    answered: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    refused: int = 0
    over: bool = False

    def total(self) -> int:
        return sum(self.answered.values())


async def answer(reader: asyncio.StreamReader) -> bool:
    """Read one answer; tell whether the connection is to be used again."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower()
    length = int(fields.split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return b"connection: close" not in fields


async def client(port: int, tally: Tally, keeps: bool) -> None:
    """Ask again and again."""
    request = REQUEST % (b"" if keeps else b"Connection: close\r\n")
    while not tally.over:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if not tally.over:
                tally.refused += 1
            continue
        try:
            again = True
            while again and not tally.over:
                writer.write(request)
                again = await answer(reader) and keeps
                tally.answered[int(time.monotonic())] += 1
        except (OSError, asyncio.IncompleteReadError):
            if not tally.over:
                tally.lost += 1
        finally:
            writer.close()


def workers_of(pid: int) -> list[int]:
    """Return the processes that it has forked."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class Figures:
    """One phase."""

    name: str
    events: int
    answered: int
    lost: int
    refused: int
    dips: int
    usual: float

    def row(self) -> str:
        return (
            f"| {self.name} | {self.events} | {self.answered:,} | {self.lost} | {self.refused} "
            f"| {self.dips} | {self.usual:,.0f} |"
        )


async def phase(name: str, port: int, pid: int, number: signal.Signals, count: int, pause: float) -> Figures:
    """Have clients ask while the same thing happens `count` times."""
    tally = Tally()
    tasks = [asyncio.create_task(client(port, tally, index % 2 == 0)) for index in range(CLIENTS)]
    await asyncio.sleep(pause)
    for index in range(count):
        if number is signal.SIGKILL:
            children = workers_of(pid)
            os.kill(children[index % len(children)], number)
        else:
            os.kill(pid, number)
        await asyncio.sleep(pause)
    tally.over = True
    await asyncio.wait(tasks, timeout=5)
    # The first and the last second are not whole.
    seconds = [tally.answered[second] for second in sorted(tally.answered)[1:-1]]
    usual = statistics.median(seconds)
    dips = sum(answered < 0.7 * usual for answered in seconds)
    return Figures(name, count, tally.total(), tally.lost, tally.refused, dips, usual)


async def upgrade(port: int, server: subprocess.Popen[bytes], pause: float) -> tuple[Figures, int]:
    """Have a new server take the place of the one that was started; return its process."""
    before = set(workers_of(server.pid))
    asking = asyncio.create_task(phase("upgrade (USR2)", port, server.pid, signal.SIGUSR2, 1, pause))
    successor = 0
    while not successor:
        await asyncio.sleep(0.01)
        # By now it may have forked workers of its own; they are no children of the former one.
        successor = next(iter(set(workers_of(server.pid)) - before), 0)
    return await asking, successor


async def stop(port: int, server: subprocess.Popen[bytes], idle: int) -> tuple[float, int]:
    """Stop it while clients rest and ask; return how long that took, and its exit status."""
    resting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(idle)]
    tally = Tally()
    tasks = [asyncio.create_task(client(port, tally, True)) for _ in range(CLIENTS)]
    await asyncio.sleep(1)
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(server.wait, 60)
    took = time.monotonic() - began
    tally.over = True
    await asyncio.wait(tasks, timeout=5)
    for _, writer in resting:
        writer.close()
    return took, status


def start(port: int) -> subprocess.Popen[bytes]:
    """Start the server."""
    command = [
        *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)),
        *("--log-level", "error", "apps:hello"),
    ]
    return subprocess.Popen(command, cwd=peers.BENCH, env=peers.environ())


async def all_workers(server: subprocess.Popen[bytes]) -> None:
    """Wait until all serve."""
    deadline = time.monotonic() + 30
    while len(workers_of(server.pid)) < WORKERS and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)


async def measure(count: int, pause: float, idle: int) -> bool:
    """Run all of it and print the table."""
    port = free_port()
    server = start(port)
    try:
        await all_workers(server)
        reloads = await phase("reload (HUP)", port, server.pid, signal.SIGHUP, count, pause)
        kills = await phase("SIGKILL to a worker", port, server.pid, signal.SIGKILL, count, pause)
        took, status = await stop(port, server, idle)
        server = start(port)
        await all_workers(server)
        upgraded, successor = await upgrade(port, server, pause)
        os.kill(successor, signal.SIGTERM)
    finally:
        server.kill()
    print("| what happens | times | answered | lost | refused | seconds under 70% | answered, usual second |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print(reloads.row())
    print(kills.row())
    print(upgraded.row())
    print(f"\nstop with {idle:,} idle connections: {took:.2f} s, status {status}")
    # What a worker has in flight when it is killed is lost: at most one request for each client.
    lost = kills.refused or kills.lost > count * CLIENTS
    lost = lost or any(figures.lost or figures.refused for figures in (reloads, upgraded))
    return not (lost or status or took > 2 or max(reloads.dips, kills.dips) > count)


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--count", type=int, default=10, help="how often each thing happens (default: %(default)s)")
    add("--pause", type=float, default=6.0, help="seconds between two (default: %(default)s)")
    add("--idle", type=int, default=1_000, help="idle connections at the end (default: %(default)s)")
    arguments = parser.parse_args()
    return 0 if asyncio.run(measure(arguments.count, arguments.pause, arguments.idle)) else 1


if __name__ == "__main__":
    sys.exit(main())
