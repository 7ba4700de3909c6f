"""A page of JSON in Starlette, by itself and behind the framework's own compression."""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ROWS = [
    {
        "id": number * 7919 % 104729,
        "name": f"Lamp {number} of {number % 17}",
        "price": number * 37 % 1000 / 10,
        "tags": ["lamp", "brass", "small"][: number % 4],
        "in_stock": number % 3 == 0,
    }
    for number in range(250)
]
PAGE = json.dumps(ROWS).encode()


async def page(request: Request) -> Response:
    """Answer some 20 KB."""
    return Response(PAGE, media_type="application/json")


routes = [Route("/", page)]
plain = Starlette(routes=routes)
gzip = Starlette(routes=routes, middleware=[Middleware(GZipMiddleware, compresslevel=5)])
