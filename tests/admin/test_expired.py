"""A request that is over, as its time was, is seen for as long as its application goes on."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from admin.hosts import Kind, every_kind
from admin.test_stacks import ask
from support.admin import Admin, Scrape
from support.command import run
from support.server import Server

TIMEOUT = ("--request-timeout", "0.2")
GAUGE = "tidegate_requests_expired_running"


def expire(server: Server, target: str = "/goes-on") -> None:
    with server.connect() as wire:
        assert wire.ask("GET", target).status == 504


def counts(scrape: Scrape) -> list[float]:
    """Return what is in flight, runs and waits."""
    return [scrape.value(f"tidegate_requests_{name}") for name in ("in_flight", "running", "queued")]


def expired(admin: Admin) -> list[dict[str, Any]]:
    return [request for request in admin.state()["requests"] if request["stage"] == "expired"]


@every_kind
def test_it_is_shown_with_its_stack_until_its_application_ends(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path, *TIMEOUT) as server:
        admin = Admin(server)
        expire(server)
        scrape = admin.wait_for_value(1, GAUGE)
        assert counts(scrape) == [0, 0, 0]
        assert scrape.value("tidegate_requests_total", application=kind.app, status="5xx") == 1
        (request,) = expired(admin)
        assert (request["path"], request["status"]) == ("/goes-on", 504)
        assert request["stage_ms"] < request["age_ms"]
        assert sum(worker["expired_running"] for worker in admin.state()["workers"]) == 1
        told = ask(admin, request["worker"], request["number"])
        assert any("observed.py:" in call for call in told["stack"]), told

        (tmp_path / "let go").touch()
        scrape = admin.wait_for_value(0, GAUGE)
        assert counts(scrape) == [0, 0, 0]
        assert admin.state()["requests"] == []
        assert scrape.value("tidegate_requests_total") == 1


@pytest.mark.parametrize("host", ["threads", "greenlets", "bridge", "asyncio"])
def test_others_are_counted_as_ever_beside_those(host: str, tmp_path: Path) -> None:
    with Kind(host, 1).serve(tmp_path, *TIMEOUT) as server, ExitStack() as stack:
        admin = Admin(server)
        wires = [stack.enter_context(server.connect()) for _ in range(3)]
        for wire in wires:
            # What follows on the same connection is not answered, and so no request.
            path = b"/goes-on-awaiting" if host == "bridge" else b"/goes-on"
            wire.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for wire in wires:
            assert b"HTTP/1.1" not in wire.rest().replace(b"HTTP/1.1 504", b"", 1)
        admin.wait_for_value(3, GAUGE)
        with server.connect() as wire:
            for _ in range(2):
                assert wire.ask("GET", "/").status == 200
        scrape = admin.wait_for_value(2, "tidegate_requests_total", status="2xx")
        assert (scrape.value(GAUGE), counts(scrape)) == (3, [0, 0, 0])
        assert scrape.value("tidegate_requests_total") == 5
        light = {"threads": 0, "greenlets": 3, "bridge": 3, "asyncio": 3}[host]
        assert sum(scrape.value(f"tidegate_{name}") for name in ("greenlets", "tasks")) == light
        (tmp_path / "let go").touch()
        scrape = admin.wait_for_value(0, GAUGE)
        assert sum(scrape.value(f"tidegate_{name}") for name in ("greenlets", "tasks")) == 0


def test_one_on_a_thread_beside_tasks_is_seen_as_well(tmp_path: Path) -> None:
    options = ("--mount", "/wsgi=apps.observed:application", *TIMEOUT)
    with Kind("asyncio", 1).serve(tmp_path, *options) as server:
        admin = Admin(server)
        expire(server, "/wsgi/goes-on")
        admin.wait_for_value(1, "tidegate_threads", state="lost")
        scrape = admin.scrape()
        assert (scrape.value(GAUGE), scrape.value("tidegate_tasks")) == (1, 0)
        (request,) = expired(admin)
        told = ask(admin, request["worker"], request["number"])
        assert any("observed.py:" in call for call in told["stack"]), told
        (tmp_path / "let go").touch()
        admin.wait_for_value(0, GAUGE)


def test_it_holds_a_place_of_those_that_may_run(tmp_path: Path) -> None:
    options = ("--max-concurrency", "2", *TIMEOUT)
    with Kind("greenlets", 1).serve(tmp_path, *options) as server:
        admin = Admin(server)
        expire(server)
        assert admin.wait_for_value(1, GAUGE).value("tidegate_saturation_ratio") == 0.5
        (tmp_path / "let go").touch()
        assert admin.wait_for_value(0, GAUGE).value("tidegate_saturation_ratio") == 0


@pytest.mark.parametrize("host", ["threads", "greenlets", "asyncio"])
def test_those_of_a_worker_that_is_killed_are_counted_once(host: str, tmp_path: Path) -> None:
    kind = Kind(host, 1)
    with kind.serve(tmp_path, *TIMEOUT) as server:
        admin = Admin(server)
        expire(server)
        admin.wait_for_value(1, GAUGE)
        (worker,) = admin.state()["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        scrape = admin.wait_for_value(1, "tidegate_worker_restarts_total", cause="killed")
        assert (scrape.value(GAUGE), counts(scrape)) == (0, [0, 0, 0])
        assert scrape.value("tidegate_requests_total", application=kind.app, status="5xx") == 1
        assert scrape.value("tidegate_requests_total", status="cut") == 0
        assert admin.state()["requests"] == []


def test_top_shows_it(tmp_path: Path) -> None:
    control = str(tmp_path / "control")
    with Kind("greenlets", 1).serve(tmp_path, "--control-socket", control, *TIMEOUT) as server:
        expire(server)
        Admin(server).wait_for_value(1, GAUGE)
        shown = run("top", "--once", "--control-socket", control).stdout
        assert "0 run, 0 wait" in shown and "1 expired" in shown
        assert "/goes-on" in shown.partition("IN FLIGHT (1)")[2]
        (tmp_path / "let go").touch()
