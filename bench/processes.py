"""Servers as process trees: start one, pin it, read what it used from /proc, end it."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# The server gets the first core that we may use and the load the second, when there are two.
CPUS = sorted(os.sched_getaffinity(0))
PINNED = len(CPUS) > 1
SERVER_CPU, LOAD_CPU = CPUS[0], CPUS[-1] if len(CPUS) < 2 else CPUS[1]


class ServerFailed(Exception):
    """The server did not start, or answered wrongly; the text says how."""


@contextlib.contextmanager
def on_core(cpu: int | None) -> Iterator[None]:
    """Start processes on one core: a child inherits where its parent may run. One core is left as it is."""
    if not PINNED or cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_file_limit(wanted: int) -> int:
    """Raise the limit on open files as far as allowed, at most to `wanted`; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        with contextlib.suppress(ValueError, OSError):
            best = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, (best, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fields_of_stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; the name before them may hold spaces."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def tree_of(root: int) -> list[int]:
    """Return the process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(fields_of_stat(int(entry))[1]), []).append(int(entry))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


class Server:
    """One running server: its root process and whatever that has started."""

    def __init__(
        self,
        command: list[str],
        port: int,
        log: Path,
        core: int | None = SERVER_CPU,
        path: Path | None = None,
    ) -> None:
        self.core = core
        # Of the unix socket that it listens on, instead of the port.
        self.path = path
        self.command = command
        self.port = port
        self.log = log
        self.process: subprocess.Popen[bytes]

    def start(self, environ: Mapping[str, str], directory: Path, *, patience: float = 20.0) -> None:
        """Start the process on its core, if it has one, and return when its port takes connections."""
        with self.log.open("wb") as log, on_core(self.core):
            self.process = subprocess.Popen(
                self.command,
                cwd=directory,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own, so that all of the tree can be ended and nothing else is.
                start_new_session=True,
            )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"exited with status {self.process.returncode}: {self.last_words()}")
            with contextlib.suppress(OSError), self.connected():
                return
            time.sleep(0.02)
        where = self.path or f"port {self.port}"
        raise ServerFailed(f"no connection on {where} after {patience:.0f} s: {self.last_words()}")

    def connected(self) -> socket.socket:
        """Return a new connection to the server."""
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), 1)
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(str(self.path))
        except OSError:
            peer.close()
            raise
        return peer

    def last_words(self) -> str:
        """Return the last lines that the server printed."""
        lines = self.log.read_text(errors="replace").split("\n")
        words = [line.strip() for line in lines if any(sign.isalnum() for sign in line)]
        return " / ".join(words[-2:]) or "it printed nothing"

    def stop(self, *, patience: float = 5.0) -> None:
        """End the whole tree: politely, then not."""
        process = getattr(self, "process", None)
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        # A child that outlived its parent is still in the group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def tree(self) -> list[int]:
        """Return the living processes of this server."""
        return tree_of(self.process.pid)

    def cpu_seconds(self) -> float:
        """Return user and system time of the whole tree so far, with children that have ended."""
        ticks = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                # utime, stime, cutime and cstime are fields 14 to 17 of proc(5).
                ticks += sum(int(value) for value in fields_of_stat(pid)[11:15])
        return ticks / TICKS_PER_SECOND

    def pss_bytes(self) -> int:
        """Proportional share of memory of the whole tree: pages that processes share count once."""
        return self._sum("smaps_rollup", "Pss")

    def rss_bytes(self) -> int:
        """Resident memory, added up over the tree."""
        return self._sum("status", "VmRSS")

    def peak_rss_bytes(self) -> int:
        """Highest resident memory of each process since `forget_peak`, added up over the tree."""
        return self._sum("status", "VmHWM")

    def forget_peak(self) -> None:
        """Let the kernel count the peak anew from what is resident now (proc(5), clear_refs)."""
        for pid in self.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _sum(self, file: str, name: str) -> int:
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/{file}").read_text()
                found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
                total += int(found[1]) * 1024 if found else 0
        return total

    def wakeups(self) -> int:
        """Count how often any thread of the tree has gone to sleep of its own accord, and so been woken."""
        total = 0
        for pid in self.tree():
            for status in Path(f"/proc/{pid}/task").glob("*/status"):
                with contextlib.suppress(OSError):
                    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)
                    total += int(found[1]) if found else 0
        return total


class MemoryWatch:
    """Looks at a server's memory from beside while a with block lasts; `highest` is the most that it held."""

    def __init__(self, server: Server, *, every: float = 0.25) -> None:
        self.highest = 0
        self._server = server
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.highest = max(self.highest, self._server.pss_bytes())


@contextlib.contextmanager
def running(
    command: list[str],
    port: int,
    environ: Mapping[str, str],
    directory: Path,
    *,
    core: int | None = SERVER_CPU,
    path: Path | None = None,
) -> Iterator[Server]:
    """Run a server for the length of a with block."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        server = Server(command, port, Path(folder) / "log", core, path)
        try:
            server.start(environ, directory)
            yield server
        finally:
            server.stop()
