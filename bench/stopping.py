"""How long a server takes to end at SIGTERM: `python bench/stopping.py`.

Four workers on each host, with 1,000 idle connections that have had an answer each, 32 clients that ask again
and again, and one request that is in flight for some seconds when the signal comes. The server must end with
status 0 within a second of that request's end, which must be answered, as must whatever else was in flight.
Exit status 1 when a figure is not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field

import peers
from processes import Server, free_port, raise_file_limit, running

HOSTS = {
    "threads": ("apps:sleep",),
    "greenlets": ("--concurrency", "greenlets", "apps:sleep"),
    "asyncio": ("app_asgi:sleep",),
}
MARGIN_S = 1.0
CLIENTS = 32
# Long enough for the signal to come within the call of most of them.
CLIENTS_WAIT_MS = 20
PATIENCE_S = 60.0


@dataclass
class Tally:
    """What clients have seen."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    over: bool = False
    long_ended: float = 0.0
    # Idle connections that were closed.
    closed: int = 0


async def answer(reader: asyncio.StreamReader) -> bool:
    """Read one answer; tell whether the connection is to be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200 "):
        raise ValueError(head.partition(b"\r\n")[0])
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return b"connection: close" not in head


async def ask(port: int, milliseconds: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request that takes so long on a new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % milliseconds)
    return reader, writer


async def client(port: int, tally: Tally) -> None:
    """Ask again and again, until nobody takes connections any more."""
    while not tally.over:
        try:
            reader, writer = await ask(port, CLIENTS_WAIT_MS)
        except OSError as error:
            if not tally.over:
                tally.lost.append(f"{error!r} before the signal")
            return
        is_first = True
        try:
            while await answer(reader):
                is_first = False
                tally.answered += 1
                writer.write(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % CLIENTS_WAIT_MS)
            tally.answered += 1
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            # One that meets a close on its way is repeated by clients themselves (RFC 9112 section 9.3.1).
            if not tally.over or is_first or getattr(error, "partial", b""):
                tally.lost.append(repr(error))
        finally:
            writer.close()


async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally) -> None:
    """Have one answer, and wait for the end."""
    await answer(reader)
    with contextlib.suppress(OSError):
        if not await reader.read(1):
            tally.closed += 1
    writer.close()


async def long_one(port: int, seconds: float, tally: Tally) -> None:
    """Be in flight when the signal comes."""
    reader, writer = await ask(port, int(seconds * 1000))
    try:
        await answer(reader)
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        tally.lost.append(f"the long one: {error!r}")
    tally.long_ended = time.monotonic()
    writer.close()


async def stop(server: Server, idle: int, seconds: float) -> tuple[Tally, float, float, int]:
    """Load it and stop it; return how long after the signal and the longest request, and its status."""
    tally = Tally()
    resting = []
    for _ in range(idle):
        reader, writer = await ask(server.port, 0)
        resting.append(asyncio.create_task(rest(reader, writer, tally)))
    clients = [asyncio.create_task(client(server.port, tally)) for _ in range(CLIENTS)]
    await asyncio.sleep(1)
    longest = asyncio.create_task(long_one(server.port, seconds, tally))
    await asyncio.sleep(0.5)
    tally.over = True
    began = time.monotonic()
    os.kill(server.process.pid, signal.SIGTERM)
    status = await asyncio.to_thread(server.process.wait, PATIENCE_S)
    ended = time.monotonic()
    await asyncio.wait([*resting, *clients, longest], timeout=5)
    return tally, ended - began, ended - tally.long_ended, status


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--idle", type=int, default=1_000, help="idle connections (default: %(default)s)")
    add("--seconds", type=float, default=3.0, help="that the longest request takes (default: %(default)s)")
    add("--workers", type=int, default=4, help="(default: %(default)s)")
    add("--hosts", default=",".join(HOSTS), help="(default: %(default)s)")
    add("options", nargs="*", help="further flags for tidegate, after --")
    arguments = parser.parse_args()
    raise_file_limit(arguments.idle + 1_000)
    print("| host | after SIGTERM | after the longest | status | answered | lost | idle ones closed | |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    passed = True
    for host in arguments.hosts.split(","):
        port = free_port()
        command = [
            *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--workers", str(arguments.workers)),
            *("--log-level", "error", *arguments.options, *HOSTS[host]),
        ]
        with running(command, port, peers.environ(), peers.BENCH, core=None) as server:
            time.sleep(1)
            tally, took, after, status = asyncio.run(stop(server, arguments.idle, arguments.seconds))
        good = after <= MARGIN_S and status == 0 and not tally.lost and tally.closed == arguments.idle
        passed = passed and good
        print(
            f"| {host} | {took:.2f} s | {after:+.2f} s | {status} | {tally.answered} | {len(tally.lost)} "
            f"| {tally.closed} | {'pass' if good else 'FAIL'} |",
            flush=True,
        )
        for what in tally.lost[:5]:
            print(f"lost: {what}")
    print(f"\ntarget: at most {MARGIN_S:+.2f} s, status 0, none lost; {'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
