"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from conformance.model import Check, Level, Result, Verdict

WIDTH = 110


def marks(result: Result) -> str:
    """Return the short form of a verdict: ok, skip, FAIL, or how many of several variants were right."""
    if result.verdict is Verdict.PASS:
        return "ok"
    if result.verdict is Verdict.SKIP:
        return "skip"
    return "FAIL" if result.total == 1 else f"{result.passed}/{result.total}"


def text_table(results: Sequence[Result], *, verbose: bool = True) -> str:
    """Return one line for each check, with what was seen below those that failed, and a summary."""
    lines = []
    for result in results:
        check = result.check
        lines.append(f"{marks(result):>5}  {check.id:<8} {check.level.value:<6}  {check.rule}")
        if verbose or result.verdict is Verdict.FAIL:
            lines += [f"{'':>24}{note}"[: WIDTH * 2] for note in result.notes]
    return "\n".join([*lines, "", summary(results)])


def summary(results: Sequence[Result]) -> str:
    """Return the line at the end: how many checks passed, failed and were skipped, the failed ones by
    level."""
    passed = sum(result.verdict is Verdict.PASS for result in results)
    skipped = sum(result.verdict is Verdict.SKIP for result in results)
    failed = [result for result in results if result.verdict is Verdict.FAIL]
    by_level = ", ".join(
        f"{count} {level.value}" for level in Level if (count := sum(r.check.level is level for r in failed))
    )
    return f"{passed} passed, {len(failed)} failed{f' ({by_level})' if by_level else ''}, {skipped} skipped"


def list_table(checks: Sequence[Check]) -> str:
    """Return what `--list` shows: the checks with their rules and sources."""
    return "\n".join(
        f"{check.id:<8} {check.level.value:<6}  {check.rule}  [{check.source}]" for check in checks
    )


def write_json(path: Path, name: str, command: Sequence[str], results: Sequence[Result]) -> None:
    """Write the results, and what they are of, to a file."""
    document = {"name": name, "command": list(command), "results": [result.as_json() for result in results]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
