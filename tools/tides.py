"""The application that the pictures in docs/images look at; see screenshots.py."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    status, body = "200 OK", b"done\n"
    if path.startswith("/reports/"):
        monthly_report()
    elif path.startswith("/export"):
        body = b"row\n" * 3_000_000
    elif path.startswith("/search"):
        time.sleep(random.lognormvariate(-4, 0.8))
    elif path.startswith("/account") and random.random() < 0.1:
        status = "303 See Other"
    elif path.startswith("/products") and random.random() < 0.03:
        status = "404 Not Found"
    elif path.startswith("/checkout") and random.random() < 0.05:
        status = "500 Internal Server Error"
    elif path == "/uploads":
        body = str(len(environ["wsgi.input"].read())).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def monthly_report() -> None:
    for month in range(12):
        summed(month)


def summed(month: int) -> int:
    time.sleep(random.uniform(0.2, 1.4))
    return month
