"""The admin listener itself: whom it answers, where it is, and what becomes of it in reloads and upgrades."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from admin.hosts import Kind
from support.admin import Admin
from support.command import one_line, run
from support.server import PATIENCE_S, Server

ALONE = Kind("threads", None)
SUPERVISED = Kind("threads", 2)
KINDS = [ALONE, SUPERVISED]

of_both_kinds = pytest.mark.parametrize("kind", KINDS, ids=str)


@of_both_kinds
def test_only_get_and_head_are_answered(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server:
        admin = Admin(server)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            answer = admin.ask("/metrics", method=method)
            assert (answer.status, answer.fields["Allow"]) == (405, "GET, HEAD")
        for path in ("/", "/state.json", "/metrics", "/livez", "/readyz"):
            whole, head = admin.ask(path), admin.ask(path, method="HEAD")
            assert (whole.status, head.status, head.body) == (200, 200, b"")
            assert whole.fields["Cache-Control"] == "no-store"
            assert whole.fields["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in whole.fields["Content-Security-Policy"]
        assert admin.ask("/nothing").status == 404


@of_both_kinds
def test_a_name_that_a_stranger_may_have_pointed_here_is_not_answered(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path, "--admin-allowed-hosts", "ops.example") as server:
        admin = Admin(server)
        for path in ("/", "/state.json"):
            for host in (
                "127.0.0.1",
                "127.0.0.1:9000",
                "[::1]:9000",
                "LOCALHOST:1",
                "ops.example",
                "Ops.Example:80",
            ):
                assert admin.ask(path, host=host).status == 200, host
            for host in (
                "evil.example",
                "127.0.0.1.evil.example",
                "localhost.evil",
                "[evil]",
                "x.ops.example",
            ):
                assert admin.ask(path, host=host).status == 403, host
        # A scraper and a probe come by whatever name they were given, and no page can read what they read.
        assert [admin.ask(path, host="evil.example").status for path in ("/metrics", "/livez")] == [200, 200]


@of_both_kinds
def test_it_is_on_a_unix_socket_too(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "admin"
    options = ("--threads", "2", "--admin", f"unix:{path}")
    with Server(kind.app, options=options, supervised=kind is SUPERVISED) as server:
        admin = Admin(server)
        assert admin.address.path == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert admin.ask("/livez").status == 200
        assert server.stop() == 0
    assert not path.exists()


@of_both_kinds
def test_clients_that_say_nothing_keep_nobody_out_for_long(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server:
        admin = Admin(server)
        silent = [admin.address.connect(PATIENCE_S) for _ in range(100)]
        try:
            assert admin.ask("/livez").status == 200
        finally:
            for client in silent:
                client.close()


@of_both_kinds
def test_nonsense_is_refused(kind: Kind, tmp_path: Path) -> None:
    with kind.serve(tmp_path) as server:
        admin = Admin(server)
        for nonsense in (
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000,
        ):
            with admin.address.connect(PATIENCE_S) as client:
                client.sendall(nonsense)
                assert client.recv(12).startswith(b"HTTP/1.1 4")
        assert admin.ask("/livez").status == 200


def test_an_address_that_cannot_be_had_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for supervised in ("", "--no-supervisor"):
            options = ["--bind", "127.0.0.1:0", "--admin", address, *filter(None, [supervised])]
            result = run("apps.observed:application", *options)
            line = f'--admin "{address}" (from the command line): the address is in use by another process'
            assert line in one_line(result)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--admin", "x://y"], "--admin"),
        (["--admin", "127.0.0.1:1", "--admin", "127.0.0.1:1"], "stands there twice"),
        (
            ["--admin", "127.0.0.1:8000"],
            '--admin "127.0.0.1:8000" (from the command line): bind has it, as "127.0.0.1:8000" (by default)',
        ),
        (
            ["--admin", "127.0.0.1:1", "--bind", ":1"],
            '--admin "127.0.0.1:1" (from the command line): bind has it, as "0.0.0.0:1" (from the command',
        ),
        (["--admin", "unix:a", "--bind", "unix:a"], 'bind has it, as "unix:a"'),
        (["--admin-allowed-hosts", "a b"], "not the name of a host"),
        (["--observe", "perhaps"], "accepted: auto, on, off"),
        (["--admin", "127.0.0.1:0", "--observe", "off"], "not with admin"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(options: list[str], reason: str) -> None:
    assert reason in one_line(run("apps.observed:application", *options))


def test_it_is_there_through_reloads_with_the_same_address(tmp_path: Path) -> None:
    with SUPERVISED.serve(tmp_path) as server:
        admin = Admin(server)
        before = {worker["pid"] for worker in admin.state()["workers"]}
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 2 new workers serve")
        assert admin.ask("/readyz").status == 200
        after = {worker["pid"] for worker in admin.state()["workers"] if worker["state"] == "serving"}
        assert len(after) == 2
        assert not after & before


def test_an_upgrade_hands_it_over(tmp_path: Path) -> None:
    with SUPERVISED.serve(tmp_path, "--admin", f"unix:{tmp_path / 'admin'}") as server:
        admin = Admin(server)
        # The one that both servers have is never not ready.
        server.signal(signal.SIGUSR2)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert admin.ask("/readyz").status == 200
            if (new := admin.state()["server"]["pid"]) != server.pid:
                break
            assert time.monotonic() < deadline
        assert server.wait() == 0
        try:
            assert admin.state()["server"]["pid"] == new
            assert (tmp_path / "admin").is_socket()
        finally:
            os.kill(new, signal.SIGTERM)
        admin_gone = time.monotonic() + PATIENCE_S
        while True:
            try:
                admin.address.connect(1).close()
            except OSError:
                break
            assert time.monotonic() < admin_gone
            time.sleep(0.05)


def test_an_upgrade_ends_it_where_the_settings_have_it_no_more(tmp_path: Path) -> None:
    file, control = tmp_path / "tidegate.toml", tmp_path / "control"
    file.write_text("admin = '127.0.0.1:0'\n")
    options = ("--config", str(file), "--control-socket", str(control))
    with Server("apps.observed:application", options=options, supervised=True) as server:
        admin = Admin(server)
        assert admin.ask("/readyz").status == 200
        file.write_text("")
        upgraded = run("ctl", "upgrade", "--control-socket", str(control))
        assert upgraded.returncode == 0, upgraded.stderr
        assert server.wait() == 0
        try:
            with pytest.raises(ConnectionRefusedError):
                admin.ask("/readyz")
        finally:
            os.kill(json.loads(upgraded.stdout)["pid"], signal.SIGTERM)


def test_the_control_socket_tells_the_same(tmp_path: Path) -> None:
    control = tmp_path / "control"
    options = ("--threads", "2", "--control-socket", str(control))
    with Server("apps.observed:application", options=options, supervised=True) as server:
        client = server.http()
        client.request("GET", "/")
        client.getresponse().read()
        client.close()
        result = run("ctl", "state", "--control-socket", str(control))
        assert result.returncode == 0, result.stderr
        state = json.loads(result.stdout)
        assert state["server"]["pid"] == server.pid
        assert state["totals"]["requests"] == 1


def test_where_nothing_is_counted_the_control_socket_says_so(tmp_path: Path) -> None:
    control = tmp_path / "control"
    options = ("--control-socket", str(control), "--observe", "off")
    with Server("apps.observed:application", options=options, supervised=True):
        result = run("ctl", "state", "--control-socket", str(control))
        assert result.returncode == 1
        assert "observe is off" in result.stderr


def test_a_server_that_python_starts_has_one(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, tidegate\n"
        "from apps.observed import application\n"
        "def ready(addresses):\n"
        "    print('listening on http://%s:%d' % tuple(addresses[0]), file=sys.stderr, flush=True)\n"
        "tidegate.serve(application, bind='127.0.0.1:0', admin='127.0.0.1:0', on_ready=ready)\n"
    )

    class Program(Server):
        def _own_command(self) -> list[str]:
            return [sys.executable, str(program)]

    with Program("apps.observed:application") as server:
        admin = Admin(server)
        assert admin.ask("/readyz").status == 200
        assert server.stop() == 0
