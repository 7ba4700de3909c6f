"""A server in a child process, for tests: `with Server("apps.probes:plain") as server: ...`."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from support.wire import Wire

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

TESTS = Path(__file__).resolve().parent.parent
EXAMPLES = TESTS.parent / "examples"

# Generous, because a test machine may be busy with a build; no test waits this long unless it fails.
PATIENCE_S = 30.0

_BANNER = re.compile(
    r"listening on (?:https?://(?P<host>\[[^\]]+\]|[^\s:/]+):(?P<port>\d+)|(?:\w+://)?unix:(?P<path>.+?)(?=\s+\(|\s*$))"
)

# What `wsgiref.validate`, werkzeug's LintMiddleware and Python's own warnings leave in a log when a rule of
# WSGI is broken, and the traceback that follows from an application or a server that failed.
COMPLAINT = re.compile(
    r"AssertionError|WSGIWarning|HTTPWarning|ResourceWarning|without being closed"
    r"|Traceback \(most recent call last\)"
)


class Address(NamedTuple):
    """Where the server listens: a TCP host and port, or the path of a unix socket (then `host` is empty)."""

    host: str
    port: int
    path: str = ""

    def connect(self, timeout_s: float) -> socket.socket:
        if not self.path:
            sock = socket.create_connection((self.host, self.port), timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout_s)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            raise
        return sock


class ServerFailed(Exception):
    """The server ended, or stayed silent, before it was ready; the message holds its log."""


def foreign_command() -> str | None:
    """The command line of another server to test instead, if the caller's environment names one."""
    return os.environ.get("TIDEGATE_TEST_COMMAND")


class Server:
    """A running server. Ready once entered: its banner has been read, so it accepts connections.

    `app` is `MODULE:ATTR`, importable from `tests` or from `cwd`; empty, there is none but what `options`
    mount. `binds` are passed as `--bind`; port 0 lets the system choose, so that any number of servers run
    beside one another. Without any, it listens where the settings say. `options` are further flags; being
    Tidegate's own, they are left out when TIDEGATE_TEST_COMMAND names another server. Without
    `supervised` it is one process, that of `pid`.
    """

    running: ClassVar[list[Server]] = []

    def __init__(
        self,
        app: str,
        *,
        options: Sequence[str] = (),
        binds: Sequence[str] = ("127.0.0.1:0",),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        supervised: bool = False,
    ) -> None:
        self.app = app
        self.options = list(options)
        self.binds = list(binds)
        self.cwd = cwd or TESTS
        self.pass_fds = tuple(pass_fds)
        variables = {"TIDEGATE_NO_SUPERVISOR": str(not supervised).lower()}
        self.env = _environment(self.cwd, variables | dict(env or {}))
        self.addresses: list[Address] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        # Re-entrant (a Condition's lock is by default): `_wait` holds it while its condition reads the log.
        self._grown = threading.Condition()
        self._log = bytearray()
        self._output = bytearray()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.kill()
            raise
        Server.running.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in Server.running:
            Server.running.remove(self)
        self.kill()

    # Addresses and connections

    @property
    def host(self) -> str:
        return self.addresses[0].host

    @property
    def port(self) -> int:
        return self.addresses[0].port

    @property
    def authority(self) -> str:
        """The value of a Host field for this server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.authority}{path}"

    def connect(self, index: int = 0, *, timeout_s: float = PATIENCE_S) -> Wire:
        """A connection of the client's own making to the `index`-th address."""
        return Wire(self.addresses[index].connect(timeout_s))

    def raw(self, request: bytes, *, index: int = 0, timeout_s: float = PATIENCE_S) -> bytes:
        """Send these bytes on a new connection, and return all that comes back until the server closes it."""
        with self.connect(index, timeout_s=timeout_s) as wire:
            wire.send(request)
            return wire.rest()

    def http(self) -> http.client.HTTPConnection:
        """A standard client's connection to the first address."""
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)

    # The process

    @property
    def pid(self) -> int:
        return self._started().pid

    @property
    def log(self) -> str:
        """All that the server and its application have written to standard error so far."""
        with self._grown:
            return self._log.decode(errors="backslashreplace")

    @property
    def output(self) -> str:
        """All that they have written to standard output so far."""
        with self._grown:
            return self._output.decode(errors="backslashreplace")

    def wait_for_log(self, pattern: str, *, since: int = 0, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """Wait until the log, from character `since` on, matches; return the match."""
        found = self._wait(lambda: re.search(pattern, self.log[since:]), timeout_s)
        if found is None:
            raise ServerFailed(f"nothing in the log matches {pattern!r}:\n{self.log[since:]}")
        return found

    def wait_until(self, condition: Callable[[], T | None], timeout_s: float = PATIENCE_S) -> T:
        """Wait until `condition` gives something, which may read `log` and `output`."""
        found = self._wait(condition, timeout_s)
        assert found is not None, (
            f"not seen within {timeout_s} s; the output is:\n{self.output}\nand the log:\n{self.log}"
        )
        return found

    def complaints(self, since: int = 0) -> list[str]:
        """The log's lines that a validator or a failure has left there."""
        return [line for line in self.log[since:].splitlines() if COMPLAINT.search(line)]

    def signal(self, number: signal.Signals) -> None:
        self._started().send_signal(number)

    def poll(self) -> int | None:
        """The exit status, if the process that was started has ended."""
        return self._started().poll()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until the server has ended and its log is whole; return its exit status."""
        status = self._started().wait(timeout_s)
        for reader in self._readers:
            reader.join(timeout_s)
        return status

    def stop(self) -> int:
        """Ask the server to finish (SIGTERM), wait for it, and return its exit status."""
        if self._started().poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the server and its children at once. Harmless when they have ended."""
        if self._process is None:
            return
        # The server leads its own process group, so this reaches workers whose parent has gone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    # Starting

    def _start(self) -> None:
        template = foreign_command()
        if template is None:
            self._spawn(self._own_command())
            self._read_banner()
        else:
            self.addresses = [_free_address(bind) for bind in self.binds]
            first = self.addresses[0]
            bind = f"unix:{first.path}" if first.path else self.authority
            self._spawn([part.format(bind=bind, app=self.app) for part in shlex.split(template)])
            self._knock(first)

    def _own_command(self) -> list[str]:
        binds = [argument for bind in self.binds for argument in ("--bind", bind)]
        return [sys.executable, "-m", "tidegate", *binds, *self.options, *filter(None, [self.app])]

    def _spawn(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self.pass_fds,
        )
        for stream, sink in ((self._process.stderr, self._log), (self._process.stdout, self._output)):
            assert stream is not None
            reader = threading.Thread(target=self._collect, args=(stream, sink), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _collect(self, stream: IO[bytes], sink: bytearray) -> None:
        while block := os.read(stream.fileno(), 65536):
            with self._grown:
                sink += block
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def _read_banner(self) -> None:
        def lines() -> list[re.Match[str]] | None:
            # Whole lines only: the last one may still be on its way.
            whole = self.log.rpartition("\n")[0]
            found = [match for line in whole.splitlines() if (match := _BANNER.search(line))]
            return found if len(found) >= max(len(self.binds), 1) else None

        found = self._wait(lines, PATIENCE_S)
        if found is None:
            raise ServerFailed(f"no banner for {self.binds} from {self._own_command()}:\n{self.log}")
        self.addresses = [
            Address("", 0, line["path"])
            if line["path"]
            else Address(line["host"].strip("[]"), int(line["port"]))
            for line in found
        ]

    def _knock(self, address: Address) -> None:
        """Wait for a server without a known banner by connecting to it until it accepts."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                address.connect(1).close()
                return
            except OSError as error:
                if time.monotonic() > deadline or self._started().poll() is not None:
                    raise ServerFailed(f"{self.app} did not start:\n{self.log}") from error
                time.sleep(0.02)

    def _wait(self, condition: Callable[[], T | None], timeout_s: float) -> T | None:
        """Wait until `condition()` is not None, looking whenever output arrives; None when it never is."""
        deadline = time.monotonic() + timeout_s
        with self._grown:
            while True:
                ended = not any(reader.is_alive() for reader in self._readers)
                if (value := condition()) is not None:
                    return value
                left = deadline - time.monotonic()
                if ended or left <= 0:
                    return None
                # The last notice comes just before a reader's end: look for that now and then too.
                self._grown.wait(min(left, 0.25))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed("the server has not been started")
        return self._process


def clean_environment() -> dict[str, str]:
    """The caller's environment without TIDEGATE_* variables, which are settings for other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}


def _environment(cwd: Path, extra: Mapping[str, str]) -> dict[str, str]:
    clean = clean_environment()
    path = os.pathsep.join(filter(None, [str(cwd), str(TESTS), clean.get("PYTHONPATH", "")]))
    return clean | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | dict(extra)


def _free_address(bind: str) -> Address:
    if bind.startswith("unix:"):
        return Address("", 0, bind.removeprefix("unix:"))
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    if port != "0":
        return Address(host, int(port))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return Address(host, probe.getsockname()[1])
