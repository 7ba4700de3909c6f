"""The checks, in the order of the table: the points of PEP 3333 first, then the rows of the HTTP corpus.

Each module here registers what it probes; this one only puts them in order.
"""

from __future__ import annotations

import dataclasses

from conformance.checks import bodies, environ, failures, files, http, iterables, responses
from conformance.corpus import corpus_checks
from conformance.model import Check
from conformance.rows import ROWS

MODULES = (environ, responses, iterables, bodies, failures, files)


def all_checks() -> list[Check]:
    """Return every check there is; a row's steps come from the corpus and from the probes that bytes cannot
    express."""
    points = [check for module in MODULES for check in module.registry.checks]
    points.sort(key=lambda check: check.id)
    rows: dict[str, Check] = {}
    for check in [*corpus_checks(), *http.row_checks()]:
        known = rows.get(check.id)
        rows[check.id] = (
            check if known is None else dataclasses.replace(known, steps=known.steps + check.steps)
        )
    # The order of rows.py is that of the corpus.
    order = {row: number for number, row in enumerate(ROWS)}
    return points + sorted(rows.values(), key=lambda check: order[check.id])
