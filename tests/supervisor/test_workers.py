"""Workers under their supervisor: started, replaced, reloaded and stopped while clients are served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.load import Load
from support.server import TESTS, Server
from support.wire import Wire

APP = "apps.generations:application"
ASYNCHRONOUS = "apps.generations:asynchronous"


@pytest.fixture
def tides(tmp_path: Path) -> Path:
    (tmp_path / "version").write_text("one")
    return tmp_path


def served(tides: Path, *options: str, app: str = APP, binds: tuple[str, ...] = ("127.0.0.1:0",)) -> Server:
    return Server(app, options=options, binds=binds, env={"TIDES": str(tides)}, supervised=True)


def workers(server: Server) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()}


def all_workers(server: Server, count: int) -> set[int]:
    """The workers, once so many serve."""
    server.wait_until(lambda: server.log.count("a worker serves") >= count or None)
    return server.wait_until(lambda: now if len(now := workers(server)) == count else None)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def ask(server: Server) -> tuple[int, str]:
    """One request on a connection of its own: the worker that answers, and its version."""
    client = server.http()
    try:
        client.request("GET", "/")
        pid, version = client.getresponse().read().decode().split()[:2]
    finally:
        client.close()
    return int(pid), version


def test_several_processes_serve_and_say_so(tides):
    with served(tides, "--workers", "3") as server:
        pids = all_workers(server, 3)
        seen = set()
        deadline = time.monotonic() + 30
        while seen != pids and time.monotonic() < deadline:
            seen.add(ask(server)[0])
        assert seen == pids
        assert server.pid not in pids
        client = server.http()
        client.request("GET", "/")
        assert client.getresponse().read().decode().split()[2:] == ["True", "False"]
        client.close()
        assert server.stop() == 0


def test_one_worker_is_no_multiprocess_server(tides):
    with served(tides) as server:
        client = server.http()
        client.request("GET", "/")
        assert client.getresponse().read().decode().split()[2] == "False"
        client.close()


def test_a_worker_that_is_killed_is_replaced(tides):
    with served(tides, "--workers", "2") as server:
        before = all_workers(server, 2)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"worker \d+ was ended by signal 9 while it served; it is replaced")
        after = server.wait_until(
            lambda: now if len(now := workers(server)) == 2 and victim not in now else None
        )
        assert len(after & before) == 1
        assert ask(server)[1] == "one"


def test_a_reload_brings_new_code_and_loses_no_request(tides):
    with served(tides, "--workers", "2") as server, Load(server) as load:
        for version in ("two", "three", "four"):
            load.wait_for(list(load.versions)[-1] if load.versions else "one")
            since = len(server.log)
            (tides / "version").write_text(version)
            server.signal(signal.SIGHUP)
            server.wait_for_log("reloaded: 2 new workers serve", since=since)
            load.wait_for(version)
        assert not load.failures
    assert set(load.versions) == {"one", "two", "three", "four"}


def test_a_rolling_reload_replaces_one_after_the_other(tides):
    with served(tides, "--workers", "2", "--rolling-reload") as server, Load(server) as load:
        load.wait_for("one")
        (tides / "version").write_text("two")
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 2 new workers serve")
        load.wait_for("two")
        assert not load.failures


def test_a_reload_with_broken_code_changes_nothing_and_shows_the_traceback(tides):
    with served(tides, "--workers", "2") as server, Load(server) as load:
        load.wait_for("one")
        before = all_workers(server, 2)
        (tides / "version").write_text("broken")
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"the reload has failed: worker \d+ ended with status 1 before it could serve")
        assert "RuntimeError: version broken cannot be" in server.log
        load.wait_for("one")
        server.wait_until(lambda: workers(server) == before or None)
        (tides / "version").write_text("two")
        server.signal(signal.SIGHUP)
        load.wait_for("two")
        assert not load.failures


def test_a_worker_whose_lifespan_fails_is_not_served_from(tides):
    with served(tides, app=ASYNCHRONOUS) as server:
        assert ask(server)[1] == "one"
        (tides / "version").write_text("unfit")
        server.signal(signal.SIGHUP)
        server.wait_for_log("the reload has failed")
        assert "version unfit is unfit" in server.log
        assert ask(server)[1] == "one"
        (tides / "version").write_text("two")
        server.signal(signal.SIGHUP)
        server.wait_for_log("lifespan.shutdown one")
        assert ask(server)[1] == "two"
        assert server.stop() == 0
        assert "lifespan.shutdown two" in server.log


def test_what_is_in_flight_when_it_is_stopped_is_finished(tides):
    with served(tides, "--workers", "2") as server, server.connect() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        server.signal(signal.SIGTERM)
        answer = wire.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_an_interrupt_cuts_what_is_in_flight(tides, number):
    with served(tides, "--workers", "2", "--graceful-timeout", "60") as server, server.connect() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        server.signal(number)
        assert wire.rest() == b""
        assert server.wait() == 0


def test_workers_whose_supervisor_is_killed_finish_and_end(tides):
    with served(tides, "--workers", "2") as server, server.connect() as wire:
        pids = all_workers(server, 2)
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        server.signal(signal.SIGKILL)
        assert wire.answer().status == 200
        for pid in pids:
            deadline = time.monotonic() + 30
            while not has_ended(pid):
                assert time.monotonic() < deadline, f"{pid} lives on:\n{server.log}"
                time.sleep(0.01)


def test_an_application_that_cannot_be_imported_ends_the_server_with_status_1(tides):
    (tides / "version").write_text("broken")
    env = {**os.environ, "TIDES": str(tides), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "tidegate", "--bind", "127.0.0.1:0", "--workers", "2", APP]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "RuntimeError: version broken cannot be" in ended.stderr
    assert ended.stderr.count("Traceback") == 1
    assert "listening on" not in ended.stderr


def test_the_number_of_workers_can_be_changed_while_it_serves(tides):
    with served(tides, "--workers", "1") as server:
        server.signal(signal.SIGTTIN)
        all_workers(server, 2)
        server.signal(signal.SIGTTIN)
        all_workers(server, 3)
        server.signal(signal.SIGTTOU)
        all_workers(server, 2)
        assert ask(server)[1] == "one"


def test_a_preloaded_application_is_imported_once(tides):
    with served(tides, "--workers", "3", "--preload") as server:
        all_workers(server, 3)
        assert ask(server)[1] == "one"
        assert server.log.count("imported one") == 1


def test_a_socket_file_outlives_workers_and_goes_with_the_server(tides):
    path = tides / "socket"
    with served(tides, "--workers", "2", binds=(f"unix:{path}",)) as server:
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 2 new workers serve")
        all_workers(server, 2)
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200
        assert server.stop() == 0
        assert not path.exists()


@pytest.fixture
def refused(tides: Path) -> Iterator[object]:
    def refused(*options: str) -> str:
        env = {**os.environ, "TIDES": str(tides), "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-m", "tidegate", "--bind", "127.0.0.1:0", *options, APP]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
        assert ended.returncode == 2
        assert "imported" not in ended.stderr
        return ended.stderr.strip()

    yield refused


@pytest.mark.parametrize("workers", ["0", "1025", "many", "-1"])
def test_a_number_of_workers_that_cannot_be_is_refused(refused, workers):
    line = refused("--workers", workers)
    assert line.count("\n") == 0
    assert "accepted: 1 to 1024, or auto" in line


def test_several_workers_need_a_supervisor(refused):
    assert "not with no-supervisor" in refused("--workers", "2", "--no-supervisor")
    assert "not with no-supervisor" in refused("--preload", "--no-supervisor")


def test_connections_are_spread_evenly_over_the_workers(tides):
    count = 4
    with served(tides, "--workers", str(count)) as server:
        all_workers(server, count)
        wires: list[Wire] = []
        spread: Counter[str] = Counter()
        try:
            # One that has said that it serves may not wait for connections yet: then it has fewer at first.
            while len(wires) < 60 or min(spread.values()) < 0.8 * max(spread.values()) or len(spread) < count:
                assert len(wires) < 600, spread
                wires.append(server.connect())
                spread[wires[-1].ask("GET", "/").text.split()[0]] += 1
        finally:
            for wire in wires:
                wire.close()


def test_workers_are_replaced_after_so_many_requests_and_no_request_is_lost(tides):
    options = ["--workers", "2", "--max-requests", "50", "--recycle-jitter", "20"]
    with served(tides, *options) as server, Load(server) as load:
        before = all_workers(server, 2)
        server.wait_until(lambda: not before & workers(server) or None)
        server.wait_for_log(r"worker 1 is replaced: it has had \d+ requests")
        assert len(workers(server)) >= 2
        assert not load.failures
    assert load.versions["one"] > 50


def test_the_access_log_is_opened_anew_after_it_was_moved_away(tides):
    path = tides / "access.log"
    with served(tides, "--workers", "2", "--access-log", str(path)) as server:
        all_workers(server, 2)
        ask(server)
        server.wait_until(lambda: path.read_text() or None)
        path.rename(tides / "access.log.1")
        server.signal(signal.SIGUSR1)
        server.wait_until(lambda: path.exists() or None)
        deadline = time.monotonic() + 30
        while path.read_text().count("GET /") < 4 and time.monotonic() < deadline:
            ask(server)
        assert path.read_text().count("GET /") >= 4


def successor_of(server: Server) -> int:
    match = server.wait_for_log(r"upgrading: a new server is started \(pid (\d+)\)")
    return int(match[1])


def test_an_upgrade_starts_the_server_anew_and_loses_no_request(tides):
    pid_file = tides / "pid"
    with served(tides, "--workers", "2", "--pid-file", str(pid_file)) as server, Load(server) as load:
        load.wait_for("one")
        (tides / "version").write_text("two")
        server.signal(signal.SIGUSR2)
        successor = successor_of(server)
        try:
            load.wait_for("two")
            # The process that was started has ended in good order; its successor goes on.
            while not has_ended(server.pid):
                time.sleep(0.01)
            load.wait_for("two")
            assert int(pid_file.read_text()) == successor
            assert not load.failures
        finally:
            load.stop()
            os.kill(successor, signal.SIGTERM)
        while not has_ended(successor):
            time.sleep(0.01)


def test_an_upgrade_that_fails_changes_nothing(tides):
    path = tides / "socket"
    with served(tides, "--workers", "2", binds=(f"unix:{path}",)) as server:
        before = all_workers(server, 2)
        (tides / "version").write_text("broken")
        server.signal(signal.SIGUSR2)
        server.wait_for_log(r"the upgrade has failed: the new server ended with status 1; this one goes on")
        assert before <= workers(server)
        with server.connect() as wire:
            assert wire.ask("GET", "/").text.split()[1] == "one"
        assert server.stop() == 0
        assert not path.exists()


def test_an_upgrade_that_fails_leaves_the_pid_file(tides):
    pid_file = tides / "pid"
    with served(tides, "--pid-file", str(pid_file)) as server:
        (tides / "version").write_text("stalls and is broken")
        server.signal(signal.SIGUSR2)
        server.wait_for_log("imported stalls")
        assert int(pid_file.read_text()) == server.pid
        (tides / "version").write_text("broken")
        os.kill(successor_of(server), signal.SIGTERM)
        server.wait_for_log("the upgrade has failed")
        assert int(pid_file.read_text()) == server.pid
        assert list(tides.glob("pid*")) == [pid_file]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_an_upgrade_stops_the_new_server_too(tides, number):
    with served(tides) as server:
        (tides / "version").write_text("stalls")
        server.signal(signal.SIGUSR2)
        successor = successor_of(server)
        server.wait_for_log("imported stalls")
        server.signal(number)
        # Its output is at its end when all have ended who had it.
        assert server.wait() == 0
        assert has_ended(successor)
        assert server.log.count("listening on") == 1


def test_a_reload_that_is_asked_of_all_processes_again_and_again_fails_none(tides):
    with served(tides, "--workers", "2") as server:
        all_workers(server, 2)
        for _ in range(300):
            os.killpg(server.pid, signal.SIGHUP)
            time.sleep(0.003)
        (tides / "version").write_text("two")
        server.signal(signal.SIGHUP)
        server.wait_until(lambda: ask(server)[1] == "two" or None)
        assert "could serve" not in server.log


def test_a_term_to_all_processes_at_once_cuts_nothing(tides):
    with served(tides, "--workers", "2") as server, server.connect() as wire:
        all_workers(server, 2)
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        os.killpg(server.pid, signal.SIGTERM)
        assert wire.answer().status == 200
        assert server.wait() == 0


def test_signals_for_the_supervisor_may_be_sent_to_all_processes(tides):
    with served(tides, "--workers", "2") as server:
        all_workers(server, 2)
        for number in (signal.SIGUSR1, signal.SIGHUP):
            os.killpg(server.pid, number)
        server.wait_for_log("reloaded: 2 new workers serve")
        assert "was ended by signal" not in server.log


@pytest.mark.parametrize(
    ("bind", "options", "policy"),
    [
        ("uwsgi://127.0.0.1:0", [], os.SCHED_BATCH),
        ("scgi://127.0.0.1:0", ["--threads", "20", "--workers", "2"], os.SCHED_BATCH),
        ("fastcgi://127.0.0.1:0", ["--preload"], os.SCHED_BATCH),
        ("uwsgi://127.0.0.1:0", ["--scheduling", "normal"], os.SCHED_OTHER),
        ("127.0.0.1:0", [], os.SCHED_OTHER),
        ("127.0.0.1:0", ["--scheduling", "batch"], os.SCHED_BATCH),
    ],
)
def test_workers_that_front_servers_wake_with_each_request_wait_for_their_turn(tides, bind, options, policy):
    with served(tides, *options, binds=(bind,)) as server:
        for pid in all_workers(server, 2 if "--workers" in options else 1):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                assert os.sched_getscheduler(int(thread.name)) == policy
        assert os.sched_getscheduler(server.pid) == os.SCHED_OTHER


def test_a_process_without_supervisor_waits_for_its_turn(tides):
    options = {"env": {"TIDES": str(tides)}, "options": ["--threads", "20"]}
    with Server(APP, binds=("uwsgi://127.0.0.1:0",), **options) as server:
        assert os.sched_getscheduler(server.pid) == os.SCHED_BATCH
