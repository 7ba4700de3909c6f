"""An application whose log takes nothing any more."""

from __future__ import annotations

import logging
import sys
import threading
import time


class Stuck(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print("the log is stuck", file=sys.stderr, flush=True)
        threading.Event().wait()


logging.getLogger("tidegate.error").addHandler(Stuck())


def application(environ, start_response):
    time.sleep(0.5)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"in time"]
