"""Django's ORM and Flask-SQLAlchemy, waiting in PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support.clients import texts
from support.hosts import AT_ONCE, GREENLETS, THREADS
from support.postgres import through_the_gate
from support.server import PATIENCE_S, TESTS

DJANGO = "apps.django_site.wsgi:application"
FLASK = "apps.flask_sqlalchemy_app:app"

MONDAYS = ["montag", "lundi", "lunedì", "monday"]
NUMBERS = range(AT_ONCE)


@pytest.fixture(scope="module")
def migrated(cluster, tmp_path_factory):
    """A database with the project's tables, and the variables that lead the project to it."""
    with cluster.database() as database:
        variables = database.env | {
            "DJANGO_SITE_DIR": str(tmp_path_factory.mktemp("django")),
            "DJANGO_SETTINGS_MODULE": "apps.django_site.settings_postgres",
            "DJANGO_CONNECTIONS": "closed",
        }
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        env = os.environ | variables | {"PYTHONPATH": str(TESTS)}
        subprocess.run(command, env=env, check=True, timeout=4 * PATIENCE_S)
        yield database, variables


@pytest.fixture
def site(migrated):
    """The database, with no connections but the test's, and a way to serve the project on a host."""
    database, variables = migrated
    database.wait_for_connections(0)

    def serve(host, connections):
        return host.serve(DJANGO, env=variables | {"DJANGO_CONNECTIONS": connections})

    return database, serve


def django_through_the_gate(server, database, at_once=AT_ONCE):
    found = through_the_gate(server, database, [f"/gate/{number}/" for number in NUMBERS], at_once)
    for number, one in zip(NUMBERS, found, strict=True):
        # Its own row in its own transaction, and its own language: Django keeps both by thread or by context.
        assert (one["height"], one["seen"]) == (number, 1)
        assert (one["language"], one["monday"].lower(), one["earlier"]) == (
            True,
            MONDAYS[number % 4],
            "en-us",
        )
    return {one["pid"] for one in found}


def finish(server):
    assert server.stop() == 0
    assert server.complaints() == [], server.log


def test_django_waits_in_its_transactions_at_once(host, site):
    database, serve = site
    with serve(host, "closed") as server:
        for _ in range(2):
            assert len(django_through_the_gate(server, database)) == AT_ONCE
        assert json.loads(texts(server, ["/count/"])[0])["database"] == "postgresql"
        finish(server)


def test_django_closes_its_connections_with_their_requests_where_none_are_kept(host, site):
    database, serve = site
    with serve(host, "closed") as server:
        for _ in range(2):
            django_through_the_gate(server, database)
            database.wait_for_connections(0)
        with server.connect() as wire:
            pids = {json.loads(wire.ask("GET", "/count/").text)["pid"] for _ in range(5)}
        assert len(pids) == 5
        finish(server)


def test_django_keeps_a_connection_for_each_thread(site):
    database, serve = site
    with serve(THREADS, "kept") as server:
        pids = django_through_the_gate(server, database) | django_through_the_gate(server, database)
        pids |= {json.loads(texts(server, ["/count/"])[0])["pid"] for _ in range(10)}
        # One thread more than may run calls: each may have come to run one.
        assert AT_ONCE <= len(pids) <= AT_ONCE + 1
        assert database.pids() == pids
        finish(server)


def test_what_django_keeps_for_a_greenlet_is_garbage_when_it_has_ended(site):
    """It has no next request: with CONN_MAX_AGE, connections only stay open until garbage is collected."""
    database, serve = site
    with serve(GREENLETS, "kept") as server:
        for _ in range(2):
            django_through_the_gate(server, database)
            # More than once: a greenlet may end a moment after its client has the answer.
            database.wait_for_connections(0, meanwhile=lambda: texts(server, ["/collect/"]))
        finish(server)


def test_djangos_own_pool_bounds_the_connections(host, site):
    database, serve = site
    with serve(host, "pool") as server:
        for _ in range(2):
            assert len(django_through_the_gate(server, database, at_once=5)) == 5
            assert database.connections() == 5
        finish(server)


def test_flask_sqlalchemys_pool_bounds_the_connections_and_serves_everybody(host, database):
    with host.serve(FLASK, env=database.env) as server:
        for _ in range(2):
            paths = [f"/gate/{number}" for number in NUMBERS]
            found = through_the_gate(server, database, paths, at_once=5)
            assert [(one["number"], one["place"]) for one in found] == [(n, f"gate {n}") for n in NUMBERS]
            assert all(one["same"] for one in found)
            assert len({one["pid"] for one in found}) == 5
            assert database.connections() == 5
        after = json.loads(texts(server, ["/pool"])[0])
        assert after == {"kind": "QueuePool", "out": 0, "readings": 2 * AT_ONCE}
        finish(server)


def test_what_flask_sqlalchemy_has_not_committed_is_undone(host, database):
    with host.serve(FLASK, env=database.env) as server:
        assert texts(server, ["/undone"] * 20) == ["1\n"] * 20
        assert json.loads(texts(server, ["/pool"])[0])["readings"] == 0
        finish(server)
