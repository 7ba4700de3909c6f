"""The control socket: what it tells, what it does, and whom it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.command import one_line, run
from support.server import TESTS, Server, clean_environment

APP = "apps.generations:application"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may try as another user")


@pytest.fixture
def tides(tmp_path: Path) -> Path:
    (tmp_path / "version").write_text("one")
    return tmp_path


@pytest.fixture
def server(tides: Path) -> Iterator[Server]:
    with served(tides) as server:
        yield server


def served(tides: Path, *options: str, app: str = APP) -> Server:
    options = ("--control-socket", str(tides / "control"), *options)
    return Server(app, options=options, env={"TIDES": str(tides)}, supervised=True)


def ctl(tides: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"TIDEGATE_CONTROL_SOCKET": str(tides / "control")}
    command = [sys.executable, "-m", "tidegate", "ctl", *arguments]
    return subprocess.run(command, env=environment, cwd=tides, capture_output=True, text=True, timeout=60)


def told(tides: Path, *arguments: str) -> dict[str, Any]:
    result = ctl(tides, *arguments)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def say(tides: Path, *parts: bytes) -> dict[str, Any]:
    """Say something on the socket, whatever it is, and return the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(tides / "control"))
        for part in parts:
            client.sendall(part)
        answer = b""
        while block := client.recv(65536):
            answer += block
    said: dict[str, Any] = json.loads(answer)
    return said


def version(server: Server) -> str:
    client = server.http()
    client.request("GET", "/")
    answer = client.getresponse().read().decode().split()[1]
    client.close()
    return answer


def test_the_status_names_the_server_and_each_worker(tides, server):
    status = told(tides, "status")
    assert status["pid"] == server.pid
    assert status["state"] == "serving"
    assert status["addresses"] == [f"http://{server.authority}"]
    assert status["workers_wanted"] == 1
    before = status["workers"][0]
    assert before["state"] == "serving" and before["memory_bytes"] > 1 << 20
    client = server.http()
    client.request("GET", "/")
    assert client.getresponse().read()
    (worker,) = told(tides, "status")["workers"]
    assert (worker["requests"], worker["connections"]) == (before["requests"] + 1, 1)
    assert worker["log_lines_lost"] == 0
    client.close()


def test_the_status_counts_lines_of_the_access_log_that_are_lost(tides):
    with served(tides, "--access-log", "/dev/full") as server:
        with server.connect() as wire:
            wire.ask("GET", "/")
            wire.ask("GET", "/")
        server.wait_until(lambda: told(tides, "status")["workers"][0]["log_lines_lost"] == 2 or None)


def test_workers_are_added_and_sent_away(tides, server):
    assert told(tides, "workers", "3") == {"ok": True}
    server.wait_until(lambda: server.log.count("a worker serves") == 3 or None)
    assert told(tides, "status")["workers_wanted"] == 3
    assert told(tides, "workers", "1") == {"ok": True}
    server.wait_until(lambda: len(told(tides, "status")["workers"]) == 1 or None)
    result = ctl(tides, "workers", "1000")
    assert result.returncode == 1
    assert "workers at most" in result.stderr


def test_a_reload_is_over_when_it_is_answered(tides, server):
    (tides / "version").write_text("two")
    assert told(tides, "reload") == {"ok": True}
    assert version(server) == "two"


def test_a_reload_that_fails_is_answered_with_the_traceback(tides, server):
    (tides / "version").write_text("broken")
    result = ctl(tides, "reload")
    assert result.returncode == 1
    assert "the reload has failed: worker 2 ended with status 1" in result.stderr
    assert "RuntimeError: version broken cannot be" in result.stderr
    assert version(server) == "one"


def test_a_server_that_is_starting_says_so_and_is_not_reloaded(tides):
    (tides / "ready").write_text("hangs")
    arguments = ("--ready-path=/ready", "--bind=127.0.0.1:0", f"--control-socket={tides / 'control'}")
    process = subprocess.Popen(
        [sys.executable, "-m", "tidegate", *arguments, "apps.readiness:application"],
        cwd=TESTS,
        env=clean_environment() | {"TIDES": str(tides)},
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        while b"asked: hangs" not in process.stderr.readline():
            pass
        assert told(tides, "status")["state"] == "starting"
        assert "the server is starting" in one_line(ctl(tides, "reload"), status=1)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_the_stacks_of_all_threads_are_shown(tides):
    with served(tides, "--workers", "2") as server:
        server.wait_until(lambda: server.log.count("a worker serves") == 2 or None)
        with server.connect() as wire:
            wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_log("called /slow")
            workers = told(tides, "stacks")["workers"]
        assert len(workers) == 2
        assert sum("generations.py" in worker["stacks"] for worker in workers) == 1


def test_looking_at_the_stacks_of_busy_threads_harms_nobody(tides):
    with served(tides, "--threads", "8", app="apps.readiness:application") as server:
        first = told(tides, "status")["workers"][0]["pid"]
        with contextlib.ExitStack() as wires:
            for _ in range(4):
                wires.enter_context(server.connect()).send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_until(lambda: server.log.count("busy") == 4 or None)
            for _ in range(50):
                (worker,) = told(tides, "stacks")["workers"]
                assert len(re.findall(r"line \d+ in application", worker["stacks"])) == 4
        assert told(tides, "status")["workers"][0]["pid"] == first


def test_a_stop_lets_all_finish(tides, server):
    assert told(tides, "stop") == {"ok": True}
    assert server.wait() == 0
    assert not (tides / "control").exists()


def test_an_upgrade_is_over_when_it_is_answered_and_the_new_server_has_the_socket(tides):
    with served(tides) as server:
        (tides / "version").write_text("two")
        pid = told(tides, "upgrade")["pid"]
        status = told(tides, "status")
        assert status["pid"] == pid != server.pid
        assert version(server) == "two"
        assert told(tides, "stop") == {"ok": True}
        assert server.wait() == 0
        assert not (tides / "control").exists()


def test_an_upgrade_that_fails_is_told_and_the_socket_stays(tides):
    with served(tides) as server:
        (tides / "version").write_text("broken")
        result = ctl(tides, "upgrade")
        assert result.returncode == 1
        assert "the upgrade has failed: the new server ended with status 1" in result.stderr
        assert told(tides, "status")["pid"] == server.pid
        assert list(tides.glob("control*")) == [tides / "control"]


def test_a_stop_calls_an_upgrade_off(tides):
    with served(tides) as server:
        (tides / "version").write_text("stalls")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(tides / "control"))
            client.sendall(b'{"verb": "upgrade"}\n')
            server.wait_for_log("imported stalls")
            assert told(tides, "stop") == {"ok": True}
            assert json.loads(client.recv(65536)) == {"error": "the server is stopping"}
        assert server.wait() == 0
        assert server.log.count("listening on") == 1


@pytest.mark.parametrize(
    "garbage",
    [b"\n", b"GET / HTTP/1.1\r\n", b"\x00\xff\xfe\n", b"{\n", b"[]\n", b"x" * 100_000, b'{"verb": 3}\n'],
    ids=["nothing", "http", "bytes", "half", "list", "much", "number"],
)
def test_garbage_is_answered_with_an_error(tides, server, garbage):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(tides / "control"))
        client.sendall(garbage)
        assert b'{"error":' in client.recv(65536)
    assert told(tides, "status")["state"] == "serving"


def test_garbage_without_an_end_is_answered_with_an_error(tides, server):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(tides / "control"))
        client.sendall(b"garbage")
        client.shutdown(socket.SHUT_WR)
        assert b'{"error":' in client.recv(65536)


def test_a_question_may_come_in_pieces(tides, server):
    assert say(tides, b'{"verb": ', b'"status"}', b"\n")["pid"] == server.pid


def test_who_says_nothing_keeps_nobody_from_asking(tides, server):
    silent = [socket.socket(socket.AF_UNIX) for _ in range(80)]
    for client in silent:
        client.connect(str(tides / "control"))
    assert told(tides, "status")["pid"] == server.pid
    for client in silent:
        client.close()


def test_the_socket_is_for_its_owner(tides, server):
    assert stat.S_IMODE((tides / "control").stat().st_mode) == 0o600


@as_root
def test_another_user_is_refused_even_where_the_file_is_open_to_all(tides, server):
    for directory in (tides, *tides.parents):
        if not directory.stat().st_mode & 0o001:
            os.chmod(directory, directory.stat().st_mode | 0o011)
    (tides / "control").chmod(0o666)
    program = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "client = socket.socket(socket.AF_UNIX)\n"
        "client.connect(sys.argv[1])\n"
        "print(client.recv(1000).decode())\n"
    )
    command = [sys.executable, "-c", program, str(tides / "control")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "only root and the server's own user may ask" in result.stdout, result.stderr
    assert told(tides, "status")["state"] == "serving"


def test_a_socket_that_is_in_use_is_refused_and_one_that_is_left_over_is_not(tides, server):
    result = run("--control-socket", str(tides / "control"), APP, TIDEGATE_NO_SUPERVISOR="false")
    assert f'--control-socket "{tides / "control"}"' in one_line(result)
    assert "another server uses it" in result.stderr
    server.signal(signal.SIGKILL)
    server.wait()
    assert (tides / "control").exists()
    with served(tides) as successor:
        assert told(tides, "status")["pid"] == successor.pid


def test_where_no_server_is_there_is_a_line(tides):
    assert str(tides / "control") in one_line(ctl(tides, "status"), status=1)


def test_the_socket_must_be_named(tides):
    result = subprocess.run(
        [sys.executable, "-m", "tidegate", "ctl", "status"],
        cwd=tides,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "control-socket" in one_line(result)


def test_the_socket_is_found_in_the_servers_own_file(tides, server):
    (tides / "tidegate.toml").write_text(f'control-socket = "{tides / "control"}"\n')
    result = subprocess.run(
        [sys.executable, "-m", "tidegate", "ctl", "status"],
        cwd=tides,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(result.stdout)["pid"] == server.pid


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dance"], "dance"),
        ([], "status|reload|stop|workers N|stacks|state|upgrade"),
        (["workers"], "N"),
        (["workers", "none"], "none"),
        (["status", "now"], "now"),
    ],
)
def test_what_is_no_verb_gets_a_line(tides, arguments, told):
    assert told in one_line(ctl(tides, *arguments))
