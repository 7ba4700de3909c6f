"""FastAPI: JSON, validation and a WebSocket. Run it with `pip install fastapi` and `tidegate tides:app`."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from math import cos, tau
from typing import Annotated

from fastapi import FastAPI, Query, WebSocket, WebSocketDisconnect

# From one high water to the next, for a moon that is always the same.
PERIOD = timedelta(hours=12, minutes=25)

app = FastAPI(title="Tides")


def height(at: datetime) -> float:
    """Metres over the mean, as the moon alone would have it."""
    return round(1.8 * cos(tau * (at.timestamp() / PERIOD.total_seconds())), 2)


@app.get("/")
async def now() -> dict[str, float]:
    return {"height": height(datetime.now(timezone.utc))}


@app.get("/forecast")
async def forecast(hours: Annotated[int, Query(ge=1, le=48)] = 12) -> list[float]:
    begin = datetime.now(timezone.utc)
    return [height(begin + timedelta(hours=hour)) for hour in range(hours)]


@app.websocket("/live")
async def live(websocket: WebSocket, every: float = 1.0) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_json({"height": height(datetime.now(timezone.utc))})
            await asyncio.sleep(every)
    except WebSocketDisconnect:
        pass
