"""An application that finds out whether its client has left, in each way there is."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

PATIENCE_S = 30.0
events: queue.Queue[str] = queue.Queue()


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


class SlowClose:
    """An answer that is out before its close() ends."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"here"

    def close(self) -> None:
        tell("closing")
        time.sleep(0.3)
        tell("closed")


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    path, cancelled = environ["PATH_INFO"], environ["tidegate.cancelled"]
    answer = "here"
    if path == "/wait":
        tell("waiting")
        tell(f"waited: {cancelled.wait(PATIENCE_S)}")
    elif path == "/timeout":
        answer = f"{cancelled.wait(0.05)} {cancelled.wait(0)} {cancelled.wait(-1)}"
    elif path == "/bad":
        try:
            cancelled.wait(float("nan"))
        except ValueError as error:
            answer = str(error)
    elif path == "/look":
        tell("looking")
        end = time.monotonic() + PATIENCE_S
        while not cancelled.is_set() and time.monotonic() < end:
            time.sleep(0.01)
        tell(f"seen: {cancelled.is_set()}")
    elif path == "/callback":
        left = threading.Event()
        cancelled.add_callback(left.set)
        cancelled.add_callback(lambda: 1 / 0)
        tell("registered")
        tell(f"called: {left.wait(PATIENCE_S)}")
        late = threading.Event()
        cancelled.add_callback(late.set)
        tell(f"called at once: {late.is_set()}")
    elif path == "/slow-close":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return SlowClose()
    elif path == "/many-waits":
        before = resident_kib()
        for _ in range(100_000):
            cancelled.wait(0.0000001)
        answer = str(resident_kib() - before)
    elif path == "/slow-callback":
        cancelled.add_callback(lambda: (tell("callback begins"), time.sleep(1), tell("callback ends")))
        tell("registered")
        time.sleep(PATIENCE_S)
    elif path == "/brief":
        # Over before the callbacks of the others are through.
        cancelled.add_callback(lambda: tell("called for a request that is over"))
        tell("brief begins")
        cancelled.wait(PATIENCE_S)
        tell("brief ends")
    elif path == "/own-thread":
        answers: queue.Queue[bool] = queue.Queue()
        threading.Thread(target=lambda: answers.put(cancelled.wait(0.05))).start()
        answer = str(answers.get(timeout=PATIENCE_S))
    elif path == "/leave-callback":
        cancelled.add_callback(lambda: tell("called for a request that is over"))
    elif path == "/sleep":
        tell("sleeping")
        try:
            time.sleep(PATIENCE_S)
        except BaseException as error:
            tell(f"raised: {type(error).__name__}")
            raise
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer.encode()]
