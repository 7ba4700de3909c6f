"""A hello application that handles a signal of its own."""

import signal
import sys
from typing import Any

from apps.engine_probe import application

__all__ = ["application"]


def _handle(number: int, frame: Any) -> None:
    print("handled SIGUSR1", file=sys.stderr, flush=True)


signal.signal(signal.SIGUSR1, _handle)
