"""Workers that are not ready, not ready any more, or stuck."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from support.command import run
from support.server import Server
from support.wire import Wire

APPLICATIONS = {
    "threads": ("apps.readiness:application", ()),
    "inline": ("apps.readiness:application", ("--threads", "1")),
    "greenlets": ("apps.readiness:application", ("--concurrency", "greenlets")),
    "bridge": ("apps.readiness:application", ("--concurrency", "asyncio")),
    "asyncio": ("apps.readiness:asynchronous", ()),
}
hosts = pytest.mark.parametrize("host", APPLICATIONS)


@pytest.fixture
def tides(tmp_path: Path) -> Path:
    (tmp_path / "ready").write_text("200 OK")
    return tmp_path


def served(tides: Path, *options: str, host: str = "threads", supervised: bool = True) -> Server:
    app, of_host = APPLICATIONS[host]
    return Server(app, options=(*of_host, *options), env={"TIDES": str(tides)}, supervised=supervised)


def get(server: Server, path: str = "/") -> tuple[int, str, str | None]:
    """One request on a connection of its own: status, body, and what is said of the connection."""
    client = server.http()
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read().decode(), response.getheader("Connection")
    finally:
        client.close()


def wait_for_another(server: Server, pid: str) -> None:
    """Wait until another worker than `pid` serves. One that was stopped early may not have said so."""
    server.wait_for_log(rf"a worker serves \(.*pid (?!{pid}\))")


@hosts
def test_a_worker_is_asked_before_it_serves(tides, host):
    with served(tides, "--ready-path", "/ready", "--workers", "2", host=host) as server:
        server.wait_until(lambda: server.log.count("a worker serves") == 2 or None)
        assert server.log.count("asked: 200 OK") == 2
        assert get(server)[0] == 200


@hosts
def test_an_application_that_is_not_ready_does_not_start(tides, host):
    (tides / "ready").write_text("500 Not Yet")
    app, options = APPLICATIONS[host]
    result = run(
        "--ready-path",
        "/ready",
        "--bind",
        "127.0.0.1:0",
        *options,
        app,
        TIDES=str(tides),
        TIDEGATE_NO_SUPERVISOR="false",
    )
    assert result.returncode == 1
    assert "--ready-path: the application is not ready: /ready was answered with 500" in result.stderr
    assert "listening" not in result.stderr


def test_one_that_does_not_answer_is_shown_and_killed(tides):
    (tides / "ready").write_text("hangs")
    result = run(
        "--ready-path=/ready",
        "--start-timeout=1s",
        "--bind=127.0.0.1:0",
        "apps.readiness:application",
        TIDES=str(tides),
        TIDEGATE_NO_SUPERVISOR="false",
    )
    assert result.returncode == 1
    assert "readiness.py" in result.stderr
    assert "worker 1 was not ready within 1 s: it is killed" in result.stderr


@hosts
def test_a_reload_of_what_is_not_ready_changes_nothing(tides, host):
    with served(tides, "--ready-path", "/ready", host=host) as server:
        before = get(server)
        (tides / "ready").write_text("503 Not Yet")
        server.signal(signal.SIGHUP)
        server.wait_for_log("the reload has failed")
        assert get(server) == before
        (tides / "ready").write_text("302 Found")
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 1 new worker serves")
        # Who connects at that moment may still come to the former one.
        server.wait_until(lambda: get(server)[1] != before[1] or None)


@pytest.mark.parametrize("supervised", [True, False], ids=["supervised", "alone"])
@hosts
def test_a_server_that_retires_serves_but_is_not_ready(tides, host, supervised):
    options = ("--ready-path", "/ready", "--drain-delay", "30s")
    with served(tides, *options, host=host, supervised=supervised) as server:
        assert get(server, "/ready")[0] == 200
        kept = server.http()
        kept.request("GET", "/")
        assert kept.getresponse().read()
        server.signal(signal.SIGTERM)
        server.wait_until(lambda: get(server, "/ready")[0] == 503 or None)
        status, _, connection = get(server)
        assert (status, connection) == (200, "close")
        kept.request("GET", "/")
        assert kept.getresponse().getheader("Connection") == "close"
        kept.close()
        # A second one does not wait.
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_a_worker_that_was_not_ready_yet_does_not_serve_while_the_server_retires(tides):
    with served(tides, "--ready-path", "/ready", "--drain-delay", "30s") as server:
        former = get(server)[1]
        (tides / "ready").write_text("hangs")
        server.signal(signal.SIGHUP)
        server.wait_for_log("asked: hangs")
        server.signal(signal.SIGTERM)
        server.wait_for_log("stopping in 30 s")
        # Several at once, as each would go to who has fewer.
        for _ in range(200):
            with contextlib.ExitStack() as clients:
                wires = [clients.enter_context(server.connect()) for _ in range(8)]
                for wire in wires:
                    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert {wire.answer().text for wire in wires} == {former}
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_after_the_delay_the_server_ends(tides):
    with served(tides, "--drain-delay", "1s") as server:
        server.signal(signal.SIGTERM)
        server.wait_for_log("stopping in 1 s")
        assert get(server)[0] == 200
        assert server.wait() == 0


@hosts
def test_a_worker_that_is_stuck_is_shown_and_replaced(tides, host):
    with served(tides, "--stuck-timeout", "1s", host=host) as server:
        first = get(server)[1]
        with server.connect() as wire:
            wire.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_log(f"stuck {first}")
            server.wait_for_log(
                rf"worker 1 does not move \(pid {first}\); its threads:\n(.*\n)*.*in get_stuck"
            )
            server.wait_for_log("worker 1 is stuck: it is killed and replaced")
        wait_for_another(server, first)
        assert get(server)[1] != first


def test_a_worker_whose_process_is_stopped_is_replaced(tides):
    with served(tides, "--stuck-timeout", "1s") as server:
        first = get(server)[1]
        os.kill(int(first), signal.SIGSTOP)
        server.wait_for_log("its threads:\n.*it does not tell")
        wait_for_another(server, first)
        assert get(server)[1] != first


def test_a_stopped_worker_is_replaced_however_often_its_stacks_are_asked_for(tides):
    control = tides / "control"
    with served(tides, "--stuck-timeout", "1s", "--control-socket", str(control)) as server:
        first = get(server)[1]
        os.kill(int(first), signal.SIGSTOP)
        with contextlib.ExitStack() as clients:
            while "does not move" not in server.log:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(control))
                client.sendall(b'{"verb": "stacks"}\n')
                time.sleep(0.3)


def test_a_machine_that_was_suspended_has_no_stuck_workers(tides):
    with served(tides, "--stuck-timeout", "4s", host="inline") as server:
        worker = int(get(server)[1])
        with server.connect() as wire:
            (tides / "ready").write_text("takes long")
            for _ in range(4):
                wire.send(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_log("asked: takes long")
            # It has been rung meanwhile, and cannot hear.
            time.sleep(0.9)
            both = (server.pid, worker)
            for pid in both:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(4.5)
            for pid in reversed(both):
                os.kill(pid, signal.SIGCONT)
            for _ in range(4):
                wire.answer()
        assert "does not move" not in server.log


def test_a_long_request_beside_which_others_are_served_is_no_reason(tides):
    with served(tides, "--stuck-timeout", "1s", host="asyncio") as server, server.connect() as wire:
        (tides / "ready").write_text("hangs")
        wire.send(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        first = get(server)[1]
        with Wire(server.addresses[0].connect(30)) as other:
            # Some looks later it is still there.
            for _ in range(3):
                server.signal(signal.SIGTTIN)
                server.signal(signal.SIGTTOU)
            other.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert first in other.rest().decode()
        assert "does not move" not in server.log
