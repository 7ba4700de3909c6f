"""An application whose calls wait for one another: what it answers shows how many ran at once, and where."""

from __future__ import annotations

import contextvars
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

PATIENCE_S = 30
TEXT = [("Content-Type", "text/plain")]

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")
barriers: dict[int, threading.Barrier] = {}
making = threading.Lock()
gate = threading.Event()
inside = threading.Semaphore(0)
local = threading.local()


class Places:
    """Blocks that say on which thread, and in which context, each step of one request ran."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def note(self, step: str) -> None:
        self.seen.append(f"{step} {threading.get_ident()} {mark.get()}")

    def __iter__(self) -> Iterator[bytes]:
        self.note("iterate")
        barrier(4).wait(PATIENCE_S)
        self.note("iterate")
        yield json.dumps(self.seen).encode()

    def close(self) -> None:
        self.note("close")
        closed.append(self.seen)


closed: list[list[str]] = []


# A way to open the gate that takes no request.
signal.signal(signal.SIGUSR1, lambda _number, _frame: gate.set())


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def barrier(count: int) -> threading.Barrier:
    with making:
        return barriers.setdefault(count, threading.Barrier(count))


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if path == "/meet":
        # Goes on when so many calls are here at once.
        barrier(int(query["count"])).wait(PATIENCE_S)
        answer = threading.current_thread().name
    elif path == "/wait":
        inside.release()
        tell("at the gate")
        answer = "opened" if gate.wait(PATIENCE_S) else "nobody came"
    elif path == "/inside":
        # Answers when so many calls wait at the gate.
        for _ in range(int(query["count"])):
            inside.acquire(timeout=PATIENCE_S)
        answer = "inside"
    elif path == "/tell":
        answer = f"told {environ['QUERY_STRING']}"
        tell(answer)
    elif path == "/echo":
        answer = environ["QUERY_STRING"]
    elif path == "/open":
        gate.set()
        answer = "open"
    elif path == "/places":
        earlier = mark.get()
        mark.set(environ["QUERY_STRING"])
        places = Places([f"earlier {earlier}"])
        places.note("call")
        write = start_response("200 OK", TEXT)
        write(b"")
        return places
    elif path == "/closed":
        answer = json.dumps(closed)
    elif path == "/threads":
        local.count = getattr(local, "count", 0) + 1
        names = sorted(thread.name for thread in threading.enumerate())
        answer = json.dumps({"names": names, "count": local.count, "multi": environ["wsgi.multithread"]})
    elif path == "/drip":
        start_response("200 OK", TEXT)
        return (b"x" * 65536 for _ in range(int(query["count"])))
    elif path == "/read":
        answer = str(len(environ["wsgi.input"].read()))
    else:
        answer = "hello"
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(answer)))])
    return [answer.encode()]
