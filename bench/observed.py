"""What it costs to see into a server: `python bench/observed.py [--rounds N] [--seconds N]`.

Two servers of the same application run side by side, one with everything on that looks at requests (metrics
and the table of requests in flight, an access log, and request ids and deadlines where this version has
them), one with all of it off. Short windows of load go to one and the other in turn, so that both meet the
same machine, and each pair gives a ratio of CPU time per request. Exit status 1 when the median ratio is
above the limit.
`--each` takes one part at a time, to say what costs what.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import clients
import loads
import peers
from processes import Server, free_port, running

RATIO_MAX = 1.08

# Of the loads of run.py: the cheapest request there is, where anything added shows most, and a browser's.
LOADS = ("hello", "fields")

HOSTS = {
    "threads": ("apps:hello", ()),
    "greenlets": ("apps:hello", ("--concurrency", "greenlets")),
    "asyncio": ("app_asgi:hello", ()),
}


def parts(folder: Path) -> dict[str, list[str]]:
    """What can be on, by the options that this version knows."""
    known = subprocess.run(
        [sys.executable, "-m", "tidegate", "--help"], capture_output=True, text=True, check=True
    ).stdout
    all_parts = {
        "metrics": ["--admin", f"unix:{folder / 'admin'}"],
        "access log": ["--access-log", str(folder / "access.log")],
        "request ids": ["--request-id"],
        "deadlines": ["--request-timeout", "30s"],
    }
    return {name: options for name, options in all_parts.items() if options[0] in known}


def command(port: int, host: str, options: Sequence[str]) -> list[str]:
    """One worker under its supervisor, as servers are run that are looked into."""
    app, of_host = HOSTS[host]
    bind = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--log-level", "warning"]
    return [sys.executable, "-m", "tidegate", *bind, *of_host, *options, app]


def cpu_us(server: Server, load: loads.Load, seconds: float) -> float:
    """CPU time of the server's processes for each request of a window."""
    before = server.cpu_seconds()
    count = clients.run_client(load, server.port, seconds)
    return (server.cpu_seconds() - before) / count.requests * 1e6


def compare(host: str, load: loads.Load, options: Sequence[str], arguments: argparse.Namespace) -> float:
    """The median of the ratios of pairs of windows, on against off; the figures are printed."""
    with ExitStack() as stack:
        servers = []
        for more in (["--observe", "off"], options):
            port = free_port()
            server = running(command(port, host, more), port, peers.environ(), peers.BENCH)
            servers.append(stack.enter_context(server))
            clients.warm_up(load, port)
        pairs = []
        for number in range(arguments.rounds):
            # Who is first has caches that the other one left; so each is in turn.
            order = servers if number % 2 == 0 else servers[::-1]
            took = {server: cpu_us(server, load, arguments.seconds) for server in order}
            pairs.append((took[servers[0]], took[servers[1]]))
    off, on = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(on / off for off, on in pairs)
    print(f"{host:10} {load.name:8} {off:8.2f} {on:8.2f} {ratio:8.3f}", flush=True)
    return ratio


def main() -> int:
    """Measure, print, and say whether it is within the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="pairs of windows (40)")
    parser.add_argument("--seconds", type=float, default=1, help="length of a window (1)")
    parser.add_argument("--hosts", default="threads", help=f"of {', '.join(HOSTS)} (threads)")
    parser.add_argument("--each", action="store_true", help="each part by itself, too")
    arguments = parser.parse_args()
    ratios = []
    print(f"{'host':10} {'load':8} {'off/us':>8} {'on/us':>8} {'ratio':>8}")
    with tempfile.TemporaryDirectory(prefix="tidegate-observed-") as folder:
        on = parts(Path(folder))
        print(f"# on: {', '.join(on)}")
        everything = [option for options in on.values() for option in options]
        for host in arguments.hosts.split(","):
            for name in LOADS:
                load = loads.BY_NAME[name]
                ratios.append(compare(host, load, everything, arguments))
                for part, options in on.items() if arguments.each else ():
                    print(f"# {part}")
                    compare(host, load, options, arguments)
    worst = max(ratios)
    print(f"at most {worst:.3f} of the CPU time; the limit is {RATIO_MAX}")
    return 0 if worst <= RATIO_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
