"""WhiteNoise over an application that knows nothing of files. WHITENOISE_ROOT names the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.validate import validator

from whitenoise import WhiteNoise


def inner(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [f"no file at {environ['PATH_INFO']}\n".encode("latin-1")]


application = WhiteNoise(inner, root=os.environ["WHITENOISE_ROOT"], prefix="files", max_age=3600)
validated = validator(application)
