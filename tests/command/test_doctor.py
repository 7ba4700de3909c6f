"""`tidegate doctor`: each check is made to fail on a machine, or in a corner of one, where it should."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from support.command import one_line, run
from support.server import TESTS, Server, clean_environment
from tidegate import _doctor

HELLO = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
ASGI = "async def application(scope, receive, send):\n    pass\n"

# Root of a machine of its own, in which networks and mounts are made as one likes.
NETWORK = ["unshare", "--map-root-user", "--net"]
MOUNTS = ["unshare", "--map-root-user", "--mount"]


def is_allowed(command: Sequence[str]) -> bool:
    return (
        shutil.which(command[0]) is not None
        and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    )


wants_network = pytest.mark.skipif(not is_allowed(NETWORK), reason="unshare --net is not allowed here")
wants_mounts = pytest.mark.skipif(not is_allowed(MOUNTS), reason="unshare --mount is not allowed here")
wants_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tidegate", "doctor", *arguments]


def examined(
    *arguments: str, cwd: Path, within: Sequence[str] = (), variables: dict[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Every finding by its name; of several the worst. `within` is a command that the doctor is run by."""
    port = [] if "--bind" in arguments else ["--bind", "127.0.0.1:0"]
    ended = subprocess.run(
        [*within, *command("--json", *port, *arguments)],
        cwd=cwd,
        env=clean_environment() | (variables or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout, ended.stderr
    report = json.loads(ended.stdout)
    assert (ended.returncode == 1) == (report["verdict"] == "wrong")
    ranks = ["ok", "advice", "wrong"]
    findings: dict[str, dict[str, str]] = {}
    for found in sorted(report["checks"], key=lambda check: ranks.index(check["verdict"])):
        assert bool(found["remedy"]) == (found["verdict"] != "ok"), found
        findings[found["name"]] = found
    return findings


def shell(script: str) -> list[str]:
    """A command that does this, and then becomes what stands behind it."""
    return ["sh", "-ec", f'{script}\nexec "$@"', "sh"]


def module(directory: Path, text: str, name: str = "site_") -> Path:
    (directory / f"{name}.py").write_text(text)
    return directory


# The report


def test_it_says_little_when_all_is_well_and_advice_is_no_failure(tmp_path: Path) -> None:
    module(tmp_path, HELLO)
    ended = run("doctor", "--bind", "127.0.0.1:0", "site_", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    *findings, counts = ended.stdout.splitlines()
    assert not [line for line in findings if line.startswith("ok")]
    assert counts.split(" checks: ")[1].split()[1] in ("ok", "ok,")
    everything = run("doctor", "--all", "--bind", "127.0.0.1:0", "site_", cwd=tmp_path).stdout
    assert "site_ is wsgi" in everything and "127.0.0.1:0 is free" in everything


def test_what_is_wrong_is_told_with_what_to_do_in_columns(tmp_path: Path) -> None:
    ended = run("doctor", "--bind", "unix:nowhere/socket", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (1, "")
    lines = ended.stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("wrong")]
    found = line.index("unix:nowhere/socket cannot be made in nowhere: no such file or directory")
    remedy = lines[lines.index(line) + 1]
    assert remedy[:found].isspace() and remedy[found:].startswith("make the directory")


def test_settings_that_no_server_would_take_are_one_line(tmp_path: Path) -> None:
    assert "threads" in one_line(run("doctor", "--threads", "none", cwd=tmp_path))
    assert "not with no-supervisor" in one_line(run("doctor", "--workers", "2", cwd=tmp_path))
    assert "chdir" in one_line(run("doctor", "--chdir", "nowhere", cwd=tmp_path))


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_whose_user_wants_them(
    tmp_path: Path, variables: dict[str, str], coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    environment = {**clean_environment(), **variables}
    with subprocess.Popen(
        command("--bind", "unix:nowhere/socket"), cwd=tmp_path, env=environment, stdout=theirs
    ):
        os.close(theirs)
        text = b""
        try:
            while block := os.read(ours, 65536):
                text += block
        except OSError:  # Linux's way to say that nobody has the other end any more.
            pass
    os.close(ours)
    assert (b"\x1b[31mwrong" in text) == coloured
    assert b"wrong" in text


def test_settings_come_from_where_the_server_has_them_from(tmp_path: Path) -> None:
    (tmp_path / "tidegate.toml").write_text('app = "site_"\n[env.live]\npid-file = "nowhere/pid"\n')
    module(tmp_path, HELLO)
    assert examined(cwd=tmp_path)["application"]["found"] == "site_ is wsgi"
    assert examined(cwd=tmp_path, variables={"TIDEGATE_ENV": "live"})["pid-file"]["verdict"] == "wrong"


# The machine


@pytest.mark.parametrize(("limit", "verdict"), [(1000, "advice"), (100, "wrong"), (1200, "ok")])
def test_descriptors_that_connections_do_not_fit_are_told(tmp_path: Path, limit: int, verdict: str) -> None:
    within = ["prlimit", f"--nofile={limit}:{limit}"]
    found = examined("--connections-max", "150", cwd=tmp_path, within=within)["descriptors"]
    assert (found["verdict"], found["found"].split()[0]) == (verdict, str(limit))


def test_a_soft_limit_that_the_server_raises_is_none(tmp_path: Path) -> None:
    hard = 2000
    within = ["prlimit", f"--nofile=100:{hard}"]
    assert examined("--connections-max", "150", cwd=tmp_path, within=within)["descriptors"]["verdict"] == "ok"


@wants_network
def test_a_queue_that_the_system_shortens_is_told(tmp_path: Path) -> None:
    within = [*NETWORK, *shell("echo 128 > /proc/sys/net/core/somaxconn")]
    found = examined("--bind", "0.0.0.0:0", cwd=tmp_path, within=within)
    assert found["listen-queue"]["verdict"] == "advice"
    assert "sysctl -w net.core.somaxconn=2048" in found["listen-queue"]["remedy"]
    assert "handshakes" not in found
    found = examined("--bind", "0.0.0.0:0", "--backlog", "128", cwd=tmp_path, within=within)
    assert found["listen-queue"]["verdict"] == "ok"


@wants_network
def test_handshakes_are_told_of_where_cookies_are_off(tmp_path: Path) -> None:
    script = (
        "cd /proc/sys/net/ipv4; echo 0 > tcp_syncookies; echo 128 > tcp_max_syn_backlog; cd - > /dev/null"
    )
    found = examined("--bind", "0.0.0.0:0", cwd=tmp_path, within=[*NETWORK, *shell(script)])
    assert found["handshakes"]["verdict"] == "advice"


def with_groups(directory: Path, files: dict[str, str]) -> list[str]:
    """A command that runs another where control groups say this, of both versions."""
    first = {
        "memory.max": "memory/memory.limit_in_bytes",
        "pids.max": "pids/pids.max",
        "quota": "cpu/cpu.cfs_quota_us",
    }
    for name, text in files.items():
        (directory / first[name]).parent.mkdir(parents=True, exist_ok=True)
        (directory / first[name]).write_text(f"{text}\n")
        second = ("cpu.max", f"{text} 100000\n") if name == "quota" else (name, f"{text}\n")
        (directory / second[0]).write_text(second[1])
        if name == "quota":
            (directory / "cpu/cpu.cfs_period_us").write_text("100000\n")
    return [*MOUNTS, *shell(f"mount --bind {directory} /sys/fs/cgroup")]


@wants_mounts
def test_memory_that_the_workers_do_not_fit_is_wrong(tmp_path: Path) -> None:
    module(tmp_path, HELLO + "ballast = b'x' * (50 << 20)\n")
    groups = tmp_path / "groups"
    within = with_groups(groups, {"memory.max": str(150 << 20)})
    of_workers = {
        number: examined("-w", number, "site_", cwd=tmp_path, within=within)["memory"] for number in "124"
    }
    assert [found["verdict"] for found in of_workers.values()] == ["ok", "advice", "wrong"]
    assert "the control group has 150MiB" in of_workers["4"]["found"]
    stated = examined("--max-rss", "100MiB", "-w", "2", "--rolling-reload", cwd=tmp_path, within=within)[
        "memory"
    ]
    assert (stated["verdict"], stated["remedy"][:18]) == ("advice", "--max-rss 75MiB at")


@wants_mounts
def test_a_part_of_a_processor_is_told_of_and_so_are_workers_that_share_one(tmp_path: Path) -> None:
    within = with_groups(tmp_path / "half", {"quota": "50000"})
    assert examined(cwd=tmp_path, within=within)["processors"]["verdict"] == "advice"
    within = with_groups(tmp_path / "one", {"quota": "100000"})
    of_workers = [examined("-w", n, cwd=tmp_path, within=within)["processors"]["verdict"] for n in "13"]
    assert of_workers == ["ok", "advice"]


@wants_mounts
def test_threads_that_may_not_be_started_are_told(tmp_path: Path) -> None:
    within = with_groups(tmp_path / "groups", {"pids.max": "100"})
    module(tmp_path, HELLO)
    found = examined("site_", cwd=tmp_path, within=within)["processes"]
    assert found["verdict"] == "wrong"
    assert found["found"] == "100 processes and threads may run, and 1 worker may come to 217"
    assert examined("--threads", "20", "site_", cwd=tmp_path, within=within)["processes"]["verdict"] == "ok"


@wants_root
def test_a_user_that_may_not_start_as_many_threads_is_told(tmp_path: Path) -> None:
    within = ["prlimit", "--nproc=150:150"]
    assert examined(cwd=tmp_path, within=within)["processes"]["verdict"] == "ok"
    found = examined("--user", "nobody", cwd=tmp_path, within=within)["processes"]
    assert (found["verdict"], found["found"].split()[0]) == ("wrong", "150")


@wants_mounts
def test_no_shared_memory_and_little_room_for_bodies_is_advice(tmp_path: Path) -> None:
    within = [*MOUNTS, *shell("mount -t tmpfs -o ro none /dev/shm")]
    assert examined(cwd=tmp_path, within=within)["shared-memory"]["verdict"] == "advice"
    within = [*MOUNTS, *shell("mkdir -p memory; mount -t tmpfs none memory")]
    variables = {"TMPDIR": str(tmp_path / "memory")}
    found = examined(cwd=tmp_path, within=within, variables=variables)["temporary-files"]
    assert (found["verdict"], "in memory" in found["found"]) == ("advice", True)
    found = examined("--body-size-max", "1048576GiB", cwd=tmp_path)["temporary-files"]
    assert (found["verdict"], "less than one body" in found["found"]) == ("advice", True)


def test_a_directory_for_bodies_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path / "nowhere")}
    assert examined(cwd=tmp_path, variables=variables)["temporary-files"]["verdict"] == "wrong"


# Addresses and files


def test_an_address_that_somebody_has_is_told_with_who(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        found = examined("--bind", address, cwd=tmp_path)["address"]
        assert found["verdict"] == "wrong"
        assert f"(pid {os.getpid()})" in found["found"]


def test_an_address_that_a_tidegate_has_may_be_that_very_server(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/socket"
    with Server("apps.logged:application", binds=["127.0.0.1:0", path], supervised=True) as server:
        for bind in (f"127.0.0.1:{server.port}", path):
            found = examined("--bind", bind, cwd=tmp_path)["address"]
            assert (found["verdict"], f"(pid {server.pid})" in found["found"]) == ("advice", True), found
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200


def test_the_admin_listener_is_looked_at_and_is_not_for_everybody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = examined("--admin", f"127.0.0.1:{other.getsockname()[1]}", cwd=tmp_path)["admin-address"]
        assert taken["verdict"] == "wrong" and "is in use" in taken["found"] and "--admin" in taken["remedy"]
    nowhere = examined("--admin", "unix:nowhere/socket", cwd=tmp_path)["admin-address"]
    assert nowhere["verdict"] == "wrong" and "cannot be made in nowhere" in nowhere["found"]
    public = examined("--admin", "0.0.0.0:0", cwd=tmp_path)["admin-address"]
    assert public["verdict"] == "advice" and "other machines can connect" in public["found"]
    assert examined("--admin", "127.0.0.1:0", cwd=tmp_path)["admin-address"]["verdict"] == "ok"
    assert "admin-address" not in examined(cwd=tmp_path)


@pytest.mark.parametrize(
    ("bind", "found"),
    [
        ("192.0.2.1:0", "this machine has no such address"),
        ("host.invalid:0", "the name cannot be looked up"),
        ("fd://99", "no descriptor 99 is open"),
        ("fd://0", "is no socket but /dev/null"),
        ("unix:file", "exists and is not a socket"),
        ("unix:nowhere/socket", "no such file or directory"),
        ("unix:file/socket", "not a directory"),
    ],
)
def test_an_address_that_cannot_be_bound_is_wrong(tmp_path: Path, bind: str, found: str) -> None:
    (tmp_path / "file").touch()
    within = ["sh", "-c", 'exec "$@" < /dev/null', "sh"]
    finding = examined("--bind", bind, cwd=tmp_path, within=within)["address"]
    assert (finding["verdict"], found in finding["found"]) == ("wrong", True), finding


@wants_network
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not there")
def test_a_port_for_root_is_wrong_for_others(tmp_path: Path) -> None:
    within = [*NETWORK, "setpriv", "--bounding-set", "-net_bind_service"]
    found = examined("--bind", "0.0.0.0:80", cwd=tmp_path, within=within)["address"]
    assert (found["verdict"], "ports below 1024 are for root" in found["found"]) == ("wrong", True)


def test_a_socket_whose_owner_does_not_accept_holds_up_nobody(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(path)
        other.listen(0)
        client.connect(path)
        found = examined("--bind", f"unix:{path}", cwd=tmp_path)["address"]
        assert (found["verdict"], f"(pid {os.getpid()})" in found["found"]) == ("wrong", True)
    # What nobody listens on any more is replaced.
    assert examined("--bind", f"unix:{path}", cwd=tmp_path)["address"]["verdict"] == "ok"


def test_what_is_there_to_be_had_is_not_taken_by_the_look_at_it(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    files = ["--access-log", "log", "--pid-file", "pid", "--control-socket", "control"]
    found = examined("--bind", f"127.0.0.1:{port}", "--bind", "unix:socket", *files, cwd=tmp_path)
    assert {found[name]["verdict"] for name in ("address", "access-log", "pid-file")} == {"ok"}
    assert list(tmp_path.iterdir()) == []
    socket.create_server(("127.0.0.1", port)).close()


def test_a_socket_where_anybody_may_put_one_is_advice(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o1777)
    for option in ("--bind", "--control-socket"):
        path = "unix:open/socket" if option == "--bind" else "open/socket"
        name = "address" if option == "--bind" else "control-socket"
        assert examined(option, path, cwd=tmp_path)[name]["verdict"] == "advice"


@pytest.mark.parametrize("name", ["pid-file", "control-socket", "access-log", "log-config"])
def test_a_file_whose_directory_is_not_there_is_wrong(tmp_path: Path, name: str) -> None:
    assert examined(f"--{name}", "nowhere/file.json", cwd=tmp_path)[name]["verdict"] == "wrong"


def test_a_collector_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    found = examined("--access-log", f"syslog:{tmp_path}/none", cwd=tmp_path)["access-log"]
    assert (found["verdict"], "No such file or directory" in found["found"]) == ("wrong", True)


# Users


@pytest.mark.parametrize("option", ["--user", "--group", "--unix-socket-owner"])
def test_a_user_or_a_group_that_is_not_there_is_wrong(tmp_path: Path, option: str) -> None:
    found = examined(option, "nobody-of-that-name", cwd=tmp_path)["user"]
    assert (found["verdict"], "there is no such" in found["found"]) == ("wrong", True)


@wants_root
def test_root_without_another_user_is_advice(tmp_path: Path) -> None:
    assert examined(cwd=tmp_path)["privileges"]["verdict"] == "advice"
    assert examined("--user", "nobody", cwd=tmp_path)["privileges"]["verdict"] == "ok"


@wants_root
def test_files_are_looked_at_as_the_user_that_opens_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private = tmp_path / "private"
    private.mkdir(0o755)
    options = ["--access-log", "private/log", "--pid-file", "private/pid"]
    found = examined(*options, cwd=tmp_path)
    assert {found[name]["verdict"] for name in ("access-log", "pid-file")} == {"ok"}
    found = examined(*options, "--user", "nobody", cwd=tmp_path)
    assert (found["access-log"]["verdict"], found["pid-file"]["verdict"]) == ("wrong", "ok")
    # Written by root, it could not be removed.
    assert found["directories"]["verdict"] == "advice"


@wants_root
@pytest.mark.skipif(
    is_allowed(["setpriv", "--reuid", "65534", "--clear-groups", "test", "-r", os.__file__, "-a"]),
    reason="anybody may read this Python's library",
)
def test_a_user_who_cannot_read_pythons_library_is_told(tmp_path: Path) -> None:
    found = examined("--user", "65534", "--group", "65534", cwd=tmp_path)["user"]
    assert (found["verdict"], "nothing can be imported" in found["found"]) == ("wrong", True)


@pytest.mark.skipif(not is_allowed(["unshare", "--user"]), reason="unshare --user is not allowed here")
def test_only_root_becomes_another_user(tmp_path: Path) -> None:
    found = examined("--user", "root", cwd=tmp_path, within=["unshare", "--user"])
    assert (found["user"]["verdict"], "only root" in found["user"]["found"]) == ("wrong", True)
    assert examined(cwd=tmp_path, within=["unshare", "--user"])["privileges"]["verdict"] == "ok"


# Containers


@pytest.mark.skipif(
    not is_allowed(["unshare", "--map-root-user", "--pid", "--fork"]),
    reason="unshare --pid is not allowed here",
)
def test_process_1_without_a_supervisor_reaps_nobody(tmp_path: Path) -> None:
    within = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    found = examined("--no-supervisor", "--bind", "0.0.0.0:0", cwd=tmp_path, within=within)
    assert (found["container"]["verdict"], "process 1" in found["container"]["found"]) == ("advice", True)
    assert examined("--bind", "0.0.0.0:0", cwd=tmp_path, within=within)["container"]["verdict"] == "ok"


def test_a_container_whose_server_nobody_can_reach_is_told(tmp_path: Path) -> None:
    variables = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert examined(cwd=tmp_path, variables=variables)["container"]["verdict"] == "advice"
    found = examined("--bind", "0.0.0.0:0", cwd=tmp_path, variables=variables)
    assert found["container"]["verdict"] == "ok"


# Python


@pytest.mark.parametrize(
    ("today", "verdict"),
    [(date(2026, 4, 30), "advice"), (date(2026, 10, 31), "advice"), (date(2026, 11, 1), "advice")],
)
def test_the_end_of_a_version_of_python_is_told_before_and_after(today: date, verdict: str) -> None:
    found = _doctor.python((3, 10), today)
    assert found[1] == verdict
    assert ("until 2026-10, which is near" in found[2]) == (today < date(2026, 11, 1))
    assert _doctor.python((3, 10), date(2026, 3, 31))[1] == "ok"
    assert _doctor.python((4, 0), today)[1] == "ok"


def test_text_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    variables = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = examined(cwd=tmp_path, variables=variables)["encoding"]
    assert (found["verdict"], "ascii" in found["found"].lower() or "ANSI" in found["found"]) == (
        "advice",
        True,
    )


def test_a_module_that_turns_the_gil_on_is_named(tmp_path: Path) -> None:
    # What a free-threaded build says of itself and warns of; here another one says so.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, sysconfig\n"
        "sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1\n"
        "sys._is_gil_enabled = lambda: True\n"
    )
    warning = (
        "The global interpreter lock (GIL) has been enabled to load module 'old', which has not declared"
    )
    module(tmp_path, f"import warnings\nwarnings.warn({warning!r}, RuntimeWarning)\n{HELLO}")
    found = examined("site_", cwd=tmp_path, variables={"PYTHONPATH": str(tmp_path)})["gil"]
    assert (found["verdict"], "old has turned the GIL on" in found["found"]) == ("advice", True)


def hidden(directory: Path, name: str) -> dict[str, str]:
    """Variables with which a package is not there."""
    (directory / "hidden").mkdir()
    (directory / "hidden" / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})")
    return {"PYTHONPATH": str(directory / "hidden")}


def test_packages_that_requests_run_on_are_looked_for(tmp_path: Path) -> None:
    module(tmp_path, ASGI)
    variables = hidden(tmp_path, "gevent")
    found = examined("-c", "greenlets", cwd=tmp_path, variables=variables)
    assert found["gevent"]["verdict"] == "wrong"
    shutil.rmtree(tmp_path / "hidden")
    variables = hidden(tmp_path, "uvloop")
    found = examined("--loop", "uvloop", "site_", cwd=tmp_path, variables=variables)
    assert found["uvloop"]["verdict"] == "wrong"
    assert examined("site_", cwd=tmp_path, variables=variables)["uvloop"]["verdict"] == "ok"


def test_a_greenlet_that_is_too_old_is_wrong(tmp_path: Path) -> None:
    module(tmp_path, HELLO)
    (tmp_path / "greenlet.py").write_text("__version__ = '2.0.2'")
    found = examined("-c", "asyncio", "site_", cwd=tmp_path)["greenlet"]
    assert (found["verdict"], "2.0.2" in found["found"]) == ("wrong", True)


def test_what_keeps_gevent_from_its_work_is_told(tmp_path: Path) -> None:
    module(tmp_path, HELLO)
    assert examined("-c", "greenlets", "site_", cwd=tmp_path)["gevent"]["verdict"] == "ok"
    variables = {"GEVENT_RESOLVER": "block"}
    found = examined("-c", "greenlets", "site_", cwd=tmp_path, variables=variables)["gevent"]
    assert (found["verdict"], "looks a name up" in found["found"]) == ("wrong", True)
    (tmp_path / "sitecustomize.py").write_text("import ssl\nclass Context(ssl.SSLContext): ...")
    variables = {"PYTHONPATH": str(tmp_path)}
    found = examined("-c", "greenlets", "site_", cwd=tmp_path, variables=variables)["gevent"]
    assert (found["verdict"], "gevent came too late" in found["found"]) == ("advice", True)


def test_drivers_that_gevent_cannot_make_wait_are_wrong(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2")
    pytest.importorskip("psycogreen")
    module(tmp_path, f"import psycopg2.extensions\n{HELLO}")
    assert examined("-c", "greenlets", "site_", cwd=tmp_path)["drivers"]["verdict"] == "wrong"
    assert "drivers" not in examined("site_", cwd=tmp_path)
    module(tmp_path, f"import psycopg2, psycogreen.gevent as green\ngreen.patch_psycopg()\n{HELLO}")
    assert "drivers" not in examined("-c", "greenlets", "site_", cwd=tmp_path)
    (tmp_path / "MySQLdb.py").touch()
    module(tmp_path, f"import MySQLdb\n{HELLO}")
    assert "PyMySQL" in examined("-c", "greenlets", "site_", cwd=tmp_path)["drivers"]["remedy"]


def test_calls_that_hold_up_a_loop_are_told(tmp_path: Path) -> None:
    (tmp_path / "requests.py").touch()
    module(tmp_path, f"import requests\n{HELLO}")
    assert examined("-c", "asyncio", "site_", cwd=tmp_path)["blocking-calls"]["verdict"] == "advice"
    assert "blocking-calls" not in examined("-c", "greenlets", "site_", cwd=tmp_path)


# Applications


def test_an_application_that_cannot_be_imported_is_wrong_and_its_traceback_is_shown(tmp_path: Path) -> None:
    module(tmp_path, "1 / 0")
    ended = run("doctor", "--bind", "127.0.0.1:0", "site_", cwd=tmp_path)
    assert ended.returncode == 1
    assert 'importing "site_" failed: ZeroDivisionError: division by zero' in ended.stdout
    assert "Traceback" in ended.stderr
    found = examined("nowhere", cwd=tmp_path)["application"]
    assert 'no module named "nowhere"' in found["found"]
    module(tmp_path, "raise SystemExit(3)")
    assert examined("site_", cwd=tmp_path)["application"]["found"].endswith("SystemExit: 3")


def test_what_an_application_prints_is_not_in_the_report(tmp_path: Path) -> None:
    module(tmp_path, f"import os\nprint('noise', flush=True)\nos.system('echo noise')\n{HELLO}")
    assert examined("site_", cwd=tmp_path)["application"]["verdict"] == "ok"


def test_an_import_that_does_not_end_is_shown_and_told(tmp_path: Path) -> None:
    module(tmp_path, "import time\ntime.sleep(1000)")
    ended = run("doctor", "--bind", "127.0.0.1:0", "--start-timeout", "2s", "site_", cwd=tmp_path)
    assert ended.returncode == 1
    assert "it is not imported within --start-timeout (2 s)" in ended.stdout
    assert "site_.py" in ended.stderr


def test_an_import_that_kills_its_process_is_told(tmp_path: Path) -> None:
    module(tmp_path, "import os\nos.abort()")
    found = examined("site_", cwd=tmp_path)["application"]
    assert (found["verdict"], found["found"]) == (
        "wrong",
        "the process that imported it was ended by signal 6",
    )


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        ("flask", "import flask\napplication = flask.Flask('site_')\napplication.run(port=0)\n"),
        ("flask", "import flask\napp = flask.Flask('site_')\ndef main():\n    app.run(port=0)\n\nmain()"),
        ("bottle", "import bottle\napplication = bottle.app()\nbottle.run(application, port=0)\n"),
        ("aiohttp", f"from aiohttp import web\n{HELLO}\nweb.run_app(web.Application(), port=0)\n"),
        ("gevent", f"import gevent.pywsgi as g\n{HELLO}\ng.WSGIServer(':0', application).serve_forever()\n"),
        ("tidegate", f"import tidegate\n{HELLO}\ntidegate.serve(application, bind='127.0.0.1:0')\n"),
    ],
)
def test_a_module_that_serves_when_it_is_imported_is_told_with_its_line(
    tmp_path: Path, needs: str, text: str
) -> None:
    pytest.importorskip(needs)
    module(tmp_path, text)
    found = examined("site_", cwd=tmp_path)["application"]
    assert found["verdict"] == "wrong"
    assert "site_.py:" in found["found"] and "starts another server" in found["found"]
    assert "__main__" in found["remedy"]
    guarded = text.replace("application.run", "if __name__ == '__main__': application.run")
    if guarded != text:
        module(tmp_path, guarded)
        assert examined("site_", cwd=tmp_path)["application"]["verdict"] == "ok"


def test_an_application_of_the_other_kind_is_wrong(tmp_path: Path) -> None:
    module(tmp_path, HELLO)
    found = examined("--interface", "asgi", "site_", cwd=tmp_path)["application"]
    assert (found["verdict"], "is called as WSGI" in found["found"]) == ("wrong", True)
    module(tmp_path, ASGI)
    assert examined("--interface", "wsgi", "site_", cwd=tmp_path)["application"]["verdict"] == "wrong"
    assert examined("-c", "threads", "site_", cwd=tmp_path)["application"]["verdict"] == "wrong"


def test_an_asgi_module_beside_the_wsgi_one_is_told_where_a_loop_is_wanted(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    module(project, HELLO, "wsgi")
    assert examined("-c", "asyncio", "project.wsgi", cwd=tmp_path)["application"]["verdict"] == "ok"
    module(project, ASGI, "asgi")
    found = examined("-c", "asyncio", "project.wsgi", cwd=tmp_path)["application"]
    assert (found["verdict"], "name project.asgi" in found["remedy"]) == ("advice", True)
    assert examined("project.wsgi", cwd=tmp_path)["application"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        ("flask", "import flask\napplication = flask.Flask('site_')\napplication.debug = True\n"),
        ("quart", "import quart\napplication = quart.Quart('site_')\napplication.debug = True\n"),
        ("starlette", "from starlette.applications import Starlette\napplication = Starlette(debug=True)\n"),
        ("fastapi", "from fastapi import FastAPI\napplication = FastAPI(debug=True)\n"),
        ("litestar", "from litestar import Litestar\napplication = Litestar(debug=True)\n"),
        ("django", "from django_site import application\n"),
    ],
)
def test_debug_is_wrong_but_in_development(tmp_path: Path, needs: str, text: str) -> None:
    pytest.importorskip(needs)
    django(tmp_path, DEBUG=True)
    module(tmp_path, text)
    assert examined("site_", cwd=tmp_path)["debug"]["verdict"] == "wrong"
    assert "debug" not in examined("--reload", "site_", cwd=tmp_path)


def test_a_debugger_around_an_application_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug")
    wrapped = "application = DebuggedApplication(application, evalex=True)"
    module(tmp_path, f"from werkzeug.debug import DebuggedApplication\n{HELLO}{wrapped}")
    assert examined("--reload", "site_", cwd=tmp_path)["debug"]["verdict"] == "wrong"


def test_threads_that_a_preloaded_application_has_started_are_named(tmp_path: Path) -> None:
    started = "threading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()"
    module(tmp_path, f"import threading\n{started}\n{HELLO}")
    found = examined("--preload", "site_", cwd=tmp_path)["preload"]
    assert (found["verdict"], "(poller)" in found["found"]) == ("wrong", True)
    assert "preload" not in examined("site_", cwd=tmp_path)


def django(directory: Path, **settings: Any) -> None:
    """A site with these settings."""
    values: dict[str, Any] = {
        "ROOT_URLCONF": "django_site",
        "SECRET_KEY": "x",
        "ALLOWED_HOSTS": ["site.test"],
    }
    text = (
        "import django.conf\n"
        f"django.conf.settings.configure(**{values | settings!r})\n"
        "from django.core.wsgi import get_wsgi_application\n"
        "application = get_wsgi_application()\n"
        "urlpatterns = []\n"
    )
    module(directory, text, "django_site")


def of_django(directory: Path, *arguments: str, **settings: Any) -> dict[str, dict[str, str]]:
    pytest.importorskip("django")
    django(directory, **settings)
    return examined(*arguments, "django_site", cwd=directory)


def test_django_that_answers_nobody_or_everybody_is_told(tmp_path: Path) -> None:
    assert "django-hosts" not in of_django(tmp_path)
    assert of_django(tmp_path, ALLOWED_HOSTS=[])["django-hosts"]["verdict"] == "wrong"
    assert of_django(tmp_path, ALLOWED_HOSTS=["*"])["django-hosts"]["verdict"] == "advice"


def test_django_that_believes_a_field_that_anybody_can_send_is_told(tmp_path: Path) -> None:
    header = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
    assert "django-proxy" not in of_django(tmp_path, **header)
    found = of_django(tmp_path, "--bind", "0.0.0.0:0", **header)
    assert found["django-proxy"]["verdict"] == "advice"


def database(**values: Any) -> dict[str, Any]:
    return {"DATABASES": {"default": values}}


def test_connections_that_django_keeps_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2")
    kept = database(ENGINE="django.db.backends.postgresql", NAME="x", CONN_MAX_AGE=60)
    assert of_django(tmp_path, **kept)["database"]["verdict"] == "advice"
    assert "database" not in of_django(tmp_path, "--threads", "8", **kept)
    found = of_django(tmp_path, "-c", "greenlets", **kept)["database"]
    assert (found["verdict"], "none is used again" in found["found"]) == ("wrong", True)


@pytest.mark.parametrize(
    ("pool", "size"), [(True, 4), ({"max_size": 20}, 20), ({"min_size": 10, "max_size": None}, 10)]
)
def test_a_pool_of_djangos_that_is_smaller_than_the_threads_is_told(
    tmp_path: Path, pool: object, size: int
) -> None:
    pytest.importorskip("psycopg")
    pooled = database(ENGINE="django.db.backends.postgresql", NAME="x", OPTIONS={"pool": pool})
    found = of_django(tmp_path, "--threads", "21", **pooled)["database"]
    assert (found["verdict"], f"{size} connections, and up to 21" in found["found"]) == ("advice", True)
    assert "database" not in of_django(tmp_path, "--threads", str(size), **pooled)


def test_sqlite_that_threads_share_is_told(tmp_path: Path) -> None:
    engine = "django.db.backends.sqlite3"
    memory = of_django(tmp_path, **database(ENGINE=engine, NAME=":memory:"))["database"]
    assert memory["verdict"] == "wrong"
    one_file = database(ENGINE=engine, NAME=str(tmp_path / "db"))
    assert of_django(tmp_path, **one_file)["database"]["verdict"] == "advice"
    assert "database" not in of_django(tmp_path, "--threads", "1", **one_file)
    one_file["DATABASES"]["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
    assert "database" not in of_django(tmp_path, **one_file)


def test_a_pool_that_is_smaller_than_the_threads_is_told(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    engine = "import sqlalchemy as sa\nengine = sa.create_engine('sqlite://', poolclass=sa.QueuePool{})\n"
    module(tmp_path, engine.format("") + HELLO)
    found = examined("site_", cwd=tmp_path)["database-pool"]
    assert (found["verdict"], "15 connections, and up to 200" in found["found"]) == ("advice", True)
    assert "database-pool" not in examined("--threads", "15", "site_", cwd=tmp_path)
    module(tmp_path, engine.format(", max_overflow=-1") + HELLO)
    assert "database-pool" not in examined("site_", cwd=tmp_path)


def test_the_documentation_names_every_check() -> None:
    page = (TESTS.parent / "docs" / "doctor.md").read_text()
    crates = TESTS.parent / "crates"
    sources = [*(crates / "supervisor/src/doctor").glob("*.rs"), crates / "python/src/doctor.rs"]
    made = r'(?:NAME: &str = |Finding::\w+\(\s*|socket_file\(|writable\(|_(?:ok|advice|wrong)\(\s*)"([^"]+)"'
    texts = [path.read_text() for path in [*sources, Path(_doctor.__file__)]]
    names = {name for text in texts for name in re.findall(made, text)}
    assert {"memory", "access-log", "gevent", "django-hosts"} <= names
    assert not {name for name in names if f"`{name}`" not in page}
