"""An application for what greenlets alone do: forks in a request, cleans up slowly when it is killed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fork":
        child = os.fork()
        if child == 0:
            # Waiting runs gevent's loop in the child too.
            time.sleep(1)
            os._exit(0)
        tell(f"forked {child}")
    elif path == "/sleep":
        tell("sleeping")
        try:
            time.sleep(60)
        finally:
            time.sleep(0.1)
            tell("cleaned up")
    elif path == "/spin":
        tell("spinning")
        while True:
            pass
    answer = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
