"""A hello application that handles signals of its own, one of them badly."""

import signal
import sys
from typing import Any

from apps.engine_probe import application

__all__ = ["application"]


def _handle(number: int, frame: Any) -> None:
    print("handled SIGUSR1", file=sys.stderr, flush=True)


signal.signal(signal.SIGUSR1, _handle)


def _fail(number: int, frame: Any) -> None:
    raise TimeoutError("too late")


signal.signal(signal.SIGUSR2, _fail)
