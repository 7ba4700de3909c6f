"""Whether a server lives, and whether it is to be sent requests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from admin.hosts import Kind
from support.admin import Admin
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
