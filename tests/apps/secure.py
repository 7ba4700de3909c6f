"""What an application is told of TLS, and bodies large enough to fill what lies between it and its client.

The same paths by WSGI (`application`) and by ASGI (`asgi`).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

PATTERN = bytes(range(256)) * 4096


def block(size: int) -> bytes:
    """So many bytes, in which every mix-up shows."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path, size = environ["PATH_INFO"], int(environ["QUERY_STRING"] or 0)
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115  # The server closes it.
        file.write(block(size))
        file.seek(0)
        start_response("200 OK", [("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"](file)
    if path == "/large":
        start_response("200 OK", [("Content-Length", str(size))])
        return [block(size)]
    if path == "/pieces":
        start_response("200 OK", [])
        return (block(1000) for _ in range(size))
    if path == "/cut":
        start_response("200 OK", [])
        return cut()
    if path == "/digest":
        digest = hashlib.sha256()
        while piece := environ["wsgi.input"].read(65536):
            digest.update(piece)
        body = digest.hexdigest().encode()
    else:
        shown = {name: value for name, value in environ.items() if isinstance(value, str)}
        body = json.dumps(shown).encode()
    fields = [("Content-Length", str(len(body)))]
    if path == "/hsts":
        fields.append(("strict-transport-security", "max-age=1"))
    start_response("200 OK", fields)
    return [body]


def cut() -> Iterable[bytes]:
    yield b"the beginning"
    raise RuntimeError("on purpose")


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send(
            {"type": "websocket.send", "text": json.dumps([scope["scheme"], scope["extensions"]["tls"]])}
        )
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        return
    path, size = scope["path"], int(scope["query_string"] or 0)
    body = json.dumps({"scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}).encode()
    if path == "/digest":
        digest = hashlib.sha256()
        more = True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            more = message.get("more_body", False)
        body = digest.hexdigest().encode()
    elif path == "/large":
        body = block(size)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
