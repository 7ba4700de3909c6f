"""A Socket.IO server: acknowledgements, rooms, bytes, a namespace of its own, and who is refused."""

from __future__ import annotations

import sys
from typing import Any

import socketio

# A poll whose client has taken its leave waits for a ping, and for an answer to it.
sio = socketio.AsyncServer(async_mode="asgi", ping_interval=1, ping_timeout=1)


def tell(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
    sys.stderr.flush()


@sio.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    if auth == "low":
        raise socketio.exceptions.ConnectionRefusedError("the tide is out")
    transport = "websocket" if "HTTP_UPGRADE" in environ else "polling"
    await sio.save_session(sid, {"name": auth or "nobody"})
    tell(f"{auth} connected by {transport}")


@sio.event
async def disconnect(sid: str, reason: str) -> None:
    session = await sio.get_session(sid)
    tell(f"{session['name']} disconnected")


@sio.event
async def add(sid: str, first: int, second: int) -> int:
    """Acknowledged with the sum."""
    return first + second


@sio.event
async def reverse(sid: str, data: bytes) -> None:
    await sio.emit("reversed", data[::-1], to=sid)


@sio.event
async def enter(sid: str, room: str) -> bool:
    await sio.enter_room(sid, room)
    return True


@sio.event
async def say(sid: str, room: str, text: str) -> None:
    session = await sio.get_session(sid)
    await sio.emit("said", {"by": session["name"], "text": text}, room=room)


@sio.on("add", namespace="/pilot")
async def add_for_pilots(sid: str, first: int, second: int) -> int:
    return 10 * (first + second)


app = socketio.ASGIApp(sio)
