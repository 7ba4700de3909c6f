"""From samples to what is printed: medians, ratios, one table, and the verdicts on what must be reached."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
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
    seconds: float
    cpu_us: float
    requests_per_s: float
    p50_us: float
    pss_mib: float
    errors: int


@dataclass(frozen=True)
class Median:
    """The medians of one server under one load over all rounds."""

    cpu_us: float
    requests_per_s: float
    p50_us: float
    pss_mib: float
    errors: int
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
            pss_mib=statistics.median(sample.pss_mib for sample in found),
            errors=sum(sample.errors for sample in found),
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
    requirements = [*peers.FRAMEWORKS, *(item for peer in peers.PEERS for item in peer.requirements)]
    named = {item.split("==")[0] for item in requirements} | {"node"}
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


def table(run: Run) -> str:
    """Return the one table, as Markdown that reads as text too."""
    head = ["load", "server", "CPU us/request", "of the limit", "tidegate is", "requests/s", "p50"]
    head += ["PSS MiB", "spread"]
    rows = [head]
    for load in loads.LOADS:
        limit, ours = run.median("limit", load.name), run.median("tidegate", load.name)
        found = [(peer, median) for peer in peers.PEERS if (median := run.median(peer.name, load.name))]
        for peer, median in sorted(found, key=lambda pair: pair[1].cpu_us):
            mark = "" if peer.keeps_alive else " (no keep-alive)"
            rows.append(
                [
                    load.title,
                    f"**{peer.name}**" if peer.name == "tidegate" else f"{peer.name}{mark}",
                    f"{median.cpu_us:.1f}",
                    f"{median.cpu_us / limit.cpu_us:.2f}" if limit else "",
                    f"{ours.cpu_us / median.cpu_us:.2f}" if ours else "",
                    f"{median.requests_per_s:,.0f}",
                    _time(median.p50_us),
                    f"{median.pss_mib:.1f}",
                    f"{median.spread:.0%}" + (f", {median.errors} errors" if median.errors else ""),
                ]
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    # The first two columns are words, the others figures.
    rows.insert(1, ["-" * width if at < 2 else "-" * (width - 1) + ":" for at, width in enumerate(widths)])
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    )


def _time(us: float) -> str:
    return f"{us:.1f} us" if us < 1000 else f"{us / 1000:.2f} ms"


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

    def text(self) -> str:
        """Return the row of the table of verdicts."""
        if self.measured is None:
            measured, verdict = "not measured", "-"
        else:
            measured, verdict = f"{self.measured:.2f}{self.unit}", "reached" if self.reached() else "MISSED"
        return f"| {self.what} | {measured} | at most {self.target:g}{self.unit} | {verdict} |"

    def reached(self) -> bool:
        """Whether it was measured and is within the target."""
        return self.measured is not None and self.measured <= self.target


def verdicts(run: Run) -> list[Verdict]:
    """Hold the run against what must be reached."""

    def cpu_ratio(other: str) -> float | None:
        ours, theirs = run.median("tidegate", "hello"), run.median(other, "hello")
        return ours.cpu_us / theirs.cpu_us if ours and theirs else None

    def latency_ratio(load: str) -> float | None:
        ours, limit = run.median("tidegate", load), run.median("limit", load)
        return ours.p50_us / limit.p50_us if ours and limit else None

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


def verdict_table(run: Run) -> str:
    """Return the verdicts as Markdown."""
    head = ["| must reach | measured | target | verdict |", "|---|---:|---:|---|"]
    return "\n".join(head + [verdict.text() for verdict in verdicts(run)])
