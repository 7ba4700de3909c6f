"""What a reload of a broken application does: `python bench/broken_reload.py`.

Two workers serve while clients ask on kept and on new connections. The application is broken, in one way
after the other, and a reload asked for: within two seconds the log must have the traceback, and the old code
must go on answering every request. In the end a whole application is reloaded. Exit status 1 when a figure is
not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import peers
from processes import Server, free_port, running
from stopping import answer

REPORTED_WITHIN_S = 2.0
PATIENCE_S = 30.0
CLIENTS = 16
PAUSE_S = 1.0

SITE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "3"), ("X-Version", "{version}")])
    return [b"sea"]
"""
# What is wrong with it, and how the log has it.
BROKEN = {
    "raises": ("raise RuntimeError('the tide is out')\n", "RuntimeError: the tide is out"),
    "does not parse": ("def application(:\n", "SyntaxError: "),
    "imports what is not there": ("import no_such_tide\n", "ModuleNotFoundError: No module named"),
    "kills its process": ("import os\nos.kill(os.getpid(), 9)\n", "was ended by signal 9"),
}


@dataclass
class Tally:
    """What clients have seen."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    over: bool = False


async def client(port: int, keeps: bool, tally: Tally) -> None:
    """Ask again and again."""
    close = b"" if keeps else b"Connection: close\r\n"
    while not tally.over:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            again = True
            while again and not tally.over:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + close + b"\r\n")
                again = await answer(reader)
                tally.answered += 1
                await asyncio.sleep(0.005)
            writer.close()
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            tally.lost.append(repr(error))


async def until(server: Server, since: int, text: str) -> float:
    """Wait until this is in the log; return how long that took."""
    began = time.monotonic()
    while text not in server.log.read_text(errors="replace")[since:]:
        if time.monotonic() > began + PATIENCE_S:
            raise SystemExit(f"no {text!r} in the log: {server.log.read_text(errors='replace')[since:]}")
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def measure(server: Server, site: Path) -> bool:
    """Break the application in each way."""
    passed = True
    print("| the application | in the log after | reload given up after | answered | lost | |")
    print("|---|---:|---:|---:|---:|---|")
    for what, (source, trace) in BROKEN.items():
        tally = Tally()
        clients = [
            asyncio.create_task(client(server.port, index % 2 == 0, tally)) for index in range(CLIENTS)
        ]
        await asyncio.sleep(PAUSE_S)
        site.write_text(source)
        since = len(server.log.read_text(errors="replace"))
        os.kill(server.process.pid, signal.SIGHUP)
        reported = await until(server, since, trace)
        given_up = reported + await until(server, since, "the reload has failed")
        await asyncio.sleep(PAUSE_S)
        tally.over = True
        await asyncio.wait(clients, timeout=5)
        good = reported <= REPORTED_WITHIN_S and tally.answered > 0 and not tally.lost
        passed = passed and good
        print(
            f"| {what} | {reported:.2f} s | {given_up:.2f} s | {tally.answered} | {len(tally.lost)} "
            f"| {'pass' if good else 'FAIL'} |",
            flush=True,
        )
        for loss in tally.lost[:5]:
            print(f"lost: {loss}")
    site.write_text(SITE.format(version="two"))
    since = len(server.log.read_text(errors="replace"))
    os.kill(server.process.pid, signal.SIGHUP)
    print(f"\na whole one serves after {await until(server, since, 'reloaded: '):.2f} s")
    return passed


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workers", type=int, default=2, help="(default: %(default)s)")
    add("options", nargs="*", help="further flags for tidegate, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        site = Path(name) / "site_of_tides.py"
        site.write_text(SITE.format(version="one"))
        port = free_port()
        command = [
            *(str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", "--workers", str(arguments.workers)),
            *(*arguments.options, "site_of_tides"),
        ]
        with running(command, port, peers.environ(), Path(name), core=None) as server:
            passed = asyncio.run(measure(server, site))
    verdict = "pass" if passed else "FAIL"
    print(f"target: the traceback within {REPORTED_WITHIN_S:.0f} s, none lost; {verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
