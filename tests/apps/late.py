"""Requests that take too long, each in its own way, and say what becomes of them."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
from collections.abc import Iterator

import anyio

import tidegate

# Much longer than any test lets a request take.
LONG_S = 4.0


def say(text: str) -> None:
    # In one piece: `print` writes the end of the line apart, and a line of the log may come between.
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def sleep_in_a_call() -> None:
    time.sleep(LONG_S)


def sleep_on_the_bridge() -> None:
    tidegate.await_(asyncio.sleep(LONG_S))


def compute_in_a_call(until: float) -> None:
    say("computes")
    while time.monotonic() < until:
        sum(range(1_000))


def in_c() -> None:
    """Wait where no exception can be raised, without the interpreter; for a while only."""
    ctypes.CDLL(None).usleep(1_500_000)


def waits(environ) -> None:
    cancelled = environ["tidegate.cancelled"]
    try:
        cancelled.wait(LONG_S)
    finally:
        say(f"cancelled: {cancelled.is_set()}")


def cleans_up() -> None:
    try:
        sleep_in_a_call()
    finally:
        time.sleep(0.01)
        say("has cleaned up")


def swallows() -> None:
    try:
        sleep_in_a_call()
    except tidegate.RequestTimeout:
        say("goes on")


def stream() -> Iterator[bytes]:
    yield b"begun"
    sleep_in_a_call()
    yield b"never"


def stream_in_c() -> Iterator[bytes]:
    yield b"begun"
    in_c()
    yield b"never"


def application(environ, start_response):
    path = environ["PATH_INFO"]
    run = {
        "/sleep": sleep_in_a_call,
        "/awaits": sleep_on_the_bridge,
        "/compute": lambda: compute_in_a_call(time.monotonic() + LONG_S),
        "/c": in_c,
        "/waits": lambda: waits(environ),
        "/cleans-up": cleans_up,
        "/swallows": swallows,
    }.get(path)
    if path == "/body":
        environ["wsgi.input"].read()
    if run is not None:
        try:
            run()
        except tidegate.RequestTimeout as error:
            say(f"{path}: {type(error).__name__} in {threading.current_thread().name}")
            raise
    start_response("200 OK", [("Content-Type", "text/plain")])
    streams = {"/stream": stream, "/stream-c": stream_in_c}
    return streams[path]() if path in streams else [b"in time"]


async def ends_with_its_group(name: str) -> None:
    try:
        await asyncio.sleep(LONG_S)
    except asyncio.CancelledError:
        say(f"{name} was cancelled")
        raise


async def asgi(scope, receive, send):
    if scope["type"] == "websocket":
        say("a WebSocket begins")
        await receive()
        return await send({"type": "websocket.close"})
    if scope["type"] != "http":
        return
    path = scope["path"]
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
    try:
        if path == "/sleep":
            await asyncio.sleep(LONG_S)
        elif path == "/group":
            await asyncio.wait_for(asyncio.gather(asyncio.sleep(LONG_S), asyncio.sleep(LONG_S)), LONG_S)
        elif path == "/task-group":
            async with anyio.create_task_group() as group:
                group.start_soon(ends_with_its_group, "a child")
                group.start_soon(ends_with_its_group, "another")
        elif path == "/compute":
            compute_in_a_call(time.monotonic() + LONG_S)
        elif path == "/compute-in-a-group":
            async with anyio.create_task_group() as group:
                group.start_soon(ends_with_its_group, "a child")
                await asyncio.sleep(0)
                compute_in_a_call(time.monotonic() + LONG_S)
        elif path == "/cleans-up":
            try:
                await asyncio.sleep(LONG_S)
            finally:
                await asyncio.sleep(0.01)
                say("has cleaned up")
        elif path == "/swallows":
            try:
                await asyncio.sleep(LONG_S)
            except tidegate.RequestTimeout:
                say("goes on")
        elif path == "/body":
            while (await receive()).get("more_body"):
                pass
        elif path == "/stream":
            await send(start)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await asyncio.sleep(LONG_S)
    except tidegate.RequestTimeout as error:
        say(f"{path}: {type(error).__name__} in {threading.current_thread().name}")
        raise
    await send(start)
    await send({"type": "http.response.body", "body": b"in time"})
