"""A Pyramid application: routes, renderers, streams, uploads, a tween, an exception view and a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.response import FileResponse, Response
from pyramid.view import exception_view_config, view_config


class Ebb(Exception):
    """The water went away."""


@view_config(route_name="home")
def home(request: Request) -> Response:
    return Response("Pyramid at the tide gate\n", content_type="text/plain")


@view_config(route_name="harbour", renderer="json")
def harbour(request: Request) -> dict[str, Any]:
    return {"name": request.matchdict["name"], "depth": request.params.getall("depth"), "url": request.url}


@view_config(route_name="upload", renderer="json", request_method="POST")
def upload(request: Request) -> dict[str, Any]:
    sent = request.POST["file"]
    return {"name": sent.filename, "size": len(sent.file.read()), "note": request.POST["note"]}


@view_config(route_name="body", renderer="json", request_method="POST")
def body(request: Request) -> dict[str, Any]:
    return {"size": len(request.body), "json": request.json_body}


@view_config(route_name="stream")
def stream(request: Request) -> Response:
    def lines() -> Iterator[bytes]:
        for number in range(1000):
            yield b"wave %d\n" % number

    return Response(app_iter=lines(), content_type="text/plain")


@view_config(route_name="file")
def file(request: Request) -> Response:
    """WebOb hands the file to the server's `wsgi.file_wrapper`."""
    return FileResponse(os.environ["PYRAMID_FILE"], request=request, content_type="application/octet-stream")


@view_config(route_name="away")
def away(request: Request) -> Response:
    return HTTPFound(location=request.route_url("home"))


@view_config(route_name="cookie")
def cookie(request: Request) -> Response:
    answer = Response(request.cookies.get("moon", "none"))
    answer.set_cookie("moon", "waxing", max_age=60)
    return answer


@view_config(route_name="ebb")
def ebb(request: Request) -> Response:
    raise Ebb


@exception_view_config(Ebb)
def no_water(error: Ebb, request: Request) -> Response:
    return Response("no water", status=503)


@view_config(route_name="broken")
def broken(request: Request) -> Response:
    raise RuntimeError("probe: pyramid broke")


def build() -> Any:
    with Configurator() as config:
        for name in ("upload", "body", "stream", "file", "away", "cookie", "ebb", "broken"):
            config.add_route(name, f"/{name}")
        config.add_route("home", "/")
        config.add_route("harbour", "/harbour/{name}")
        config.add_tween("apps.pyramid_tween.stamped")
        config.scan(sys.modules[__name__])
        return config.make_wsgi_app()


application = build()
