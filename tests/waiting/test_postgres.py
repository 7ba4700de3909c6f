"""Calls that wait in PostgreSQL, as its server sees them: how many at once, on how many connections."""

from __future__ import annotations

import json
import time

import pytest

from support.clients import texts
from support.hosts import AT_ONCE, GREENLETS, THREADS, Host
from support.postgres import through_the_gate

APP = "apps.postgres_app:application"
NAMES = [str(number) for number in range(AT_ONCE)]

DRIVERS = pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])


@pytest.fixture
def server(host, database):
    with host.serve(APP, env=database.env) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == [], server.log


def pids_at_the_gate(server, database, path, at_once=AT_ONCE):
    """The server's processes in which a crowd's calls ran, once so many of them have waited there at once."""
    targets = [f"{path}/gate?name={name}" for name in NAMES]
    found = through_the_gate(server, database, targets, at_once)
    assert [name for name, _ in found] == NAMES
    return {pid for _, pid in found}


@DRIVERS
def test_calls_with_a_connection_of_their_own_wait_in_the_database_at_once(server, database, driver):
    for _ in range(2):
        assert len(pids_at_the_gate(server, database, f"/{driver}/own")) == AT_ONCE


@DRIVERS
def test_a_connection_made_for_a_call_is_closed_with_it(server, database, driver):
    for _ in range(2):
        assert len(pids_at_the_gate(server, database, f"/{driver}/new")) == AT_ONCE
        database.wait_for_connections(0)


def test_the_connections_of_threads_last_and_are_used_again(database):
    with THREADS.serve(APP, env=database.env) as server:
        pids = pids_at_the_gate(server, database, "/psycopg/own")
        pids |= pids_at_the_gate(server, database, "/psycopg/own")
        pids |= {json.loads(texts(server, ["/psycopg/own/wait"])[0])[1] for _ in range(20)}
        # One thread more than may run calls: each may have come to run one.
        assert AT_ONCE <= len(pids) <= AT_ONCE + 1
        assert database.pids() == pids


@DRIVERS
def test_the_connections_of_greenlets_end_with_them(database, driver):
    with GREENLETS.serve(APP, env=database.env) as server:
        first = pids_at_the_gate(server, database, f"/{driver}/own")
        database.wait_for_connections(0)
        assert first.isdisjoint(pids_at_the_gate(server, database, f"/{driver}/own"))


def test_a_pool_bounds_the_connections_and_serves_everybody(server, database):
    """Five connections for fifty calls: five wait in the database, the others in the pool."""
    for _ in range(2):
        pids = pids_at_the_gate(server, database, "/psycopg/pool", at_once=5)
        assert len(pids) == 5
        assert database.connections() == 5


def test_few_calls_at_once_open_few_connections_though_many_threads_may_run(database):
    """Twenty short calls a second need one thread, two now and then, out of two hundred."""
    rate, calls = 20, 80
    with Host("threads", ("--threads", "200")).serve(APP, env=database.env) as server:
        # Each at its time, not after the one before: a call that takes long does not keep the next from
        # coming. But a test that was held up does not make up for it with a burst.
        wires = [server.connect() for _ in range(rate)]
        try:
            for number in range(calls):
                wire = wires[number % rate]
                if number >= rate:
                    assert wire.answer().status == 200
                wire.send(f"GET /psycopg/own/wait?name={number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                time.sleep(1 / rate)
            for number in range(calls - rate, calls):
                assert json.loads(wires[number % rate].answer().text)[0] == str(number)
        finally:
            for wire in wires:
                wire.close()
        # No thread has been idle for long enough to end: what is open now is all that was ever opened.
        assert 1 <= database.connections() <= 4
        assert server.stop() == 0
        assert server.complaints() == [], server.log
