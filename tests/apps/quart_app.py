"""A Quart application: Flask's interface on the loop, streams, bodies as they come, WebSockets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from quart import Quart, Response, abort, jsonify, redirect, request, session, url_for, websocket
from quart.typing import ResponseReturnValue

app = Quart(__name__)
app.secret_key = "neap tide"
app.config["BODY_TIMEOUT"] = 30


def tell(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
    sys.stderr.flush()


@app.before_serving
async def begin() -> None:
    tell("quart starts")


@app.after_serving
async def end() -> None:
    tell("quart stops")


@app.get("/")
async def index() -> ResponseReturnValue:
    return jsonify(path=request.path, args=request.args, remote=request.remote_addr, scheme=request.scheme)


@app.post("/json")
async def echo_json() -> ResponseReturnValue:
    return jsonify(got=await request.get_json())


@app.post("/pieces")
async def pieces() -> ResponseReturnValue:
    size = 0
    async for piece in request.body:
        size += len(piece)
    return jsonify(size=size)


@app.post("/upload")
async def upload() -> ResponseReturnValue:
    sent, form = (await request.files)["file"], await request.form
    return jsonify(name=sent.filename, size=len(sent.read()), note=form["note"])


@app.get("/stream")
async def stream() -> ResponseReturnValue:
    count = int(request.args["count"])

    async def lines() -> AsyncIterator[str]:
        for number in range(count):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return Response(lines(), content_type="text/plain")


@app.get("/thread")
def in_a_thread() -> ResponseReturnValue:
    """Without async: Quart runs it in a thread, with its context."""
    return request.args["word"]


@app.route("/login", methods=["GET", "POST"])
async def login() -> ResponseReturnValue:
    if request.method == "POST":
        session["name"] = (await request.form)["name"]
        return redirect(url_for("login"))
    return session.get("name", "nobody")


@app.get("/background")
async def background() -> ResponseReturnValue:
    name = request.args["name"]

    async def later() -> None:
        await asyncio.sleep(0.01)
        tell(f"{name} worked on")

    app.add_background_task(later)
    return "answered"


@app.get("/gone")
async def gone() -> ResponseReturnValue:
    abort(410)


@app.get("/broken")
async def broken() -> ResponseReturnValue:
    raise RuntimeError("probe: quart broke")


@app.websocket("/echo")
async def echo() -> None:
    try:
        while True:
            message = await websocket.receive()
            if message == "close":
                await websocket.close(4001, "as asked")
                return
            await websocket.send(message)
    except asyncio.CancelledError:
        # How Quart tells that the client has left.
        tell("quart websocket cancelled")
        raise


@app.websocket("/guarded")
async def guarded() -> ResponseReturnValue | None:
    if websocket.args.get("word") != "flood":
        return "say the word", 401
    await websocket.accept(subprotocol="waves")
    await websocket.send_json({"moon": websocket.headers["X-Moon"]})
    return None
