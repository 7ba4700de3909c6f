"""An application that uses gevent itself, with the same answers under any server that has greenlets."""

from __future__ import annotations

import contextvars
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

import gevent
import gevent.event
import gevent.local
import gevent.lock
import gevent.pool
import gevent.queue
import gevent.threadpool
import greenlet
import urllib3

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

PATIENCE_S = 20
TEXT = [("Content-Type", "text/plain")]
BACKEND = os.environ["BACKEND"]
pool = urllib3.PoolManager(maxsize=50, retries=False, timeout=PATIENCE_S)

local = gevent.local.local()
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="fresh")
limited = gevent.pool.Pool(3)
barriers: dict[str, threading.Barrier] = {}
later: list[str] = []


class Counted(gevent.local.local):
    """A local with a constructor of its own, which runs anew in each greenlet."""

    made = 0

    def __init__(self) -> None:
        Counted.made += 1
        self.names: list[str] = []


counted = Counted()


def meet(place: str, count: int) -> None:
    barriers.setdefault(place, threading.Barrier(count, lambda: barriers.pop(place))).wait(PATIENCE_S)


def ask(name: object) -> str:
    return pool.request("GET", f"http://{BACKEND}/delay/0.001?{name}").data.decode()


def timeout(query: dict[str, str]) -> object:
    """A call that would wait too long is ended where it waits, and goes on."""
    seen = []
    for wait in (gevent.sleep, time.sleep, threading.Event().wait, gevent.event.Event().wait):
        try:
            with gevent.Timeout(0.01):
                wait(PATIENCE_S)
            seen.append("waited")
        except gevent.Timeout as over:
            seen.append(str(over))
    return seen


def timeout_of_a_request(query: dict[str, str]) -> object:
    """The other service is held up for good; the connection to it is given up."""
    try:
        with gevent.Timeout(0.05):
            return pool.request("GET", f"http://{BACKEND}/meet/1000?x").data.decode()
    except gevent.Timeout as over:
        return str(over)


def timeout_nested(query: dict[str, str]) -> object:
    """Each timeout is told from others; a silent one leaves its block; one not reached does nothing."""
    seen = []
    with gevent.Timeout(PATIENCE_S):
        with gevent.Timeout(0.01, False):
            gevent.sleep(PATIENCE_S)
            seen.append("waited")
        outer = gevent.Timeout.start_new(0.01)
        try:
            with gevent.Timeout(PATIENCE_S):
                gevent.sleep(PATIENCE_S)
        except gevent.Timeout as over:
            seen.append("outer" if over is outer else "inner")
        seen.append(gevent.with_timeout(0.01, gevent.sleep, PATIENCE_S, timeout_value="value"))
    gevent.sleep(0.02)
    return seen


def timeout_uncaught(query: dict[str, str]) -> object:
    """A `BaseException` that the application lets go: the server's answer is a 500."""
    with gevent.Timeout(0.01):
        gevent.sleep(PATIENCE_S)
    return "waited"


def locals_of_a_call(query: dict[str, str]) -> object:
    name = query["name"]
    earlier = [getattr(local, "name", "none"), mark.get(), list(counted.names)]
    local.name = name
    mark.set(name)
    counted.names.append(name)
    meet("locals", int(query["count"]))
    inside = gevent.spawn(lambda: [getattr(local, "name", "none"), list(counted.names)]).get()
    return {"earlier": earlier, "now": [local.name, mark.get(), counted.names], "spawned": inside}


def spawned(query: dict[str, str]) -> object:
    """Greenlets of the application's own: what they return, in their order, and what they raise."""
    jobs = [gevent.spawn(ask, number) for number in range(10)]
    gevent.joinall(jobs, timeout=PATIENCE_S, raise_error=True)
    failing = gevent.spawn(int, "tide")
    try:
        failing.get(timeout=PATIENCE_S)
        failed = "nothing was raised"
    except ValueError as error:
        failed = str(error)
    first = gevent.wait([gevent.spawn(gevent.sleep, PATIENCE_S), gevent.spawn(ask, "first")], count=1)
    return {"values": [job.value for job in jobs], "failed": failed, "first": [job.value for job in first]}


def killed(query: dict[str, str]) -> object:
    seen = []

    def body() -> None:
        try:
            gevent.sleep(PATIENCE_S)
        except gevent.GreenletExit:
            seen.append("exit")
            raise
        finally:
            seen.append("finally")

    job = gevent.spawn(body)
    gevent.sleep(0)
    job.kill(timeout=PATIENCE_S)
    return [*seen, job.dead, isinstance(job.value, gevent.GreenletExit)]


def outlives(query: dict[str, str]) -> object:
    """A greenlet that goes on when the response is out."""
    gevent.spawn_later(0.01, later.append, query["name"])
    return "spawned"


def outlived(query: dict[str, str]) -> object:
    with gevent.Timeout(PATIENCE_S):
        while query["name"] not in later:
            gevent.sleep(0.005)
    return "ran"


def pools(query: dict[str, str]) -> object:
    running = most = 0

    def body(number: int) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        answer = ask(number)
        running -= 1
        return answer

    ordered = limited.map(body, range(12))
    group = gevent.pool.Group()
    unordered = sorted(int(value) for value in group.imap_unordered(ask, range(12)))
    return {"ordered": ordered, "unordered": unordered, "most": most, "free": limited.free_count()}


def threads(query: dict[str, str]) -> object:
    """Work that must not hold up the hub, in gevent's pool of real threads."""
    own = gevent.threadpool.ThreadPool(2)
    try:
        work = [own.spawn(sum, range(number)) for number in range(5)]
        return [job.get() for job in work] + gevent.get_hub().threadpool.map(len, ["a", "bb"])
    finally:
        own.kill()


def handed_over(query: dict[str, str]) -> object:
    """gevent's own queue, result and semaphore between greenlets of one call."""
    channel: gevent.queue.Queue = gevent.queue.Queue(1)
    result = gevent.event.AsyncResult()
    gate = gevent.lock.BoundedSemaphore(1)

    def produce() -> None:
        for number in range(5):
            with gate:
                channel.put(number)
        channel.put(StopIteration)
        result.set("done")

    gevent.spawn(produce)
    return [list(channel), result.get(timeout=PATIENCE_S)]


def place(query: dict[str, str]) -> object:
    """Where a call runs: in a greenlet that the hub has started, on the only thread."""
    current = gevent.getcurrent()
    hub = gevent.get_hub()
    return {
        "in a greenlet": isinstance(current, greenlet.greenlet),
        "in the hub": current is hub,
        "below the hub": current.parent is hub,
        "on the hub's thread": hub.thread_ident == gevent.monkey.get_original("threading", "get_ident")(),
        "in the main thread": threading.current_thread() is threading.main_thread(),
    }


def streamed(query: dict[str, str]) -> Iterator[bytes]:
    """Blocks that are waited for, while other calls run, in the call's own greenlet and context."""
    mark.set(query["name"])
    local.name = query["name"]
    mine = gevent.getcurrent()
    for number in range(5):
        meet("streamed", int(query["count"]))
        same = mine is gevent.getcurrent()
        yield f"{number} {mark.get()} {local.name} {same}\n".encode()


calls: dict[str, Callable[[dict[str, str]], object]] = {
    f"/{function.__name__}": function
    for function in (
        *(timeout, timeout_of_a_request, timeout_nested, timeout_uncaught),
        *(locals_of_a_call, spawned, killed, outlives, outlived, pools, threads, handed_over, place),
    )
}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if environ["PATH_INFO"] == "/streamed":
        start_response("200 OK", TEXT)
        return streamed(query)
    answer = json.dumps(calls[environ["PATH_INFO"]](query)).encode()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(answer)))])
    return [answer]
