"""The applications that wait, and the echo, as Tornado wants them: `python app_tornado.py PORT NAME`."""

from __future__ import annotations

import asyncio
import os
import sys

from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

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


class Echo(WebSocketHandler):
    """Send each message back as it came."""

    async def on_message(self, message: str | bytes) -> None:
        """Wait until it is written, as its documentation advises for flow control."""
        await self.write_message(message, binary=isinstance(message, bytes))


async def main() -> None:
    """Serve until killed."""
    port, name = int(sys.argv[1]), sys.argv[2]
    if name == "call":
        AsyncHTTPClient.configure(None, max_clients=int(os.environ["BENCH_BACKEND_POOL"]))
    route = {"sleep": (r"/(\d+)", Sleep), "call": (r"/(\d+)", Call), "echo": (r"/", Echo)}[name]
    # Its access log is silent unless logging is set up, but is formatted all the same.
    application = Application([route], log_function=lambda handler: None)
    application.listen(port, "127.0.0.1", backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
