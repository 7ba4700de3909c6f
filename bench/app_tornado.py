"""The applications that wait, as Tornado wants them: `python app_tornado.py PORT NAME`."""

from __future__ import annotations

import asyncio
import os
import sys

from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler

HELLO = b"Hello, World!"


class Sleep(RequestHandler):
    """Sleep for as many milliseconds as the path says; at /0 answer at once."""

    async def get(self, ms: str) -> None:
        """Answer 13 bytes."""
        if int(ms):
            await asyncio.sleep(int(ms) / 1000)
        self.set_header("Content-Type", "text/plain")
        self.finish(HELLO)


class Call(RequestHandler):
    """Ask the backend, with Tornado's own client, which makes a new connection each time."""

    async def get(self, ms: str) -> None:
        """Pass on what the backend answers."""
        answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{os.environ['BENCH_BACKEND_PORT']}/{ms}")
        self.set_header("Content-Type", "text/plain")
        self.finish(answer.body)


async def main() -> None:
    """Serve until killed."""
    port, name = int(sys.argv[1]), sys.argv[2]
    if name == "call":
        AsyncHTTPClient.configure(None, max_clients=int(os.environ["BENCH_BACKEND_POOL"]))
    handler = {"sleep": Sleep, "call": Call}[name]
    # Its access log is silent unless logging is set up, but is formatted all the same.
    application = Application([(r"/(\d+)", handler)], log_function=lambda handler: None)
    application.listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
