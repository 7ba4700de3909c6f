"""What all tests share: `support` and `apps` can be imported, and a failure shows the server's log."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.server import Server  # The path must be there first.

LOG_TAIL = 8000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in Server.running:
            report.sections.append((f"log of {server.app}", server.log[-LOG_TAIL:]))
    return report
