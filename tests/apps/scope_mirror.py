"""ASGI applications that tell the scope of any path: one as it is, and one that spoils what it was given."""

from __future__ import annotations

from asgiref.typing import Scope

from apps.asgi_parts import Receive, Send, answer, literally


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(send, literally(scope))
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        await send({"type": "websocket.send", "text": literally(scope), "bytes": None})
    else:
        raise NotImplementedError(scope["type"])


async def spoils(scope: Scope, receive: Receive, send: Send) -> None:
    """Leaves its marks on everything that can be changed in place."""
    await application(scope, receive, send)
    assert scope["type"] == "http"
    scope["path"] = "/spoilt"
    scope["asgi"]["spec_version"] = "0.0"
    assert isinstance(scope["headers"], list)
    scope["headers"].clear()
    if scope["extensions"]:
        for extension in scope["extensions"].values():
            extension["spoilt"] = True
        scope["extensions"].clear()
