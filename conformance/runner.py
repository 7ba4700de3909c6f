"""Runs the checks: several servers side by side, each asked one thing at a time.

A check that makes its server hang or crash must not colour the next one, and several checks need to know what
the applications have done since a moment: so each job has a server of its own, and asks it one check after
the other.
"""

from __future__ import annotations

import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.checks import all_checks
from conformance.model import Check, Failed, Result, Skipped, Step, UsageError, Variant, Verdict
from conformance.server import Live, Target

APPS = {None: "conformance.apps:application", "validate": "conformance.apps:validated"}
# Checks that take longest begin first, so that no job is left alone with one of them at the end.
LONG = ("PEP-13", "PL04", "PL06", "CL07", "HD13", "CH07", "CH01", "CL01", "HD02", "CL08")


@dataclass(frozen=True)
class Options:
    """How the suite is to run."""

    only: str | None = None
    jobs: int = 4
    wrap: str | None = None
    exact: bool = False
    slow: bool = False
    work_dir: Path | None = None
    progress: Callable[[Result], None] | None = None


def select_checks(only: str | None) -> list[Check]:
    """Return the checks whose identifiers match, in table order; raise UsageError when none does."""
    try:
        pattern = re.compile(only or "")
    except re.error as error:
        raise UsageError(f"--only {only!r} is no regular expression: {error}") from None
    checks = [check for check in all_checks() if pattern.search(check.id)]
    if not checks:
        raise UsageError(f"--only {only!r} matches no check; --list shows them all")
    return checks


def run_suite(target: Target, options: Options) -> list[Result]:
    """Run the suite against one server; return the results in table order."""
    if options.wrap not in APPS:
        raise UsageError(f"--wrap {options.wrap!r} is unknown; there is 'validate'")
    if not any("{app}" in word for word in target.commands[Variant.TCP]):
        raise UsageError("the command has no {app} in it, so there is nowhere to name the application")
    if not any("{port}" in word for word in target.commands[Variant.TCP]):
        raise UsageError("the command has no {port} in it, so the server cannot be told where to listen")
    program = target.commands[Variant.TCP][0]
    if shutil.which(program) is None:
        raise UsageError(f"{program}: there is no such program")
    checks = select_checks(options.only)
    order = {check.id: number for number, check in enumerate(checks)}
    folder = Path(tempfile.mkdtemp(prefix="conformance-", dir=options.work_dir))
    run = Run(target, options, folder)
    try:
        results = run.all(checks)
    finally:
        if options.work_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    return sorted(results, key=lambda result: order[result.check.id])


class Run:
    """One run: a queue of batches of checks and the jobs that work through it."""

    def __init__(self, target: Target, options: Options, folder: Path) -> None:
        self.target = target
        self.options = options
        self.folder = folder
        self.batches: queue.SimpleQueue[list[Check]] = queue.SimpleQueue()
        self.results: list[Result] = []
        self.lock = threading.Lock()
        self.problem: BaseException | None = None

    def all(self, checks: Sequence[Check]) -> list[Result]:
        """Work through the checks; raise what kept a job from starting its server."""
        possible = []
        for check in checks:
            reason = self._impossible(check)
            if reason is None:
                possible.append(check)
            else:
                self._add(Result(check, Verdict.SKIP, notes=[reason]))
        for batch in batches(possible):
            self.batches.put(batch)
        jobs = [threading.Thread(target=self._job) for _ in range(max(1, self.options.jobs))]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        if self.problem is not None:
            raise self.problem
        return self.results

    def _impossible(self, check: Check) -> str | None:
        if check.variant not in self.target.commands:
            return f"no command line for {check.variant.value} is known"
        if self.options.wrap and not check.lawful:
            return "cannot be put through wsgiref.validate"
        if check.slow and not self.options.slow:
            return "takes over a minute: --slow"
        return None

    def _job(self) -> None:
        server: Live | None = None
        try:
            while self.problem is None:
                try:
                    batch = self.batches.get_nowait()
                except queue.Empty:
                    return
                for check in batch:
                    if server is None or server.variant is not check.variant:
                        if server is not None:
                            server.stop()
                        server = self._start(check.variant)
                    if server is None:
                        self._add(
                            Result(check, Verdict.SKIP, notes=[f"does not start as {check.variant.value}"])
                        )
                        continue
                    self._add(run_check(check, server))
        except BaseException as problem:
            with self.lock:
                self.problem = self.problem or problem
        finally:
            if server is not None:
                server.stop()

    def _start(self, variant: Variant) -> Live | None:
        app = APPS[self.options.wrap]
        server = Live(self.target, variant, app, self.folder, exact=self.options.exact)
        try:
            server.start()
        except UsageError:
            # Without its main form nothing can be said about a server; the others are extras.
            if variant is Variant.TCP:
                raise
            return None
        return server

    def _add(self, result: Result) -> None:
        with self.lock:
            self.results.append(result)
            if self.options.progress is not None:
                self.options.progress(result)


def batches(checks: Sequence[Check]) -> list[list[Check]]:
    """Return what one job takes at a time: single checks, and for the rarer variants all that share a
    server."""
    rare = [
        [check for check in checks if check.variant is variant]
        for variant in Variant
        if variant is not Variant.TCP
    ]
    common = [[check] for check in checks if check.variant is Variant.TCP]
    common.sort(key=lambda batch: not batch[0].id.startswith(LONG))
    return [batch for batch in [*common, *rare] if batch]


def run_check(check: Check, server: Live) -> Result:
    """Put one check to the server, and see to it that the server is fit for the next."""
    began = time.monotonic()
    result = Result(check, Verdict.PASS)
    skipped: list[str] = []
    for step in check.steps:
        try:
            note = run_step(step, server)
        except Skipped as reason:
            skipped.append(str(reason))
            continue
        result.total += 1
        if note is None:
            result.passed += 1
        else:
            note = note.replace(str(server.folder), "DIR")
            result.notes.append(note if len(check.steps) == 1 else f"{step.name} {note}")
    if result.notes:
        result.verdict = Verdict.FAIL
    elif result.total == 0:
        result.verdict = Verdict.SKIP
        result.notes = skipped[:1]
    result.seconds = time.monotonic() - began
    return result


def run_step(step: Step, server: Live) -> str | None:
    """Return what was seen when a step failed, None when it passed; raise Skipped when it does not apply.

    A server that is found dead may have been dying of the step before: on a fresh server the step is asked
    once more, and only what happens then counts.
    """
    note, end = ask_step(step, server)
    if end is None:
        return note
    note, end = ask_step(step, server)
    if end is None:
        return note
    return f"{note}; then {end}" if note else f"afterwards {end}"


def ask_step(step: Step, server: Live) -> tuple[str | None, str | None]:
    """Return what was seen, and how the server ended if it did; then a new one has been started."""
    server.begin()
    note: str | None = None
    skipped: Skipped | None = None
    try:
        step.probe(server)
    except Skipped as reason:
        skipped = reason
    except Failed as failure:
        note = str(failure)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        # A server may answer anything, the answer to another request included.
        note = f"the answer makes no sense: {error!r}"
    except OSError as error:
        note = f"the connection failed: {error}"
    if server.healthy():
        if skipped is not None:
            raise skipped
        return note, None
    status = server.exit_status()
    server.stop()
    server.start()
    return (
        note,
        "the server no longer answered" if status is None else f"the server ended with status {status}",
    )


def show_progress(result: Result) -> None:
    """Print one mark for a result to standard error, as pytest does."""
    marks = {Verdict.PASS: ".", Verdict.FAIL: "F", Verdict.SKIP: "s"}
    print(marks[result.verdict], end="", file=sys.stderr, flush=True)
