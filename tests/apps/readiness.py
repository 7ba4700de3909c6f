"""Applications that are ready or not, as the file `ready` in TIDES says, and that can get stuck."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

TIDES = Path(os.environ["TIDES"])


def ready() -> str:
    said = (TIDES / "ready").read_text()
    print(f"asked: {said}", file=sys.stderr, flush=True)
    return said


def get_stuck() -> None:
    print(f"stuck {os.getpid()}", file=sys.stderr, flush=True)
    # One call into C that lets nobody else have the interpreter, for longer than anybody waits.
    re.match(r"(a+)+$", "a" * 60 + "b")


def compute(depth: int) -> int:
    return depth and sum(compute(depth - 1) for _ in range(2))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status = "200 OK"
    if environ["PATH_INFO"] == "/ready":
        said = ready()
        if said == "hangs":
            time.sleep(3600)
        if said == "takes long":
            time.sleep(1)
            said = "200 OK"
        status = said
    elif environ["PATH_INFO"] == "/stuck":
        get_stuck()
    elif environ["PATH_INFO"] == "/busy":
        print("busy", file=sys.stderr, flush=True)
        while True:
            compute(12)
    body = str(os.getpid()).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asynchronous(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    status = 200
    if scope["path"] == "/ready":
        said = ready()
        if said == "hangs":
            await asyncio.sleep(3600)
        status = int(said.split()[0])
    elif scope["path"] == "/stuck":
        get_stuck()
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
