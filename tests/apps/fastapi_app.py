"""A FastAPI application: validation, dependencies, uploads, streams, WebSockets, and a lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field


def tell(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
    sys.stderr.flush()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    tell("fastapi starts")
    yield {"moon": "full"}
    tell("fastapi stops")


app = FastAPI(lifespan=lifespan)


class Reading(BaseModel):
    place: str
    height: int = Field(ge=-500, le=2000)
    notes: list[str] = []


async def ledger(name: str = "") -> AsyncIterator[list[str]]:
    """Opened for a request, and closed after it."""
    tell(f"{name} ledger opened")
    try:
        yield []
    finally:
        tell(f"{name} ledger closed")


Ledger = Annotated[list[str], Depends(ledger)]


@app.get("/")
async def index(request: Request) -> dict[str, str]:
    return {"moon": request.state.moon, "root": request.scope["root_path"], "url": str(request.url)}


@app.post("/readings", status_code=201)
async def add(reading: Reading, ledger: Ledger) -> Reading:
    ledger.append(reading.place)
    return reading


@app.get("/readings/{number}")
def one(number: int, ledger: Ledger, x_tide: Annotated[str, Header()] = "slack") -> dict[str, object]:
    """Without async: in a thread."""
    main = threading.current_thread() is threading.main_thread()
    return {"number": number, "tide": x_tide, "main": main}


@app.get("/fails")
async def fails(ledger: Ledger) -> None:
    raise HTTPException(409, "the tide is out")


@app.get("/breaks")
async def breaks(ledger: Ledger) -> None:
    raise RuntimeError("probe: fastapi broke")


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()], note: Annotated[str, Form()]) -> dict[str, object]:
    size = 0
    while block := await file.read(65_536):
        size += len(block)
    return {"name": file.filename, "size": size, "note": note, "kind": file.content_type}


@app.get("/stream")
async def stream(count: int, ledger: Ledger) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(count):
            yield f"wave {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/background")
async def background(name: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(tell, f"{name} worked on")
    return "answered"


@app.websocket("/sum")
async def sums(websocket: WebSocket, start: int = 0) -> None:
    """Adds up what it is told in JSON."""
    await websocket.accept()
    total = start
    try:
        while True:
            total += (await websocket.receive_json())["add"]
            await websocket.send_json({"total": total})
    except WebSocketDisconnect as error:
        tell(f"sum closed {error.code} at {total}")
