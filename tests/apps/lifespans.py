"""ASGI applications that take part in the lifespan well, badly, or not at all: one for each attribute."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.typing import ASGISendEvent, HTTPScope, LifespanScope, Scope

from apps.asgi_parts import Receive, Send, answer, tell

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Lifespan = Callable[[LifespanScope, Receive, Send], Awaitable[None]]


async def http(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Tells what is in the state, and leaves a mark there and one in what is shared through it."""
    state = scope.get("state")
    tell(f"called {scope['path']}")
    if scope["path"] == "/slow":
        await asyncio.sleep(0.3)
        tell("slow is through")
    await answer(send, json.dumps(state))
    if state is not None:
        state["mark"] = scope["path"]
        state.setdefault("shared", []).append(scope["path"])


def serving(lifespan: Lifespan) -> App:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
        else:
            assert scope["type"] == "http"
            await http(scope, receive, send)

    return application


async def start_up(receive: Receive, send: Send) -> None:
    message = await receive()
    assert message == {"type": "lifespan.startup"}, message
    tell("starts")
    await send({"type": "lifespan.startup.complete"})


async def shut_down(receive: Receive, send: Send) -> None:
    message = await receive()
    assert message == {"type": "lifespan.shutdown"}, message
    tell("shuts down")
    await send({"type": "lifespan.shutdown.complete"})
    tell("is shut down")


@serving
async def complete(scope: LifespanScope, receive: Receive, send: Send) -> None:
    tell(f"asked with {sorted(scope)}, {sorted(scope['asgi'])}, {scope['asgi']['version']}")
    scope["state"]["tide"] = "high"
    scope["state"]["shared"] = []
    await start_up(receive, send)
    await shut_down(receive, send)


@serving
async def asks_again(scope: LifespanScope, receive: Receive, send: Send) -> None:
    """After the shutdown there is nothing more to receive, and it ends all the same."""
    await start_up(receive, send)
    await shut_down(receive, send)
    await receive()
    tell("received more")


@serving
async def unsupported(scope: LifespanScope, receive: Receive, send: Send) -> None:
    raise NotImplementedError("probe: there is no lifespan")


@serving
async def unsupported_after_a_look(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await receive()
    raise NotImplementedError("probe: there is no lifespan")


@serving
async def silent(scope: LifespanScope, receive: Receive, send: Send) -> None:
    """Returns as if it had been asked nothing."""


@serving
async def fails(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "probe: the sluice\nis stuck"})


@serving
async def fails_without_a_word(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await receive()
    await send(cast(ASGISendEvent, {"type": "lifespan.startup.failed"}))


@serving
async def raises_later(scope: LifespanScope, receive: Receive, send: Send) -> None:
    """Raises when it has said that it is there."""
    await start_up(receive, send)
    raise RuntimeError("probe: failed after the start-up")


@serving
async def returns_later(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await start_up(receive, send)


@serving
async def fails_at_the_end(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await start_up(receive, send)
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "probe: the sluice stays open"})


@serving
async def raises_at_the_end(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await start_up(receive, send)
    await receive()
    raise RuntimeError("probe: failed at the shutdown")


@serving
async def hangs(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await receive()
    tell("hangs")
    await asyncio.sleep(3600)


@serving
async def hangs_at_the_end(scope: LifespanScope, receive: Receive, send: Send) -> None:
    await start_up(receive, send)
    await receive()
    tell("hangs")
    await asyncio.sleep(3600)


@serving
async def offends(scope: LifespanScope, receive: Receive, send: Send) -> None:
    """Says what no lifespan can take, and tells what came of it."""
    await receive()
    mistakes: list[dict[str, Any]] = [
        {"type": "http.response.start", "status": 200},
        {"type": "lifespan.shutdown.complete"},
        {"type": "lifespan.started"},
        {},
    ]
    for message in mistakes:
        try:
            await send(cast(ASGISendEvent, message))
        except Exception as error:
            tell(f"raised {type(error).__name__}: {error}")
        else:
            tell(f"took {message}")
    await send({"type": "lifespan.startup.complete"})
    try:
        await send({"type": "lifespan.startup.complete"})
    except Exception as error:
        tell(f"raised {type(error).__name__}: {error}")
    await shut_down(receive, send)


@serving
async def keeps_a_task(scope: LifespanScope, receive: Receive, send: Send) -> None:
    """A task of the lifespan's own works for the requests for as long as there are any."""
    beats = scope["state"]["beats"] = []

    async def beat() -> None:
        while True:
            beats.append(len(beats))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(beat())
    await start_up(receive, send)
    await shut_down(receive, send)
    task.cancel()


def factory() -> App:
    """With --factory. Which application it makes, the environment says."""
    made = globals()[os.environ["LIFESPAN"]]
    return cast(App, made)
