"""A PostgreSQL of the tests' own: a cluster in a temporary folder, reached by a unix socket in it.

    with Cluster() as cluster, cluster.database() as database:
        with Server(app, env=database.env) as server: ...

A database has a gate, at which calls wait on the server: `select pg_advisory_xact_lock_shared(1)` stays until
the gate is opened, and the test sees how many are there. So "fifty ran at once" is seen, not timed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import psycopg

from support.clients import Crowd
from support.server import PATIENCE_S, Server

if TYPE_CHECKING:
    from typing_extensions import Self

GATE = 1

# What suits a cluster that lives for one run: no disk is waited for, and nothing works in the background.
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "16MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_worker_processes": "0",
    "lc_messages": "C",
}

INITDB = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]

# The shell holds one end of a pipe of ours. However the tests end, it then reads the end of it and stops the
# cluster; what it starts in the background has no part in that pipe.
GUARD = 'trap "" INT; "$@" & read -r _; kill -INT $!; wait $!'


class PostgresFailed(Exception):
    """A program of PostgreSQL's ended, or stayed silent; the message holds what it said."""


def missing() -> str | None:
    """Why there can be no cluster here; None when there can."""
    if _programs() is None:
        return "PostgreSQL is neither installed nor could tools/test-services install it"
    if os.geteuid() == 0 and _owner() is None:
        return "PostgreSQL does not run as root, and there is no user postgres to run it as"
    return None


class Cluster:
    """A running cluster. Accepts connections once entered; it and its folder are gone when left."""

    def __init__(self) -> None:
        self.folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._log = bytearray()
        self._ready = threading.Event()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        # A short path: a unix socket's name has room for a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="tidegate-pg-"))
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def environment(self, database: str) -> dict[str, str]:
        """What makes libpq, and all that is built on it, connect to this database without being told more."""
        return {
            "PGHOST": str(self.folder),
            "PGPORT": "5432",
            "PGUSER": "postgres",
            "PGDATABASE": database,
            "PGPASSWORD": "",
        }

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """A new, empty database. Its name is its own, so that what is counted there is this test's."""
        name = f"tide_{next(self._numbers)}"
        with _connect(self, "postgres") as connection:
            connection.execute(f"create database {name}")
        with _connect(self, name) as connection:
            yield Database(self, name, connection)

    def _start(self) -> None:
        programs = _programs()
        assert programs is not None
        data = self.folder / "data"
        owner = _owner() if os.geteuid() == 0 else None
        if owner is not None:
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        options: dict[str, Any] = {
            "cwd": self.folder,
            "env": {name: value for name, value in os.environ.items() if not name.startswith("PG")},
        }
        if owner is not None:
            options |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        made = subprocess.run(
            [str(programs / "initdb"), "-D", str(data), *INITDB],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE_S,
            **options,
        )
        if made.returncode != 0:
            raise PostgresFailed(made.stdout + made.stderr)
        settings = [f"{name}={value}" for name, value in SETTINGS.items()]
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(self.folder)]
        command += [part for setting in settings for part in ("-c", setting)]
        self._process = subprocess.Popen(
            ["sh", "-c", GUARD, "sh", *command],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._collect, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE_S) or self._process.poll() is not None:
            raise PostgresFailed(self._log.decode(errors="replace"))

    def _collect(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._log += line
            if b"ready to accept connections" in line:
                self._ready.set()
        self._ready.set()

    def _stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stderr is not None
            self._process.stdin.close()
            self._process.wait(PATIENCE_S)
            if self._reader is not None:
                self._reader.join(PATIENCE_S)
            self._process.stderr.close()
        shutil.rmtree(self.folder)


class Database:
    """One database of a cluster, and the test's own connection to it, which its counts leave out."""

    def __init__(self, cluster: Cluster, name: str, connection: psycopg.Connection[Any]) -> None:
        self.cluster = cluster
        self.name = name
        self.connection = connection

    @property
    def env(self) -> dict[str, str]:
        return self.cluster.environment(self.name)

    def execute(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def close_gate(self) -> None:
        # A lock taken twice would have to be opened twice, and a test that failed has not opened it.
        self.open_gate()
        self.connection.execute("select pg_advisory_lock(%s)", [GATE])

    def open_gate(self) -> None:
        self.connection.execute("select pg_advisory_unlock_all()")

    def at_the_gate(self) -> int:
        """How many calls wait on the server at this moment."""
        return self._number(
            "select count(*) from pg_locks join pg_database on pg_database.oid = pg_locks.database"
            " where datname = current_database() and locktype = 'advisory' and not granted"
        )

    def connections(self) -> int:
        """How many connections others have open."""
        return len(self.pids())

    def pids(self) -> set[int]:
        """The server's processes behind them."""
        rows = self.connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
        return {row[0] for row in rows}

    def wait_for_gate(self, count: int) -> None:
        """Wait until so many calls are at the gate."""
        self._wait(self.at_the_gate, count, "calls at the gate")

    def wait_for_connections(self, count: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until others have so many connections open: a closed one takes the server a moment to end."""
        self._wait(self.connections, count, "connections", meanwhile)

    def _number(self, query: str) -> int:
        row = self.connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def _wait(
        self, look: Callable[[], int], count: int, what: str, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (seen := look()) != count:
            if time.monotonic() > deadline:
                raise PostgresFailed(f"{seen} {what}, not {count}")
            meanwhile()
            time.sleep(0.01)


def through_the_gate(server: Server, database: Database, targets: Iterable[str], at_once: int) -> list[Any]:
    """Ask for all of these at once, open the gate when `at_once` of them are there; what their JSON says."""
    database.close_gate()
    with Crowd(server, targets) as crowd:
        database.wait_for_gate(at_once)
        database.open_gate()
        answers = crowd.answers()
    failed = [f"{answer.status}: {answer.text}" for answer in answers if answer.status != 200]
    assert failed == []
    return [json.loads(answer.text) for answer in answers]


def _connect(cluster: Cluster, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(f"host={cluster.folder} user=postgres dbname={database}", autocommit=True)


def _programs() -> Path | None:
    """The folder with PostgreSQL's programs. Debian's are not on the path; the newest is taken."""
    if (found := shutil.which("pg_ctl")) is not None:
        return Path(found).resolve().parent
    installed = [*Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), *Path("/usr").glob("pgsql-*/bin/pg_ctl")]
    return max(installed, key=_version).parent if installed else None


def _version(program: Path) -> int:
    digits = [part.rpartition("-")[2] for part in program.parts]
    return max(int(part) for part in digits if part.isdecimal())


def _owner() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None
