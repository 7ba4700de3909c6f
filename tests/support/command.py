"""The command `tidegate` when it is to end by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.server import TESTS, clean_environment


def run(*arguments: str, cwd: Path = TESTS, **variables: str) -> subprocess.CompletedProcess[str]:
    # One process, unless the test is about several.
    environment = clean_environment() | {"TIDEGATE_NO_SUPERVISOR": "true"}
    return subprocess.run(
        [sys.executable, "-m", "tidegate", *arguments],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(result: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """The one line that says what is wrong."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("tidegate: ")
    return lines[0]
