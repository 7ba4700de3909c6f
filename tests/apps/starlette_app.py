"""A Starlette application: routes, streams, files, middleware of both kinds, background work, WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TypedDict

from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

gates: dict[str, asyncio.Event] = {}


class State(TypedDict):
    tide: str
    visits: list[str]


def tell(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
    sys.stderr.flush()


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    tell("starlette starts")
    yield {"tide": "high", "visits": []}
    tell("starlette stops")


class Stamp(BaseHTTPMiddleware):
    """Starlette's own kind of middleware, which pipes each response through a task group."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Stamp"] = request.method
        return response


async def index(request: Request) -> Response:
    request.state.visits.append(request.url.path)
    return JSONResponse(
        {
            "tide": request.state.tide,
            "visits": len(request.state.visits),
            "url": str(request.url),
            "client": request.client.host if request.client else None,
        }
    )


async def body(request: Request) -> Response:
    data = await request.body()
    return JSONResponse({"size": len(data), "sha256": hashlib.sha256(data).hexdigest()})


async def pieces(request: Request) -> Response:
    """Reads the body piece by piece."""
    digest, size = hashlib.sha256(), 0
    tell("reads a body")
    try:
        async for piece in request.stream():
            digest.update(piece)
            size += len(piece)
    except ClientDisconnect:
        tell("client disconnected in the middle of its body")
        raise
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def echo(request: Request) -> Response:
    """The response begins while the body is still on its way."""
    return StreamingResponse(request.stream(), media_type="application/octet-stream")


async def upload(request: Request) -> Response:
    async with request.form() as form:
        sent = form["file"]
        assert not isinstance(sent, str)
        data = await sent.read()
        return JSONResponse({"name": sent.filename, "size": len(data), "note": form["note"]})


async def stream(request: Request) -> Response:
    name = request.query_params.get("name", "")

    async def lines() -> AsyncIterator[str]:
        try:
            for number in range(int(request.query_params["count"])):
                yield f"{number}\n"
                if number % 100 == 0:
                    await asyncio.sleep(0)
        finally:
            tell(f"{name} stream closed")

    return StreamingResponse(lines(), media_type="text/plain")


async def thread_stream(request: Request) -> Response:
    """A generator without async, which Starlette runs in threads."""

    def lines() -> Iterator[str]:
        for number in range(100):
            yield f"{number} {threading.current_thread() is threading.main_thread()}\n"

    return StreamingResponse(lines(), media_type="text/plain")


def in_thread(request: Request) -> Response:
    """An endpoint without async runs in a thread too."""
    return PlainTextResponse(str(threading.current_thread() is threading.main_thread()))


async def background(request: Request) -> Response:
    """Work after the response, first in the loop, when the gate opens, and then in a thread."""
    name = request.query_params["name"]
    gate = gates.setdefault(name, asyncio.Event())

    async def later() -> None:
        await gate.wait()
        tell(f"{name} worked on")

    def last() -> None:
        tell(f"{name} worked in a thread")

    tasks = BackgroundTasks([BackgroundTask(later), BackgroundTask(last)])
    return PlainTextResponse("answered", background=tasks)


async def open_gate(request: Request) -> Response:
    gates.setdefault(request.query_params["name"], asyncio.Event()).set()
    return PlainTextResponse("open")


async def file(request: Request) -> Response:
    return FileResponse(os.environ["STARLETTE_FILE"], filename="tides.bin")


async def departure(request: Request) -> Response:
    name = request.query_params["name"]
    tell(f"{name} waits")
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    tell(f"{name} has gone")
    return PlainTextResponse("")


async def gone(request: Request) -> Response:
    raise HTTPException(410, "out with the tide", headers={"X-Handled": "yes"})


async def broken(request: Request) -> Response:
    raise RuntimeError("probe: starlette broke")


async def breaks_in_stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        yield b"sent\n"
        raise RuntimeError("probe: stream broke")

    return StreamingResponse(lines())


async def shout(websocket: WebSocket) -> None:
    """Repeats each message in capitals until the client leaves."""
    await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
    try:
        while True:
            await websocket.send_text((await websocket.receive_text()).upper())
    except WebSocketDisconnect as error:
        tell(f"starlette websocket closed {error.code} {error.reason!r}")


async def guarded(websocket: WebSocket) -> None:
    """Lets in who knows the word."""
    if websocket.query_params.get("word") != "flood":
        await websocket.send_denial_response(PlainTextResponse("say the word", 401))
        return
    await websocket.accept()
    await websocket.send_json({"tide": websocket.state.tide})
    await websocket.close(4001, "that is all")


# With its own pieces between the application and the server, of which the latter must not notice anything.
wrapped = Mount(
    "/wrapped",
    middleware=[Middleware(GZipMiddleware, minimum_size=1000), Middleware(Stamp)],
    routes=[Route("/stream", stream), Route("/body", body, methods=["POST"]), Route("/file", file)],
)

app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", index),
        Route("/body", body, methods=["POST", "PUT"]),
        Route("/pieces", pieces, methods=["POST"]),
        Route("/echo", echo, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/thread-stream", thread_stream),
        Route("/in-thread", in_thread),
        Route("/background", background),
        Route("/open-gate", open_gate),
        Route("/file", file),
        Route("/departure", departure),
        Route("/gone", gone),
        Route("/broken", broken),
        Route("/breaks-in-stream", breaks_in_stream),
        wrapped,
        Mount("/static", StaticFiles(directory=os.environ["STARLETTE_STATIC"])),
        WebSocketRoute("/shout", shout),
        WebSocketRoute("/guarded", guarded),
    ],
)
