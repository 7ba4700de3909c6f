"""How long from `tidegate hello:application` to the first answer: `python bench/cold_start.py`.

With default settings, under a supervisor, on the loopback address; the client tries to connect every quarter
of a millisecond. What it is held against is what Python itself needs: `python -c "import hello"`, from its
start to its end. Both are started in turn, and medians taken. Exit status 1 when it takes twice as long.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peers
from processes import free_port

RATIO_MAX = 2.0
PATIENCE_S = 20.0
KNOCK_EVERY_S = 0.00025

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world!"]
"""


def run(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a command where hello.py is."""
    # As an operator has it: with the byte code that earlier runs have written.
    environ = {name: value for name, value in peers.environ().items() if not name.startswith("PYTHON")}
    return subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.DEVNULL)


def first_answer(port: int) -> None:
    """Ask until there is an answer."""
    address = ("127.0.0.1", port)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            if not sock.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n"):
                raise SystemExit("a wrong answer")
            return
        time.sleep(KNOCK_EVERY_S)
    raise SystemExit("no answer")


def serve(folder: Path, options: list[str]) -> float:
    """Return the milliseconds to the first answer."""
    port = free_port()
    began = time.perf_counter()
    server = run([str(peers.TIDEGATE), "--bind", f"127.0.0.1:{port}", *options, "hello:application"], folder)
    try:
        first_answer(port)
        took = time.perf_counter() - began
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE_S)
    return took * 1000


def python(folder: Path, code: str) -> float:
    """Return the milliseconds that Python takes for this."""
    began = time.perf_counter()
    run([str(peers.TIDEGATE_PYTHON), "-c", code], folder).wait()
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=30, help="of each (default: %(default)s)")
    add("options", nargs="*", help="further flags for tidegate, after --")
    arguments = parser.parse_args()
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        (folder / "hello.py").write_text(HELLO)
        commands: dict[str, Callable[[], float]] = {
            "python -c pass": lambda: python(folder, "pass"),
            'python -c "import hello"': lambda: python(folder, "import hello"),
            'python -c "import tidegate"': lambda: python(folder, "import tidegate"),
            "tidegate to the first answer": lambda: serve(folder, arguments.options),
        }
        for number in range(arguments.runs + 2):
            for what, measure in commands.items():
                took = measure()
                # The first ones write byte code, and find files that are not in memory yet.
                if number >= 2:
                    samples.setdefault(what, []).append(took)
    print("| what | median ms | fastest | slowest |")
    print("|---|---:|---:|---:|")
    for what, taken in samples.items():
        print(f"| {what} | {statistics.median(taken):.1f} | {min(taken):.1f} | {max(taken):.1f} |")
    _, reference, _, server = (statistics.median(taken) for taken in samples.values())
    passed = server < RATIO_MAX * reference
    verdict = "pass" if passed else "FAIL"
    print(f"\ntidegate: {server / reference:.2f} times the import; target: under {RATIO_MAX:.0f}; {verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
