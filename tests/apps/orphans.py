"""An application that leaves a process behind, whose parent ends before it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []
