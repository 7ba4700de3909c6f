"""Calls that wait in PostgreSQL: through psycopg and psycopg2, on a thread's own connection or from a pool.

Where to connect to is in libpq's own variables. `/psycopg/gate` sleeps on the server for a moment, then waits
at the test's gate there, and answers with the name that came back and the server's process it was in.
"""

from __future__ import annotations

import atexit
import json
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import psycopg
import psycopg2
from psycopg_pool import ConnectionPool

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]

PATIENCE_S = 20
WAIT = "select %s, pg_backend_pid(), pg_sleep(0.02)"
GATE = "select %s, pg_backend_pid(), pg_sleep(0.02), pg_advisory_xact_lock_shared(1)"

# psycopg sees by itself that gevent has patched; psycopg2 waits inside libpq unless it is told how to wait.
if "gevent.monkey" in sys.modules:
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()

local = threading.local()
pool = ConnectionPool(min_size=0, max_size=5, open=True, timeout=PATIENCE_S, kwargs={"autocommit": True})
# Left to the interpreter's end, its workers are looked for when there are no greenlets any more.
atexit.register(pool.close)


def of_this_thread(driver: str) -> Any:
    """The connection that this thread, or this greenlet, has opened; a new one where it has none."""
    connection = getattr(local, driver, None)
    if connection is None:
        if driver == "psycopg":
            connection = psycopg.connect(autocommit=True)
        else:
            connection = psycopg2.connect("")
            connection.autocommit = True
        setattr(local, driver, connection)
    return connection


def run(connection: Any, statement: str, name: str) -> tuple[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [name])
        row = cursor.fetchone()
    return row[0], row[1]


def thread_local(driver: str, statement: str, name: str) -> tuple[str, int]:
    return run(of_this_thread(driver), statement, name)


def pooled(driver: str, statement: str, name: str) -> tuple[str, int]:
    with pool.connection() as connection:
        return run(connection, statement, name)


def closed(driver: str, statement: str, name: str) -> tuple[str, int]:
    """A connection for this call alone, closed at its end."""
    connection = psycopg.connect(autocommit=True) if driver == "psycopg" else psycopg2.connect("")
    try:
        return run(connection, statement, name)
    finally:
        connection.close()


holders = {"own": thread_local, "pool": pooled, "new": closed}
statements = {"wait": WAIT, "gate": GATE}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    _, driver, holder, what = environ["PATH_INFO"].split("/")
    answer = json.dumps(holders[holder](driver, statements[what], query.get("name", ""))).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
