"""Ids of requests, and time spent in front, where operators look: requests in flight, late ones, metrics."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from admin.hosts import HOSTS, Kind
from support.admin import Admin
from support.server import Server

TRUST = ("--request-id", "--trusted-proxies", "127.0.0.1")


@pytest.mark.parametrize("host", HOSTS)
def test_a_request_in_flight_is_shown_by_its_id(host: str, tmp_path: Path) -> None:
    long = "x" * 100
    with (
        Kind(host, None).serve(tmp_path, *TRUST) as server,
        server.connect() as one,
        server.connect() as other,
    ):
        admin = Admin(server)
        one.send(b"GET /hold HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc-1\r\n\r\n")
        wanted = {"abc-1"}
        # There one that holds on lets no other one run.
        if host not in ("main thread", "bridge"):
            other.send(f"GET /hold HTTP/1.1\r\nHost: a\r\nX-Request-ID: {long}\r\n\r\n".encode())
            wanted.add(long[:48])
        admin.wait_for(lambda admin: {seen["id"] for seen in admin.state()["requests"]} == wanted or None)
        (tmp_path / "let go").touch()
        assert one.answer().status == 200


def test_the_metrics_have_the_time_spent_in_front(tmp_path: Path) -> None:
    with Kind("threads", 2).serve(tmp_path, *TRUST) as server, server.connect() as wire:
        admin = Admin(server)
        for waited_s in (0, 2):
            wire.ask("GET", "/", f"X-Request-Start: t={time.time() - waited_s:.3f}")
        wire.ask("GET", "/")
        name = "tidegate_request_front_queue_seconds"
        scrape = admin.wait_for_value(2, f"{name}_count")
        # The header has milliseconds, rounded.
        assert 1.99 <= scrape.value(f"{name}_sum") < 30


@pytest.mark.parametrize("app", ["apps.late:application", "apps.late:asgi"])
def test_a_request_that_takes_too_long_is_named_to_the_client_and_in_the_log(app: str) -> None:
    options = [*TRUST, "--threads", "4", "--request-timeout", "0.2", "--slow-request", "0.1"]
    with Server(app, options=options) as server, server.connect() as wire:
        answer = wire.ask("GET", "/sleep", "X-Request-ID: abc-1")
        assert (answer.status, answer.headers["X-Request-ID"]) == (504, "abc-1")
        server.wait_for_log(r'GET "/sleep" \[abc-1\]: 0\.\d s: it has taken so long')
        server.wait_for_log(r'GET "/sleep" \[abc-1\]: 0\.\d s: it is over its time')
