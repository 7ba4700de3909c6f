"""A chat in plain ASGI: a page over HTTP and a WebSocket, without a framework.

tidegate --chdir examples chat:app
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = b"""<!doctype html><title>Chat</title><input autofocus><pre></pre><script>
const socket = new WebSocket(location.href.replace("http", "ws"))
const [input, pre] = [document.querySelector("input"), document.querySelector("pre")]
socket.onmessage = message => pre.append(message.data + "\\n")
input.onchange = () => { socket.send(input.value); input.value = "" }
</script>"""

present: set[Send] = set()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Show the page, and pass what one says on to all."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})
    elif scope["type"] == "websocket":
        await chat(receive, send)
    else:
        raise NotImplementedError(scope["type"])


async def chat(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    present.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            for other in list(present):
                try:
                    await other({"type": "websocket.send", "text": message.get("text", "")})
                except OSError:
                    # It has left, and its own task will find out.
                    present.discard(other)
    finally:
        present.discard(send)
