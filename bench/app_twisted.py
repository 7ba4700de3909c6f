"""The applications that wait, as Twisted wants them: `python app_twisted.py PORT NAME`."""

from __future__ import annotations

import os
import sys

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

HELLO = b"Hello, World!"


def answer(request: Request, body: bytes) -> None:
    """Answer in one piece, unless the client has left."""
    if not request.finished and not request._disconnected:
        request.setHeader(b"content-type", b"text/plain")
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()


class Sleep(Resource):
    """Sleep for as many milliseconds as the path says; at /0 answer at once."""

    isLeaf = True

    def render_GET(self, request: Request) -> int:
        """Answer 13 bytes."""
        if ms := int(request.path[1:]):
            reactor.callLater(ms / 1000, answer, request, HELLO)
        else:
            answer(request, HELLO)
        return NOT_DONE_YET


class Call(Resource):
    """Ask the backend, with Twisted's own client and its pool of connections."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = int(os.environ["BENCH_BACKEND_POOL"])
        self.agent = Agent(reactor, pool=pool)
        self.base = f"http://127.0.0.1:{os.environ['BENCH_BACKEND_PORT']}".encode()

    def render_GET(self, request: Request) -> int:
        """Pass on what the backend answers."""
        self.call(request)
        return NOT_DONE_YET

    @inlineCallbacks
    def call(self, request: Request):
        """Make the request and answer with its body."""
        response = yield self.agent.request(b"GET", self.base + request.path)
        body = yield readBody(response)
        answer(request, body)


def main() -> None:
    """Serve until killed."""
    port, name = int(sys.argv[1]), sys.argv[2]
    site = Site({"sleep": Sleep, "call": Call}[name]())
    # Its access log, which would be formatted for nobody.
    site.log = lambda request: None
    reactor.listenTCP(port, site, backlog=4096, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
