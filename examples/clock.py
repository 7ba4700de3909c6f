"""The time of day as JSON: the smallest useful service. Run it with `tidegate clock` and open http://127.0.0.1:8000."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    answer: dict[str, object]
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    if environ.get("PATH_INFO", "") not in ("", "/"):
        status, answer = "404 Not Found", {"error": "the only page is /"}
    elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        status, answer = "405 Method Not Allowed", {"error": "the time can be read, not set"}
        headers.append(("Allow", "GET, HEAD"))
    else:
        now = datetime.now(timezone.utc)
        zone = now.astimezone().tzname()
        status, answer = "200 OK", {"time": now.isoformat(), "unix": now.timestamp(), "timezone": zone}

    body = json.dumps(answer).encode() + b"\n"
    headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [body]
