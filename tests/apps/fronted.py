"""Tells by JSON whom it takes for its client, and what for itself: in the same words by WSGI and by ASGI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.typing import Scope

from apps.asgi_parts import Receive, Send, answer


def application(
    environ: dict[str, Any], start_response: Callable[..., Callable[[bytes], object]]
) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    fields = {key[5:].replace("_", "-").lower(): environ[key] for key in environ if key.startswith("HTTP_")}
    scheme = environ["wsgi.url_scheme"]
    assert (environ.get("HTTPS") == "on") == (scheme == "https")
    told = {
        "client": [environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])],
        "scheme": scheme,
        "server": [environ["SERVER_NAME"], int(environ["SERVER_PORT"])],
        "root": environ["SCRIPT_NAME"],
        "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
        "fields": fields,
        "proxy": environ.get("tidegate.proxy_protocol"),
    }
    return [json.dumps(told, default=bytes.decode).encode()]


async def asynchronous(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        await send({"type": "websocket.send", "text": _told(scope), "bytes": None})
    elif scope["type"] == "http":
        await answer(send, _told(scope))
    else:
        raise NotImplementedError(scope["type"])


def _told(scope: Any) -> str:
    told = {
        "client": scope["client"],
        "scheme": scope["scheme"],
        "server": scope["server"],
        "root": scope["root_path"],
        "path": scope["path"],
        "fields": {name.decode(): value.decode() for name, value in scope["headers"]},
        "proxy": scope["extensions"].get("tidegate.proxy_protocol"),
    }
    return json.dumps(told, default=bytes.decode)
