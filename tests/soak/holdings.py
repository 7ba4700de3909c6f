"""What a server process holds: by the system's count, and by its application's."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.server import Server

# A server that has not come to rest by then holds on to something.
REST_WITHIN_S = 30.0


@dataclass(frozen=True)
class Holdings:
    """One look at a process."""

    threads: int
    descriptors: int
    greenlets: int
    # Of asyncio, besides the one that counts them.
    tasks: int
    # Calls of the application that have not returned, and iterables that have not been closed.
    calls: int
    iterables: int
    # Objects that Python's allocator has given out.
    blocks: int
    rss_kib: int
    pss_kib: int

    def __str__(self) -> str:
        return (
            f"{self.threads} threads, {self.greenlets} greenlets, {self.tasks} tasks, "
            f"{self.descriptors} descriptors, {self.calls} calls, {self.iterables} iterables, "
            f"{self.blocks} blocks, RSS {self.rss_kib / 1024:.1f} MiB, PSS {self.pss_kib / 1024:.1f} MiB"
        )

    def more_than(self, before: Holdings) -> list[str]:
        """What should have gone back to what it was and has not."""
        names = ("threads", "descriptors", "greenlets", "tasks", "calls", "iterables")
        pairs = [(name, getattr(before, name), getattr(self, name)) for name in names]
        return [f"{name}: {now} instead of {then}" for name, then, now in pairs if now > then]


def look(server: Server, path: str) -> Holdings:
    """Count what the server holds now; `path` is where the application says it."""
    with server.connect() as wire:
        # The server closes this connection, so that it is not counted below.
        answer = wire.ask("GET", path, "Connection: close")
        wire.rest()
    state = json.loads(answer.body)
    proc = Path(f"/proc/{server.pid}")
    return Holdings(
        threads=len(os.listdir(proc / "task")),
        descriptors=min(_counts(proc / "fd")),
        greenlets=state["greenlets"],
        tasks=state["tasks"],
        calls=state["calls"],
        iterables=state["iterables"],
        blocks=state["blocks"],
        rss_kib=_kib(proc / "status", "VmRSS"),
        pss_kib=_kib(proc / "smaps_rollup", "Pss"),
    )


def at_rest(server: Server, path: str, before: Holdings, within_s: float) -> Holdings:
    """Wait until the server holds no more than before; return the last look, be it so or not."""
    deadline = time.monotonic() + within_s
    while (now := look(server, path)).more_than(before) and time.monotonic() < deadline:
        time.sleep(0.2)
    return now


def _counts(folder: Path) -> Iterator[int]:
    """Count a few times, for the server needs a moment to close what its client has closed."""
    for _ in range(10):
        yield len(os.listdir(folder))
        time.sleep(0.01)


def _kib(path: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
