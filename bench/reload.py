"""From a saved file to the first answer by its code, with `tidegate --reload`: `python bench/reload.py`.

A small application is written anew, as editors do it, and asked all the time; its answer says when its import
began and ended. With a framework that import takes longer than all else together. Exit status 1 when the
median of the plain WSGI application is 300 ms or more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import peers
from processes import free_port

LIMIT_S = 0.3
PATIENCE_S = 30.0

WSGI = """
import time
BEGAN = time.time()
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%s"]
"""

FASTAPI = """
import time
BEGAN = time.time()
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
app = FastAPI()
@app.get("/", response_class=PlainTextResponse)
async def hello():
    return "%s"
"""

DJANGO = """
import time
BEGAN = time.time()
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("%s", content_type="text/plain"))]
app = get_wsgi_application()
"""

APPLICATIONS = {"WSGI": WSGI, "FastAPI": FASTAPI, "Django": DJANGO}
ENDED = "ENDED = time.time()\n"


def save(directory: Path, source: str, version: str) -> None:
    """Write the application as many editors do: beside, and then in its place."""
    beside = directory / ".site.py.new"
    said = f'{version} " + str(BEGAN) + " " + str(ENDED) + "'
    if 'b"%s"' in source:
        source = source.replace('b"%s"', '("%s").encode()')
    beside.write_text(source % said + ENDED)
    beside.replace(directory / "small.py")


def answer(connection: HTTPConnection) -> list[str]:
    """Ask once; a connection that the server has closed is made anew, as any client does."""
    connection.request("GET", "/")
    return connection.getresponse().read().decode().split()


def wait_for(port: int, version: str) -> tuple[float, float, float]:
    """Return when its first answer came, and when its import had begun and ended."""
    deadline = time.time() + PATIENCE_S
    while time.time() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            seen, began, ended = answer(connection)
            if seen == version:
                return time.time(), float(began), float(ended)
        except (OSError, ValueError):
            pass
        finally:
            connection.close()
        time.sleep(0.002)
    raise SystemExit(f"version {version} was not served within {PATIENCE_S} s")


def measure(name: str, rounds: int, options: list[str]) -> float:
    """Save so many times, print a row, and return the median."""
    times: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as path:
        directory = Path(path)
        save(directory, APPLICATIONS[name], "v")
        port = free_port()
        bind = ["--bind", f"127.0.0.1:{port}", "--log-level", "error"]
        environ = dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": ""}
        command = [str(peers.TIDEGATE), "--reload", *bind, *options, "small:app"]
        server = subprocess.Popen(command, cwd=directory, env=environ)
        try:
            wait_for(port, "v")
            for index in range(rounds):
                time.sleep(0.3)
                saved = time.time()
                save(directory, APPLICATIONS[name], f"v{index}")
                answered, began, ended = wait_for(port, f"v{index}")
                times.append((answered - saved, began - saved, ended - began, answered - ended))
        finally:
            server.terminate()
            server.wait()
    total, before, imported, after = zip(*times, strict=True)
    figures = [max(total), *(statistics.median(part) for part in (total, before, imported, after))]
    most, middle, *parts = (f"{1000 * figure:.0f}" for figure in figures)
    print(f"| {name} | {rounds} | {middle} | {most} | {' | '.join(parts)} |", flush=True)
    return figures[1]


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="saves of each (default: %(default)s)")
    parser.add_argument("--only", choices=APPLICATIONS, help="this one alone")
    parser.add_argument("options", nargs="*", help="more options for the server, behind --")
    arguments = parser.parse_args()
    print("| application | saves | median, ms | most | until the import begins | import | until the answer |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    names = [arguments.only] if arguments.only else list(APPLICATIONS)
    medians = {name: measure(name, arguments.rounds, arguments.options) for name in names}
    return 1 if medians.get("WSGI", 0) >= LIMIT_S else 0


if __name__ == "__main__":
    sys.exit(main())
