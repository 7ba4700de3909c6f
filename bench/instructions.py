"""Count user-space instructions per request with callgrind: `python bench/instructions.py`.

Each program runs twice, with N and with 2N requests; the difference, divided by N, is one request without
what starting and ending cost. The count hardly depends on what else the machine does, so that a change of one
percent shows.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import loads
import peers
from processes import ServerFailed, free_port, running

# Valgrind runs a server some fifty times slower; these take seconds.
PARSER_COUNT = 2_000
SERVER_COUNT = 2_000
# Run alone, long enough to read nanoseconds off.
NATIVE_COUNT = 500_000

# Only servers of one process can be run under valgrind as they are.
SERVERS = ("tidegate", "tidegate-asyncio", "tidegate-uvloop", "bjoern", "fastpysgi", "fastwsgi", "limit")

# To the parser and to servers of WSGI, and to those of ASGI.
REQUESTS = ("hello", "fields")
ASYNC_REQUEST = "asgi-hello-1"

Taken = Callable[[int, Path], None]


def callgrind(profile: Path) -> list[str]:
    """Return the start of a command line that counts instructions into a file."""
    return ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={profile}"]


def instructions_in(profile: Path) -> int:
    """Read the total out of what callgrind wrote; threads and dumps of one process are parts of one total."""
    found = re.findall(r"^(?:totals|summary):\s+(\d+)", profile.read_text(), re.MULTILINE)
    if not found:
        raise ServerFailed(f"callgrind left no total in {profile.name}")
    return int(found[-1])


def difference(take: Taken, count: int, folder: Path) -> float:
    """Run with `count` and twice as many requests; return instructions per request."""
    totals = []
    for factor in (1, 2):
        profile = folder / f"callgrind.out.{factor}"
        take(count * factor, profile)
        totals.append(instructions_in(profile))
    return (totals[1] - totals[0]) / count


def of_parser(mode: str, request: Path, folder: Path) -> tuple[float, float]:
    """Measure the protocol crate alone; return instructions and nanoseconds per request."""
    program = str(peers.BENCH / "target" / "release" / "instructions")

    def take(count: int, profile: Path) -> None:
        command = [*callgrind(profile), program, mode, str(count), str(request)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    native = [program, mode, str(NATIVE_COUNT), str(request)]
    runs = [subprocess.run(native, check=True, capture_output=True, text=True).stdout for _ in range(3)]
    return difference(take, PARSER_COUNT, folder), min(float(run) for run in runs)


def of_server(peer: peers.Peer, load: loads.Load, folder: Path, options: Sequence[str] = ()) -> float:
    """Measure a whole server, from the socket to the application and back, in instructions."""

    def take(count: int, profile: Path) -> None:
        port = free_port()
        program, *arguments = peer.command(port, load.work())
        command = [program, *options, *arguments]
        # A console script is run by its interpreter, or valgrind would count the start of that only.
        if Path(command[0]).read_bytes()[:2] == b"#!":
            command = [str(Path(command[0]).parent / "python"), *command]
        with running([*callgrind(profile), *command], port, peers.environ(), peers.BENCH) as server:
            _requests(port, load.request(), count)
            # Callgrind writes its file when the program ends, which takes longer than a plain end.
            server.stop(patience=30)

    return difference(take, SERVER_COUNT, folder)


def _requests(port: int, request: bytes, count: int) -> None:
    """Send the request on one connection, each after the answer to the one before."""
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(request)
        response = http.client.HTTPResponse(client, method="GET")
        response.begin()
        if response.status != 200 or not response.read().endswith(b"Hello, World!"):
            raise ServerFailed(f"answered {response.status}")
        for _ in range(count - 1):
            client.sendall(request)
            received = b""
            while not received.endswith(b"Hello, World!"):
                block = client.recv(65536)
                if not block:
                    raise ServerFailed("the connection was closed between requests")
                received += block


def main() -> int:
    """Count and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--servers", default="tidegate", help="some of " + ",".join(SERVERS) + " (default: %(default)s)")
    add("--options", default="", metavar="TEXT", help="more options for each server, as a shell takes them")
    add("--no-parser", action="store_true", help="leave the protocol crate out")
    add("--keep", type=Path, metavar="DIR", help="keep what callgrind wrote, for callgrind_annotate")
    arguments = parser.parse_args()
    servers = arguments.servers.split(",") if arguments.servers else []
    if unknown := [name for name in servers if name not in SERVERS]:
        parser.error(f"unknown, or not of one process: {', '.join(unknown)}")
    if shutil.which("valgrind") is None:
        print("instructions: valgrind is missing (Debian: apt-get install valgrind)", file=sys.stderr)
        return 1

    failed = False
    print("| what | request | instructions/request | ns/request, alone |")
    print("|---|---|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as temporary:
        for name in (*REQUESTS, ASYNC_REQUEST):
            asynchronous = name == ASYNC_REQUEST
            folder = (arguments.keep or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            load = loads.BY_NAME[name]
            request = folder / "request"
            request.write_bytes(load.request())
            field_count = load.request().count(b": ")
            title = f"{field_count} field{'s' * (field_count > 1)}, {len(load.request())} bytes"
            if not arguments.no_parser and not asynchronous:
                peers.build_programs("instructions")
                for mode, what in (("parse", "protocol: parse"), ("exchange", "protocol: parse and answer")):
                    counted, ns = of_parser(mode, request, subfolder(folder, mode))
                    print(f"| {what} | {title} | {counted:,.0f} | {ns:.0f} |", flush=True)
            for server in servers:
                peer = peers.BY_NAME[server]
                if (peer.interface == "asgi") != asynchronous:
                    continue
                try:
                    if peer.needs is not None and not peer.needs.exists():
                        raise ServerFailed(peer.remedy or "python bench/run.py installs it")
                    counted = of_server(peer, load, subfolder(folder, server), shlex.split(arguments.options))
                except (ServerFailed, OSError) as error:
                    print(f"left out: {server}: {error}", file=sys.stderr)
                    failed = True
                    continue
                print(f"| {server}: whole request | {title} | {counted:,.0f} | |", flush=True)
    return 1 if failed else 0


def subfolder(folder: Path, name: str) -> Path:
    """Make a folder of that name and return it."""
    made = folder / name
    made.mkdir(exist_ok=True)
    return made


if __name__ == "__main__":
    sys.exit(main())
