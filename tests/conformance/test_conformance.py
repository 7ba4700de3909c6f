"""The conformance suite passes whole on this build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIDEGATE = Path(sys.executable).with_name("tidegate")


@pytest.mark.parametrize("threads", ["1", "200"])
def test_every_check_passes(threads):
    command = [sys.executable, "-m", "conformance", "--name", "tidegate", "--exact", "--"]
    command += [str(TIDEGATE), "--threads", threads, "--bind", "127.0.0.1:{port}", "{app}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
