"""What clients notice of reloads, upgrades and workers that die: `python bench/restarts.py`.

Four workers serve, alone or `--behind` nginx or HAProxy with the configuration of its example. Half of the
clients keep their connections, the other half connect for each request; every fourth posts. A request is
lost when its connection ends before the answer has come, or when the answer is not the application's; a
connection is refused when nobody takes it. A dip is the longest time in which fewer than 70% of the usual
requests were answered, in steps of a quarter of a second. Exit status 1 when a figure is not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import peers
from processes import free_port

sys.path.insert(0, str(peers.ROOT / "tests"))
from support.proxies import HAPROXY, NGINX  # The path must be there first.
from support.server import Address

WORKERS = 4
CLIENTS = 32
STEP_S = 0.25
DIP_MAX_S = 1.0
# How long after a worker's death the last client knows that its request was lost.
LOSS_LATE_S = 0.5
PROXIES = {"nginx": NGINX, "haproxy": HAPROXY}


class Kind(Enum):
    """What a client does with its connection."""

    KEEPS = "keep-alive"
    CONNECTS = "new connections"


@dataclass
class Loss:
    """A request without its answer: the process that had answered last on the connection, or 0; and when."""

    pid: int
    at: float


@dataclass
class Tally:
    """What the clients have seen; answers by kind and step."""

    answered: dict[Kind, Counter[int]] = field(default_factory=lambda: {kind: Counter() for kind in Kind})
    lost: list[Loss] = field(default_factory=list)
    refused: int = 0
    over: bool = False

    def dip_s(self, kind: Kind) -> float:
        """The longest time in which too few were answered. The first and the last step are not whole."""
        steps = self.answered[kind]
        counts = [steps[step] for step in range(min(steps) + 1, max(steps))]
        usual = statistics.median(counts)
        longest = current = 0
        for count in counts:
            current = current + 1 if count < 0.7 * usual else 0
            longest = max(longest, current)
        return longest * STEP_S

    def usual(self) -> float:
        """Answers in a usual second."""
        steps = sum(self.answered.values(), Counter())
        return statistics.median([steps[step] for step in range(min(steps) + 1, max(steps))]) / STEP_S


@dataclass
class Answer:
    """One answer: the process that gave it, and whether the connection is to be used again."""

    pid: int
    again: bool


async def answer(reader: asyncio.StreamReader) -> Answer | None:
    """Read one answer; None if it is not the application's."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower()
    length = int(fields.split(b"content-length: ")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    if head.split(b" ", 2)[1] != b"200":
        return None
    return Answer(int(body), b"connection: close" not in fields)


def request(kind: Kind, posts: bool) -> bytes:
    """What a client sends."""
    close = "" if kind is Kind.KEEPS else "Connection: close\r\n"
    if posts:
        return f"POST / HTTP/1.1\r\nHost: a\r\n{close}Content-Length: 4\r\n\r\ntide".encode()
    return f"GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n".encode()


async def client(port: int, tally: Tally, kind: Kind, posts: bool) -> None:
    """Ask again and again."""
    asked = request(kind, posts)
    while not tally.over:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if not tally.over:
                tally.refused += 1
            continue
        pid = 0
        try:
            again = True
            # One that has been closed meanwhile is not asked.
            while again and not tally.over and not reader.at_eof():
                writer.write(asked)
                given = await answer(reader)
                if given is None:
                    tally.lost.append(Loss(pid, time.monotonic()))
                    break
                pid, again = given.pid, given.again
                tally.answered[kind][int(time.monotonic() / STEP_S)] += 1
        except (OSError, asyncio.IncompleteReadError):
            if not tally.over:
                tally.lost.append(Loss(pid, time.monotonic()))
        finally:
            writer.close()


def workers_of(pid: int) -> list[int]:
    """Return the processes that it has forked."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class Phase:
    """What was seen while the same thing happened several times; what was killed, and when."""

    name: str
    events: int
    tally: Tally
    victims: dict[int, float]

    @property
    def lost(self) -> int:
        return len(self.tally.lost)

    @property
    def lost_elsewhere(self) -> int:
        """On kept connections of processes that were not killed. Behind a proxy nobody can tell: there each
        request may go to another process than the one before."""
        return sum(loss.pid not in {0, *self.victims} for loss in self.tally.lost)

    @property
    def lost_otherwise(self) -> int:
        """At moments when nothing had been killed."""
        return sum(
            not any(0 <= loss.at - killed <= LOSS_LATE_S for killed in self.victims.values())
            for loss in self.tally.lost
        )

    def row(self) -> str:
        answered = sum(sum(steps.values()) for steps in self.tally.answered.values())
        dips = " | ".join(f"{self.tally.dip_s(kind):.2f}" for kind in Kind)
        return (
            f"| {self.name} | {self.events} | {answered:,} | {self.lost} | {self.tally.refused} "
            f"| {dips} | {self.tally.usual():,.0f} |"
        )


@dataclass
class Server:
    """The server, and the port that clients ask: its own, or that of the proxy before it."""

    process: subprocess.Popen[bytes]
    port: int


@contextlib.contextmanager
def running(behind: str) -> Iterator[Server]:
    """Start the server, and what is to be before it."""
    port = free_port()
    command = [
        *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)),
        *("--log-level", "error", "apps:process"),
    ]
    process = subprocess.Popen(command, cwd=peers.BENCH, env=peers.environ())
    try:
        deadline = time.monotonic() + 30
        while len(workers_of(process.pid)) < WORKERS and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        if behind == "nobody":
            yield Server(process, port)
        else:
            with PROXIES[behind].before([Address("127.0.0.1", port)]) as proxy:
                yield Server(process, proxy.port)
    finally:
        process.kill()
        process.wait()


def clients(port: int, tally: Tally) -> list[asyncio.Task[None]]:
    """Start all of them."""
    kinds = list(Kind)
    return [
        asyncio.create_task(client(port, tally, kinds[index % 2], index % 8 in (2, 3)))
        for index in range(CLIENTS)
    ]


async def phase(name: str, server: Server, number: signal.Signals, count: int, pause: float) -> Phase:
    """Have clients ask while the same thing happens `count` times."""
    tally = Tally()
    tasks = clients(server.port, tally)
    await asyncio.sleep(pause)
    victims = {}
    for index in range(count):
        if number is signal.SIGKILL:
            children = workers_of(server.process.pid)
            victim = children[index % len(children)]
            victims[victim] = time.monotonic()
            os.kill(victim, number)
        else:
            os.kill(server.process.pid, number)
        await asyncio.sleep(pause)
    tally.over = True
    await asyncio.wait(tasks, timeout=5)
    return Phase(name, count, tally, victims)


async def upgrade(server: Server, pause: float) -> tuple[Phase, int]:
    """Have a new server take the place of the one that was started; return its process."""
    before = set(workers_of(server.process.pid))
    asking = asyncio.create_task(phase("upgrade (USR2)", server, signal.SIGUSR2, 1, pause))
    successor = 0
    while not successor:
        await asyncio.sleep(0.01)
        # By now it may have forked workers of its own; they are no children of the former one.
        successor = next(iter(set(workers_of(server.process.pid)) - before), 0)
    return await asking, successor


def judged(phases: list[Phase], behind: str) -> list[tuple[bool, str]]:
    """Each thing that must be, and whether it is."""
    verdicts = []
    for seen in phases:
        if seen.victims:
            # Each client has one request in flight, and a worker its share of them.
            most = seen.events * CLIENTS
            verdicts.append(
                (seen.lost <= most, f"{seen.name}: at most {most} lost, what was in flight: {seen.lost}")
            )
            otherwise = seen.lost_otherwise
            verdicts.append((otherwise == 0, f"{seen.name}: 0 lost at other moments: {otherwise}"))
            if behind == "nobody":
                elsewhere = seen.lost_elsewhere
                verdicts.append(
                    (elsewhere == 0, f"{seen.name}: 0 lost on connections of other workers: {elsewhere}")
                )
        else:
            verdicts.append((seen.lost == 0, f"{seen.name}: 0 lost: {seen.lost}"))
        verdicts.append((seen.tally.refused == 0, f"{seen.name}: 0 refused: {seen.tally.refused}"))
        for kind in Kind:
            dip_s = seen.tally.dip_s(kind)
            verdicts.append(
                (dip_s <= DIP_MAX_S, f"{seen.name}: dip of {kind.value} at most {DIP_MAX_S} s: {dip_s}")
            )
    return verdicts


async def measure(behind: str, count: int, pause: float) -> bool:
    """Run all of it, and print the table and what to think of it."""
    with running(behind) as server:
        reloads = await phase("reload (HUP)", server, signal.SIGHUP, count, pause)
        kills = await phase("SIGKILL to a worker", server, signal.SIGKILL, count, pause)
    with running(behind) as server:
        upgraded, successor = await upgrade(server, pause)
        os.kill(successor, signal.SIGTERM)
    phases = [reloads, kills, upgraded]
    print(f"behind {behind}:\n")
    dips = " | ".join(f"dip, {kind.value} (s)" for kind in Kind)
    print(f"| what happens | times | answered | lost | refused | {dips} | answered, usual second |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for seen in phases:
        print(seen.row())
    print()
    verdicts = judged(phases, behind)
    for passed, text in verdicts:
        print(f"{'pass' if passed else 'FAIL'}  {text}")
    print(flush=True)
    return all(passed for passed, _ in verdicts)


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--behind", choices=["nobody", *PROXIES, "each"], default="nobody", help="(default: %(default)s)")
    add("--count", type=int, default=10, help="how often each thing happens (default: %(default)s)")
    add("--pause", type=float, default=6.0, help="seconds between two (default: %(default)s)")
    arguments = parser.parse_args()
    chosen = ["nobody", *PROXIES] if arguments.behind == "each" else [arguments.behind]
    for behind in chosen:
        if behind in PROXIES and (missing := PROXIES[behind].missing()):
            print(missing, file=sys.stderr)
            return 2
    passed = [asyncio.run(measure(behind, arguments.count, arguments.pause)) for behind in chosen]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
