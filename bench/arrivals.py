"""Requests that arrive at a rate, whatever becomes of those before them, as those of many people do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Seen:
    """What became of the requests for one path. Times in seconds."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    # Of those that were answered with 200.
    served_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)

    def served_within(self, seconds: float) -> int:
        """Count the answers of 200 that came in time."""
        return sum(took <= seconds for took in self.served_s)


def percentile_ms(times_s: list[float], percent: float) -> float:
    """Return a percentile in milliseconds; of nothing, not a number."""
    if not times_s:
        return float("nan")
    return sorted(times_s)[min(len(times_s) - 1, int(len(times_s) * percent / 100))] * 1000


class Client:
    """Asks a server, with as many connections as it takes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._all: list[Connection] = []

    async def ask(self, path: str, seen: Seen) -> int:
        """Ask once; return the status."""
        began = time.perf_counter()
        seen.sent += 1
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await asyncio.open_connection("127.0.0.1", self._port)
            self._all.append(connection)
        reader, writer = connection
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        self._idle.append(connection)
        status, took = int(head[9:12]), time.perf_counter() - began
        seen.statuses[status] += 1
        (seen.served_s if status == 200 else seen.refused_s).append(took)
        return status

    async def arrive(self, path: str, rate: float, seconds: float, *, patience_s: float) -> Seen:
        """Let so many come in each second, evenly; who has no answer some time after the last has none."""
        seen, begun = Seen(), time.perf_counter()
        tasks = []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(path, seen)))
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen

    def close(self) -> None:
        """Leave."""
        for _, writer in self._all:
            with contextlib.suppress(OSError):
                writer.close()
