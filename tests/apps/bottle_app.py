"""A Bottle application: routes, forms, cookies, files, uploads, streams and errors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from bottle import Bottle, HTTPResponse, abort, redirect, request, response, static_file

SECRET = "spring tide"

application = Bottle()


@application.get("/")
def index() -> str:
    return "Bottle at the tide gate\n"


@application.route("/hello/<name>/<times:int>")
def hello(name: str, times: int) -> str:
    return f"Hello, {name}! " * times


@application.get("/json")
def as_json() -> dict[str, object]:
    return {"query": dict(request.query.decode()), "path": request.path, "method": request.method}


@application.post("/form")
def form() -> dict[str, object]:
    return {name: request.forms.getall(name) for name in request.forms}


@application.post("/json")
def from_json() -> dict[str, object]:
    return {"got": request.json}


@application.post("/upload")
def upload() -> dict[str, object]:
    sent = request.files.get("file")
    body = sent.file.read()
    return {
        "name": sent.filename,
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "note": request.forms.get("note"),
    }


@application.route("/body", method="POST")
def body() -> str:
    return hashlib.sha256(request.body.read()).hexdigest()


@application.get("/static/<name>")
def static(name: str) -> HTTPResponse:
    return static_file(name, root=os.environ["BOTTLE_FILES"])


@application.get("/visits")
def visits() -> str:
    count = int(request.get_cookie("visits", default="0", secret=SECRET)) + 1
    response.set_cookie("visits", str(count), secret=SECRET, path="/", httponly=True)
    response.set_cookie("plain", "1", path="/")
    return str(count)


@application.get("/stream/<count:int>")
def stream(count: int) -> Iterator[str]:
    response.content_type = "text/plain; charset=utf-8"
    for number in range(count):
        yield f"line {number}\n"


@application.get("/teapot")
def teapot() -> None:
    abort(418, "no coffee here")


@application.get("/away")
def away() -> None:
    redirect("/")


@application.get("/broken")
def broken() -> None:
    raise RuntimeError("probe: a bottle broke")
