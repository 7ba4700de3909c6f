"""A tick per second as server-sent events, from a plain generator. Run it with `tidegate streaming`, then:

    curl --no-buffer http://127.0.0.1:8000/

Each block that the generator yields is sent before the next one is asked for, so a client sees every tick at
once. When the client leaves, the server closes the generator, and its `finally` clause runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """`?ticks=3&every=0.5` gives three ticks half a second apart; without `ticks` they do not end."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    ticks = float(query.get("ticks", ["inf"])[0])
    every_s = float(query.get("every", ["1"])[0])
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])
    return events(ticks, every_s, environ)


def events(ticks: float, every_s: float, environ: WSGIEnvironment) -> Iterator[bytes]:
    number = 0
    try:
        while number < ticks:
            number += 1
            yield f"id: {number}\nevent: tick\ndata: {datetime.now(timezone.utc).isoformat()}\n\n".encode()
            if number < ticks:
                time.sleep(every_s)
    finally:
        environ["wsgi.errors"].write(f"a listener left after {number} ticks\n")
