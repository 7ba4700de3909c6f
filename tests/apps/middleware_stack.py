"""A stack of middleware: a proxy's fields, two mounted applications, validators, a filter that rewrites.

From the outside in: ProxyFix, DispatcherMiddleware (`/api` and the rest), LintMiddleware, `Rewriter`, and the
application, which uses `write()` and an iterable with `close()`.
"""

from __future__ import annotations

import gzip
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.lint import HTTPWarning, LintMiddleware, WSGIWarning
from werkzeug.middleware.proxy_fix import ProxyFix

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

warnings.simplefilter("always", WSGIWarning)
warnings.simplefilter("always", HTTPWarning)


class Rewriter:
    """Gathers a whole response, written and returned, turns "ebb" into "flood", and compresses on request.

    A failure of the application inside is answered by starting the response once more, with `exc_info`.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started: list[Any] = []
        blocks: list[bytes] = []

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            if started and exc_info is None:
                raise AssertionError("started twice")
            started[:] = [status, headers]
            return blocks.append

        try:
            result = self.app(environ, start)
            try:
                blocks.extend(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
        except LookupError as error:
            environ["wsgi.errors"].write(f"probe: rewriter caught {error}\n")
            # The response may have been started in earnest already, so only `exc_info` makes this legal.
            page = b"rewritten error"
            start_response("200 OK", [("Content-Type", "text/plain")])
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(page)))]
            start_response("502 Bad Gateway", headers, sys.exc_info())
            return [page]

        status, headers = started
        body = b"".join(blocks).replace(b"ebb", b"flood")
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body)
            headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        write = start_response(status, [*headers, ("Content-Length", str(len(body)))])
        # Half of it through write(), half returned: they must arrive in this order.
        write(body[: len(body) // 2])
        return [body[len(body) // 2 :]]


class Waves:
    def __init__(self, errors: Any) -> None:
        self.errors = errors

    def __iter__(self) -> Iterator[bytes]:
        for number in range(1000):
            yield b"ebb %d\n" % number

    def close(self) -> None:
        self.errors.write("probe: waves closed\n")


def waves(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise LookupError("no such tide")
    if path == "/fails-late":

        def late() -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"ebb"
            raise LookupError("the tide turned")

        return late()
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"the ebb begins\n")
    return Waves(environ["wsgi.errors"])


def api(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    names = (
        "SCRIPT_NAME",
        "PATH_INFO",
        "REMOTE_ADDR",
        "HTTP_HOST",
        "SERVER_NAME",
        "wsgi.url_scheme",
        "REQUEST_METHOD",
    )
    body = json.dumps({name: environ[name] for name in names}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


mounted = DispatcherMiddleware(LintMiddleware(Rewriter(waves)), {"/api": validator(api)})
application = ProxyFix(mounted, x_for=1, x_proto=1, x_host=1, x_prefix=1)
validated = validator(application)
