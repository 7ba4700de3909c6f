"""No row of http-cases.tsv is without a test: the suite puts it, or tested.tsv names what does."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "corpus"


def lines(name):
    text = (CORPUS / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def test_every_row_is_put_by_some_test():
    named = {row for row, _, _ in lines("tested.tsv")}
    without = [columns[0] for columns in lines("http-cases.tsv") if columns[0] not in named | set(ROWS)]
    assert not without


def test_every_test_that_is_named_is_there_and_names_a_row():
    known = {columns[0] for columns in lines("http-cases.tsv")}
    wrong = []
    for row, file, name in lines("tested.tsv"):
        path = ROOT / file
        is_there = path.exists() and re.search(
            rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE
        )
        if row not in known or not is_there:
            wrong.append((row, file, name))
    assert not wrong
