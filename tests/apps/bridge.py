"""A synchronous application that waits for asynchronous code: each path is one way to do that."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs
from wsgiref.validate import validator

import greenlet

import tidegate

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Query = dict[str, str]
Way = Callable[[Environ, Query], object]

PATIENCE_S = 20

ways: dict[str, Way] = {}
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")
meetings: dict[str, list[asyncio.Future[None]]] = {}


def way(function: Way) -> Way:
    ways[f"/{function.__name__.strip('_')}"] = function
    return function


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def refusal(call: Callable[[], object]) -> str:
    try:
        return f"no error but {call()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def meet(place: str, count: int) -> str:
    """Wait until so many are here: they all were here at once."""
    mine = asyncio.get_running_loop().create_future()
    there = meetings.setdefault(place, [])
    there.append(mine)
    if len(there) == count:
        del meetings[place]
        for other in there:
            other.set_result(None)
    await asyncio.wait_for(mine, PATIENCE_S)
    return place


async def later(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return value


async def now(value: Any) -> Any:
    return value


@way
def met(environ: Environ, query: Query) -> object:
    tidegate.await_(meet(environ["PATH_INFO"], int(query["count"])))
    return query["name"]


@way
def gather(environ: Environ, query: Query) -> object:
    return tidegate.await_(asyncio.gather(later(1), later(2), now(3)))


@way
def kinds(environ: Environ, query: Query) -> object:
    """Coroutines that wait and that do not, a task, a future that is done, an object with `__await__`."""

    async def begin() -> asyncio.Task[Any]:
        return asyncio.create_task(later("task"))

    class Awaitable:
        def __await__(self) -> Generator[Any, None, Any]:
            return later("object").__await__()

    async def done() -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        return future

    return [
        tidegate.await_(later("coroutine")),
        tidegate.await_(now("at once")),
        tidegate.await_(tidegate.await_(begin())),
        tidegate.await_(tidegate.await_(done())),
        tidegate.await_(Awaitable()),
        refusal(lambda: tidegate.await_(5)),  # type: ignore[arg-type]
    ]


@way
def raised(environ: Environ, query: Query) -> object:
    async def inner() -> None:
        await later(None)
        raise LookupError("from the coroutine")

    async def outer() -> None:
        await inner()

    try:
        tidegate.await_(outer())
    except LookupError as error:
        names, trace = [], error.__traceback__
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        return [str(error), names]
    return "no error"


@way
def uncaught(environ: Environ, query: Query) -> object:
    async def fails() -> None:
        raise LookupError("nobody catches this")

    return tidegate.await_(fails())


@way
def cancelled_by_itself(environ: Environ, query: Query) -> object:
    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(PATIENCE_S)

    try:
        tidegate.await_(cancels())
    except asyncio.CancelledError:
        return "cancelled"
    return "no error"


@way
def context(environ: Environ, query: Query) -> object:
    """What is there before; what a task sees of it; what it sees of others' and others of its own."""

    async def look() -> str:
        seen = mark.get()
        mark.set("set in a task")
        await meet("context", int(query["count"]))
        return seen

    before = mark.get()
    mark.set(query["name"])
    return [before, tidegate.await_(look()), mark.get()]


@way
def nested(environ: Environ, query: Query) -> object:
    async def outer() -> str:
        coroutine = later(1)
        try:
            return refusal(lambda: tidegate.await_(coroutine))
        finally:
            coroutine.close()

    return [tidegate.await_(outer()), tidegate.await_(later("goes on"))]


async def in_a_greenlet() -> Any:
    """As SQLAlchemy's asyncio does: a greenlet hands what it waits for to its parent, which awaits it."""

    def wait(value: object) -> Any:
        parent = greenlet.getcurrent().parent
        assert parent is not None
        return parent.switch(later(value))

    child = greenlet.greenlet(lambda: [wait(5), wait(6)])
    result = child.switch()
    while not child.dead:
        result = child.switch(await result)
    return result


@way
def nested_eagerly(environ: Environ, query: Query) -> object:
    """The same where tasks begin at once, in the greenlet of the request."""

    async def set_factory(factory: Any) -> None:
        asyncio.get_running_loop().set_task_factory(factory)

    async def both() -> list[Any]:
        return list(await asyncio.gather(later(1), now(2)))

    async def read() -> str:
        return refusal(lambda: environ["wsgi.input"].read(1_000_000))

    # Not `asyncio.eager_task_factory`: uvloop passes more to it than Python 3.13.0 knows.
    def eager(loop: asyncio.AbstractEventLoop, coroutine: Any, **_: Any) -> asyncio.Task[Any]:
        begin: Any = asyncio.Task
        task: asyncio.Task[Any] = begin(coroutine, loop=loop, eager_start=True)
        return task

    tidegate.await_(set_factory(eager))
    try:
        waited = [*tidegate.await_(both()), tidegate.await_(later(3)), tidegate.await_(now(4))]
        waited += tidegate.await_(in_a_greenlet())
        return [waited, nested(environ, query), tidegate.await_(read())]
    finally:
        tidegate.await_(set_factory(None))


@way
def own_loop(environ: Environ, query: Query) -> object:
    """Code that runs a loop of its own, as it may on any thread without one."""

    async def outer() -> str:
        return refusal(lambda: tidegate.await_(asyncio.sleep(0)))

    return [asyncio.run(later("ran")), refusal(asyncio.get_running_loop), asyncio.run(outer())]


@way
def own_thread(environ: Environ, query: Query) -> object:
    said: list[str] = []
    coroutine = later(1)
    thread = threading.Thread(target=lambda: said.append(refusal(lambda: tidegate.await_(coroutine))))
    thread.start()
    thread.join(PATIENCE_S)
    coroutine.close()
    return said


@way
def own_greenlet(environ: Environ, query: Query) -> object:
    """A greenlet that the application has made may wait as well."""
    said: list[str] = []
    child = greenlet.greenlet(lambda: said.append(tidegate.await_(later("waited"))))
    child.switch()
    return said


left_behind: dict[str, asyncio.Event] = {}


@way
def own_greenlet_is_left(environ: Environ, query: Query) -> object:
    """The request is ended while a greenlet that it has made waits."""

    async def event() -> asyncio.Event:
        return asyncio.Event()

    left_behind["go on"] = tidegate.await_(event())
    child = greenlet.greenlet(lambda: tidegate.await_(left_behind["go on"].wait()))
    tell("waiting")
    try:
        child.switch()
    finally:
        tell(f"cleaned up: {tidegate.await_(later('awaited'))}")
    return "nobody sees this"


@way
def own_greenlet_ends(environ: Environ, query: Query) -> object:
    """It ends, and comes back where the request would have: to the loop."""

    async def look() -> str:
        left_behind["go on"].set()
        for _ in range(5):
            await asyncio.sleep(0)
            asyncio.get_running_loop()
        return "goes on"

    return tidegate.await_(look())


@way
def exits(environ: Environ, query: Query) -> object:
    async def exits() -> None:
        await asyncio.sleep(0)
        raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[query["by"]]

    return tidegate.await_(exits())


@way
def body(environ: Environ, query: Query) -> object:
    """Waits for the client and for tasks in turns."""
    digest, size = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(10_000):
        size += len(tidegate.await_(later(block)))
        digest.update(block)
    return [size, digest.hexdigest()]


@way
def body_in_a_task(environ: Environ, query: Query) -> object:
    async def read() -> str:
        return refusal(lambda: environ["wsgi.input"].read(1_000_000))

    return tidegate.await_(read())


@way
def wait_for_departure(environ: Environ, query: Query) -> object:
    left = asyncio.Event()

    def leave() -> None:
        tell(f"callback: {tidegate.await_(later('awaited'))}")
        left.set()

    cancelled = environ["tidegate.cancelled"]
    cancelled.add_callback(leave)
    tell("waiting")
    if query["by"] == "callback":
        tidegate.await_(left.wait())
    tell(f"waited: {cancelled.wait(PATIENCE_S)}")
    return "nobody sees this"


@way
def sleep(environ: Environ, query: Query) -> object:
    async def asleep() -> None:
        tell("asleep")
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            tell("the task was cancelled")
            raise

    try:
        tidegate.await_(asleep())
    except BaseException as error:
        tell(f"raised: {type(error).__name__}")
        tell(f"cleaned up: {tidegate.await_(later('awaited'))}")
        raise
    return "slept"


@way
def released(environ: Environ, query: Query) -> object:
    async def there() -> None:
        while not os.path.exists(query["by"]):
            await asyncio.sleep(0.01)

    tell("waiting for a file")
    tidegate.await_(there())
    return "released"


@way
def fork(environ: Environ, query: Query) -> object:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return [os.getpid() == server_pid, tidegate.await_(later("awaited"))]


server_pid = os.getpid()


class Streamed:
    """Waits between its blocks, and in its end."""

    def __init__(self, query: Query) -> None:
        self.count, self.name = int(query["count"]), query["name"]
        self.blocks = self._blocks()

    def _blocks(self) -> Generator[bytes, None, None]:
        for number in range(3):
            tidegate.await_(meet(f"stream {number}", self.count))
            yield f"{number} {self.name}\n".encode()

    def __iter__(self) -> Iterator[bytes]:
        return self.blocks

    def close(self) -> None:
        self.blocks.close()
        tell(tidegate.await_(later(f"closed {self.name}")))


def flood(count: int) -> Iterator[bytes]:
    """More than a socket takes, with tasks in between."""
    block = b"\x00" * 65_536
    for _ in range(count):
        yield tidegate.await_(later(block))


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"]
    if path == "/streamed":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Streamed(query)
    if path == "/flood":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return flood(int(query["count"]))
    answer = json.dumps(ways[path](environ, query)).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


validated = validator(application)


def elsewhere(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """For hosts that are no bridge: what `await_` says there."""
    coroutine = later(1)
    answer = refusal(functools.partial(tidegate.await_, coroutine)).encode()
    coroutine.close()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An asynchronous application, which needs no bridge."""
    coroutine = later(1)
    answer = refusal(lambda: tidegate.await_(coroutine)).encode()
    coroutine.close()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer})
