"""Applications under OpenTelemetry's own instrumentation, which tell whose children their spans are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as AsgiMiddleware
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware as WsgiMiddleware
from opentelemetry.sdk.trace import TracerProvider

from apps.asgi_parts import Receive, Send, part, start

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

trace.set_tracer_provider(TracerProvider())


def told(traceparent: str | None, tracestate: str | None) -> bytes:
    span = trace.get_current_span()
    context = span.get_span_context()
    parent = getattr(span, "parent", None)
    what = {
        "trace": f"{context.trace_id:032x}",
        "parent": parent and f"{parent.span_id:016x}",
        "recorded": span.is_recording(),
        "traceparent": traceparent,
        "tracestate": tracestate,
    }
    return json.dumps(what).encode()


def plain(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("as asked")
    if path == "/slow":
        time.sleep(0.2)
    status = "404 Not Found" if path == "/nowhere" else "200 OK"
    start_response(status, [("Content-Type", "application/json")])
    if path == "/short":
        return broken()
    if path == "/endless":
        return endless()
    return [told(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"))]


def broken() -> Iterable[bytes]:
    yield b"begun"
    raise ValueError("as asked")


def endless() -> Iterable[bytes]:
    while True:
        yield b"more"
        time.sleep(0.01)


async def asynchronous_plain(scope: Any, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        await receive()
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    fields = {name: value.decode() for name, value in scope["headers"]}
    await start(send, [])
    await part(send, told(fields.get(b"traceparent"), fields.get(b"tracestate")), more=False)


application = WsgiMiddleware(plain)
asynchronous = AsgiMiddleware(asynchronous_plain)
