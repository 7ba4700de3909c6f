"""The command line: `python -m conformance --name NAME -- COMMAND`, with {port} and {app} in the command."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from conformance.model import UsageError, Variant, Verdict
from conformance.report import list_table, summary, text_table, write_json
from conformance.runner import Options, run_suite, select_checks, show_progress
from conformance.targets import target_for

PASSED, FAILED, MISUSED = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """Return the definition of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Check any WSGI server against PEP 3333 and HTTP/1.1, from the outside.",
        epilog="Exit status: 0 all passed, 1 some failed, 2 the suite could not run.",
    )
    made.add_argument(
        "--name", default="server", help="what to call the server; known names bring more command lines"
    )
    made.add_argument("--only", metavar="REGEX", help="run the checks whose identifier matches")
    made.add_argument("--list", action="store_true", help="show the checks and run none")
    made.add_argument("--json", metavar="FILE", type=Path, help="write the results to a file")
    made.add_argument(
        "--jobs", metavar="N", type=int, default=4, help="servers to run side by side (default: 4)"
    )
    made.add_argument("--wrap", choices=["validate"], help="wrap each application in wsgiref.validate")
    made.add_argument("--exact", action="store_true", help="ask for the very status that the corpus names")
    made.add_argument("--slow", action="store_true", help="run what takes over a minute, too")
    made.add_argument("--work-dir", metavar="DIR", type=Path, help="keep the servers' logs and traces here")
    made.add_argument("--quiet", action="store_true", help="show only what failed")
    for variant in Variant:
        if variant is not Variant.TCP:
            text = f"the command line for {variant.value} (see README.md)"
            made.add_argument(f"--{variant.value}", metavar="COMMAND", type=shlex.split, help=text)
    made.add_argument("command", nargs="*", help="the server's command line, with {port} and {app} in it")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite as the command line says; return the exit status."""
    options = parser().parse_args(arguments)
    extra = {variant: given for variant in Variant if (given := getattr(options, variant.value, None))}
    try:
        if options.list:
            print(list_table(select_checks(options.only)))
            return PASSED
        if not options.command:
            raise UsageError("no command was given: python -m conformance -- SERVER --port {port} {app}")
        if options.work_dir is not None:
            options.work_dir.mkdir(parents=True, exist_ok=True)
        target = target_for(options.name, options.command, extra)
        began = time.monotonic()
        results = run_suite(
            target,
            Options(
                only=options.only,
                jobs=options.jobs,
                wrap=options.wrap,
                exact=options.exact,
                slow=options.slow,
                work_dir=options.work_dir,
                progress=show_progress,
            ),
        )
    except UsageError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return MISUSED
    print(file=sys.stderr)
    failed = [result for result in results if result.verdict is Verdict.FAIL]
    if options.quiet:
        print(text_table(failed) if failed else summary(results))
    else:
        print(text_table(results))
    print(f"{options.name}: {len(results)} checks in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if options.json is not None:
        write_json(options.json, options.name, options.command, results)
    return FAILED if failed else PASSED


if __name__ == "__main__":
    sys.exit(main())
