"""Applications that tell by which id their request is known to them, by WSGI and by ASGI."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from apps.asgi_parts import Receive, Send, part, start
from tidegate import request_ids

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("%(name)s %(request_id)s: %(message)s"))
handler.addFilter(request_ids.Filter())
logging.basicConfig(level=logging.INFO, handlers=[handler])
log = logging.getLogger("site")


def told(environ: Environ) -> dict[str, Any]:
    return {
        "field": environ.get("HTTP_X_REQUEST_ID"),
        "id": environ.get("tidegate.request_id"),
        "context": request_ids.current.get(),
        "waited_us": environ.get("tidegate.front_queue_us"),
        "traceparent": environ.get("HTTP_TRACEPARENT"),
        "tracestate": environ.get("HTTP_TRACESTATE"),
    }


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    fields = [("Content-Type", "application/json")]
    if path == "/slow":
        time.sleep(0.05)
    elif path == "/own":
        fields.append(("x-request-id", "the application's"))
    elif path == "/fail":
        raise ValueError("as asked")
    elif path == "/short":
        fields.append(("Content-Length", "1000"))
    log.info("at %s", path)
    start_response("200 OK", fields)
    return [json.dumps(told(environ)).encode()]


def told_by_scope(scope: Any) -> dict[str, Any]:
    fields = {name: value.decode() for name, value in scope["headers"]}
    request = scope["extensions"].get("tidegate.request", {})
    return {
        "field": fields.get(b"x-request-id"),
        "id": request.get("id"),
        "context": request_ids.current.get(),
        "waited_us": request.get("front_queue_us"),
        "traceparent": fields.get(b"traceparent"),
        "tracestate": fields.get(b"tracestate"),
    }


async def asynchronous(scope: Any, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(0.05)
    log.info("at %s", path)
    if path == "/fail":
        raise ValueError("as asked")
    text = json.dumps(told_by_scope(scope))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        await send({"type": "websocket.send", "text": text, "bytes": None})
        if path == "/live/fail":
            raise ValueError("as asked")
        await send({"type": "websocket.close", "code": 1000, "reason": None})
    else:
        fields = [(b"x-request-id", b"the application's")] if path == "/own" else []
        await start(send, fields)
        await part(send, text.encode(), more=False)
