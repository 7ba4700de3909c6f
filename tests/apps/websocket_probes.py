"""Small ASGI applications, one per path, that each probe one promise of ASGI 3 about WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable

from asgiref.typing import Scope, WebSocketScope

from apps import asgi_probes
from apps.asgi_parts import (
    BLOCK,
    TEXT,
    Fields,
    Receive,
    Send,
    beyond_types,
    gate,
    named,
    progress,
    query,
    tell,
)

Probe = Callable[[WebSocketScope, Receive, Send], Awaitable[None]]

probes: dict[str, Probe] = {}


def probe(function: Probe) -> Probe:
    probes[f"/{function.__name__}"] = function
    return function


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Everything else, gates among it, is as in `apps.asgi_probes`."""
    if scope["type"] != "websocket":
        await asgi_probes.application(scope, receive, send)
    else:
        await probes.get(scope["path"], refuses)(scope, receive, send)


async def accept(
    send: Send,
    receive: Receive,
    *,
    subprotocol: str | None = None,
    fields: Fields = (),
) -> None:
    message = await receive()
    assert message == {"type": "websocket.connect"}, message
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": fields})


async def say(send: Send, text: str) -> None:
    await send({"type": "websocket.send", "text": text, "bytes": None})


async def await_close(receive: Receive, name: str) -> None:
    """Pass over what else the client has to say, and report how it ended."""
    while (message := await receive())["type"] == "websocket.receive":
        pass
    assert message["type"] == "websocket.disconnect"
    tell(f"{name} disconnected {message['code']} {message.get('reason') or ''!r}")


@probe
async def refuses(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1000, "reason": ""})


@probe
async def echo(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Sends each message back as it came, and says how the client left."""
    await accept(send, receive)
    while (message := await receive())["type"] == "websocket.receive":
        text, data = message.get("text"), message.get("bytes")
        assert (text is None) != (data is None), message
        await send({"type": "websocket.send", "text": text, "bytes": data})
    assert message["type"] == "websocket.disconnect", message
    assert type(message["code"]) is int
    tell(f"{named(scope)} disconnected {message['code']} {message.get('reason') or ''!r}")


@probe
async def keys(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """The types and values of the messages themselves."""
    await accept(send, receive)
    while (message := await receive())["type"] == "websocket.receive":
        await say(send, repr(dict(message)))
    tell(f"{named(scope)} received {dict(message)!r}")


@probe
async def chooses(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Takes the last of the subprotocols that the client offers, and adds fields to the response."""
    offered = list(scope["subprotocols"])
    moons = [(b"x-moon", b"full"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await accept(send, receive, subprotocol=offered[-1] if offered else None, fields=moons)
    await say(send, json.dumps(offered))


@probe
async def chooses_another(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Takes a subprotocol that the client has not offered."""
    try:
        await accept(send, receive, subprotocol="ebb")
    except Exception as error:
        tell(f"{named(scope)} raised {type(error).__name__}: {error}")
        raise


@probe
async def accepts_late(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Accepts when its gate opens, and repeats the first message."""
    tell(f"{named(scope)} waits")
    await gate(named(scope)).wait()
    with contextlib.suppress(OSError):
        await accept(send, receive)
        message = await receive()
        if message["type"] == "websocket.receive":
            await say(send, message.get("text") or "")


@probe
async def waits_before_accept(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """The client leaves before it is accepted."""
    await receive()
    tell(f"{named(scope)} waits")
    await await_close(receive, named(scope))


@probe
async def denies(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    assert "websocket.http.response" in (scope["extensions"] or {})
    await receive()
    fields = [*TEXT, (b"x-tide", b"low")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": fields})
    for piece, more in ((b"not ", True), (b"without a ticket", False)):
        await send({"type": "websocket.http.response.body", "body": piece, "more_body": more})


@probe
async def closes(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Closes with what the query says, or with the defaults, and waits for the client's part."""
    wanted = query(scope)
    await accept(send, receive)
    message: dict[str, object] = {"type": "websocket.close"}
    if "code" in wanted:
        message["code"] = int(wanted["code"])
    if "reason" in wanted:
        message["reason"] = wanted["reason"]
    await send(beyond_types(message))
    await await_close(receive, named(scope))


@probe
async def returns(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await accept(send, receive)
    await say(send, "over")


@probe
async def returns_at_once(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await receive()


@probe
async def fails(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await accept(send, receive)
    raise RuntimeError("probe: failed while open")


@probe
async def fails_at_once(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    raise RuntimeError("probe: failed before it was open")


@probe
async def sends_after_departure(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await accept(send, receive)
    await await_close(receive, named(scope))
    try:
        await say(send, "too late")
    except Exception as error:
        tell(f"{named(scope)} raised {type(error).__name__}, OSError {isinstance(error, OSError)}")
    else:
        tell(f"{named(scope)} raised nothing")


@probe
async def floods(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Sends as much as the client takes; says what ended it."""
    name = named(scope)
    await accept(send, receive)
    data = bytes(int(query(scope).get("size", len(BLOCK))))
    try:
        for count in itertools.count(1):
            await send({"type": "websocket.send", "bytes": data, "text": None})
            progress[name] = count
            await asyncio.sleep(0)
    except Exception as error:
        tell(f"{name} ended by {type(error).__name__}, OSError {isinstance(error, OSError)}")


@probe
async def is_deaf(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Receives nothing until its gate opens; then counts what comes until the word "end"."""
    name = named(scope)
    await accept(send, receive)
    await gate(name).wait()
    size = 0
    while (message := await receive())["type"] == "websocket.receive":
        size += len(message.get("bytes") or b"")
        if message.get("text") == "end":
            await say(send, str(size))


@probe
async def both_ways(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """One task receives while another sends; each on its own."""
    await accept(send, receive)
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        while (message := await receive())["type"] == "websocket.receive":
            heard.put_nowait(message.get("text") or "")

    async def speak() -> None:
        for number in range(100):
            await say(send, str(number))
            await asyncio.sleep(0)
        for _ in range(100):
            await say(send, f"heard {await heard.get()}")

    listening = asyncio.create_task(listen())
    await speak()
    await listening


@probe
async def slow_to_leave(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    """Has something left to do when the connection is over."""
    await accept(send, receive)
    await say(send, "ready")
    await await_close(receive, named(scope))
    await asyncio.sleep(0.2)
    tell(f"{named(scope)} is through")


@probe
async def never_leaves(scope: WebSocketScope, receive: Receive, send: Send) -> None:
    await accept(send, receive)
    await say(send, "ready")
    await await_close(receive, named(scope))
    await asyncio.sleep(3600)
