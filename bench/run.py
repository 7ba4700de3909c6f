"""Measure tidegate beside its peers and the limit; bench/README.md says what the figures mean."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import clients
import loads
import memory
import peers
import report
from processes import (
    LOAD_CPU,
    PINNED,
    MemoryWatch,
    Server,
    ServerFailed,
    free_port,
    on_core,
    raise_file_limit,
    running,
)

INTERFACES = ("wsgi", "asgi")

# What must be reached is about these, by the interface of the applications.
CHECK_SERVERS = {
    "wsgi": "limit,tidegate,tidegate-threads,tidegate-greenlets,bjoern,fastpysgi,granian,granian-threads,"
    "gunicorn-gevent,node",
    "asgi": "limit,tidegate,tidegate-asyncio,tidegate-uvloop,uvicorn,granian-asgi,h2corn,node",
}
CHECK_LOADS = {
    "wsgi": "hello,hello-1,hello-1-core,sleep-1000,sleep-8000,mix,overload",
    # The first is what an asynchronous request is held against: the same answer without an event loop.
    "asgi": "hello,asgi-hello-64,asgi-hello-1,asgi-hello-1-core,asgi-sleep,ws-echo-small-64,ws-idle",
}

# How long after the last connection, and after the last one left, memory is looked at.
SETTLING_SECONDS = 0.5

# Descriptors beside those of a load's connections: libraries, logs, pipes, a second socket for each of a few.
SPARE_FILES = 1000


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    known_servers, known_loads = ",".join(peers.BY_NAME), ",".join(loads.BY_NAME)
    add = parser.add_argument
    add("--interface", choices=INTERFACES, help="only that half of the servers and loads (default: both)")
    add("--servers", help=f"some of {known_servers} (default: all)")
    add("--loads", help=f"some of {known_loads} (default: all)")
    add("--rounds", type=int, default=3, help="how often each pair is measured (default: %(default)s)")
    add("--seconds", type=int, default=4, help="length of one window (default: %(default)s)")
    add("--quick", action="store_true", help="one round of one second: does everything run?")
    add("--check", action="store_true", help="judge what must be reached; exit status 1 when it is not")
    add("--no-memory", action="store_true", help="with --check: leave the memory figures out")
    add("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    add("--from", type=Path, metavar="FILE", dest="source", help="measure nothing, report on such a FILE")
    add("--markdown", type=Path, metavar="FILE", help="write the report to FILE too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1
    arguments.interfaces = (arguments.interface,) if arguments.interface else INTERFACES
    servers, chosen_loads = of_interfaces(arguments.interfaces, check=arguments.check)
    arguments.servers = arguments.servers.split(",") if arguments.servers else servers
    arguments.loads = arguments.loads.split(",") if arguments.loads else chosen_loads
    if min(arguments.rounds, arguments.seconds) < 1:
        parser.error("--rounds and --seconds: at least 1")
    for given, known in ((arguments.servers, peers.BY_NAME), (arguments.loads, loads.BY_NAME)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return arguments


def of_interfaces(interfaces: Sequence[str], *, check: bool) -> tuple[list[str], list[str]]:
    """Return the servers and loads of some interfaces: all of them, or those that are to reach something."""
    if check:
        servers = [name for each in interfaces for name in CHECK_SERVERS[each].split(",")]
        chosen = [name for each in interfaces for name in CHECK_LOADS[each].split(",")]
    else:
        servers = [peer.name for peer in peers.PEERS if peer.interface in (*interfaces, "own")]
        chosen = [load.name for load in loads.LOADS if load.interface in interfaces]
    # Each once, in this order.
    return list(dict.fromkeys(servers)), list(dict.fromkeys(chosen))


def serves(peer: peers.Peer, load: loads.Load) -> bool:
    """Whether the pair makes sense: Node.js has no Flask to serve; the limit is the floor of every load."""
    if load.kind not in peer.kinds or peer.interface not in (load.interface, "own"):
        return False
    if load.framework and peer.interface == "own" and peer.name != "limit":
        return False
    return load.at_once <= peer.at_once_max or (peer.queues and not load.once)


@contextlib.contextmanager
def backend(load: loads.Load) -> Iterator[dict[str, str]]:
    """Run the service that the application waits for, if any; give what the application is to know of it."""
    if not load.backend:
        yield {}
        return
    port = free_port()
    command = [str(peers.BENCH / "target" / "release" / "backend"), str(port)]
    # On the client's core: what it costs is not the server's.
    with running(command, port, {}, peers.BENCH, core=LOAD_CPU):
        yield {"BENCH_BACKEND_PORT": str(port), "BENCH_BACKEND_POOL": str(load.connections)}


def measure(peer: peers.Peer, load: loads.Load, seconds: int, round_number: int) -> report.Sample:
    """Start the server, see that it answers rightly, warm it up, and measure one window."""
    if raise_file_limit(load.connections + SPARE_FILES) < load.connections + SPARE_FILES // 2:
        raise ServerFailed(f"the limit on open files does not allow {load.connections} connections")
    port = free_port()
    with (
        backend(load) as known,
        running(peer.command(port, load.work()), port, peers.environ(**known), peers.BENCH) as server,
    ):
        clients.verify(load, port, of_limit=peer.name == "limit")
        clients.warm_up(load, port)
        if load.kind == "websocket":
            window = measure_resting_sockets if load.once else measure_sockets
        else:
            window = measure_requests
        seen = window(server, load, seconds)
        if not seen.count.requests:
            raise ServerFailed("no request was answered")
        # Once more: a server that broke under the load has no figure.
        clients.verify(load, port, of_limit=peer.name == "limit")
    count = seen.count
    waiting = {"waiting_kib": (seen.pss - seen.pss_before) / load.connections / 1024} if load.once else {}
    return report.Sample(
        server=peer.name,
        load=load.name,
        round=round_number,
        requests=count.requests,
        cpu_us=seen.cpu_s / count.requests * 1e6,
        requests_per_s=count.requests_per_s,
        p50_us=count.p50_us,
        p99_us=count.p99_us,
        pss_mib=seen.pss / 2**20,
        errors=count.errors,
        figures={**count.figures, **waiting},
    )


@dataclass(frozen=True)
class Window:
    """What the client saw in a window, and what the server took for it."""

    count: clients.Count
    cpu_s: float
    pss_before: int
    pss: int


def measure_requests(server: Server, load: loads.Load, seconds: int) -> Window:
    """Run the client for one window."""
    pss_before, before = server.pss_bytes(), server.cpu_seconds()
    if load.kind in ("wait", "overload"):
        # What waiting takes is gone when the waiting is over.
        with MemoryWatch(server) as watch:
            count = clients.run_client(load, server.port, seconds)
        pss = watch.highest
    else:
        count = clients.run_client(load, server.port, seconds)
        pss = server.pss_bytes()
    return Window(count, server.cpu_seconds() - before, pss_before, pss)


def measure_sockets(server: Server, load: loads.Load, seconds: int) -> Window:
    """Let messages go to and fro on WebSockets that are open: opening them is not in the window."""
    pss_before = server.pss_bytes()
    with clients.Sockets(load, server.port, seconds) as sockets:
        before = server.cpu_seconds()
        with MemoryWatch(server) as watch:
            count = sockets.exchange()
        return Window(count, server.cpu_seconds() - before, pss_before, watch.highest)


def measure_resting_sockets(server: Server, load: loads.Load, seconds: int) -> Window:
    """Open WebSockets, look at the server while they rest, and see that they are still there."""
    time.sleep(SETTLING_SECONDS)
    pss_before, before = server.pss_bytes(), server.cpu_seconds()
    with clients.Sockets(load, server.port, 0) as sockets:
        time.sleep(SETTLING_SECONDS)
        cpu_s, pss = server.cpu_seconds() - before, server.pss_bytes()
        count = sockets.exchange()
    # What there is of a rate and of costs is the opening's.
    count = replace(count, requests_per_s=load.connections / sockets.opening_s)
    return Window(count, cpu_s, pss_before, pss)


def measure_all(arguments: argparse.Namespace, run: report.Run) -> None:
    """Fill the run: in each round, each load on each server, one after the other."""
    chosen = [peers.BY_NAME[name] for name in arguments.servers if name not in run.left_out]
    for round_number in range(arguments.rounds):
        # Each round begins with another server, so that none always has the same neighbour in time.
        shift = round_number % max(len(chosen), 1)
        for name in arguments.loads:
            load = loads.BY_NAME[name]
            for peer in chosen[shift:] + chosen[:shift]:
                key = f"{peer.name} under {name}"
                if key in run.left_out or not serves(peer, load):
                    continue
                try:
                    sample = measure(peer, load, arguments.seconds, round_number)
                except ServerFailed as error:
                    run.left_out[key] = str(error)
                    print(f"{key}: {error}", file=sys.stderr)
                    continue
                run.samples.append(sample)
                print(
                    f"round {round_number + 1}/{arguments.rounds} {name:18} {peer.name:18}"
                    f" {sample.cpu_us:8.1f} us {sample.requests_per_s:9,.0f}/s p50 {sample.p50_us:9.1f} us"
                    f" p99 {sample.p99_us:9.1f} us" + (f" {sample.errors} errors" if sample.errors else ""),
                    file=sys.stderr,
                )


def main() -> int:
    """Measure, or read an earlier run, and report."""
    arguments = parse_arguments()
    if arguments.source:
        run = report.Run.from_json(json.loads(arguments.source.read_text()))
    else:
        if clients.WRK is None:
            print("bench: the load generator wrk is missing (Debian: apt-get install wrk)", file=sys.stderr)
            return 1
        peers.build_programs("limit")
        left_out = peers.install([peers.BY_NAME[name] for name in arguments.servers])
        machine = report.describe_machine()
        machine["run"] = f"{datetime.date.today()}, {arguments.rounds} rounds of {arguments.seconds} s, " + (
            "server and load on one core each" if PINNED else "server and load share one core"
        )
        run = report.Run(machine, [], left_out, {})
        with on_core(LOAD_CPU):
            measure_all(arguments, run)
            memory_wanted = arguments.check and not arguments.no_memory and "wsgi" in arguments.interfaces
            if memory_wanted and "tidegate" not in left_out:
                run.memory = memory.measure(peers.BY_NAME["tidegate"], quick=arguments.quick)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(run.to_json(), indent=1) + "\n")

    verdicts = report.verdicts(run, arguments.interfaces) if arguments.check else []
    text = "\n\n".join([*report.tables(run), report.notes(run)]) + "\n"
    if arguments.check:
        text += f"\n{report.verdict_table(verdicts)}\n"
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    return 0 if all(verdict.reached() for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
