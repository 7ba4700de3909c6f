"""What is asked for through front servers that hand requests on as CGI variables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

from apps.probes import query

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BLOCK = bytes(range(256)) * 256


def whole_body(environ: WSGIEnvironment) -> bytes:
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


def broken() -> Iterable[bytes]:
    """Breaks when it has begun."""
    yield b"ebb"
    raise RuntimeError("probe: broke on purpose")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Tells what it was told, and a few things more."""
    path = environ["PATH_INFO"]
    if path == "/digest":
        body = hashlib.sha256(whole_body(environ)).hexdigest().encode()
    elif path == "/blocks":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (BLOCK for _ in range(int(query(environ)["count"])))
    elif path == "/accel":
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Accel-Redirect", "/private/tide")])
        return []
    elif path == "/file":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](Path(environ["QUERY_STRING"]).open("rb"))
    elif path == "/cut":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return broken()
    elif path == "/nothing":
        start_response("204 No Content", [])
        return []
    else:
        told: dict[str, Any] = {key: value for key, value in environ.items() if isinstance(value, str)}
        body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


validated = validator(application)
