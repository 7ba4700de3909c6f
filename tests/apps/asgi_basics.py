"""A plain ASGI application that shows what it is told and does what its paths say."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

seen = contextvars.ContextVar("seen", default="nothing")


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    scope = {key: value for key, value in scope.items() if key != "state"}
    await answer(send, repr(scope).encode())


kept: list[Any] = []


async def changed_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Changes or keeps what a server might share among requests; answers with what it found."""
    asgi, extensions = scope["asgi"], scope["extensions"]
    found = repr([asgi, extensions])
    match scope["query_string"]:
        case b"change":
            asgi["version"] = extensions["http.response.pathsend"] = "mine"
        case b"add":
            asgi["more"] = extensions["more"] = {}
        case b"inside":
            extensions["http.response.pathsend"]["mine"] = True
        case b"empty":
            asgi.clear()
            extensions.clear()
        case b"keep":
            kept.extend((asgi, extensions))
        case b"keep-inside":
            kept.extend(extensions.values())
        case b"kept":
            for part in kept:
                part["mine"] = True
    await answer(send, found.encode())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each part of the body back as it comes."""
    await send({"type": "http.response.start", "status": 200})
    more = True
    while more:
        message = await receive()
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    print("waiting", flush=True)
    message = await receive()
    print("received", message["type"], flush=True)
    try:
        await answer(send, b"")
    except OSError as error:
        print("send:", type(error).__name__, flush=True)


async def both(scope: Scope, receive: Receive, send: Send) -> None:
    """A task waits for the departure while the response is sent; it ends with the response."""
    await receive()
    watcher = asyncio.create_task(receive())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await answer(send, b"both")
    message = await watcher
    print("watcher:", message["type"], flush=True)


async def timeout(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    try:
        await asyncio.wait_for(receive(), 0.01)
    except asyncio.TimeoutError:
        await answer(send, b"timed out")


async def gave_up(scope: Scope, receive: Receive, send: Send) -> None:
    """One task does it all: gives up a receive(), sends, receives the departure, sends again."""
    part = {"type": "http.response.body", "body": b"part", "more_body": True}
    await receive()
    try:
        await asyncio.wait_for(receive(), 0.01)
    except asyncio.TimeoutError:
        await send({"type": "http.response.start", "status": 200})
    await send(part)
    assert (await receive())["type"] == "http.disconnect"
    sent = 0
    try:
        while True:
            await send(part)
            sent += 1
    except OSError:
        print("sent after the departure:", sent, flush=True)


async def cancelled_within(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for a task of its own that was cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def background(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"sent")
    await asyncio.sleep(0.05)
    print("background work is done", flush=True)


async def context(scope: Scope, receive: Receive, send: Send) -> None:
    before = seen.get()
    seen.set("something")
    await asyncio.sleep(0)
    await answer(send, before.encode())


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends more than anybody takes; tells how much was let out when nobody takes any."""
    await send({"type": "http.response.start", "status": 200})
    sent = 0

    async def tell() -> None:
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        print("suspended at", sent, flush=True)

    task = asyncio.create_task(tell())
    try:
        while sent < 1 << 30:
            await send({"type": "http.response.body", "body": bytes(32 * 1024), "more_body": True})
            sent += 32 * 1024
    except OSError as error:
        await task
        print("send:", type(error).__name__, flush=True)


async def long(scope: Scope, receive: Receive, send: Send) -> None:
    print("long begins", flush=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("on purpose")


async def fail_midway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise ValueError("on purpose")


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def hints(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await answer(send, b"hinted")


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "trailers": True})
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})


async def file(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.pathsend", "path": __file__})


async def part_of_file(scope: Scope, receive: Receive, send: Send) -> None:
    descriptor = os.open(__file__, os.O_RDONLY)
    try:
        await send({"type": "http.response.start", "status": 200})
        part = {"type": "http.response.zerocopysend", "file": descriptor, "more_body": True}
        await send({**part, "offset": 2, "count": 8})
        await send({**part, "offset": 0, "count": 4, "more_body": False})
    finally:
        os.close(descriptor)


async def parts_of_file(scope: Scope, receive: Receive, send: Send) -> None:
    """The first twelve bytes of a file in three parts, each from where the one before has ended."""
    with open(__file__, "rb", buffering=0) as opened:
        await send({"type": "http.response.start", "status": 200})
        part = {"type": "http.response.zerocopysend", "file": opened.fileno(), "count": 4, "more_body": True}
        await send(part)
        await send(part)
        await send({**part, "more_body": False})


async def pipe(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.pathsend", "path": os.environ["PIPE"]})


async def late_hints(scope: Scope, receive: Receive, send: Send) -> None:
    """Where the specification allows hints: after the start, and before the end of the body."""
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    await send({"type": "http.response.start", "status": 200})
    await send(hint)
    await send({"type": "http.response.body", "body": b"hin", "more_body": True})
    await send(hint)
    await send({"type": "http.response.body", "body": b"ted"})


STREAM_PARTS = 64


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """64 MiB, of which nothing waits but `send`."""
    await send({"type": "http.response.start", "status": 200})
    for number in range(STREAM_PARTS):
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        if number == 0:
            print("streaming", flush=True)
    await send({"type": "http.response.body"})


async def report_fault(scope: Scope, receive: Receive, send: Send) -> None:
    """As frameworks do: a body that does not come to its end is a failure, which they answer themselves."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 500})
    await send({"type": "http.response.body", "body": message["type"].encode()})


async def after_all(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when the whole body is there, and works on."""
    while (await receive())["more_body"]:
        print("waiting for the rest", flush=True)
    await answer(send, b"all")
    try:
        await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise
    print("background work is done", flush=True)


class Bare:
    """An awaitable whose iterator has neither `throw` nor `close`."""

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> None:
        return None


def bare(scope: Scope, receive: Receive, send: Send) -> Bare:
    print("bare begins", flush=True)
    return Bare()


START = {"type": "http.response.start", "status": 200}
MISTAKES: dict[str, list[Any]] = {
    "no-dict": ["http.response.start"],
    "no-type": [{"status": 200}],
    "type-no-str": [{"type": 1}],
    "unknown": [{"type": "http.response.end"}],
    "websocket": [{"type": "websocket.accept"}],
    "no-status": [{"type": "http.response.start"}],
    "status-str": [{"type": "http.response.start", "status": "200"}],
    "status-low": [{"type": "http.response.start", "status": 100}],
    "headers-str": [{**START, "headers": [("a", "b")]}],
    "headers-flat": [{**START, "headers": [b"a", b"bcd"]}],
    "headers-none": [{**START, "headers": 7}],
    "header-name": [{**START, "headers": [(b"a b", b"c")]}],
    "header-value": [{**START, "headers": [(b"a", b"b\r\nc: d")]}],
    "length-twice": [{**START, "headers": [(b"content-length", b"1"), (b"content-length", b"1")]}],
    "body-first": [{"type": "http.response.body"}],
    "start-twice": [START, START],
    "body-str": [START, {"type": "http.response.body", "body": "text"}],
    "after-end": [START, {"type": "http.response.body"}, {"type": "http.response.body"}],
    "trailers-unannounced": [START, {"type": "http.response.trailers", "headers": []}],
    "too-long": [
        {**START, "headers": [(b"content-length", b"1")]},
        {"type": "http.response.body", "body": b"ab"},
    ],
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
    await globals()[scope["path"].strip("/").replace("-", "_")](scope, receive, send)


def plain(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """No coroutine function: what is called for gives the awaitable itself."""
    return globals()[scope["path"].strip("/").replace("-", "_")](scope, receive, send)  # type: ignore[no-any-return]


async def with_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        count = scope["state"]["count"]
        scope["state"]["count"] = "changed"
        scope["state"]["shared"].append(scope["path"])
        return await answer(send, f"{count} {len(scope['state']['shared'])}".encode())
    await receive()
    scope["state"].update(count=7, shared=[])
    await send({"type": "lifespan.startup.complete"})
    print("started", flush=True)
    await receive()
    print("shutting down", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def refuses_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
    """Never answers the event that the environment names."""
    await receive()
    if os.environ["HANGS_AT"] == "shutdown":
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await asyncio.sleep(60)
