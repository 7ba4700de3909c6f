"""Whether a server lives, and whether it is to be sent requests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from admin.hosts import Kind
from support.admin import Admin
from support.command import one_line, run
from support.server import PATIENCE_S, Server

KINDS = [Kind("threads", None), Kind("threads", 2), Kind("asyncio", 2)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_server_that_is_to_end_lives_and_is_not_ready(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path, "--drain-delay", "30s") as server:
        admin = Admin(server)
        assert admin.ask("/readyz").status == 200
        assert admin.scrape().value("tidegate_ready") == 1
        server.signal(signal.SIGTERM)
        admin.wait_for(lambda admin: True if admin.ask("/readyz").status == 503 else None)
        assert admin.ask("/livez").status == 200
        assert admin.scrape().value("tidegate_ready") == 0
        assert admin.state()["server"]["state"] == "retiring"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_server_that_drains_is_seen_until_its_last_request_is_over(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server:
        admin = Admin(server)
        client = server.http()
        client.request("GET", "/hold")
        admin.wait_for_value(1, "tidegate_requests_running")
        server.signal(signal.SIGTERM)
        admin.wait_for(lambda admin: True if admin.state()["server"]["state"] == "stopping" else None)
        assert admin.ask("/readyz").status == 503
        (request,) = admin.state()["requests"]
        assert request["path"] == "/hold"
        (tmp_path / "let go").touch()
        assert client.getresponse().status == 200
        client.close()
        assert server.wait() == 0


def test_a_server_is_not_ready_before_a_worker_serves(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    module = tmp_path / "late.py"
    module.write_text(
        "import os, time\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "from apps.observed import application\n"
    )

    class Late(Server):
        def _read_banner(self) -> None:
            """It has none yet."""

    with Late(
        "late:application", options=("--admin", "127.0.0.1:0"), cwd=tmp_path, supervised=True
    ) as server:
        admin = Admin(server)
        assert admin.ask("/livez").status == 200
        assert admin.ask("/readyz").status == 503
        assert admin.state()["workers"][0]["state"] == "starting"
        gate.touch()
        admin.wait_for(lambda admin: True if admin.ask("/readyz").status == 200 else None)


def test_a_server_whose_workers_are_all_stuck_is_not_ready(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    with Kind("threads", 1).serve(tmp_path, "--stuck-timeout", "2s") as server:
        admin = Admin(server)
        client = server.http()
        client.request("GET", "/stuck")
        deadline = time.monotonic() + PATIENCE_S
        while admin.ask("/readyz").status != 503:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # Until it was killed, and another one has its place.
        admin.wait_for(lambda admin: True if admin.ask("/readyz").status == 200 else None)
        assert admin.scrape().value("tidegate_worker_restarts_total", cause="stuck") == 1
        client.close()


def test_a_process_that_is_stuck_is_not_ready(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    with Kind("threads", None).serve(tmp_path, "--stuck-timeout", "2s") as server:
        admin = Admin(server)
        for _ in range(3):
            assert admin.ask("/readyz").status == 200
        client = server.http()
        client.request("GET", "/stuck")
        admin.wait_for(lambda admin: True if admin.ask("/readyz").status == 503 else None)
        assert admin.ask("/livez").status == 200
        assert admin.scrape().value("tidegate_ready") == 0
        # It goes on when the FIFO is read no more.
        with open(tmp_path / "stuck", "wb") as fifo:
            fifo.write(b"x")
        assert client.getresponse().status == 200
        admin.wait_for(lambda admin: True if admin.ask("/readyz").status == 200 else None)
        client.close()


def status(server: Server, path: str) -> int:
    client = server.http()
    try:
        client.request("GET", path)
        return client.getresponse().status
    finally:
        client.close()


@pytest.mark.parametrize("workers", [None, 1])
def test_the_main_listener_tells_by_itself_where_a_setting_says_so(
    workers: int | None, tmp_path: Path
) -> None:
    options = (
        "--ready-path",
        "/ready",
        "--ready-by",
        "server",
        "--live-path",
        "/live",
        "--drain-delay",
        "30s",
    )
    options += ("--max-concurrency", "1", "--queue-size", "1")
    with Kind("threads", workers).serve(tmp_path, *options) as server:
        admin = Admin(server)
        assert [status(server, path) for path in ("/ready", "/live")] == [200, 200]
        # Though nothing else can be had.
        clients = [server.http() for _ in range(2)]
        for client in clients:
            client.request("GET", "/hold")
        admin.wait_for_value(1, "tidegate_requests_queued")
        assert [status(server, path) for path in ("/ready", "/live", "/")] == [200, 200, 503]
        server.signal(signal.SIGTERM)
        admin.wait_for(lambda admin: True if admin.state()["server"]["state"] == "retiring" else None)
        server.wait_until(lambda: status(server, "/ready") == 503 or None)
        assert status(server, "/live") == 200
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    "options",
    [["--ready-by", "server"], ["--live-path", "/x", "--ready-path", "/x"], ["--live-path", "x"]],
)
def test_paths_of_health_that_make_no_sense_are_refused(options: list[str]) -> None:
    assert one_line(run("apps.observed:application", *options))
