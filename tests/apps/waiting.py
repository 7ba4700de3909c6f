"""An application that waits in each of the standard library's ways, and through clients of HTTP.

A call that waits for others, `/event?count=50&name=x`, goes on when so many are there, and answers with the
name that came to it in the way that it waited: all answers are right only if all calls waited at once.
"""

from __future__ import annotations

import contextvars
import http.client
import json
import os
import queue
import select
import selectors
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs
from urllib.request import ProxyHandler, build_opener

import requests
import urllib3

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Wake = Callable[[], object]
Way = Callable[[int, str], str]

PATIENCE_S = 20
BACKEND = os.environ["BACKEND"]
BACKEND_PORT = int(BACKEND.rpartition(":")[2])

# Kept from call to call, as an application does; more connections than it keeps are made as needed.
pool = urllib3.PoolManager(maxsize=20, retries=False, timeout=PATIENCE_S)
opener = build_opener(ProxyHandler({}))

ways: dict[str, Way] = {}
making = threading.Lock()
wakes: dict[str, list[Wake]] = {}
shared = threading.Condition()
rooms = threading.BoundedSemaphore(3)
counted = threading.Lock()
inside = most_inside = total = 0

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")
local = threading.local()


def way(function: Way) -> Way:
    ways[function.__name__.strip("_")] = function
    return function


def together(place: str, count: int, wake: Wake) -> None:
    """Leave what ends this call's wait. The last call to come ends everybody's."""
    with making:
        there = wakes.setdefault(place, [])
        there.append(wake)
        if len(there) < count:
            return
        del wakes[place]
    for wake_one in there:
        wake_one()


def meet(place: str, count: int) -> None:
    met = threading.Event()
    together(place, count, met.set)
    if not met.wait(PATIENCE_S):
        raise TimeoutError(f"not everybody came to {place}")


# Another service


@way
def urllib3_(count: int, name: str) -> str:
    return pool.request("GET", f"http://{BACKEND}/meet/{count}?{name}").data.decode()


@way
def requests_(count: int, name: str) -> str:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"http://{BACKEND}/meet/{count}?{name}", timeout=PATIENCE_S).text


@way
def urllib(count: int, name: str) -> str:
    with opener.open(f"http://{BACKEND}/meet/{count}?{name}", timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


@way
def http_client(count: int, name: str) -> str:
    # By name, so that it is looked up on the way.
    connection = http.client.HTTPConnection("localhost", BACKEND_PORT, timeout=PATIENCE_S)
    try:
        connection.request("GET", f"/meet/{count}?{name}")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@way
def raw_socket(count: int, name: str) -> str:
    with socket.create_connection(("127.0.0.1", BACKEND_PORT), PATIENCE_S) as sock:
        sock.sendall(f"GET /meet/{count}?{name} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        with sock.makefile("rb") as stream:
            return stream.read().rpartition(b"\r\n\r\n")[2].decode()


@way
def raw_socket_into(count: int, name: str) -> str:
    with socket.create_connection(("127.0.0.1", BACKEND_PORT)) as sock:
        sock.sendall(f"GET /meet/{count}?{name} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        whole, room = bytearray(), bytearray(7)
        while size := sock.recv_into(room):
            whole += room[:size]
        return whole.rpartition(b"\r\n\r\n")[2].decode()


@way
def dns(count: int, name: str) -> str:
    meet("dns", count)
    found = {entry[4][0] for entry in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    return name if found and found <= {"127.0.0.1", "::1"} else f"localhost is at {found}"


# Children


@way
def child_output(count: int, name: str) -> str:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        feed, said = child.stdin, child.stdout

        def wake() -> None:
            feed.write(name.encode())
            feed.close()

        together("child_output", count, wake)
        return said.read().decode()


@way
def child_end(count: int, name: str) -> str:
    code = int(name) % 100
    command = ["sh", "-c", f"read line; exit {code}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        together("child_end", count, child.stdin.close)
        ended = child.wait(PATIENCE_S)
        return name if ended == code else f"ended with {ended}, not {code}"


@way
def child_run(count: int, name: str) -> str:
    meet("child_run", count)
    done = subprocess.run(["cat"], input=name, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.stdout


# Threads' own means


@way
def queue_(count: int, name: str) -> str:
    mine: queue.Queue[str] = queue.Queue()
    together("queue", count, lambda: mine.put(name))
    return mine.get(timeout=PATIENCE_S)


@way
def simple_queue(count: int, name: str) -> str:
    mine: queue.SimpleQueue[str] = queue.SimpleQueue()
    together("simple_queue", count, lambda: mine.put(name))
    return mine.get(timeout=PATIENCE_S)


@way
def lock(count: int, name: str) -> str:
    mine = threading.Lock()
    mine.acquire()
    together("lock", count, mine.release)
    return name if mine.acquire(timeout=PATIENCE_S) else "the lock stayed locked"


@way
def event(count: int, name: str) -> str:
    mine = threading.Event()
    together("event", count, mine.set)
    return name if mine.wait(PATIENCE_S) else "the event was not set"


@way
def condition(count: int, name: str) -> str:
    """All wait in one condition, each for a word of its own."""
    said: list[str] = []

    def wake() -> None:
        with shared:
            said.append(name)
            shared.notify_all()

    together("condition", count, wake)
    with shared:
        return said[0] if shared.wait_for(lambda: said, PATIENCE_S) else "nobody said a word"


@way
def semaphore(count: int, name: str) -> str:
    mine = threading.Semaphore(0)
    together("semaphore", count, mine.release)
    return name if mine.acquire(timeout=PATIENCE_S) else "nothing was released"


@way
def barrier(count: int, name: str) -> str:
    """A barrier that the first to come makes, and the last to come takes away."""
    with making:
        meeting = barriers.setdefault(count, threading.Barrier(count, lambda: barriers.pop(count)))
    meeting.wait(PATIENCE_S)
    return name


barriers: dict[int, threading.Barrier] = {}


@way
def thread(count: int, name: str) -> str:
    """A thread of the application's own does the waiting, and the call waits for it."""
    said: list[str] = []

    def body() -> None:
        meet("thread", count)
        said.append(name)

    mine = threading.Thread(target=body)
    mine.start()
    mine.join(PATIENCE_S)
    return said[0]


@way
def executor(count: int, name: str) -> str:
    with ThreadPoolExecutor(1) as own:
        return own.submit(event, count, name).result(PATIENCE_S)


@way
def sleep(count: int, name: str) -> str:
    awake: list[str] = []
    together("sleep", count, lambda: awake.append(name))
    deadline = time.monotonic() + PATIENCE_S
    while not awake and time.monotonic() < deadline:
        time.sleep(0.005)
    return awake[0]


# Descriptors


@way
def select_(count: int, name: str) -> str:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        together("select", count, lambda: theirs.sendall(name.encode()))
        ready, _, _ = select.select([mine], [], [], PATIENCE_S)
        return mine.recv(100).decode() if ready == [mine] else "nothing came"


@way
def poll(count: int, name: str) -> str:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        poller = select.poll()
        poller.register(mine, select.POLLIN)
        together("poll", count, lambda: theirs.sendall(name.encode()))
        ready = poller.poll(PATIENCE_S * 1000)
        return mine.recv(100).decode() if ready == [(mine.fileno(), select.POLLIN)] else "nothing came"


@way
def selectors_(count: int, name: str) -> str:
    mine, theirs = socket.socketpair()
    with mine, theirs, selectors.DefaultSelector() as selector:
        selector.register(mine, selectors.EVENT_READ, data=name)
        together("selectors", count, lambda: theirs.sendall(b"!"))
        [(key, _)] = selector.select(PATIENCE_S)
        return str(key.data)


@way
def files(count: int, name: str) -> str:
    """Files do not wait; what each call wrote is its own all the same."""
    with tempfile.TemporaryFile("w+") as mine:
        mine.write(name * 1000)
        meet("files", count)
        mine.seek(0)
        whole = mine.read()
    return name if whole == name * 1000 else "the file holds something else"


# What is not shared


def locals_(count: int, name: str) -> str:
    """What is there before this call has said who it is, and what it finds when others have said so too."""
    earlier = {"context": mark.get(), "local": getattr(local, "name", "")}
    mark.set(name)
    local.name = name
    meet("locals", count)
    return json.dumps({"earlier": earlier, "context": mark.get(), "local": local.name})


def counter(count: int, name: str) -> str:
    """Few are let in at once, and one at a time counts: a wait between reading and writing loses nothing."""
    global inside, most_inside, total
    meet("counter", count)
    with rooms:
        with counted:
            inside += 1
            most_inside = max(inside, most_inside)
        with counted:
            seen = total
            time.sleep(0.001)
            total = seen + 1
        with counted:
            inside -= 1
    return name


def counted_so_far(count: int, name: str) -> str:
    return json.dumps({"total": total, "inside": inside, "most_inside": most_inside})


others: dict[str, Way] = {"locals": locals_, "counter": counter, "counted": counted_so_far}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"].strip("/")
    chosen = ways.get(path) or others[path]
    answer = chosen(int(query.get("count", 1)), query.get("name", "")).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
