"""A Litestar application: typed handlers, dependencies, streams, events and WebSockets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from litestar import Litestar, Request, WebSocket, get, post, websocket, websocket_listener
from litestar.background_tasks import BackgroundTask
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import WebSocketDisconnect
from litestar.params import Body
from litestar.response import Response, ServerSentEvent, Stream


@dataclass
class Reading:
    place: str
    height: int


def tell(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
    sys.stderr.flush()


@asynccontextmanager
async def harbour(app: Litestar) -> AsyncGenerator[None, None]:
    app.state.tide = "high"
    tell("litestar starts")
    yield
    tell("litestar stops")


@get("/")
async def index(request: Request[object, object, State]) -> dict[str, str]:
    return {"tide": request.app.state.tide, "client": request.client.host if request.client else ""}


@post("/readings")
async def add(data: Reading) -> Reading:
    return data


@get("/readings/{number:int}", sync_to_thread=True)
def one(number: int) -> dict[str, int]:
    return {"number": number}


@post("/body")
async def body(request: Request[object, object, State]) -> dict[str, int]:
    return {"size": len(await request.body())}


@post("/upload")
async def upload(data: UploadFile = Body(media_type=RequestEncodingType.MULTI_PART)) -> dict[str, object]:  # noqa: B008
    return {"name": data.filename, "size": len(await data.read())}


@get("/stream")
async def stream(count: int) -> Stream:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(count):
            yield b"%d\n" % number

    return Stream(lines())


@get("/events")
async def events(count: int) -> ServerSentEvent:
    async def tides() -> AsyncGenerator[str, None]:
        for number in range(count):
            yield f"tide {number}"
            await asyncio.sleep(0)

    return ServerSentEvent(tides())


@get("/background")
async def background(name: str) -> Response[str]:
    return Response("answered", background=BackgroundTask(tell, f"{name} worked on"))


@get("/broken")
async def broken() -> None:
    raise RuntimeError("probe: litestar broke")


@websocket_listener("/listen")
async def listen(data: dict[str, int]) -> dict[str, int]:
    """Litestar's own loop: each message is answered with one."""
    return {"twice": 2 * data["once"]}


@websocket("/count")
async def count(socket: WebSocket[object, object, State]) -> None:
    await socket.accept()
    try:
        async for text in socket.iter_data():
            await socket.send_text(str(len(text)))
    except WebSocketDisconnect as error:
        tell(f"litestar websocket closed {error.code}")
    else:
        tell("litestar websocket is over")


app = Litestar(
    [index, add, one, body, upload, stream, events, background, broken, listen, count],
    lifespan=[harbour],
)
