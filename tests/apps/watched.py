"""An application to look into: some requests stay in flight until their clients leave, and some fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

PATIENCE_S = 60


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path.startswith("/held"):
        wait_for_the_client_to_leave(environ)
    elif path == "/failing":
        raise ValueError("as it was asked to")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"seen\n"]


def wait_for_the_client_to_leave(environ: dict[str, Any]) -> None:
    environ["tidegate.cancelled"].wait(PATIENCE_S)
