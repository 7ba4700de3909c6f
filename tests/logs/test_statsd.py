"""What statsd is told of requests: by the side of gunicorn, whose names these are."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from support.command import one_line, run
from support.gunicorn import Gunicorn
from support.server import PATIENCE_S, Server
from support.wire import Wire

APP = "apps.logged:application"


class Statsd:
    """Hears what it is told, until it has heard enough."""

    def __init__(self, path: Path | None = None) -> None:
        family = socket.AF_UNIX if path else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(str(path) if path else ("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE_S)
        self.address = f"unix:{path}" if path else f"127.0.0.1:{self.socket.getsockname()[1]}"

    def __enter__(self) -> Statsd:
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def lines(self, requests: int) -> list[str]:
        """All that there is of so many requests, and nothing of what gunicorn tells beside."""
        heard: list[str] = []
        while not is_all_of(requests, heard):
            datagram = self.socket.recv(65536)
            assert len(datagram) <= 1400
            heard += [line for line in datagram.decode("ascii").split("\n") if "gunicorn.request" in line]
        return heard

    def wait_for(self, line: str) -> None:
        while line not in self.socket.recv(65536).decode("ascii").split("\n"):
            pass


def is_all_of(requests: int, lines: list[str]) -> bool:
    counted = {name.partition("gunicorn.")[2]: count for name, count in sums(lines).items()}
    statuses = sum(count for name, count in counted.items() if name.startswith("request.status."))
    total = sum(count for name, count in counted.items() if name.startswith("requests"))
    durations = sum(".request.duration:" in line for line in lines)
    return min(statuses, total, durations) >= requests


def sums(lines: list[str]) -> dict[str, int]:
    """The counters, by name, with their tags."""
    total: dict[str, int] = {}
    for line in lines:
        if match := re.fullmatch(r"(\S+):(\d+)\|c\|@1\.0(\|#\S+)?", line):
            name = match[1] + (match[3] or "")
            total[name] = total.get(name, 0) + int(match[2])
        else:
            assert re.fullmatch(r"\S*gunicorn\.request\.duration:\d+\.\d+\|ms(\|#\S+)?", line), line
    return total


def test_requests_are_told_of_by_gunicorns_names() -> None:
    with Statsd() as statsd, Server(APP, options=["--statsd-host", statsd.address]) as server:
        with server.connect() as wire:
            for status in (200, 200, 404, 500):
                wire.ask("GET", f"/status/{status}")
            wire.send(b"no request\r\n\r\n")
            assert wire.answer().status == 400
        # Nothing keeps it from being read.
        lines = statsd.lines(5)
    assert sums(lines) == {
        "gunicorn.requests": 5,
        "gunicorn.request.status.200": 2,
        "gunicorn.request.status.404": 1,
        "gunicorn.request.status.500": 1,
        "gunicorn.request.status.400": 1,
    }


def test_what_is_told_is_what_gunicorn_tells() -> None:
    def ask(wire: Wire) -> None:
        for path in ("/", "/status/404", "/status/500", "/"):
            wire.ask("GET", path)

    options = ["--statsd-prefix", "site"]
    with Statsd() as statsd:
        gunicorn = Gunicorn(APP, "--statsd-host", statsd.address, *options)
        try:
            with gunicorn.connect() as wire:
                ask(wire)
            theirs = statsd.lines(4)
        finally:
            gunicorn.stop()
    with Statsd() as statsd, Server(APP, options=["--statsd-host", statsd.address, *options]) as server:
        with server.connect() as wire:
            ask(wire)
        ours = statsd.lines(4)
    assert sums(ours) == sums(theirs)
    assert sums(ours)["site.gunicorn.requests"] == 4


@pytest.mark.parametrize("on_a_path", [False, True])
def test_the_number_of_workers_is_told_whenever_it_changes(tmp_path: Path, on_a_path: bool) -> None:
    options = ["--workers", "2", "--statsd-prefix", "site", "--statsd-tags", "zone:a"]
    with Statsd(tmp_path / "statsd" if on_a_path else None) as statsd:
        options += ["--statsd-host", statsd.address]
        with Server(APP, options=options, supervised=True) as server:
            statsd.wait_for("site.gunicorn.workers:2|g|#zone:a")
            server.signal(signal.SIGTTIN)
            statsd.wait_for("site.gunicorn.workers:3|g|#zone:a")
            assert server.stop() == 0
            statsd.wait_for("site.gunicorn.workers:0|g|#zone:a")


def test_a_server_without_workers_is_one() -> None:
    with Statsd() as statsd, Server(APP, options=["--statsd-host", statsd.address]):
        statsd.wait_for("gunicorn.workers:1|g")


def test_a_duration_is_in_milliseconds() -> None:
    with Statsd() as statsd, Server(APP, options=["--statsd-host", statsd.address]) as server:
        with server.connect() as wire:
            wire.ask("GET", "/slow")
        [duration] = [line for line in statsd.lines(1) if "duration" in line]
    assert 300 <= float(re.split("[:|]", duration)[1]) < PATIENCE_S * 1000


def test_prefix_and_tags_stand_around_each_figure(tmp_path: Path) -> None:
    options = ["--statsd-prefix", "site", "--statsd-tags", "env:live,zone:a"]
    with (
        Statsd(tmp_path / "statsd") as statsd,
        Server(APP, options=["--statsd-host", statsd.address, *options]) as server,
    ):
        with server.connect() as wire:
            wire.ask("GET", "/")
        lines = statsd.lines(1)
    assert sums(lines) == {
        "site.gunicorn.requests|#env:live,zone:a": 1,
        "site.gunicorn.request.status.200|#env:live,zone:a": 1,
    }
    assert lines[-1].startswith("site.gunicorn.request.duration:")


def test_all_requests_are_told_of_and_only_some_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--access-log", str(log), "--access-log-status-min", "400", "--access-log-format", "%(s)s"]
    with Statsd() as statsd, Server(APP, options=["--statsd-host", statsd.address, *options]) as server:
        with server.connect() as wire:
            for _ in range(100):
                wire.ask("GET", "/")
            wire.ask("GET", "/status/404")
        lines = statsd.lines(101)
        assert server.stop() == 0
    assert sums(lines)["gunicorn.requests"] == 101
    assert log.read_text() == "404\n"


def test_a_statsd_that_is_away_keeps_nobody_waiting_and_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "statsd"
    with Server(APP, options=["--statsd-host", f"unix:{path}"]) as server, server.connect() as wire:
        for _ in range(20):
            assert wire.ask("GET", "/").status == 200
        server.wait_for_log("statsd cannot be told: No such file")
        with Statsd(path) as statsd:
            assert wire.ask("GET", "/").status == 200
            assert statsd.lines(1)
            assert server.stop() == 0
        assert server.log.count("statsd cannot be told") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--statsd-host", "udp://localhost"),
        ("--statsd-host", "localhost:0"),
        ("--statsd-prefix", "a b"),
        ("--statsd-tags", "a|b"),
    ],
)
def test_bad_settings_are_refused_in_a_line(option: str, value: str) -> None:
    assert option in one_line(run(option, value, APP))
