"""An application that forks a child without exec, and ends it with SIGTERM."""

import multiprocessing
import time
from typing import Any


def _sleep() -> None:
    time.sleep(60)


def application(environ: Any, start_response: Any) -> list[bytes]:
    child = multiprocessing.get_context("fork").Process(target=_sleep)
    child.start()
    time.sleep(0.1)
    child.terminate()
    child.join(10)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(child.exitcode).encode()]
