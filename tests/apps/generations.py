"""An application whose answers name the process and a version, which a file holds when it is imported.

The file is `version` in the directory of TIDES. A version that begins with "broken" cannot be imported.
For one that begins with "stalls" it takes until there is a file `go` beside that.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

VERSION = (Path(os.environ["TIDES"]) / "version").read_text()
print(f"imported {VERSION}", file=sys.stderr, flush=True)
if VERSION.startswith("broken"):
    raise RuntimeError(f"version {VERSION} cannot be")
while VERSION.startswith("stalls") and not (Path(os.environ["TIDES"]) / "go").exists():
    time.sleep(0.01)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/slow":
        print("called /slow", file=sys.stderr, flush=True)
        time.sleep(1)
    flags = f"{environ['wsgi.multiprocess']} {environ['wsgi.run_once']}"
    body = f"{os.getpid()} {VERSION} {flags}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asynchronous(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            print(f"{kind} {VERSION}", file=sys.stderr, flush=True)
            if kind == "lifespan.startup" and VERSION.startswith("unfit"):
                await send({"type": "lifespan.startup.failed", "message": f"version {VERSION} is unfit"})
                return
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    body = f"{os.getpid()} {VERSION}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
