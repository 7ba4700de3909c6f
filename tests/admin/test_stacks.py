"""What a request is at is told while it goes on: by the admin listener, and over the control socket."""

from __future__ import annotations

import json
import os
import select
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from admin.hosts import Kind, every_kind
from support.admin import Admin
from support.command import run
from support.server import PATIENCE_S, Server

THREADS = Kind("threads", 1)


def hold(server: Server, stack: ExitStack, target: str = "/hold") -> None:
    wire = stack.enter_context(server.connect())
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def at_work(admin: Admin) -> dict[str, Any] | None:
    """Return the one request that an application has."""
    requests = admin.state()["requests"]
    return requests[0] if requests and requests[0]["stage"] == "application" else None


def ask(admin: Admin, worker: int, request: int) -> dict[str, Any]:
    answer = admin.ask(f"/stack.json?worker={worker}&request={request}")
    assert answer.status == 200, answer
    told: dict[str, Any] = json.loads(answer.body)
    return told


@every_kind
def test_the_stack_of_a_request_ends_where_it_waits(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server, ExitStack() as stack:
        admin = Admin(server)
        hold(server, stack)
        request = admin.wait_for(at_work)
        told = ask(admin, request["worker"], request["number"])
        function = kind.app.partition(":")[2]
        assert any("observed.py:" in call and call.endswith(f" in {function}") for call in told["stack"])
        assert f"in {function}\n" in told["text"]
        assert (told["worker"], told["request"]) == (request["worker"], request["number"])
        (tmp_path / "let go").touch()


def test_a_request_that_is_over_has_none(tmp_path: Path) -> None:
    for kind in (THREADS, Kind("threads", None)):
        with kind.serve(tmp_path) as server:
            admin = Admin(server)
            assert "is over" in ask(admin, 1, 4711)["error"]
            assert "error" in ask(admin, 4711, 1)
            assert admin.ask("/stack.json").status == 400
            assert admin.ask("/stack.json?worker=1&request=-1").status == 400
            assert admin.ask("/stack.json?worker=1&request=1", host="rebound.example").status == 403


def test_a_request_that_keeps_the_interpreter_is_told_of_as_that(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    for kind in (THREADS, Kind("threads", None)):
        with kind.serve(tmp_path) as server, ExitStack() as stack:
            admin = Admin(server)
            hold(server, stack, "/stuck")
            request = admin.wait_for(at_work)
            assert "interpreter" in ask(admin, request["worker"], request["number"])["error"]
            assert admin.ask("/livez").status == 200


def test_while_a_stack_cannot_be_had_others_are_answered(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    with Kind("threads", None).serve(tmp_path) as server, ExitStack() as stack:
        admin = Admin(server)
        hold(server, stack, "/stuck")
        admin.wait_for_value(1, "tidegate_threads", state="blocked")
        request = admin.wait_for(at_work)
        with admin.address.connect(PATIENCE_S) as asker:
            target = f"/stack.json?worker=1&request={request['number']}"
            asker.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert admin.ask("/livez").status == 200
            assert select.select([asker], [], [], 0)[0] == [], "it was answered first"
            answer = b""
            while not answer.endswith(b"}\n"):
                answer += asker.recv(4096)
        assert b"the interpreter cannot be had" in answer


def test_who_asks_again_for_what_cannot_be_told_costs_no_further_thread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck")
    for kind in (THREADS, Kind("threads", None)):
        with kind.serve(tmp_path) as server, ExitStack() as stack:
            admin = Admin(server)
            hold(server, stack, "/stuck")
            request = admin.wait_for(at_work)
            (worker,) = admin.state()["workers"]
            threads = []
            for _ in range(4):
                assert "interpreter" in ask(admin, request["worker"], request["number"])["error"]
                threads.append(len(os.listdir(f"/proc/{worker['pid']}/task")))
            assert len(set(threads)) == 1, threads


def test_ctl_stacks_tells_of_requests_that_wait_without_a_thread(tmp_path: Path) -> None:
    socket = tmp_path / "control"
    for host in ("greenlets", "asyncio"):
        (tmp_path / "let go").unlink(missing_ok=True)
        with Kind(host, 1).serve(tmp_path, "--control-socket", str(socket)) as server, ExitStack() as stack:
            admin = Admin(server)
            hold(server, stack, "/hold?secret")
            request = admin.wait_for(at_work)
            told = run("ctl", "stacks", "--control-socket", str(socket))
            (worker,) = json.loads(told.stdout)["workers"]
            header = f'Request {request["number"]}, GET "/hold", for '
            assert "observed.py" in worker["stacks"].partition(header)[2]
            assert "secret" not in told.stdout
            (tmp_path / "let go").touch()
