"""Looks at a running server from outside: the memory that it holds, and whether a count still moves."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from support.server import PATIENCE_S

# What has not moved for so long stands.
STILL_S = 0.4


def resident_kib(pid: int) -> int:
    """A process's resident memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def until_it_stands(look: Callable[[], int]) -> int:
    """Wait until a count stays where it is; return it."""
    deadline = time.monotonic() + PATIENCE_S
    seen, since = look(), time.monotonic()
    while time.monotonic() < since + STILL_S:
        assert time.monotonic() < deadline, "it goes on and on"
        time.sleep(0.05)
        if (now := look()) != seen:
            seen, since = now, time.monotonic()
    return seen
