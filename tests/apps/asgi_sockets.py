"""A plain ASGI application of WebSockets that does what its paths say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

echo_is_over = asyncio.Event()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        part = {key: value for key, value in message.items() if key != "type"}
        await send({"type": "websocket.send", **part})
    print("disconnect:", message["code"], message["reason"], flush=True)
    echo_is_over.set()


async def undecided(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for more than it gets before it accepts."""
    print("undecided", flush=True)
    message = await receive()
    print(message["type"], message["code"], flush=True)


async def late(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts when an echo has come to its end."""
    print("late", flush=True)
    await echo_is_over.wait()
    await echo(scope, receive, send)


async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": scope["subprotocols"][-1] if scope["subprotocols"] else None,
            "headers": [(b"x-accepted", b"yes")],
        }
    )
    shown = {key: value for key, value in scope.items() if key != "headers"}
    await send({"type": "websocket.send", "text": repr(shown)})
    await send({"type": "websocket.close", "code": 3001, "reason": "shown"})
    message = await receive()
    print("disconnect:", message["code"], message["reason"], flush=True)
    try:
        await send({"type": "websocket.send", "text": "late"})
    except OSError as error:
        print("send:", type(error).__name__, flush=True)


async def forbid(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008, "reason": [{"msg": "as FastAPI does"}]})


async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"x-why", b"because")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"you"})


async def deny_and_listen(scope: Scope, receive: Receive, send: Send) -> None:
    listener = asyncio.create_task(receive())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await send({"type": "websocket.http.response.start", "status": 401})
    await send({"type": "websocket.http.response.body", "body": b"not you"})
    print("heard", await listener, flush=True)


async def cancelled_within(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for a task of its own that was cancelled."""
    await send({"type": "websocket.accept"})
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})
    raise ValueError("on purpose")


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, and takes nothing."""
    await send({"type": "websocket.accept"})
    await asyncio.sleep(60)


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends until nobody takes any more, and tells how much was let out by then."""
    await send({"type": "websocket.accept"})
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while True:
            await send({"type": "websocket.send", "bytes": bytes(32 * 1024)})
            sent += 32 * 1024

    task = asyncio.create_task(pour())
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    print("suspended at", sent, flush=True)
    task.cancel()


async def never_waits(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends what the system takes at once, and says whether others had their turn meanwhile."""
    await send({"type": "websocket.accept"})
    had_its_turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(had_its_turn.set)
    for _ in range(1000):
        await send({"type": "websocket.send", "text": "."})
    await send(
        {"type": "websocket.send", "text": "others went on" if had_its_turn.is_set() else "others waited"}
    )


MISTAKES: dict[str, list[dict[str, Any]]] = {
    "send-first": [{"type": "websocket.send", "text": "early"}],
    "accept-twice": [{"type": "websocket.accept"}, {"type": "websocket.accept"}],
    "http": [{"type": "http.response.start", "status": 200}],
    "subprotocol": [{"type": "websocket.accept", "subprotocol": "unheard-of"}],
    "reserved": [{"type": "websocket.accept", "headers": [(b"sec-websocket-accept", b"x")]}],
    "neither": [{"type": "websocket.accept"}, {"type": "websocket.send"}],
    "both": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": "a", "bytes": b"a"}],
    "text-bytes": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": b"a"}],
    "surrogate": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": "lone \ud800"}],
    "bytes-text": [{"type": "websocket.accept"}, {"type": "websocket.send", "bytes": "a"}],
    "code": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1005}],
    "reason": [{"type": "websocket.accept"}, {"type": "websocket.close", "reason": ["no str"]}],
}


async def mistake(scope: Scope, receive: Receive, send: Send) -> None:
    """Makes the mistake that the query names, and logs what it is told."""
    try:
        for message in MISTAKES[scope["query_string"].decode()]:
            await send(message)
    except Exception as error:
        print(f"told: {type(error).__name__}: {error}", flush=True)
        raise


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("there is no lifespan here")
    assert (await receive())["type"] == "websocket.connect"
    await globals()[scope["path"].strip("/").replace("-", "_")](scope, receive, send)
