"""Two slow services on one port, for slow_backends.py to wait for: `python backend.py` and leave it running.

`/tide` and `/weather` answer some JSON after a tenth of a second, or after `?delay=0.5` seconds, to any
number of clients at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from urllib.parse import parse_qs, urlsplit

ANSWERS: dict[str, dict[str, object]] = {
    "/tide": {"port": "Cuxhaven", "high_water": "11:42"},
    "/weather": {"wind": "NW 5", "sea": "moderate"},
}
DELAY_S = 0.1


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until its client closes it; enough HTTP for GET requests and keep-alive."""
    # A client that leaves in the middle of a request has done nothing wrong.
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = urlsplit(head.split(b" ", 2)[1].decode("latin-1"))
            delay_s = float(parse_qs(target.query).get("delay", [str(DELAY_S)])[0])
            await asyncio.sleep(delay_s)
            found = ANSWERS.get(target.path)
            status = "200 OK" if found else "404 Not Found"
            body = json.dumps(found or {"error": "ask for " + " or ".join(ANSWERS)}).encode() + b"\n"
            fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)
            await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    # A backlog as long as the system allows: thousands may connect at the same moment.
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(f"backend listening on http://{host}:{port}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000, help="0: any free one (default: %(default)s)")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
