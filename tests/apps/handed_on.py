"""What is asked for through front servers that hand requests on as CGI variables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from apps.probes import query

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BLOCK = bytes(range(256)) * 256


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Tells what it was told, and a few things more."""
    path = environ["PATH_INFO"]
    if path == "/digest":
        body = hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()
    elif path == "/blocks":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (BLOCK for _ in range(int(query(environ)["count"])))
    elif path == "/accel":
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Accel-Redirect", "/private/tide")])
        return []
    elif path == "/nothing":
        start_response("204 No Content", [])
        return []
    else:
        told: dict[str, Any] = {key: value for key, value in environ.items() if isinstance(value, str)}
        body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
