"""Starlette with a middleware that gives requests their ids, if they have none."""

from __future__ import annotations

from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def tell(_request: Request) -> PlainTextResponse:
    return PlainTextResponse(correlation_id.get() or "none")


application = Starlette(routes=[Route("/", tell)], middleware=[Middleware(CorrelationIdMiddleware)])
