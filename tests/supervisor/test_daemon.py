"""What a daemon is to its system: systemd's sockets and notices, the pid file, the user."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import one_line, run
from support.server import EXAMPLES, TESTS, Server

APP = "apps.generations:application"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run as another user")


WITHOUT_STDERR = """
import os, socket, sys, threading, time

class Lines:
    def write(self, text): return len(text)
    def flush(self): pass

sys.stderr = Lines()

def application(environ, start_response):
    start_response("204 No Content", [])
    return []

def call():
    # As soon as a worker serves.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("socket")
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
        if client.recv(100).startswith(b"HTTP/1.1 204"):
            os.write(1, b"called\\n")

os.register_at_fork(after_in_child=lambda: threading.Thread(target=call, daemon=True).start())
"""

PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def others_may_read(path: Path) -> bool:
    """Whether a user who owns none of it may read what is in a directory."""
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


# An interpreter in root's own directory is of no use to anybody else.
readable = pytest.mark.skipif(
    not others_may_read(Path(os.__file__).parent) or not others_may_read(TESTS),
    reason="other users cannot read this interpreter",
)


@pytest.fixture
def tides(tmp_path: Path) -> Path:
    (tmp_path / "version").write_text("one")
    return tmp_path


def test_systemd_is_told_of_the_start_of_reloads_and_of_the_end(tides):
    path = tides / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(path))
        notices.settimeout(30)
        env = {"TIDES": str(tides), "NOTIFY_SOCKET": str(path)}
        with Server(APP, env=env, supervised=True) as server:
            assert notices.recv(1024).split() == [b"READY=1"]
            server.signal(signal.SIGHUP)
            reloading, since = notices.recv(1024).split()
            assert reloading == b"RELOADING=1" and since.startswith(b"MONOTONIC_USEC=")
            assert notices.recv(1024).split() == [b"READY=1"]
            (tides / "version").write_text("broken")
            server.signal(signal.SIGHUP)
            assert notices.recv(1024).startswith(b"RELOADING=1")
            assert notices.recv(1024).split() == [b"READY=1"]
            server.signal(signal.SIGTERM)
            assert notices.recv(1024).split() == [b"STOPPING=1"]
            assert server.wait() == 0


def test_systemds_watchdog_hears_of_the_supervisor(tides):
    path = tides / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(path))
        notices.settimeout(30)
        env = {"TIDES": str(tides), "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        with Server(APP, env=env, supervised=True):
            heard = [notices.recv(1024).strip() for _ in range(6)]
        assert heard.count(b"WATCHDOG=1") >= 4


def test_a_socket_that_systemd_has_bound_is_served(tides):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        # systemd names the process that the sockets are for, and numbers them from 3.
        command = [
            sys.executable,
            "-c",
            PASS_ON,
            str(listener.fileno()),
            sys.executable,
            "-m",
            "tidegate",
            APP,
        ]
        env = {**os.environ, "TIDES": str(tides), "PYTHONPATH": str(TESTS)}
        process = subprocess.Popen(
            command, env=env, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            banner = next(line for line in lines if "listening on" in line)
            assert f"127.0.0.1:{listener.getsockname()[1]}" in banner
            with socket.create_connection(listener.getsockname(), 30) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")
        finally:
            process.terminate()
            process.communicate(timeout=30)
        assert process.returncode == 0


def test_systemd_is_told_where_the_service_goes_on_after_an_upgrade(tides):
    path = tides / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(path))
        notices.settimeout(30)
        env = {"TIDES": str(tides), "NOTIFY_SOCKET": str(path)}
        options = ["--pid-file", str(tides / "pid")]
        with Server(APP, options=options, env=env, supervised=True) as server:
            assert notices.recv(1024).split() == [b"READY=1"]
            server.signal(signal.SIGUSR2)
            assert notices.recv(1024).split() == [b"READY=1"]
            ((name, pid),) = [line.split(b"=") for line in notices.recv(1024).split()]
            assert name == b"MAINPID" and int(pid) != server.pid
            server.wait_until(lambda: int((tides / "pid").read_text()) == int(pid) or None)
            os.kill(int(pid), signal.SIGTERM)
            assert notices.recv(1024).split() == [b"STOPPING=1"]
            assert server.wait() == 0


@as_root
def test_a_server_that_has_given_up_its_rights_can_be_upgraded(tides):
    nobody = pwd.getpwnam("nobody")
    options = ["--group", str(nobody.pw_gid)]
    with Server(APP, options=options, env={"TIDES": str(tides)}, supervised=True) as server:
        server.signal(signal.SIGUSR2)
        server.wait_until(lambda: server.log.count("listening on") == 2 or None)
        pid = int(re.findall(r"listening on .*pid (\d+)", server.log)[1])
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Gid:\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}" in status
        os.kill(pid, signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.parametrize("closed", [False, True], ids=["replaced", "closed"])
def test_a_worker_starts_without_a_standard_error_that_is_a_file(tides, closed):
    path = tides / "socket"
    (tides / "own.py").write_text(WITHOUT_STDERR)
    redirection = "2>&-" if closed else ""
    command = [sys.executable, "-m", "tidegate", "--preload", f"--bind=unix:{path}", "own:application"]
    script = f'exec "$@" {redirection}'
    with subprocess.Popen(["sh", "-c", script, "sh", *command], cwd=tides, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"called\n"
        finally:
            process.terminate()
        assert process.wait(30) == 0


def test_several_servers_share_a_port_if_they_say_so(tides):
    env = {"TIDES": str(tides)}
    with Server(APP, options=["--reuse-port"], env=env, supervised=True) as server:
        bind = f"127.0.0.1:{server.port}"
        with Server(APP, options=["--reuse-port"], binds=(bind,), env=env, supervised=True) as other:
            assert other.port == server.port
        line = one_line(run("--bind", bind, "apps.probes:plain", TIDEGATE_NO_SUPERVISOR="false"))
        assert "the address is in use by another process" in line


def test_the_pid_file_is_there_as_long_as_the_server(tides):
    path = tides / "pid"
    with Server(APP, options=["--pid-file", str(path)], env={"TIDES": str(tides)}, supervised=True) as server:
        assert int(path.read_text()) == server.pid
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 1 new worker serves")
        assert path.exists()
        assert server.stop() == 0
        assert not path.exists()


@as_root
def test_it_runs_as_another_group_which_has_its_socket(tides):
    nobody = pwd.getpwnam("nobody")
    path = tides / "socket"
    options = ["--group", str(nobody.pw_gid), "--umask", "077"]
    with Server(
        APP, options=options, binds=(f"unix:{path}",), env={"TIDES": str(tides)}, supervised=True
    ) as server:
        assert path.stat().st_gid == nobody.pw_gid
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert f"Gid:\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}" in status
        assert f"Groups:\t{nobody.pw_gid}" in status
        assert "Umask:\t0077" in status


@as_root
@readable
def test_it_runs_as_another_user_who_has_its_socket(tides):
    nobody = pwd.getpwnam("nobody")
    path = tides / "socket"
    options = ["--user", "nobody", "--umask", "077"]
    binds = ("127.0.0.1:0", f"unix:{path}")
    with Server(
        "apps.probes:plain", options=options, binds=binds, env={"TIDES": str(tides)}, supervised=True
    ) as server:
        owner = path.stat()
        assert (owner.st_uid, owner.st_gid) == (nobody.pw_uid, nobody.pw_gid)
        workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for pid in [str(server.pid), *workers]:
            status = Path(f"/proc/{pid}/status").read_text()
            assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}" in status
            assert f"Gid:\t{nobody.pw_gid}\t{nobody.pw_gid}\t{nobody.pw_gid}" in status
            assert "Umask:\t0077" in status
        with server.connect() as wire:
            assert wire.ask("GET", "/").text == "no such probe"


@as_root
@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize(("owner", "group"), [("nobody", 0), ("nobody:12345", 12345)])
def test_a_unix_socket_belongs_to_whom_the_settings_say(tides, supervised, owner, group):
    path = tides / "socket"
    options = ["--unix-socket-owner", owner, "--unix-socket-mode", "0600"]
    env = {"TIDES": str(tides)}
    binds = (f"unix:{path}",)
    with Server(APP, options=options, binds=binds, env=env, supervised=supervised) as server:
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (pwd.getpwnam("nobody").pw_uid, group)
        assert found.st_mode & 0o777 == 0o600
        assert server.stop() == 0
    assert not path.exists()


@as_root
def test_the_group_that_the_server_runs_as_has_its_socket_but_not_the_owner_that_is_named(tides):
    path = tides / "socket"
    options = ["--unix-socket-owner", "nobody", "--group", "12345"]
    env = {"TIDES": str(tides)}
    with Server(APP, options=options, binds=(f"unix:{path}",), env=env, supervised=True):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (pwd.getpwnam("nobody").pw_uid, 12345)


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) takes a right away")
def test_a_unix_socket_that_may_not_be_given_away_is_one_line_and_leaves_nothing(tmp_path):
    path = tmp_path / "socket"
    command = ["setpriv", "--inh-caps=-chown", "--bounding-set=-chown", sys.executable, "-m", "tidegate"]
    arguments = ["--bind", f"unix:{path}", "--unix-socket-owner", "nobody", "apps.probes:plain"]
    ended = subprocess.run([*command, *arguments], cwd=TESTS, capture_output=True, text=True, timeout=60)
    expected = '--unix-socket-owner "nobody" (from the command line): only root may give them to another one'
    assert (ended.returncode, ended.stderr) == (2, f"tidegate: {expected}\n")
    assert not path.exists()


@pytest.mark.parametrize("setting", ["user", "group"])
def test_a_user_who_is_not_there_is_one_line(setting):
    arguments = ["--bind", "127.0.0.1:0", f"--{setting}", "nobody-of-that-name", "apps.probes:plain"]
    line = one_line(run(*arguments, TIDEGATE_NO_SUPERVISOR="false"))
    assert f"there is no such {setting}" in line


@as_root
def test_a_user_without_a_group_is_not_run_with_roots():
    arguments = ["--bind", "127.0.0.1:0", "--user", "4123456", "apps.probes:plain"]
    line = one_line(run(*arguments, TIDEGATE_NO_SUPERVISOR="false"))
    assert "name one with group" in line


def test_a_pid_file_that_cannot_be_written_is_one_line(tmp_path):
    arguments = ["--bind", "127.0.0.1:0", "--pid-file", str(tmp_path / "none" / "pid"), "apps.probes:plain"]
    assert "pid-file" in one_line(run(*arguments, TIDEGATE_NO_SUPERVISOR="false"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["tidegate.service", "tidegate.socket"])
def test_the_example_units_are_valid(tmp_path, name):
    for unit in (EXAMPLES / "systemd").iterdir():
        # The command must exist.
        text = unit.read_text().replace("/srv/site/.venv/bin/tidegate", sys.executable)
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60)
    ours = [line for line in verified.stderr.splitlines() if str(tmp_path) in line or "tidegate" in line]
    assert (verified.returncode, ours) == (0, [])
