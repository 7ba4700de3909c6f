"""A front server as a process: a folder of its own, a log in it, and an end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class FrontProcess:
    """nginx, Apache or HAProxy, started by `_start` once entered."""

    def __init__(self) -> None:
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # A short path: a unix socket's name has room for a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-front-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        raise NotImplementedError

    @property
    def log(self) -> str:
        """What it has said so far."""
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            # It may have failed to start.
            with contextlib.suppress(ProcessLookupError):
                self._tell(signal.SIGKILL)
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)


def found(*programs: str) -> str | None:
    """Where one of them is; distributions keep them where not every user looks."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return next((found for program in programs if (found := shutil.which(program, path=path))), None)
