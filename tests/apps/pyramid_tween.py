"""Pyramid's word for middleware. It is named by a dotted path, so it needs a module that is whole by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.request import Request
from pyramid.response import Response


def stamped(handler: Callable[[Request], Response], registry: Any) -> Callable[[Request], Response]:
    def tween(request: Request) -> Response:
        answer = handler(request)
        answer.headers["X-Tween"] = "passed"
        return answer

    return tween
