"""A slow service on loopback, for applications to wait on: `with Backend() as backend: ...`.

It speaks HTTP/1.1 from a thread of its own. `/meet/50?x` holds its answer until fifty requests are there and
then answers them all, so that "fifty ran at once" is seen, not timed; `/delay/0.05?x` answers after that many
seconds. Both answer with the query.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any

from support.server import PATIENCE_S

if TYPE_CHECKING:
    from typing_extensions import Self

HEAD_SIZE_MAX = 65536


class Backend:
    """The service. Accepts connections once entered; ends with all of them when left."""

    def __init__(self) -> None:
        self.port = 0
        # What a test may ask for afterwards. Written by the service's thread alone.
        self.requests = 0
        self.running = 0
        self.most_at_once = 0
        self._meetings: dict[int, list[asyncio.Future[None]]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="backend")

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _run(self, steps: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(steps, self._loop).result(PATIENCE_S)

    async def _open(self) -> None:
        self._listener = await asyncio.start_server(
            self._connection, "127.0.0.1", 0, limit=HEAD_SIZE_MAX, backlog=1024
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client has left, or the tests are over: neither is worth a word.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, _, fields = head.partition("\r\n")
            _, target, _ = line.split(" ")
            path, _, query = target.partition("?")
            status, text = await self._counted(path, query)
            body = text.encode()
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            if "\r\nconnection: close" in f"\r\n{fields}".lower():
                return

    async def _counted(self, path: str, query: str) -> tuple[str, str]:
        self.requests += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await self._answer(path, query)
        finally:
            self.running -= 1

    async def _answer(self, path: str, query: str) -> tuple[str, str]:
        _, what, number = path.split("/")
        if what == "delay":
            await asyncio.sleep(float(number))
            return "200 OK", query
        if what == "meet":
            return await self._meet(int(number), query)
        return "404 Not Found", path

    async def _meet(self, count: int, query: str) -> tuple[str, str]:
        waiting = self._meetings.setdefault(count, [])
        mine = self._loop.create_future()
        waiting.append(mine)
        if len(waiting) == count:
            del self._meetings[count]
            for other in waiting:
                other.set_result(None)
        try:
            await asyncio.wait_for(mine, PATIENCE_S / 2)
        except asyncio.TimeoutError:
            # The name that Python 3.10 has for it.
            return "504 Gateway Timeout", f"of {count} only {len(waiting)} came"
        return "200 OK", query
