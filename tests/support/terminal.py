"""A terminal that a command runs in: what is on its screen, and keys for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyte

from support.server import PATIENCE_S, clean_environment

if TYPE_CHECKING:
    from typing_extensions import Self


class Terminal:
    """A pseudo-terminal of `columns` by `rows` cells, with the command in it once entered."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.env = clean_environment() | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"} | (env or {})
        self.written = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._ours, self._theirs = pty.openpty()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, rows)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command,
            env=self.env,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the command has not been started"
        return self._process

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def cells(self) -> list[list[Any]]:
        """What is in each cell, row by row, with its colours."""
        rows = range(self._screen.lines)
        return [[self._screen.buffer[row][column] for column in range(self._screen.columns)] for row in rows]

    @property
    def mode(self) -> list[Any]:
        """How the terminal treats what is typed."""
        return termios.tcgetattr(self._theirs)

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # The kernel tells those alone whose controlling terminal it is.
        if self._process is not None:
            self._process.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the screen's text matches."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, self.text)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"nothing on the screen matches {pattern!r}:\n{self.text}"
            self._read(min(left, 0.25))
        return found

    def watch(self, seconds: float) -> None:
        """Let the command draw for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left)

    def wait(self) -> int:
        """Wait until the command has ended, and return its status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on:\n{self.text}"
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.wait()

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        block = os.read(self._ours, 65536)
        self.written += block
        self._stream.feed(block)
        return True
