"""What the measurements of TLS, HTTP/2 and uwsgi share: contenders, windows in turn, a table, verdicts."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import peers
from processes import LOAD_CPU, Server, ServerFailed, free_port, on_core, running

HELLO = "Hello, World!"
# Beyond the length of a window, until a client that has not ended is given up.
PATIENCE_S = 30.0

KEY_OPTIONS = {
    "ecdsa": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("-newkey", "rsa:2048"),
}


@dataclass(frozen=True)
class Certificate:
    """Files in PEM; the key is PKCS#8, which all servers read."""

    certificate: Path
    key: Path


def certificate(folder: Path, kind: str = "ecdsa") -> Certificate:
    """Make a certificate for localhost, signed by itself."""
    made = Certificate(folder / f"{kind}.crt", folder / f"{kind}.key")
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", *KEY_OPTIONS[kind]]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@dataclass(frozen=True)
class Contender:
    """One row of a table: what is measured, by name, and how its server is started."""

    name: str
    start: Callable[[], AbstractContextManager[Server]]


def contender(name: str, command: Callable[[int], list[str]], check: Callable[[int], None]) -> Contender:
    """Return one that serves on a port of its own and has to give the right answer before it is measured."""

    @contextlib.contextmanager
    def start() -> Iterator[Server]:
        port = free_port()
        with running(command(port), port, peers.environ(), peers.BENCH) as server:
            check(port)
            yield server

    return Contender(name, start)


@dataclass(frozen=True)
class Count:
    """What a client saw in one window."""

    requests: int
    requests_per_s: float
    errors: int = 0
    # How much of its core the client took: near 1, its figure is its own and not the server's.
    client_busy: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One window: what the client saw, and what the server took for each request."""

    count: Count
    cpu_us: float


@dataclass
class Results:
    """The windows of each contender in each load."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def rate(self, load: str, name: str) -> float:
        """Requests a second, or 0 for what has no figure."""
        return self._median(load, name, lambda sample: sample.count.requests_per_s)

    def cpu_us(self, load: str, name: str) -> float:
        """CPU time of the server for each request, or 0 for what has no figure."""
        return self._median(load, name, lambda sample: sample.cpu_us)

    def _median(self, load: str, name: str, figure: Callable[[Sample], float]) -> float:
        samples = self.samples.get((load, name))
        return statistics.median(map(figure, samples)) if samples else 0.0

    def table(self, load: str, beside: str, unit: str = "request") -> str:
        """One load as a Markdown table, with ratios to one of the contenders."""
        head = (
            f"| {load} | {unit}s/s | of {beside} | CPU us/{unit} | of {beside} | spread | client | errors |"
        )
        lines = [head, "|---|---:|---:|---:|---:|---:|---:|---:|"]
        for (of, name), samples in self.samples.items():
            if of != load:
                continue
            rates = [sample.count.requests_per_s for sample in samples]
            rate, cpu_us = self.rate(load, name), self.cpu_us(load, name)
            cells = [
                f"{rate:,.0f}",
                _ratio(rate, self.rate(load, beside)),
                f"{cpu_us:.1f}",
                _ratio(cpu_us, self.cpu_us(load, beside)),
                f"{(max(rates) - min(rates)) / rate:.0%}" if rate else "",
                f"{statistics.median(sample.count.client_busy for sample in samples):.0%}",
                str(sum(sample.count.errors for sample in samples) or ""),
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _ratio(figure: float, beside: float) -> str:
    return f"{figure / beside:.2f}" if beside else ""


def measure(
    results: Results,
    load: str,
    contenders: Sequence[Contender],
    client: Callable[[int, float], Count],
    arguments: argparse.Namespace,
) -> None:
    """In each round, each contender in turn: start it, warm it up, and run the client for one window."""
    for number in range(arguments.rounds):
        # Each round begins with another one, so that none always has the same neighbour in time.
        shift = number % max(len(contenders), 1)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            key = f"{contender.name}, {load}"
            if contender.name in results.left_out or key in results.left_out:
                continue
            try:
                with contender.start() as server:
                    client(server.port, min(arguments.seconds, 1.0))
                    before = server.cpu_seconds()
                    count = client(server.port, arguments.seconds)
                    took = server.cpu_seconds() - before
            except ServerFailed as problem:
                results.left_out[key] = str(problem)
                results.samples.pop((load, contender.name), None)
                print(f"{key}: {problem}", file=sys.stderr)
                continue
            sample = Sample(count, took / count.requests * 1e6)
            results.samples.setdefault((load, contender.name), []).append(sample)
            print(
                f"round {number + 1}/{arguments.rounds} {load:24} {contender.name:18}"
                f" {count.requests_per_s:9,.0f}/s {sample.cpu_us:8.1f} us"
                + (f" {count.errors} errors" if count.errors else ""),
                file=sys.stderr,
            )


def run_client(command: Sequence[str], seconds: float) -> tuple[str, float]:
    """Run a client on its core; return what it printed and how much of the core it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with on_core(LOAD_CPU):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired as problem:
            raise ServerFailed("the client did not come to its end") from problem
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise ServerFailed(f"the client failed: {done.stderr.strip() or done.stdout.strip()}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, used / took


def h2load(url: str, connections: int, streams: int) -> Callable[[int, float], Count]:
    """Return a client that keeps so many streams open on each connection; `{port}` in the URL is replaced."""

    def client(port: int, seconds: float) -> Count:
        command = ["h2load", "--threads=1", f"--clients={connections}", f"--max-concurrent-streams={streams}"]
        command += [f"--duration={max(round(seconds), 1)}", url.format(port=port)]
        text, busy = run_client(command, seconds)
        return _count_of_h2load(text, busy)

    return client


def _count_of_h2load(text: str, busy: float) -> Count:
    rate = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", text)
    total = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if rate is None or total is None or statuses is None:
        raise ServerFailed(f"cannot read what h2load printed: {text!r}")
    if not int(total[2]):
        raise ServerFailed("no request was answered")
    # What was in flight when the time was over is not counted, and is no error.
    errors = int(total[1]) - int(total[2]) + sum(map(int, statuses.groups()[1:]))
    return Count(int(total[2]), float(rate[1]), errors, busy)


def wrk(url: str, connections: int = 64) -> Callable[[int, float], Count]:
    """Return a client for HTTP/1.1 with connections that are kept; `{port}` in the URL is replaced."""

    def client(port: int, seconds: float) -> Count:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "5s"]
        text, busy = run_client([*command, url.format(port=port)], seconds)
        return _count_of_wrk(text, busy)

    return client


def _count_of_wrk(text: str, busy: float) -> Count:
    total = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if total is None or rate is None:
        raise ServerFailed(f"cannot read what wrk printed: {text!r}")
    if not int(total[1]):
        raise ServerFailed("no request was answered")
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = sum(int(figure) for found in (sockets, statuses) if found for figure in found.groups())
    return Count(int(total[1]), float(rate[1]), errors, busy)


def verify(url: str, *options: str) -> None:
    """Ask once with curl, and raise unless the answer is right."""
    command = ["curl", "--silent", "--show-error", "--insecure", "--max-time", "10", *options, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout != HELLO:
        raise ServerFailed(f"wrong answer: {done.stdout[:60]!r} {done.stderr.strip()}")


def verdict(name: str, figure: float, at_least: float = 0.0, at_most: float = 0.0) -> bool:
    """Print one verdict; what has no figure is missed."""
    passed = figure > 0 and figure >= at_least and (not at_most or figure <= at_most)
    target = f"at least {at_least}" if at_least else f"at most {at_most}"
    print(f"{'PASS' if passed else 'FAIL'}: {name}: {figure:.2f}, {target}")
    return passed


def require(**packages: str) -> None:
    """End the script unless the programs are there, each given with Debian's package for it."""
    # Servers are not on everyone's PATH.
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    absent = [package for program, package in packages.items() if shutil.which(program, path=path) is None]
    if absent:
        raise SystemExit(f"bench: not installed (Debian: apt-get install {' '.join(absent)})")


def parser(description: str | None, seconds: float = 4.0) -> argparse.ArgumentParser:
    """Return a parser with what every script takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    made.add_argument("--seconds", type=float, default=seconds, help="of a window (default: %(default)s)")
    return made


def tidegate(port: int, app: str, *options: str, scheme: str = "") -> list[str]:
    """Return the command of a server of one process, as the other measurements have it."""
    bind = f"{scheme}127.0.0.1:{port}"
    return [str(peers.TIDEGATE), "--no-supervisor", "--bind", bind, *peers.BACKLOG, *options, app]
