"""Responses to be compressed, by Flask (`wsgi`) and by Starlette (`asgi`), the same of both.

What a response is like stands in the query. A stream waits before its second block until somebody opens the
pipe that is named.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import flask
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from apps.asgi_parts import Receive, Send

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from asgiref.typing import Scope

FOLDER = Path(os.environ.get("COMPRESSED_FOLDER", "."))


def text(size: int) -> bytes:
    """Something between words and noise."""
    lines = (f"<li>{number} {hashlib.md5(b'%d' % number).hexdigest()[:6]}</li>\n" for number in range(size))
    made = bytearray()
    while len(made) < size:
        made += next(lines).encode()
    return bytes(made[:size])


def wait(pipe: str) -> None:
    (FOLDER / pipe).read_bytes()


def pairs(fields: list[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (field.partition(":") for field in fields)]


def status_and_fields(query: QueryParams) -> tuple[int, list[tuple[str, str]]]:
    kind = query.get("type", "text/html; charset=utf-8")
    fields = [("Content-Type", kind)] if kind else []
    return int(query.get("status", 200)), fields + pairs(query.getlist("field"))


def blocks(query: QueryParams) -> Iterator[bytes]:
    count = int(query.get("count", 2))
    for number in range(count):
        if number and "pipe" in query:
            wait(query["pipe"])
        if number and "fail" in query:
            raise RuntimeError("fails in the middle")
        yield text(int(query.get("size", 3000)))


wsgi = flask.Flask(__name__)


def query_of_flask() -> QueryParams:
    return QueryParams(flask.request.query_string.decode())


@wsgi.get("/whole")
def whole() -> flask.Response:
    query = query_of_flask()
    status, fields = status_and_fields(query)
    response = flask.Response(text(int(query.get("size", 20_000))), status)
    # As it is set below, or not at all.
    del response.headers["Content-Type"]
    for name, value in fields:
        response.headers.add(name, value)
    if "condition" in query:
        response.make_conditional(flask.request)
    return response


@wsgi.get("/stream")
def stream() -> flask.Response:
    status, fields = status_and_fields(query_of_flask())
    response = flask.Response(blocks(query_of_flask()), status)
    del response.headers["Content-Type"]
    for name, value in fields:
        response.headers.add(name, value)
    return response


@wsgi.get("/file")
def file() -> flask.Response:
    return flask.send_file(FOLDER / query_of_flask()["name"], mimetype="text/plain")


async def asgi_whole(request: Request) -> Response:
    status, fields = status_and_fields(request.query_params)
    response = Response(text(int(request.query_params.get("size", 20_000))), status)
    for name, value in fields:
        response.headers.append(name, value)
    tag = response.headers.get("ETag", "")
    if "condition" in request.query_params and tag in request.headers.get("If-None-Match", "-"):
        return Response(status_code=304, headers={"ETag": tag})
    return response


async def asgi_stream(request: Request) -> Response:
    status, fields = status_and_fields(request.query_params)
    made = blocks(request.query_params)

    async def each() -> AsyncIterator[bytes]:
        while (block := await asyncio.to_thread(next, made, None)) is not None:
            yield block

    response = StreamingResponse(each(), status)
    for name, value in fields:
        response.headers.append(name, value)
    return response


async def asgi_file(request: Request) -> Response:
    return FileResponse(FOLDER / request.query_params["name"], media_type="text/plain")


starlette = Starlette(
    routes=[Route("/whole", asgi_whole), Route("/stream", asgi_stream), Route("/file", asgi_file)]
)


def wsgi_with_parts(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """`wsgi`, and the file that the query names after a block that was written before it."""
    if environ["PATH_INFO"] != "/part":
        return wsgi(environ, start_response)
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(text(3000))
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](open(FOLDER / environ["QUERY_STRING"], "rb"))  # noqa: SIM115
    return wrapped


async def asgi_with_parts(scope: Scope, receive: Receive, send: Send) -> None:
    """The same of `asgi`, with the file's beginning once more behind it."""
    if scope["type"] != "http" or scope["path"] != "/part":
        await asgi(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text(3000), "more_body": True})
    with (FOLDER / scope["query_string"].decode()).open("rb") as file:
        part = {"type": "http.response.zerocopysend", "file": file.fileno()}
        await send({**part, "more_body": True})
        await send({**part, "offset": 0, "count": 1000})


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http" or scope["path"] != "/trailers":
        await starlette(scope, receive, send)
        return
    fields = [(b"content-type", b"text/plain"), (b"trailer", b"x-end")]
    await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})
    await send({"type": "http.response.body", "body": text(5000), "more_body": True})
    await send({"type": "http.response.body", "body": text(5000)})
    await send({"type": "http.response.trailers", "headers": [(b"x-end", b"there")]})
