"""Starting the server under test, asking it things, and knowing what its applications saw."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from conformance.model import Failed, UsageError, Variant
from conformance.wire import Response, Wire

PACKAGE = Path(__file__).resolve().parent
# How long a server may take to be ready: compilers warm up, slow machines swap.
START_S = 30.0
# The system picks a free port, but another process may take it before the server does.
START_ATTEMPTS = 3
STOP_S = 5.0
CHECK_S = 40.0
# Where the command lines of the mounted variant put the application.
MOUNT = "/mount"

Event = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A server's name and its command lines, with the placeholders {port}, {path} (of a unix socket) and
    {app}."""

    name: str
    commands: dict[Variant, list[str]]


class Live:
    """A running server, and the side channel through which the probing applications report."""

    def __init__(
        self, target: Target, variant: Variant, app: str, folder: Path, *, exact: bool = False
    ) -> None:
        self.target = target
        self.variant = variant
        self.app = app
        self.exact = exact
        self.folder = Path(tempfile.mkdtemp(prefix=f"{target.name}-{variant.value}-", dir=folder))
        self.trace_path = self.folder / "trace.jsonl"
        self.trace_path.touch()
        self.log_path = self.folder / "log"
        self.deadline = time.monotonic() + CHECK_S
        self._tokens = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self.address: tuple[str, int] | str = ""
        self.ping = f"{MOUNT if variant is Variant.MOUNTED else ''}/probe/ping"

    # The process

    def start(self) -> None:
        """Start the server and wait until it answers; raise UsageError, with its last words, when it does
        not."""
        for _ in range(START_ATTEMPTS):
            self._spawn()
            if self._ready():
                return
            self.stop()
        words = self.log_path.read_text(errors="replace").strip().splitlines()[-8:]
        raise UsageError(f"{self.target.name} ({self.variant.value}) does not start: " + " / ".join(words))

    def stop(self) -> None:
        """End the server and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        # Each server leads a process group of its own, so its workers go with it.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def exit_status(self) -> int | None:
        """Return the status with which the server has ended, None while it runs."""
        return self._process.poll() if self._process else None

    def healthy(self) -> bool:
        """Return whether the server still answers a plain request."""
        self.deadline = time.monotonic() + CHECK_S
        if self.exit_status() is not None:
            return False
        try:
            return self.ask(self.ping).status == 200
        except Failed:
            return False

    def begin(self) -> None:
        """Give the check that begins now its time."""
        self.deadline = time.monotonic() + CHECK_S

    def resident_bytes(self) -> int | None:
        """Return the resident memory of the whole process tree, None where /proc does not tell."""
        if self._process is None or not Path("/proc/self/statm").exists():
            return None
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    stat = (entry / "stat").read_text()
                    parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        total = 0
        for pid in parents:
            ancestor = pid
            while ancestor in parents and ancestor != self._process.pid:
                ancestor = parents[ancestor]
            if ancestor == self._process.pid:
                with contextlib.suppress(OSError):
                    total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
                        "SC_PAGE_SIZE"
                    )
        return total

    def _spawn(self) -> None:
        path = self.folder / "socket"
        path.unlink(missing_ok=True)
        port = free_port()
        words = [
            word.replace("{port}", str(port)).replace("{path}", str(path)).replace("{app}", self.app)
            for word in self.target.commands[self.variant]
        ]
        host = "::1" if self.variant is Variant.IPV6 else "127.0.0.1"
        self.address = str(path) if self.variant is Variant.UNIX else (host, port)
        search = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(search),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CONFORMANCE_TRACE": str(self.trace_path),
            "CONFORMANCE_FOLDER": str(self.folder),
        }
        with self.log_path.open("ab") as log:
            log.write(f"$ {shlex.join(words)}\n".encode())
            log.flush()
            try:
                self._process = subprocess.Popen(
                    words,
                    cwd=self.folder,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise UsageError(f"{words[0]}: {error.strerror}") from None

    def _ready(self) -> bool:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.exit_status() is None:
            self.deadline = end
            with contextlib.suppress(Failed):
                if self.ask(self.ping).status == 200:
                    return True
            time.sleep(0.02)
        return False

    # Requests

    def connect(self) -> Wire:
        """Open a connection."""
        return Wire(self.address, self.deadline)

    def token(self) -> str:
        """Return a word that marks one request in the side channel."""
        return f"t{next(self._tokens)}"

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Sequence[str] = (),
        body: bytes | None = None,
        version: str = "HTTP/1.1",
    ) -> Response:
        """Send one request on a connection of its own and return the response."""
        with self.connect() as wire:
            wire.send(
                request(
                    path, method=method, headers=["Connection: close", *headers], body=body, version=version
                )
            )
            return wire.response(method)

    def probe(self, name: str, /, *, headers: Sequence[str] = (), **query: object) -> tuple[str, Response]:
        """Ask one of the probing applications; return the token in its events, and the response."""
        token = self.token()
        return token, self.ask(probe_path(name, token, **query), headers=headers)

    # The side channel

    def events(self, token: str, name: str | None = None) -> list[Event]:
        """Return what the applications have reported about one request so far."""
        return [
            event
            for event in self._read_trace(0)
            if event["t"] == token and (name is None or event["event"] == name)
        ]

    def wait_for(self, token: str, name: str, count: int = 1) -> list[Event]:
        """Wait until the applications have reported an event; fail when they do not."""
        found = self.poll(lambda: seen if len(seen := self.events(token, name)) >= count else None)
        if found is None:
            raise Failed(f"the application never reported {name!r}")
        return found

    def poll(self, look: Callable[[], T | None], seconds: float = 6.0) -> T | None:
        """Look until there is something to see; return it, None when the time is up."""
        end = min(time.monotonic() + seconds, self.deadline)
        while (found := look()) is None and time.monotonic() < end:
            time.sleep(0.005)
        return found

    def open_gate(self, token: str) -> None:
        """Let an application that waits for its gate go on."""
        (self.folder / f"gate-{token}").touch()

    def mark(self) -> int:
        """Return a position in the side channel."""
        return self.trace_path.stat().st_size

    def calls_since(self, mark: int) -> list[str]:
        """Return the paths of all calls of the application since that position."""
        return [event["path"] for event in self._read_trace(mark) if event["event"] == "call"]

    def events_since(self, mark: int, name: str) -> list[Event]:
        """Return all events of one name since that position, whichever request they belong to."""
        return [event for event in self._read_trace(mark) if event["event"] == name]

    def _read_trace(self, offset: int) -> list[Event]:
        with self.trace_path.open("rb") as trace:
            trace.seek(offset)
            # A line without its end is still being written.
            return [json.loads(line) for line in trace if line.endswith(b"\n")]


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def probe_path(name: str, token: str, /, **query: object) -> str:
    """Return the target that leads to one probing application."""
    words = [f"t={token}", *(f"{key}={quote(str(value), safe='')}" for key, value in query.items())]
    return f"/probe/{name}?{'&'.join(words)}"


def request(
    path: str,
    *,
    method: str = "GET",
    headers: Sequence[str] = (),
    body: bytes | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """Return the bytes of one request."""
    lines = [f"{method} {path} {version}", "Host: a", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
