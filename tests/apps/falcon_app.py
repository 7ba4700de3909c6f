"""A Falcon application: resources, media, streams, uploads, middleware and errors."""

from __future__ import annotations

import hashlib
import io
import os
from typing import Any

import falcon


class Hello:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.text = f"Hello, {request.get_param('name', default='sea')}!"


class Media:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = {"got": request.get_media(), "length": request.content_length}


class Body:
    """Reads through Falcon's bounded stream, which goes by Content-Length, or through `wsgi.input` itself."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        stream = request.bounded_stream if request.get_param_as_bool("bounded") else request.stream
        digest = hashlib.sha256()
        while block := stream.read(8192):
            digest.update(block)
        response.text = digest.hexdigest()


class Form:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = {part.name: len(part.stream.read()) for part in request.get_media()}


class Stream:
    def on_get(self, request: falcon.Request, response: falcon.Response, count: int) -> None:
        response.content_type = falcon.MEDIA_TEXT
        response.stream = (b"%d\n" % number for number in range(count))


class File:
    """A stream with `read` goes to the server's `wsgi.file_wrapper`; with a known length, it has one."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        path = os.environ["FALCON_FILE"]
        response.content_type = "application/octet-stream"
        if request.get_param_as_bool("memory"):
            with open(path, "rb") as file:
                response.stream = io.BytesIO(file.read())
        else:
            # The server closes it.
            response.set_stream(open(path, "rb"), os.path.getsize(path))  # noqa: SIM115

    on_head = on_get


class Errors:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise falcon.HTTPUnprocessableEntity(title="too salty")

    def on_delete(self, request: falcon.Request, response: falcon.Response) -> None:
        response.status = falcon.HTTP_204

    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        raise RuntimeError("probe: falcon broke")


class Stamp:
    def process_response(self, request: Any, response: Any, resource: Any, req_succeeded: bool) -> None:
        response.set_header("X-Stamp", "yes" if req_succeeded else "no")
        response.set_cookie("seen", "1", secure=False)


application = falcon.App(middleware=[Stamp()])
application.add_route("/", Hello())
application.add_route("/media", Media())
application.add_route("/body", Body())
application.add_route("/form", Form())
application.add_route("/stream/{count:int}", Stream())
application.add_route("/file", File())
application.add_route("/errors", Errors())
