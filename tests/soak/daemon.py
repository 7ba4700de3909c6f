"""Supervised servers under a moderate load for hours, while their workers are replaced for every reason.

Each fleet is one server with several workers. Its application leaks, so that workers come to every limit;
an operator reloads it, asks for more workers and for fewer, rotates its log, starts it anew in its place. No
request may be lost: each is answered rightly, or it was a GET whose connection had rested and was closed
before the first byte of an answer, which a client repeats by itself (RFC 9112 section 9.3.1). In the end
nothing may be left: memory, descriptors, processes, files.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from soak.client import Client, Wrong, connected
from soak.scenarios import Request, Tally, Visit, any_request, get
from support.server import Server

# Of one fleet: half of them keep their connections, the others have one for each request.
CLIENTS = 24
# Between two requests of a client, on average.
REST_S = 0.5
# A connection that was used this lately is not closed: a server that leaves lets it linger for longer.
JUST_USED_S = 0.1
# What an operator has asked for is done by then.
DONE_WITHIN_S = 60.0
LOOK_EVERY_S = 5.0
MISTAKES_SHOWN_MAX = 40

# What a supervisor may take beyond what it took after the first tenth of the time.
SUPERVISOR_GROWTH_MAX_KIB = 2 * 1024
# How much more the workers may take in the last third of the time than in the second.
WORKERS_GROWTH_MAX = 1.1
# What a worker leaks until it has had all its requests.
LEAK_MIB = 40

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Fleet:
    """A way to run the server, and what an operator does to it, with the share of each."""

    app: str
    options: tuple[str, ...]
    events: dict[str, int]
    # What a worker may hold: it comes to that before its requests or after, as jitter will have it.
    rss_max_mib: int


# The supervisor of the first is the same from the beginning to the end.
FLEETS = {
    "threads": Fleet(
        "apps.soak:leaking", ("--threads", "20"), {"reload": 3, "grow": 2, "shrink": 2, "rotate": 2}, 68
    ),
    "greenlets": Fleet(
        "apps.soak:leaking",
        ("--concurrency", "greenlets"),
        {"reload": 3, "grow": 2, "shrink": 2, "rotate": 2, "upgrade": 2},
        84,
    ),
    "asyncio": Fleet(
        "apps.soak_asgi:leaking",
        ("--rolling-reload",),
        {"reload": 3, "grow": 2, "shrink": 2, "rotate": 2, "upgrade": 2},
        80,
    ),
}


@dataclass
class Seen:
    """What clients have seen besides right answers."""

    tally: Tally = field(default_factory=Tally)
    repeated: int = 0
    closed_at_rest: int = 0
    connections: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """One look at a fleet's processes."""

    at_s: float
    supervisor_kib: int
    descriptors: int
    threads: int
    workers: int
    workers_pss_kib: int
    most_rss_kib: int
    most_descriptors: int
    most_threads: int
    zombies: frozenset[int]

    def __str__(self) -> str:
        return (
            f"supervisor {self.supervisor_kib / 1024:.1f} MiB, {self.descriptors} descriptors, "
            f"{self.threads} threads; {self.workers} workers, PSS {self.workers_pss_kib / 1024:.0f} MiB, "
            f"at most RSS {self.most_rss_kib / 1024:.0f} MiB, {self.most_descriptors} descriptors, "
            f"{self.most_threads} threads"
        )


class Daemon:
    """One fleet from its start to its judgement."""

    def __init__(self, name: str, seconds: float, workers: int, seed: str, folder: Path) -> None:
        fleet = FLEETS[name]
        self.name = name
        self.seconds = seconds
        self.workers = workers
        self.seed = seed
        self.folder = folder
        self.fleet = fleet
        self.began = time.monotonic()
        self.over = False
        self.seen = Seen()
        self.events: Counter[str] = Counter()
        self.doing = "start"
        self.wrong: list[str] = []
        self.looks: list[Look] = []
        self.rotations = 0
        # Of the supervisors that have ended, but for the first.
        self.statuses: dict[int, int] = {}
        # A few minutes, or a part of a short run; a worker comes to each of its limits at about that age.
        self.life_s = min(max(seconds / 8, 5.0), 180.0)
        self.event_every_s = min(max(seconds / 20, 3.0), 60.0)
        # An answer takes a tenth of a second, on average.
        requests = int(self.life_s * CLIENTS / (REST_S + 0.1) / workers)
        (folder / "tmp").mkdir()
        self.server = Server(
            fleet.app,
            options=[
                *("--workers", str(workers), "--recycle-jitter", "30", "--max-requests", str(requests)),
                *("--max-lifetime", f"{self.life_s:.0f}s", "--max-rss", f"{self.fleet.rss_max_mib}MiB"),
                *("--pid-file", str(folder / "pid"), "--control-socket", str(folder / "control")),
                *("--access-log", str(folder / "access"), *fleet.options),
            ],
            env={
                "SOAK_LEAK": str((LEAK_MIB << 20) // requests),
                "TMPDIR": str(folder / "tmp"),
                "MALLOC_ARENA_MAX": "1",
            },
            supervised=True,
        )
        # Of the supervisor that serves now.
        self.pid = 0
        # Set when the operator is to do no more.
        self.closing: asyncio.Event

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began

    def mistake(self, what: str) -> None:
        self.wrong.append(f"at {self.age_s:.1f} s, after {self.doing}: {what}")

    # Clients

    async def client(self, number: int) -> None:
        """Ask now and then, until the end."""
        dice = Random(f"{self.seed}/{self.name}/{number}")
        keeps = number % 2 == 0
        request: Request | None = None
        while not self.over:
            visit = Visit(self.server.addresses[0], "", dice, self.seen.tally, sheds=False)
            try:
                request = await self.connection(visit, keeps, request)
            except (Wrong, OSError, asyncio.TimeoutError) as error:
                self.seen.lost.append(f"at {self.age_s:.1f} s, after {self.doing}: {error!r}")
                request = None
            await asyncio.sleep(dice.expovariate(1 / REST_S))

    async def connection(self, visit: Visit, keeps: bool, request: Request | None) -> Request | None:
        """Ask on one connection, first of all `request`; return what is to be asked on another one."""
        self.seen.connections += 1
        used: float | None = None
        async with connected(visit.address) as client:
            while not self.over or request is not None:
                request = request or self.draw(visit, keeps)
                is_safe = request.data.startswith(b"GET")
                just_used = used is not None and time.monotonic() - used < JUST_USED_S
                if used is not None and not is_safe and not just_used:
                    # It may be closed on the way, and nobody could say whether this was done.
                    return request
                try:
                    await client.send(request.data)
                    is_answered = await client.more()
                except OSError:
                    if used is None or not is_safe:
                        raise
                    is_answered = False
                if not is_answered:
                    if used is None or not is_safe or just_used:
                        raise Wrong(f"{request.what}: closed without an answer")
                    self.seen.repeated += 1
                    return request
                response = await client.response()
                visit.judge(response, request.answer, request.what)
                request = None
                if response.closes or not keeps:
                    return None
                used = time.monotonic()
                if visit.dice.random() < 0.8:
                    await asyncio.sleep(visit.dice.expovariate(1 / REST_S))
                if is_closed(client):
                    self.seen.closed_at_rest += 1
                    return None
        return None

    def draw(self, visit: Visit, keeps: bool) -> Request:
        """Draw a request; one in fifty is in flight for seconds."""
        if visit.dice.random() < 0.02:
            word = visit.word()
            seconds = visit.dice.uniform(1, 5)
            request = get(visit, f"/sleep?word={word}&seconds={seconds:.3f}", word.encode())
        else:
            request = any_request(visit)
        if keeps:
            return request
        closing = request.data.replace(b"Host: soak\r\n", b"Host: soak\r\nConnection: close\r\n", 1)
        return Request(closing, request.answer)

    # The operator

    async def status(self) -> dict[str, Any]:
        """Return what the control socket says."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "control"))
        writer.write(b'{"verb": "status"}\n')
        try:
            said: dict[str, Any] = json.loads(await asyncio.wait_for(reader.read(), DONE_WITHIN_S))
        finally:
            writer.close()
        return said

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DONE_WITHIN_S
        while not condition():
            if time.monotonic() > deadline:
                raise Wrong(f"no {what} within {DONE_WITHIN_S:.0f} s")
            await asyncio.sleep(0.1)

    async def serving(self, wanted: int) -> None:
        """Wait until so many workers are wanted and serve."""
        deadline = time.monotonic() + DONE_WITHIN_S
        while True:
            status = await self.status()
            serve = sum(worker["state"] == "serving" for worker in status["workers"])
            if (status["workers_wanted"], status["state"]) == (wanted, "serving") and serve >= wanted:
                return
            if time.monotonic() > deadline:
                raise Wrong(f"{wanted} workers do not serve within {DONE_WITHIN_S:.0f} s: {status}")
            await asyncio.sleep(0.2)

    async def operator(self) -> None:
        """Do one thing after the other, and see that each is done."""
        dice = Random(f"{self.seed}/{self.name}/operator")
        wanted = self.workers
        names, shares = list(self.fleet.events), list(self.fleet.events.values())
        while not await self.is_closing_within(self.event_every_s * dice.uniform(0.5, 1.5)):
            [event] = dice.choices(names, shares)
            if event == "grow" and wanted >= self.workers + 2:
                event = "shrink"
            elif event == "shrink" and wanted <= max(1, self.workers - 2):
                event = "grow"
            self.events[event] += 1
            self.doing = f"{event} {self.events[event]}"
            try:
                if event in ("grow", "shrink"):
                    wanted += 1 if event == "grow" else -1
                    await self.resize(event, wanted)
                elif event == "upgrade":
                    await self.upgrade()
                    wanted = self.workers
                else:
                    await (self.reload() if event == "reload" else self.rotate())
            except (Wrong, OSError, ValueError, asyncio.TimeoutError) as error:
                self.mistake(f"{event}: {error!r}")

    async def is_closing_within(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)
        return self.closing.is_set()

    async def resize(self, event: str, wanted: int) -> None:
        os.kill(self.pid, signal.SIGTTIN if event == "grow" else signal.SIGTTOU)
        await self.serving(wanted)

    async def reload(self) -> None:
        since = len(self.server.log)
        os.kill(self.pid, signal.SIGHUP)
        done = re.compile("reloaded: .* serve|the reload has failed.*")
        await self.until("reload", lambda: done.search(self.server.log, since) is not None)
        found = done.search(self.server.log, since)
        if found is None or "failed" in found[0]:
            raise Wrong(found[0] if found else "no reload")

    async def rotate(self) -> None:
        access = self.folder / "access"
        self.rotations += 1
        access.rename(self.folder / f"access.{self.rotations}")
        os.kill(self.pid, signal.SIGUSR1)
        await self.until("log opened anew", access.exists)

    async def upgrade(self) -> None:
        before = self.pid
        os.kill(before, signal.SIGUSR2)
        pid_file = self.folder / "pid"

        def has_changed() -> bool:
            with contextlib.suppress(OSError, ValueError):
                self.pid = int(pid_file.read_text())
            return self.pid != before

        await self.until("new server", has_changed)
        await self.until("end of the former server", lambda: self.status_of(before) is not None)
        if status := self.status_of(before):
            self.mistake(f"the former server has ended with status {status}")
        await self.serving(self.workers)

    def status_of(self, pid: int) -> int | None:
        """Return the exit status of a supervisor that has ended."""
        if pid == self.server.pid:
            return self.server.poll()
        # It is a child of this process since the one that started it has ended.
        if pid not in self.statuses:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                return None
            self.statuses[pid] = os.waitstatus_to_exitcode(status)
        return self.statuses[pid]

    # Looking

    def look(self) -> Look:
        """Look at all processes of the fleet."""
        workers, zombies = [], set()
        for pid in children_of(self.pid):
            with contextlib.suppress(OSError):
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                if state == "Z":
                    zombies.add(pid)
                else:
                    workers.append(Process.of(pid))
        supervisor = Process.of(self.pid)
        return Look(
            at_s=self.age_s,
            supervisor_kib=supervisor.rss_kib,
            descriptors=supervisor.descriptors,
            threads=supervisor.threads,
            workers=len(workers),
            workers_pss_kib=sum(worker.pss_kib for worker in workers),
            most_rss_kib=max((worker.rss_kib for worker in workers), default=0),
            most_descriptors=max((worker.descriptors for worker in workers), default=0),
            most_threads=max((worker.threads for worker in workers), default=0),
            zombies=frozenset(zombies),
        )

    async def watch(self) -> None:
        """Look every few seconds; a child that has ended is taken note of by the next look."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            # During an upgrade the supervisor may just have ended.
            with contextlib.suppress(OSError):
                look = self.look()
                if self.looks and (left := look.zombies & self.looks[-1].zombies):
                    self.mistake(f"children that nobody waits for: {sorted(left)}")
                self.looks.append(look)

    def line(self) -> str:
        seen = self.seen
        log = self.server.log
        reasons = [len(re.findall(reason, log)) for reason in REASONS.values()]
        events = ", ".join(f"{count} {event}" for event, count in sorted(self.events.items()))
        return (
            f"{self.age_s / 60:5.1f} min {self.name}: {seen.tally.answered} answered, {len(seen.lost)} lost, "
            f"{seen.repeated} repeated, {seen.closed_at_rest} closed at rest; replaced for requests, memory, "
            f"lifetime: {'/'.join(map(str, reasons))}; {events or 'no events'}; "
            f"{self.looks[-1] if self.looks else 'not looked at yet'}"
        )

    async def speak(self) -> None:
        while True:
            await asyncio.sleep(60)
            print(self.line(), flush=True)

    # From the start to the end

    async def run(self) -> None:
        """Serve, load, watch, and stop; what goes wrong with one fleet leaves the others be."""
        beside = [asyncio.create_task(task) for task in (self.watch(), self.speak())]
        try:
            await self.serve()
            self.judge()
        except (Wrong, OSError, ValueError, asyncio.TimeoutError) as error:
            self.mistake(repr(error))
        finally:
            self.over = True
            for task in beside:
                task.cancel()

    async def serve(self) -> None:
        self.pid = self.server.pid
        self.began = time.monotonic()
        self.closing = asyncio.Event()
        await self.serving(self.workers)
        start = self.look()
        clients = [asyncio.create_task(self.client(number)) for number in range(CLIENTS)]
        operator = asyncio.create_task(self.operator())
        await asyncio.sleep(self.seconds)
        # What is being done is done to its end.
        self.closing.set()
        await operator
        self.doing = "the end"
        self.over = True
        await asyncio.wait(clients)
        await self.rest(start)
        os.kill(self.pid, signal.SIGTERM)
        await self.until("end", lambda: self.status_of(self.pid) is not None)
        if status := self.status_of(self.pid):
            self.mistake(f"exit status {status}")

    async def rest(self, start: Look) -> None:
        """Have as many workers as at the start, and hold no more than then."""
        status = await self.status()
        wanted = status["workers_wanted"]
        while wanted != self.workers:
            event = "grow" if wanted < self.workers else "shrink"
            wanted += 1 if event == "grow" else -1
            await self.resize(event, wanted)
        deadline = time.monotonic() + DONE_WITHIN_S
        while True:
            end = self.look()
            more = [
                f"{name}: {now} instead of {then}"
                for name, then, now in (
                    ("the supervisor's descriptors", start.descriptors, end.descriptors),
                    ("the supervisor's threads", start.threads, end.threads),
                    ("workers", start.workers, end.workers),
                    ("a worker's descriptors", start.most_descriptors, end.most_descriptors),
                    ("a worker's threads", start.most_threads, end.most_threads),
                )
                if now > then
            ]
            if not more or time.monotonic() > deadline:
                break
            await asyncio.sleep(1)
        self.wrong += more
        self.say(f"at the start: {start}")
        self.say(f"at rest: {end}")

    def say(self, text: str) -> None:
        print(f"{self.name}: {text}", flush=True)

    def judge(self) -> None:
        """Say what has grown, what is missing and what is left."""
        for what in self.server.complaints():
            self.wrong.append(f"in the log: {what}")
        is_long = self.seconds >= 600
        if is_long:
            self.wrong += [
                f"no worker was replaced for its {name}"
                for name, reason in REASONS.items()
                if not re.search(reason, self.server.log)
            ]
        settled = [look for look in self.looks if look.at_s > self.seconds / 10]
        if settled and (grown := settled[-1].supervisor_kib - settled[0].supervisor_kib) > 0:
            text = f"the supervisor's memory has grown by {grown} KiB"
            (self.wrong.append if grown > SUPERVISOR_GROWTH_MAX_KIB else self.say)(text)
        thirds = [
            [
                look.workers_pss_kib / look.workers
                for look in self.looks
                if look.workers and low < look.at_s <= high
            ]
            for low, high in ((self.seconds / 3, self.seconds * 2 / 3), (self.seconds * 2 / 3, self.seconds))
        ]
        if all(thirds):
            before, after = map(fmean, thirds)
            text = (
                f"a worker's PSS, on average: {before / 1024:.1f} MiB in the second third of the time, "
                f"{after / 1024:.1f} MiB in the last"
            )
            # The mean of a few is chance.
            (self.wrong.append if is_long and after > before * WORKERS_GROWTH_MAX else self.say)(text)
        logged = 0
        for access in self.folder.glob("access*"):
            with access.open("rb") as lines:
                logged += sum(1 for _ in lines)
        if logged != self.seen.tally.answered:
            self.wrong.append(f"{logged} lines in the access log, {self.seen.tally.answered} answers")
        left = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*")]
        if left := [name for name in left if name != "tmp" and not name.startswith("access")]:
            self.wrong.append(f"files: {', '.join(sorted(left))}")
        if pids := of_session(self.server.pid):
            self.wrong.append(f"processes: {pids}")


# Why workers are replaced that serve well, as the log has it.
REASONS = {"requests": "it has had", "memory": "it holds", "lifetime": "it has served"}


@dataclass(frozen=True)
class Process:
    """What one process holds."""

    rss_kib: int
    pss_kib: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Process:
        proc = Path(f"/proc/{pid}")
        rollup = (proc / "smaps_rollup").read_text()
        rss, pss = (re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE) for name in ("Rss", "Pss"))
        return cls(
            rss_kib=int(rss[1]) if rss else 0,
            pss_kib=int(pss[1]) if pss else 0,
            descriptors=len(os.listdir(proc / "fd")),
            threads=len(os.listdir(proc / "task")),
        )


def is_closed(client: Client) -> bool:
    """Whether the server has closed a connection at rest; it has nothing else to say there."""
    try:
        said = client.sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    if said:
        raise Wrong(f"said without being asked: {said!r}")
    return True


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def of_session(session: int) -> list[int]:
    """Return the processes of a session, which all that a server starts belong to."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.getsid(int(entry)) == session:
                found.append(int(entry))
    return found


async def run_beside(daemons: Sequence[Daemon]) -> None:
    await asyncio.gather(*(daemon.run() for daemon in daemons))


def soak_daemons(names: Sequence[str], seconds: float, workers: int, seed: str) -> bool:
    """Soak these fleets beside one another, print what was wrong, and return whether nothing was."""
    # A server that succeeds another has nobody else to tell its exit status.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with contextlib.ExitStack() as stack:
        daemons = []
        for name in names:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-soak-")))
            daemons.append(Daemon(name, seconds, workers, seed, folder))
            stack.enter_context(daemons[-1].server)
            print(f"{name}: {' '.join(daemons[-1].server.options)}", flush=True)
        try:
            asyncio.run(run_beside(daemons))
        finally:
            for daemon in daemons:
                print(daemon.line())
                for line in [*daemon.seen.lost, *daemon.wrong][:MISTAKES_SHOWN_MAX]:
                    print(f"WRONG:   {line}")
        bad = {daemon.name: len(daemon.seen.lost) + len(daemon.wrong) for daemon in daemons}
        for name, count in bad.items():
            print(f"{name}: {f'{count} things wrong' if count else 'nothing lost, nothing left behind'}")
    return not any(bad.values())
