"""docs/conformance.md: prose, the summary, the table of every check and server, and what was seen where one
failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from conformance.model import Check, Level

# Longer notes are cut; the JSON of a run has them whole.
NOTE_MAX = 160
NOTES_PER_CHECK = 3

# What tools/autobahn.py puts behind the page begins with this line.
APPENDED = "## WebSocket: the Autobahn test suite"

INTRODUCTION = """\
# WSGI and HTTP conformance

`conformance/` is a black-box test suite for WSGI servers. Given a server's command line it starts the server
with probing applications and talks to it over raw sockets: {points} checks put the fine points of PEP 3333,
{rows} more put HTTP/1.1 requests and responses on which servers have differed, among them the inputs of
published advisories. It needs nothing but Python 3.10 or later, and knows nothing about the server but how to
start it.

## Run it on your server

```
# in the root of a checkout
python -m conformance --name mine -- myserver --listen 127.0.0.1:{{port}} {{app}}
```

`{{app}}` becomes `conformance.apps:application`, `{{port}}` a free port. `--list` shows the checks, `--only
REGEX` runs some of them, `--json FILE` keeps what was seen. [conformance/README.md](../conformance/README.md)
has the rest.
`make conformance-peers` measures again what stands below.

## How to read the tables

A check is one rule with its source. Its level says how binding the rule is: **MUST** and **SHOULD** are the
words of its source (a PEP's "must", an RFC's), **advice** is what no specification demands, for example where
an RFC lets a server accept what careful ones refuse. A failed check of the last kind is a difference, not a
violation.

| mark | meaning |
|---|---|
| ✓ | the server did as the rule says |
| ✗ | it did not; what was seen stands under its name below |
| 3/7 | a rule with several inputs: three of seven came out as the rule says |
| n/a | not applicable: the feature is optional and absent, or no command line for it is known |

- Where PEP 3333 leaves a choice, every legal answer passes: hop-by-hop headers may be refused or dropped, not
  sent on.
- A refusal is a refusal: where the corpus names 400, another 4xx, 501 or 505 passes as well. 500 and silence
  do not.
- Each input of the corpus was sent whole, split at every byte, and with a second request behind it that a
  refused connection must not answer.
- A server is measured as its command line below starts it: one process, otherwise its own defaults. Some of
  these servers are meant to stand behind a proxy that refuses malformed requests before they see them, and
  several of the differences are documented choices of theirs. The tables say what was measured, no more.

Measured {dates} on Python {python}.
"""


@dataclass(frozen=True)
class Row:
    """One server and what was measured of it."""

    name: str
    version: str
    command: str
    note: str
    measured: date
    results: dict[str, dict[str, Any]]


def document(rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """Return the whole page."""
    points = sum(check.family == "PEP" for check in checks)
    dates = sorted({row.measured.isoformat() for row in rows})
    parts = [
        INTRODUCTION.format(
            points=points,
            rows=len(checks) - points,
            dates=" to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not yet",
            python=".".join(map(str, sys.version_info[:3])),
        ),
        "## Summary\n",
        summary_table(rows, checks),
        "## The servers\n",
        server_table(rows),
        "## Every check\n",
        check_table(rows, checks),
        "## What was seen\n",
        *(seen_of(row, checks) for row in rows),
    ]
    return "\n".join(parts)


def appended(page: str) -> str:
    """Return what others have put behind an earlier page, and is to stay there."""
    _, heading, rest = page.partition(f"\n{APPENDED}\n")
    return heading + rest


def table(head: Sequence[str], align: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [head, align, *lines]
    return (
        "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
        + "\n"
    )


def mark(result: dict[str, Any] | None) -> str:
    """Return the short form of one result."""
    if result is None or result["verdict"] == "skip":
        return "n/a"
    if result["verdict"] == "pass":
        return "✓"
    return "✗" if result["total"] == 1 else f"{result['passed']}/{result['total']}"


def summary_table(rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """Return checks passed of those that applied, by server and family, and the failed ones by level."""
    families = list(dict.fromkeys(check.family for check in checks))
    lines = []
    for row in rows:
        applied = [check for check in checks if mark(row.results.get(check.id)) != "n/a"]
        failed = [check for check in applied if row.results[check.id]["verdict"] == "fail"]
        cells = []
        for family in families:
            of_family = [check for check in applied if check.family == family]
            failed_of_family = sum(check.family == family for check in failed)
            cells.append(f"{len(of_family) - failed_of_family}/{len(of_family)}")
        cells += [str(sum(check.level is level for check in failed)) for level in Level]
        lines.append([row.name, *cells])
    text = (
        "Checks passed of those that apply, by family (PEP 3333; RL request line, HD header fields,\n"
        "CL Content-Length, TE Transfer-Encoding, CH chunks, PL pipelining, EX Expect, OUT responses),\n"
        "and the failed ones by level.\n\n"
    )
    head = ["server", *families, *(f"{level.value} failed" for level in Level)]
    return text + table(head, ["---"] + ["---:"] * (len(head) - 1), lines)


def server_table(rows: Sequence[Row]) -> str:
    """Return the versions and command lines."""
    lines = [[row.name, row.version, f"`{row.command}`", row.note] for row in rows]
    return table(["server", "version", "command", "note"], ["---"] * 4, lines)


def check_table(rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """Return the table of every check and server."""
    lines = [
        [
            check.id,
            check.level.value,
            f"{check.rule} *{check.source}*",
            *(mark(row.results.get(check.id)) for row in rows),
        ]
        for check in checks
    ]
    head = ["id", "level", "rule and source", *(row.name for row in rows)]
    return table(head, ["---"] * 3 + [":---:"] * len(rows), lines)


def seen_of(row: Row, checks: Sequence[Check]) -> str:
    """Return what was seen of one server where a check failed."""
    lines = [f"### {row.name} {row.version}\n"]
    for check in checks:
        result = row.results.get(check.id)
        if result is not None and result["verdict"] == "fail":
            notes = [shortened(note) for note in result["notes"]]
            more = f"; and {len(notes) - NOTES_PER_CHECK} more" if len(notes) > NOTES_PER_CHECK else ""
            lines.append(f"- {check.id} ({check.level.value}): {'; '.join(notes[:NOTES_PER_CHECK])}{more}")
    if len(lines) == 1:
        lines.append("Every check that applies passed.")
    return "\n".join(lines) + "\n"


def shortened(note: str) -> str:
    """Return a note in one printable line that Markdown leaves alone."""
    plain = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in note)
    plain = plain if len(plain) <= NOTE_MAX else plain[: NOTE_MAX - 3] + "..."
    for letter in "\\`*_<>[]":
        plain = plain.replace(letter, f"\\{letter}")
    return plain
