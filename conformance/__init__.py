"""A black-box conformance suite for WSGI servers: PEP 3333 and the HTTP/1.1 beneath it.

It knows nothing about the server but its command line. `python -m conformance --help` runs it from a shell,
`run` from Python. The servers under test import this package too, for its probing applications, so nothing is
imported here before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conformance.model import Result

__all__ = ["run"]


def run(
    command: Sequence[str],
    *,
    name: str = "server",
    only: str | None = None,
    jobs: int = 4,
    wrap: str | None = None,
    exact: bool = False,
    slow: bool = False,
    work_dir: Path | None = None,
) -> list[Result]:
    """Run the suite against the server that `command` starts and return one result for each check, in table
    order.

    `command` holds the placeholders `{port}` and `{app}`. `name` adds what `conformance.targets` knows about
    a server: how it listens on a unix socket and on IPv6, for instance. `only` is a regular expression for
    identifiers; `exact` asks for the very status the corpus names where any refusal would do; `slow` runs
    what takes over a minute. Raises `conformance.model.UsageError` for a command without placeholders, an
    unknown wrapper or a server that does not start.
    """
    from conformance.runner import Options, run_suite
    from conformance.targets import target_for

    options = Options(only=only, jobs=jobs, wrap=wrap, exact=exact, slow=slow, work_dir=work_dir)
    return run_suite(target_for(name, list(command)), options)
