"""Looks at a running server from outside: the memory that it holds, what it sends, what still moves."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from support.server import PATIENCE_S

# What has not moved for so long stands.
STILL_S = 0.4


def resident_kib(pid: int) -> int:
    """A process's resident memory."""
    return _stated_kib(pid, "VmRSS")


def most_resident_kib(pid: int) -> int:
    """The most resident memory that it has had."""
    return _stated_kib(pid, "VmHWM")


def _stated_kib(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def segments_received(sock: socket.socket) -> int:
    """How many segments with data have come on a TCP connection: `tcpi_data_segs_in` of `struct tcp_info`."""
    (count,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 152)
    assert isinstance(count, int)
    return count


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
