"""The same code and 5,000 clients at once, under each way to wait: `make demo-concurrency`.

The code is examples/waiting.py: a handler that waits 100 ms and answers seven bytes. What the rows need
beside tidegate is installed into `.venv-demo`. The servers are run one after the other on one core, the
clients on another one. bench/ measures with more care; this is for seeing the difference.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import peers  # The path must be there first.
from processes import (
    LOAD_CPU,
    PINNED,
    SERVER_CPU,
    TICKS_PER_SECOND,
    Server,
    ServerFailed,
    free_port,
    on_core,
    raise_file_limit,
    running,
)
from report import describe_machine

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"
EXAMPLES = ROOT / "examples"
VENV = ROOT / ".venv-demo"
# The same versions as in the benchmarks: gunicorn with its C parser, and gevent for both servers.
REQUIREMENTS = peers.BY_NAME["gunicorn-gevent"].requirements

APP = "waiting:application"
WAIT_S = 0.1
# Clients of the warm-up: enough to start what is started on demand.
WARM_UP_CLIENTS, WARM_UP_S = 1000, 2
# A core that has less than this to spare is taken for full.
FULL = 0.9
# Other work on the cores, in cores, that spoils a row.
OTHERS = 0.2

# Nobody is turned away here, in whatever row: who finds no thread free waits.
QUEUE = ("--queue-size", "20000", "--queue-timeout", "60s")


@dataclass(frozen=True)
class Row:
    """One way to wait."""

    name: str
    command: Callable[[int], list[str]]
    # Threads that wait, where it is threads.
    threads: int | None = None
    needs: Path | None = None


def tidegate(*flags: str) -> Callable[[int], list[str]]:
    command = str(ROOT / ".venv" / "bin" / "tidegate")
    return lambda port: [command, "--bind", f"127.0.0.1:{port}", *flags, APP]


def gunicorn(port: int) -> list[str]:
    # Its own limit on connections (1,000) would leave four of five clients outside.
    return [
        *(str(VENV / "bin" / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--log-level", "critical"),
        *("--worker-class", "gthread", "--threads", "200", "--worker-connections", "20000"),
        *("--backlog", "4096", "--http-parser", "fast", APP),
    ]


NODE = Path(shutil.which("node") or "/nonexistent/node")
ROWS = (
    Row("gunicorn gthread, 200 threads", gunicorn, threads=200),
    Row("tidegate, 200 threads", tidegate("--threads", "200", *QUEUE), threads=200),
    Row("tidegate, 1,000 threads", tidegate("--threads", "1000", *QUEUE), threads=1000),
    Row("tidegate, greenlets", tidegate("--concurrency", "greenlets")),
    Row(
        "Node.js, setTimeout",
        lambda port: [str(NODE), str(TOOLS / "demo_concurrency.js"), str(port)],
        needs=NODE,
    ),
)


@dataclass(frozen=True)
class Seen:
    """What the clients saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True)
class Measured:
    """What one row came to. Shares are of one core."""

    seen: Seen
    pss_bytes: int
    server_s: float
    client_s: float
    # What anything else on these cores has taken.
    others_s: float

    @property
    def rate(self) -> float:
        return self.seen.requests / self.seen.seconds

    @property
    def server_share(self) -> float:
        return self.server_s / self.seen.seconds

    @property
    def client_share(self) -> float:
        return self.client_s / self.seen.seconds


# The clients


def client_command(port: int, clients: int, seconds: int) -> list[str]:
    if wrk := shutil.which("wrk"):
        # One thread for the one core. A client that is served late is late, and not an error.
        how = ["-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency"]
        return [wrk, *how, f"http://127.0.0.1:{port}/"]
    return [sys.executable, str(TOOLS / "demo_client.py"), str(port), str(clients), str(seconds)]


def read_seen(text: str) -> Seen:
    if text.startswith("{"):
        return Seen(**json.loads(text))
    counted = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    median, late = (re.search(rf"{share}%\s+([\d.]+)(us|ms|s|m)\b", text) for share in (50, 99))
    if counted is None or median is None or late is None:
        raise ServerFailed(f"cannot read what wrk printed: {text!r}")
    in_ms = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    errors = [
        re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text),
        re.search(r"Non-2xx or 3xx responses: (\d+)", text),
    ]
    return Seen(
        requests=int(counted[1]),
        seconds=float(counted[2]) * in_ms[counted[3]] / 1000,
        p50_ms=float(median[1]) * in_ms[median[2]],
        p99_ms=float(late[1]) * in_ms[late[2]],
        errors=sum(int(figure) for found in errors if found for figure in found.groups()),
    )


def put(server: Server, clients: int, seconds: int) -> Measured:
    """Put the clients on the server for that long."""
    server_before, client_before, busy_before = server.cpu_seconds(), ended_children_s(), busy_s()
    with on_core(LOAD_CPU):
        process = subprocess.Popen(
            client_command(server.port, clients, seconds), stdout=subprocess.PIPE, text=True
        )
    # While it is under load: memory that is given back when the clients leave is memory that they cost.
    time.sleep(seconds * 0.7)
    pss = server.pss_bytes()
    text, _ = process.communicate(timeout=60)
    if process.returncode != 0:
        raise ServerFailed(f"the client failed: {text.strip()}")
    server_s = server.cpu_seconds() - server_before
    client_s = ended_children_s() - client_before
    others_s = max(0.0, busy_s() - busy_before - server_s - client_s)
    return Measured(read_seen(text), pss, server_s, client_s, others_s)


def ended_children_s() -> float:
    """Processor time of the children that have ended: of clients, while the server runs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def busy_s() -> float:
    """Time that the cores of server and clients have spent on processes, or were denied by the host."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *figures = line.split()
        if name in {f"cpu{SERVER_CPU}", f"cpu{LOAD_CPU}"}:
            user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, figures[:8])
            ticks += user + nice + system + steal
    return ticks / TICKS_PER_SECOND


def measure(row: Row, clients: int, seconds: int) -> Measured:
    """Run one server, warm it up and measure it."""
    port = free_port()
    site = next((VENV / "lib").glob("python*/site-packages"))
    environ = {**peers.environ(), "PYTHONPATH": str(site)}
    with running(row.command(port), port, environ, EXAMPLES) as server:
        put(server, min(clients, WARM_UP_CLIENTS), WARM_UP_S)
        # What a pool has queued of the warm-up is worked off.
        time.sleep(1)
        return put(server, clients, seconds)


# The table


def limited_by(row: Row, measured: Measured, clients: int) -> str:
    """What would have to grow for this row to grow, as far as the figures tell."""
    if not PINNED:
        return "the one core that server and clients share"
    if measured.server_share >= FULL:
        return "the server's core"
    if measured.client_share >= FULL:
        return "the clients' core: the server could do more"
    if row.threads and measured.rate > 0.8 * row.threads / WAIT_S:
        return f"its threads: {row.threads:,} / {WAIT_S} s = {row.threads / WAIT_S:,.0f} a second"
    if measured.rate > 0.8 * clients / WAIT_S:
        return f"the wait itself: {clients:,} / {WAIT_S} s = {clients / WAIT_S:,.0f} a second"
    if (share := measured.others_s / measured.seen.seconds) > OTHERS:
        return f"other work on this machine, which took {share:.1f} cores: run it again when it is quiet"
    shares = f"{measured.server_share:.0%} and {measured.client_share:.0%}"
    return f"nothing that shows: server and clients take {shares} of their cores"


def cells(row: Row, measured: Measured, clients: int) -> list[str]:
    seen = measured.seen
    return [
        row.name,
        f"{measured.rate:,.0f}",
        f"{seen.p50_ms:,.0f} ms",
        f"{seen.p99_ms:,.0f} ms",
        f"{seen.errors:,}",
        f"{measured.pss_bytes / 2**20:,.0f} MiB",
        f"{measured.server_s / max(seen.requests, 1) * 1e6:,.0f} us",
        limited_by(row, measured, clients),
    ]


HEAD = ["", "requests/s", "p50", "p99", "errors", "memory (PSS)", "CPU/request", "limited by"]


def print_table(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [HEAD, *rows]) for column in range(len(HEAD))]
    for row in [HEAD, *rows]:
        # Words to the left, figures to the right.
        print(
            "  ".join(
                cell.ljust(width) if column in (0, len(HEAD) - 1) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )


def install() -> None:
    """Install what is missing; says so, because the first time takes a while."""
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    stamp, wanted = VENV / "installed", "\n".join(REQUIREMENTS)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {' '.join(REQUIREMENTS)} into {VENV.name}", file=sys.stderr)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        stamp.write_text(wanted)


def main() -> int:
    """Measure each row and print the table; the exit status says whether all rows are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5000, help="at once (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="for each row (default: %(default)s)")
    arguments = parser.parse_args()
    clients, seconds = arguments.clients, arguments.seconds
    if raise_file_limit(2 * clients + 1000) < clients + 500:
        parser.error(f"the limit on open files (ulimit -Hn) does not allow {clients} connections")
    install()

    machine = describe_machine()
    named = [machine["processor"], machine["size"], machine["kernel"], f"Python {platform.python_version()}"]
    print(f"{', '.join(named)}; commit {machine['commit']}")
    tool = "wrk" if shutil.which("wrk") else "tools/demo_client.py (wrk is not installed)"
    where = "server and clients on one core each" if PINNED else "server and clients on the same core"
    print(f"{clients:,} clients at once for {seconds} s each, by {tool}; {where}")
    print(f"The code waits {WAIT_S * 1000:.0f} ms: examples/{APP.partition(':')[0]}.py\n", flush=True)

    rows, left_out = [], []
    for row in ROWS:
        if row.needs and not row.needs.exists():
            print(f"{row.name}: left out, it is not installed", file=sys.stderr)
            continue
        try:
            rows.append(cells(row, measure(row, clients, seconds), clients))
        except ServerFailed as error:
            left_out.append(f"{row.name}: {error}")
            continue
        print(f"{rows[-1][0]}: {rows[-1][1]} requests/s", file=sys.stderr)
    print_table(rows)
    for line in left_out:
        print(f"\nleft out: {line}")
    return 1 if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
