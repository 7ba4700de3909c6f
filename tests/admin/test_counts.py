"""What is counted and shown adds up: on each host, whoever serves, and whatever becomes of workers."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from admin.hosts import Kind, every_kind
from support.admin import Admin
from support.server import Server
from support.websocket import open_websocket

THREADS = Kind("threads", 3)


def get(server: Server, target: str = "/") -> tuple[int, str]:
    client = server.http()
    try:
        client.request("GET", target)
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


@every_kind
def test_requests_are_counted_by_application_method_and_status(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server:
        admin = Admin(server)
        for target in ("/", "/", "/status?404", "/status?503"):
            get(server, target)
        client = server.http()
        client.request("POST", "/", body=b"x" * 1000)
        client.getresponse().read()
        client.request("BREW", "/")
        client.getresponse().read()
        client.close()
        scrape = admin.wait_for_value(6, "tidegate_requests_total")

        def count(method: str, status: str) -> float:
            return scrape.value(
                "tidegate_requests_total", application=kind.app, mount="/", method=method, status=status
            )

        assert [count("GET", status) for status in ("2xx", "3xx", "4xx", "5xx", "cut")] == [2, 0, 1, 1, 0]
        assert [count("POST", "2xx"), count("other", "2xx")] == [1, 1]
        for name in ("duration", "queue", "application"):
            assert scrape.value(f"tidegate_request_{name}_seconds_count") == 6
            assert scrape.value(f"tidegate_request_{name}_seconds_bucket", le="+Inf") == 6
        assert scrape.value("tidegate_received_bytes_total") > 1000
        assert scrape.value("tidegate_sent_bytes_total") > 600
        admin.wait_for_value(kind.workers or 1, "tidegate_workers", state="serving")


@every_kind
def test_a_request_that_an_application_holds_is_seen(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server:
        admin = Admin(server)
        client = server.http()
        client.request("GET", "/hold?secret=1")
        scrape = admin.wait_for_value(1, "tidegate_requests_running")
        assert scrape.value("tidegate_requests_in_flight") == 1
        assert scrape.value("tidegate_connections", state="active") == 1
        assert scrape.value("tidegate_saturation_ratio") > 0
        light = scrape.value("tidegate_greenlets") + scrape.value("tidegate_tasks")
        assert light == (kind.host in ("greenlets", "bridge", "asyncio"))
        if kind.host in ("main thread", "threads"):
            busy = [scrape.value("tidegate_threads", state=state) for state in ("running", "blocked")]
            assert sum(busy) == 1

        state = admin.state()
        (request,) = state["requests"]
        local = client.sock.getsockname()
        assert request["peer"] == f"{local[0]}:{local[1]}"
        assert (request["method"], request["path"], request["stage"]) == ("GET", "/hold", "application")
        assert (request["application"], request["status"], request["id"]) == (kind.app, 0, None)
        assert request["age_ms"] >= request["stage_ms"] >= 0
        (worker,) = [worker for worker in state["workers"] if worker["id"] == request["worker"]]
        assert (worker["in_flight"], worker["running"], worker["queued"]) == (1, 1, 0)

        (tmp_path / "let go").touch()
        assert client.getresponse().read() == f"{worker['pid']}\n".encode()
        assert admin.wait_for_value(1, "tidegate_requests_total").value("tidegate_requests_in_flight") == 0
        client.close()


@every_kind
def test_an_application_that_holds_the_interpreter_in_c_is_seen_into(kind: Kind, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    with kind.serve(tmp_path, "--stuck-timeout", "off") as server:
        admin = Admin(server)
        client = server.http()
        client.request("GET", "/stuck")
        admin.wait_for_value(1, "tidegate_requests_running")
        (request,) = admin.state()["requests"]
        assert (request["path"], request["stage"]) == ("/stuck", "application")
        assert admin.ask("/livez").status == 200
        with open(tmp_path / "stuck", "wb", buffering=0) as fifo:
            fifo.write(b"x")
        assert client.getresponse().status == 200
        client.close()


def test_what_waits_and_what_is_turned_away_is_counted(tmp_path: Path) -> None:
    options = ("--max-concurrency", "1", "--queue-size", "1")
    with Kind("threads", 1).serve(tmp_path, *options) as server, ExitStack() as clients:
        admin = Admin(server)

        def hold() -> None:
            client = server.http()
            clients.callback(client.close)
            client.request("GET", "/hold")

        hold()
        admin.wait_for_value(1, "tidegate_requests_running")
        hold()
        scrape = admin.wait_for_value(1, "tidegate_requests_queued")
        assert scrape.value("tidegate_saturation_ratio") == 1
        stages = [request["stage"] for request in admin.state()["requests"]]
        assert stages == ["application", "queue"]
        assert get(server)[0] == 503
        scrape = admin.wait_for_value(1, "tidegate_requests_shed_total", reason="queue_full")
        assert scrape.value("tidegate_requests_total", application="", status="5xx") == 1
        (tmp_path / "let go").touch()
        scrape = admin.wait_for_value(3, "tidegate_requests_total")
        assert scrape.value("tidegate_requests_queued") == 0


def test_counts_add_up_over_reloads_and_the_ends_of_workers(tmp_path: Path) -> None:
    with THREADS.serve(tmp_path) as server:
        admin = Admin(server)
        admin.wait_for_value(3, "tidegate_workers", state="serving")
        for _ in range(5):
            get(server)
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 3 new workers serve")
        admin.wait_for(lambda admin: True if len(admin.state()["workers"]) == 3 else None)
        for _ in range(5):
            get(server)
        scrape = admin.wait_for_value(10, "tidegate_requests_total", status="2xx")
        assert scrape.value("tidegate_worker_restarts_total", cause="reload") == 3

        client = server.http()
        client.request("GET", "/hold")
        admin.wait_for_value(1, "tidegate_requests_running")
        state = admin.state()
        (request,) = state["requests"]
        (victim,) = [worker["pid"] for worker in state["workers"] if worker["id"] == request["worker"]]
        os.kill(victim, signal.SIGKILL)
        # What it had was cut, and nothing that it had counted is lost.
        scrape = admin.wait_for_value(1, "tidegate_requests_total", status="cut", application=THREADS.app)
        assert scrape.value("tidegate_requests_total", status="2xx") == 10
        assert scrape.value("tidegate_requests_in_flight") == 0
        assert scrape.value("tidegate_worker_restarts_total", cause="killed") == 1
        assert not admin.state()["requests"]
        client.close()


def test_mounts_are_told_apart(tmp_path: Path) -> None:
    kind = Kind("threads", 1)
    with kind.serve(tmp_path, "--mount", "/live=apps.observed:asynchronous") as server:
        admin = Admin(server)
        get(server, "/")
        get(server, "/live/x")
        scrape = admin.wait_for_value(2, "tidegate_requests_total")
        name = "tidegate_requests_total"
        assert scrape.value(name, application="apps.observed:application", mount="/") == 1
        assert scrape.value(name, application="apps.observed:asynchronous", mount="/live") == 1
        client, other = server.http(), server.http()
        client.request("GET", "/hold")
        other.request("GET", "/live/hold")
        scrape = admin.wait_for_value(2, "tidegate_requests_running")
        assert scrape.value("tidegate_tasks") == 1
        busy = [scrape.value("tidegate_threads", state=state) for state in ("running", "blocked")]
        assert sum(busy) == 1
        client.close()
        other.close()


def test_connections_are_told_by_what_they_are_at(tmp_path: Path) -> None:
    with Kind("asyncio", 3).serve(tmp_path) as server, ExitStack() as stack:
        admin = Admin(server)
        for _ in range(2):
            stack.enter_context(socket.create_connection((server.host, server.port)))
        admin.wait_for_value(2, "tidegate_connections", state="idle")
        client = server.http()
        stack.callback(client.close)
        client.request("GET", "/hold")
        admin.wait_for_value(1, "tidegate_connections", state="active")
        with open_websocket(server):
            scrape = admin.wait_for_value(1, "tidegate_connections", state="websocket")
            assert scrape.value("tidegate_requests_total", status="1xx") == 1
        admin.wait_for_value(0, "tidegate_connections", state="websocket")


def test_what_is_no_request_and_what_comes_too_late_is_counted(tmp_path: Path) -> None:
    with Kind("threads", 1).serve(tmp_path, "--head-timeout", "200ms") as server:
        admin = Admin(server)
        assert server.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert server.raw(b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 408")
        scrape = admin.wait_for_value(2, "tidegate_requests_total", application="", status="4xx")
        assert scrape.value("tidegate_timeouts_total", of="head") == 1


@pytest.mark.parametrize("path", ["/c", "/stream-c"])
def test_a_thread_that_is_lost_is_not_idle(path: str) -> None:
    options = ["--threads", "2", "--request-timeout", "0.3", "--max-lost-threads", "2"]
    with Server("apps.late:application", options=[*options, "--admin", "127.0.0.1:0"]) as server:
        admin = Admin(server)
        client = server.http()
        client.request("GET", path)

        def look(admin: Admin) -> bool | None:
            (worker,) = admin.state()["workers"]
            threads = worker["threads"]
            # One that leads, and one beside it.
            seen = (threads["lost"], threads["idle"], worker["running"])
            return seen == (1, 2, 0) or None

        admin.wait_for(look)
        client.close()


def test_leadership_moves_when_calls_block(tmp_path: Path) -> None:
    with Kind("threads", 1).serve(tmp_path) as server:
        admin = Admin(server)
        client = server.http()
        client.request("GET", "/hold")
        admin.wait_for(lambda admin: admin.scrape().value("tidegate_leadership_moves_total") > 0 or None)
        (tmp_path / "let go").touch()
        client.getresponse().read()
        client.close()
        scrape = admin.scrape()
        assert scrape.value("tidegate_interpreter_waits_total") > 0
        assert scrape.value("tidegate_interpreter_wait_seconds_total") >= 0
