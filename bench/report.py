"""From samples to what is printed: medians, ratios, one table, and the verdicts on what must be reached."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import loads
import peers


@dataclass(frozen=True)
class Sample:
    """One server under one load in one round."""

    server: str
    load: str
    round: int
    requests: int
    cpu_us: float
    requests_per_s: float
    p50_us: float
    p99_us: float
    pss_mib: float
    errors: int
    # What only some loads have: `waiting_kib` of those that hold requests, and the figures of overload.py.
    figures: dict[str, float]


@dataclass(frozen=True)
class Median:
    """The medians of one server under one load over all rounds."""

    cpu_us: float
    requests_per_s: float
    p50_us: float
    p99_us: float
    pss_mib: float
    errors: int
    figures: dict[str, float]
    # Highest less lowest CPU time per request over the rounds, as a share of the median: how far to trust it.
    spread: float


@dataclass
class Run:
    """Everything one run found out; what `--json` writes."""

    machine: dict[str, str]
    samples: list[Sample]
    # "SERVER" or "SERVER under LOAD", and why there is no figure.
    left_out: dict[str, str]
    # What memory.py measured of tidegate, by the name of the figure; empty when it was not asked.
    memory: dict[str, float]

    def median(self, server: str, load: str) -> Median | None:
        """Return the medians of a pair, or None when it was not measured."""
        found = [sample for sample in self.samples if (sample.server, sample.load) == (server, load)]
        if not found:
            return None
        cpu = [sample.cpu_us for sample in found]
        return Median(
            cpu_us=statistics.median(cpu),
            requests_per_s=statistics.median(sample.requests_per_s for sample in found),
            p50_us=statistics.median(sample.p50_us for sample in found),
            p99_us=statistics.median(sample.p99_us for sample in found),
            pss_mib=statistics.median(sample.pss_mib for sample in found),
            errors=sum(sample.errors for sample in found),
            # A figure that one round is missing is what the others say: nothing was refused in it, say.
            figures={
                name: statistics.median(sample.figures[name] for sample in found if name in sample.figures)
                for name in {name for sample in found for name in sample.figures}
            },
            spread=(max(cpu) - min(cpu)) / statistics.median(cpu),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the json module."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        """Rebuild what `to_json` gave."""
        samples = [Sample(**sample) for sample in data["samples"]]
        return cls(data["machine"], samples, data["left_out"], data["memory"])


def describe_machine() -> dict[str, str]:
    """Return what a reader needs to judge the figures; nothing that names one particular machine."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    described = {
        "processor": model[1].strip() if model else platform.machine(),
        "size": f"{os.cpu_count()} cores, {memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": _first_line(
            [str(peers.BIN / "python"), "-c", "import platform; print(platform.python_version())"]
        ),
        "compiler": _first_line(["rustc", "--version"]),
        "commit": _first_line(["git", "-C", str(peers.ROOT), "rev-parse", "--short", "HEAD"])
        or "not committed",
    }
    pinned = [*peers.FRAMEWORKS, *peers.ASGI_FRAMEWORKS]
    pinned += [item for peer in peers.PEERS for item in (*peer.requirements, *peer.packages)]
    named = {re.split("==|@", item)[0] for item in pinned} | {"node"}
    installed = peers.versions()
    described["versions"] = ", ".join(
        f"{name} {installed[name]}" for name in sorted(named & installed.keys())
    )
    return described


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def tables(run: Run) -> list[str]:
    """Return the tables of what was measured, as Markdown that reads as text too."""
    parts = [_cost_table(run, "wsgi"), _waiting_table(run, "wsgi"), _overload_table(run)]
    parts += [_cost_table(run, "asgi"), _waiting_table(run, "asgi"), _sockets_table(run)]
    return [part for part in parts if part]


def _measured(
    run: Run, interface: peers.Interface, *kinds: loads.Kind
) -> Iterator[tuple[loads.Load, peers.Peer, Median]]:
    """Go through what was measured under loads of these kinds, in each load by cost."""
    for load in loads.LOADS:
        if load.interface == interface and load.kind in kinds:
            found = [(peer, median) for peer in peers.PEERS if (median := run.median(peer.name, load.name))]
            for peer, median in sorted(found, key=lambda pair: pair[1].cpu_us):
                yield load, peer, median


# What "tidegate is" speaks of. The other ASGI servers run on uvloop, so that this is like against like.
OURS: dict[peers.Interface, str] = {"wsgi": "tidegate", "asgi": "tidegate-uvloop"}


def _tidegate_is(run: Run, load: loads.Load, theirs: Median) -> str:
    ours = run.median(OURS[load.interface], load.name)
    return f"{ours.cpu_us / theirs.cpu_us:.2f}" if ours else ""


def _cost_table(run: Run, interface: peers.Interface) -> str:
    head = ["load", "server", "CPU us/request", "of the limit", "tidegate is", "requests/s", "p50"]
    head += ["PSS MiB", "spread"]
    rows = []
    for load, peer, median in _measured(run, interface, "hello", "work"):
        limit = run.median("limit", load.name)
        rows.append(
            [
                load.title,
                _name(peer),
                f"{median.cpu_us:.1f}",
                f"{median.cpu_us / limit.cpu_us:.2f}" if limit else "",
                _tidegate_is(run, load, median),
                f"{median.requests_per_s:,.0f}",
                _time(median.p50_us),
                f"{median.pss_mib:.1f}",
                _spread(median),
            ]
        )
    return _markdown(head, rows)


def _waiting_table(run: Run, interface: peers.Interface) -> str:
    head = [
        "load",
        "server",
        "requests/s",
        "p50",
        "p99",
        "CPU us/request",
        "PSS MiB",
        "KiB/waiting",
        "spread",
    ]
    rows = [
        [
            load.title,
            _name(peer),
            f"{median.requests_per_s:,.0f}",
            _time(median.p50_us),
            _time(median.p99_us),
            f"{median.cpu_us:.1f}",
            f"{median.pss_mib:.1f}",
            _figure(median, "waiting_kib", ".1f"),
            _spread(median),
        ]
        for load, peer, median in _measured(run, interface, "wait")
    ]
    return _markdown(head, rows)


def _overload_table(run: Run) -> str:
    head = ["load", "server", "goodput/s", "lowest, of peak", "served p99", "refused", "refused p99"]
    head += ["recovery", "CPU us/request", "spread"]
    rows = [
        [
            load.title,
            _name(peer),
            _figure(median, "goodput", ",.0f"),
            _figure(median, "goodput_of_peak", ".2f"),
            _figure(median, "served_p99_ms", ",.0f", " ms"),
            _figure(median, "refused_share", ".0%"),
            _figure(median, "refused_p99_ms", ",.1f", " ms"),
            _figure(median, "recovery_s", ".1f", " s"),
            f"{median.cpu_us:.1f}",
            _spread(median),
        ]
        for load, peer, median in _measured(run, "wsgi", "overload")
    ]
    return _markdown(head, rows)


def _sockets_table(run: Run) -> str:
    head = ["load", "server", "CPU us/message", "tidegate is", "messages/s", "p50", "p99", "PSS MiB"]
    head += ["KiB/waiting", "spread"]
    rows = [
        [
            load.title,
            _name(peer),
            f"{median.cpu_us:.1f}",
            _tidegate_is(run, load, median),
            f"{median.requests_per_s:,.0f}",
            _time(median.p50_us),
            _time(median.p99_us),
            f"{median.pss_mib:.1f}",
            _figure(median, "waiting_kib", ".1f"),
            _spread(median),
        ]
        for load, peer, median in _measured(run, "asgi", "websocket")
    ]
    return _markdown(head, rows)


def _name(peer: peers.Peer) -> str:
    if peer.name.startswith("tidegate"):
        return f"**{peer.name}**"
    return peer.name if peer.keeps_alive else f"{peer.name} (no keep-alive)"


def _figure(median: Median, name: str, form: str, unit: str = "") -> str:
    return f"{median.figures[name]:{form}}{unit}" if name in median.figures else ""


def _spread(median: Median) -> str:
    return f"{median.spread:.0%}" + (f", {median.errors} errors" if median.errors else "")


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [head, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(head))]
    # The first two columns are words, the others figures.
    lines.insert(1, ["-" * width if at < 2 else "-" * (width - 1) + ":" for at, width in enumerate(widths)])
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in lines
    )


def _time(us: float) -> str:
    return f"{us:.1f} us" if us < 1000 else f"{us / 1000:,.2f} ms"


def notes(run: Run) -> str:
    """Return what belongs under the table: the machine, what each server is, what was left out and why."""
    lines = [f"- {name}: {value}" for name, value in run.machine.items()]
    measured = {sample.server for sample in run.samples}
    lines += [f"- {peer.name}: {peer.note}" for peer in peers.PEERS if peer.note and peer.name in measured]
    lines += [f"- left out: {name}: {why}" for name, why in run.left_out.items()]
    return "\n".join(lines)


@dataclass(frozen=True)
class Verdict:
    """One line of what must be reached."""

    what: str
    measured: float | None
    target: float
    unit: str = ""
    # The target is the least that it may be, not the most.
    at_least: bool = False

    def text(self) -> str:
        """Return the row of the table of verdicts."""
        bound = "at least" if self.at_least else "at most"
        if self.measured is None:
            measured, verdict = "not measured", "-"
        else:
            measured, verdict = f"{self.measured:.2f}{self.unit}", "reached" if self.reached() else "MISSED"
        return f"| {self.what} | {measured} | {bound} {self.target:g}{self.unit} | {verdict} |"

    def reached(self) -> bool:
        """Whether it was measured and is within the target."""
        if self.measured is None:
            return False
        return self.measured >= self.target if self.at_least else self.measured <= self.target


def verdicts(run: Run, interfaces: Collection[str]) -> list[Verdict]:
    """Hold the run against what must be reached with applications of these interfaces."""
    found = []
    if "wsgi" in interfaces:
        found += [*_verdicts_of_cost(run), *_verdicts_of_waiting(run), *_verdicts_of_overload(run)]
    if "asgi" in interfaces:
        found += _verdicts_of_asgi(run)
    return found


def _ratio(run: Run, load: str, ours: str, theirs: str, what: str) -> float | None:
    """Return one server's figure divided by another's under the same load."""
    our_median, their_median = run.median(ours, load), run.median(theirs, load)
    if our_median is None or their_median is None:
        return None
    return float(getattr(our_median, what) / getattr(their_median, what))


def _verdicts_of_cost(run: Run) -> list[Verdict]:
    def cpu_ratio(other: str) -> float | None:
        return _ratio(run, "hello", "tidegate", other, "cpu_us")

    def latency_ratio(load: str) -> float | None:
        return _ratio(run, load, "tidegate", "limit", "p50_us")

    return [
        Verdict("hello, 64 connections: CPU per request, of the limit's", cpu_ratio("limit"), 1.4),
        Verdict("hello, 64 connections: CPU per request, of bjoern's", cpu_ratio("bjoern"), 0.85),
        Verdict("hello, 64 connections: CPU per request, of fastpysgi's", cpu_ratio("fastpysgi"), 0.70),
        Verdict("hello, 64 connections: CPU per request, of Granian's", cpu_ratio("granian"), 0.50),
        Verdict(
            "hello, 1 connection, two cores: median latency, of the limit's", latency_ratio("hello-1"), 1.3
        ),
        Verdict(
            "hello, 1 connection, one core: median latency, of the limit's",
            latency_ratio("hello-1-core"),
            1.3,
        ),
        Verdict("10 GiB streamed out: memory above start", run.memory.get("stream_mib"), 64, " MiB"),
        Verdict("2 GiB uploaded: memory above start", run.memory.get("upload_mib"), 64, " MiB"),
        Verdict("10,000 idle connections: memory each", run.memory.get("idle_connection_kib"), 6, " KiB"),
        Verdict("idle server: wake-ups", run.memory.get("wakeups_per_s"), 1, "/s"),
    ]


def _verdicts_of_waiting(run: Run) -> list[Verdict]:
    threads, greenlets = "tidegate-threads", "tidegate-greenlets"
    thousand, thousands = run.median(threads, "sleep-1000"), run.median(greenlets, "sleep-8000")
    # A thousand connections, each answered ten times a second.
    of_ideal = thousand.requests_per_s / 10_000 if thousand else None
    tail = thousands.p99_us / thousands.p50_us if thousands else None

    def hello(ours: str, theirs: str) -> float | None:
        return _ratio(run, "hello", ours, theirs, "cpu_us")

    def of_granian(what: str) -> float | None:
        return _ratio(run, "sleep-1000", threads, "granian-threads", what)

    def of_peer(theirs: str, what: str) -> float | None:
        return _ratio(run, "sleep-8000", greenlets, theirs, what)

    def mix_ms(server: str) -> float | None:
        median = run.median(server, "mix")
        return median.p99_us / 1000 if median else None

    return [
        Verdict("threads, hello: CPU per request, of --threads 1's", hello(threads, "tidegate"), 1.10),
        Verdict("threads, 1,000 sleepers: requests/s, of the ideal", of_ideal, 0.90, at_least=True),
        Verdict("threads, 1,000 sleepers: CPU per request, of Granian's", of_granian("cpu_us"), 0.65),
        Verdict("threads, 1,000 sleepers: memory, of Granian's", of_granian("pss_mib"), 0.35),
        Verdict(
            "greenlets, hello: CPU per request, of gunicorn gevent's",
            hello(greenlets, "gunicorn-gevent"),
            0.10,
        ),
        Verdict("greenlets, hello: CPU per request, of --threads 1's", hello(greenlets, "tidegate"), 1.6),
        Verdict(
            "greenlets, 8,000 sleepers: requests/s, of Node.js's",
            of_peer("node", "requests_per_s"),
            1.25,
            at_least=True,
        ),
        Verdict("greenlets, 8,000 sleepers: memory, of Node.js's", of_peer("node", "pss_mib"), 0.5),
        Verdict(
            "greenlets, 8,000 sleepers: requests/s, of gunicorn gevent's",
            of_peer("gunicorn-gevent", "requests_per_s"),
            8,
            at_least=True,
        ),
        Verdict("greenlets, 8,000 sleepers: p99, of its p50", tail, 5),
        Verdict("threads, the mix: p99 of the fast", mix_ms(threads), 10, " ms"),
        Verdict("greenlets, the mix: p99 of the fast", mix_ms(greenlets), 10, " ms"),
    ]


def _verdicts_of_overload(run: Run) -> list[Verdict]:
    longest_ms = peers.QUEUE_TIMEOUT_S * 1000 + loads.SERVICE_MS
    found = []
    for host in ("threads", "greenlets"):
        median = run.median(f"tidegate-{host}", "overload")
        figures = median.figures if median else {}
        what = f"{host}, twice too much:"
        found += [
            Verdict(
                f"{what} lowest goodput, of its peak", figures.get("goodput_of_peak"), 0.85, at_least=True
            ),
            Verdict(f"{what} p99 of the served", figures.get("served_p99_ms"), longest_ms, " ms"),
            Verdict(f"{what} p99 of the refused", figures.get("refused_p99_ms"), 50, " ms"),
            Verdict(f"{what} neither served nor refused", float(median.errors) if median else None, 0),
            Verdict(f"{what} recovery after it", figures.get("recovery_s"), 2, " s"),
        ]
    return found


def _verdicts_of_asgi(run: Run) -> list[Verdict]:
    ours = OURS["asgi"]
    asynchronous, synchronous = run.median(ours, "asgi-hello-64"), run.median("tidegate", "hello")
    resting = run.median(ours, "ws-idle")

    def cpu_ratio(other: str) -> float | None:
        return _ratio(run, "asgi-hello-64", ours, other, "cpu_us")

    def latency_ratio(load: str) -> float | None:
        return _ratio(run, load, ours, "granian-asgi", "p50_us")

    def messages(other: str) -> float | None:
        return _ratio(run, "ws-echo-small-64", ours, other, "requests_per_s")

    # Of the cheaper one, for which both have to be known.
    of_each = [ratio for other in ("h2corn", "granian-asgi") if (ratio := cpu_ratio(other)) is not None]
    of_best = max(of_each) if len(of_each) == 2 else None
    of_own = asynchronous.cpu_us / synchronous.cpu_us if asynchronous and synchronous else None
    return [
        Verdict(
            "ASGI hello, 64 connections: CPU per request, of the less of h2corn's and Granian's",
            of_best,
            0.55,
        ),
        Verdict("ASGI hello, 64 connections: CPU per request, of uvicorn's", cpu_ratio("uvicorn"), 0.40),
        Verdict("ASGI hello, 64 connections: CPU per request, of WSGI's, --threads 1", of_own, 2.0),
        Verdict(
            "ASGI hello, 1 connection, two cores: median latency, of Granian's",
            latency_ratio("asgi-hello-1"),
            0.6,
        ),
        Verdict(
            "ASGI hello, 1 connection, one core: median latency, of Granian's",
            latency_ratio("asgi-hello-1-core"),
            0.6,
        ),
        Verdict(
            "ASGI, 8,000 sleepers: requests/s, of Node.js's",
            _ratio(run, "asgi-sleep", ours, "node", "requests_per_s"),
            1.3,
            at_least=True,
        ),
        Verdict(
            "echo of 32 bytes, 64 WebSockets: messages/s, of uvicorn's",
            messages("uvicorn"),
            2.0,
            at_least=True,
        ),
        Verdict(
            "echo of 32 bytes, 64 WebSockets: messages/s, of Granian's",
            messages("granian-asgi"),
            1.3,
            at_least=True,
        ),
        Verdict(
            "10,000 WebSockets at rest: memory each",
            resting.figures.get("waiting_kib") if resting else None,
            12,
            " KiB",
        ),
    ]


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """Return the verdicts as Markdown."""
    head = ["| must reach | measured | target | verdict |", "|---|---:|---:|---|"]
    return "\n".join(head + [verdict.text() for verdict in verdicts])
