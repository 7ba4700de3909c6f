"""Run the tests of the rows of tests/corpus/http-cases.tsv that the conformance suite does not put.

PROXY protocol, uwsgi, WebSocket, HTTP/2 and static files have rows there, and tests of their own, which
tests/corpus/tested.tsv names. Prints a table, or writes it to docs/conformance.md. The exit status is 0 if
all passed, 1 if some did not, 2 if they could not run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import xml.etree.ElementTree as Xml
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import suites
from suites import ROOT, CannotRun

CORPUS = ROOT / "tests" / "corpus"
HEADING = "## PROXY protocol, uwsgi, WebSocket, HTTP/2, static files"


@dataclass(frozen=True)
class Row:
    """One row of http-cases.tsv."""

    id: str
    expected: str
    put: str


def lines(name: str) -> list[list[str]]:
    """Read a file of the corpus, without its comments."""
    text = (CORPUS / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def rows() -> list[Row]:
    """Read every row of http-cases.tsv."""
    return [Row(*columns[:3]) for columns in lines("http-cases.tsv")]


def tests() -> dict[str, list[tuple[str, str]]]:
    """Return the tests of each row that has some, as file and name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row, file, name in lines("tested.tsv"):
        found.setdefault(row, []).append((file, name))
    return found


def run(chosen: set[tuple[str, str]]) -> dict[tuple[str, str], Counter[str]]:
    """Run some tests; return how many cases of each passed and did not."""
    with tempfile.TemporaryDirectory(prefix="tidegate-rows-") as folder:
        report = Path(folder) / "report.xml"
        pytest = [sys.executable, "-m", "pytest", "--quiet", f"--junitxml={report}"]
        words = suites.run_to_end([*pytest, *(f"{file}::{name}" for file, name in sorted(chosen))])
        if not report.exists():
            raise CannotRun(f"pytest has ended without a report:\n{words}")
        cases = list(Xml.parse(report).iter("testcase"))
    if not cases:
        raise CannotRun(f"pytest has run nothing:\n{words}")
    results: dict[tuple[str, str], Counter[str]] = {test: Counter() for test in chosen}
    for case in cases:
        file = case.attrib["classname"].replace(".", "/") + ".py"
        name = case.attrib["name"].partition("[")[0]
        results[file, name]["failed" if len(case) else "passed"] += 1
    return results


def table(results: dict[tuple[str, str], Counter[str]]) -> tuple[str, bool]:
    """Return the table, and whether every row has tests that passed."""
    text, good = [], True
    for row in rows():
        named = tests().get(row.id)
        if named is None:
            continue
        counts = sum((results[test] for test in named), Counter[str]())
        passed = counts["passed"] > 0 and not counts["failed"] and all(results[test] for test in named)
        good = good and passed
        cells = [row.id, row.expected, row.put.replace("|", "\\|"), "✓" if passed else "✗"]
        text.append([*cells, f"{counts['passed']}/{counts.total()}"])
    return suites.table(["row", "expected", "what is put", "", "cases"], text, texts=4), good


def section_of_document(text: str) -> str:
    """Return the section of docs/conformance.md."""
    return f"""\
{HEADING}

The rows of [http-cases.tsv](../tests/corpus/http-cases.tsv) that the suite above does not put to a server
have tests of their own, which [tested.tsv](../tests/corpus/tested.tsv) names. `make conformance-edges` runs
them on this build. Measured {date.today().isoformat()}:

{text}"""


def main() -> int:
    """Run the tests and report; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the section of docs/conformance.md")
    options = parser.parse_args()
    try:
        text, good = table(run({test for named in tests().values() for test in named}))
    except CannotRun as problem:
        print(problem, file=sys.stderr)
        return 2
    print(text, end="")
    if options.write:
        suites.write_section(HEADING, section_of_document(text))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
