"""Flask's views, synchronous as ever, over an asynchronous client: httpx."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import httpx
from flask import Flask, Response, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue

from tidegate import await_

BACKEND = f"http://{os.environ['BACKEND']}"

app = Flask(__name__)
# One for the process, as its connections are the loop's.
client = httpx.AsyncClient(
    limits=httpx.Limits(max_connections=None), timeout=20, trust_env=False, base_url=BACKEND
)


@app.get("/meet/<int:count>")
def meet(count: int) -> ResponseReturnValue:
    answer = await_(client.get(f"/meet/{count}?{request.args['name']}"))
    return jsonify(name=request.args["name"], backend=answer.text)


@app.get("/both")
def both() -> ResponseReturnValue:
    answers = await_(asyncio.gather(client.get("/meet/2?one"), client.get("/meet/2?two")))
    return jsonify([answer.text for answer in answers])


@app.get("/stream")
def stream() -> ResponseReturnValue:
    def lines() -> Iterator[str]:
        for number in range(3):
            yield await_(client.get(f"/delay/0?{number}{request.args['name']}")).text

    return Response(stream_with_context(lines()), content_type="text/plain")


@app.get("/timeout")
def timeout() -> ResponseReturnValue:
    try:
        await_(client.get("/delay/20", timeout=0.05))
    except httpx.ReadTimeout as error:
        return type(error).__name__
    return "no error"


@app.get("/asynchronous")
async def asynchronous() -> ResponseReturnValue:
    """Flask runs it in a loop of its own, on a thread, for which this one waits."""
    await asyncio.sleep(0.001)
    return "ran"
