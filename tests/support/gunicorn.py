"""gunicorn in a child process: the server whose format strings and figures are to mean the same here."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

from support.server import PATIENCE_S, TESTS
from support.wire import Wire


class Gunicorn:
    """Serves an application once made."""

    def __init__(self, app: str, *options: str) -> None:
        command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--threads", "2", app]
        self.process = subprocess.Popen(
            [*command, *options], cwd=TESTS, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stderr is not None
        log_so_far = ""
        for line in self.process.stderr:
            log_so_far += line
            if match := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                return
        raise AssertionError(log_so_far)

    def connect(self) -> Wire:
        return Wire(socket.create_connection(("127.0.0.1", self.port), PATIENCE_S))

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)
