"""Limits of paths: how many requests run, how many wait, how much they bring, and which go before others."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from support.server import PATIENCE_S, Server
from support.wire import Wire

WSGI = "apps.meeting:application"
ASGI = "apps.gate_asgi:application"


class Host(NamedTuple):
    app: str
    options: list[str]


# Two requests at once each.
HOSTS = {
    "threads": Host(WSGI, ["--threads", "2"]),
    "greenlets": Host(WSGI, ["--concurrency", "greenlets", "--max-concurrency", "2"]),
    "asyncio": Host(ASGI, ["--max-concurrency", "2"]),
    "beside asyncio": Host(WSGI, ["--threads", "2", "--mount", "/asgi=apps.asgi_basics:app"]),
}


@pytest.fixture(params=HOSTS)
def host(request):
    return HOSTS[request.param]


def serve(host: Host, *limits: str, options: Iterable[str] = ()) -> Server:
    limited = [word for limit in limits for word in ("--limits", limit)]
    return Server(host.app, options=[*host.options, *limited, *options])


def ask(wire: Wire, target: str) -> None:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def waiting_at_the_gate(server: Server, stack: ExitStack, count: int, path: str = "/wait") -> list[Wire]:
    """Calls that run until the gate is opened."""
    wires = [stack.enter_context(server.connect()) for _ in range(count)]
    for wire in wires:
        ask(wire, path)
    server.wait_for_log("(?s)" + ".*".join(["at the gate"] * count))
    return wires


def first_answered(wires: list[Wire]) -> Wire:
    answered, _, _ = select.select([wire.sock for wire in wires], [], [], PATIENCE_S)
    return next(wire for wire in wires if wire.sock in answered)


def test_what_is_over_its_limit_waits_by_itself_while_others_are_served(host):
    with serve(host, "/wait max-concurrency=1 queue-size=1") as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 1)
        more = [stack.enter_context(server.connect()) for _ in range(2)]
        for wire in more:
            ask(wire, "/wait")
        # One more than may wait, whichever it is, is told so before the gate opens, and others are served.
        late = first_answered(more)
        answer = late.answer()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert late.ask("GET", "/").status == 200
        more.remove(late)
        server.wait_for_log(r"turned away: 1 as many of their paths run and wait as may \(limits\)")
        assert server.log.count("at the gate") == 1
        server.signal(signal.SIGUSR1)
        for wire in [*wires, *more]:
            assert wire.answer().text == "opened"


def test_who_waits_too_long_for_its_own_kind_is_told_so(host):
    limit = "/wait max-concurrency=1 queue-timeout=100ms"
    with serve(host, limit) as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 1)
        with server.connect() as wire:
            assert wire.ask("GET", "/wait").status == 503
            assert wire.ask("GET", "/").status == 200
        server.signal(signal.SIGUSR1)
        for wire in wires:
            assert wire.answer().status == 200


def test_what_waits_for_its_own_kind_is_not_forgotten_while_others_are_served(host):
    with serve(host, "/wait max-concurrency=1") as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 1)
        second, third = (stack.enter_context(server.connect()) for _ in range(2))
        ask(second, "/wait")
        # Answered by others while it waits.
        for _ in range(10):
            assert third.ask("GET", "/").status == 200
        server.signal(signal.SIGUSR1)
        for wire in [*wires, second]:
            assert wire.answer().text == "opened"


def test_a_path_is_limited_however_it_is_spelled(host):
    with serve(host, "/wait max-concurrency=1 queue-size=0") as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 1)
        with server.connect() as wire:
            assert wire.ask("GET", "/%77ait").status == 503
            assert wire.ask("GET", "/wait?a=b").status == 503
            assert wire.ask("GET", "http://localhost/wait").status == 503
        server.signal(signal.SIGUSR1)
        for wire in wires:
            assert wire.answer().status == 200


def test_a_health_path_is_answered_by_the_application_when_all_is_full(host):
    options = ["--queue-size", "1"]
    with serve(host, "/health priority=health", options=options) as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 2)
        queued = [stack.enter_context(server.connect()) for _ in range(2)]
        for wire in queued:
            ask(wire, "/")
        turned_away = first_answered(queued)
        assert turned_away.answer().status == 503
        for _ in range(3):
            assert turned_away.ask("GET", "/health").text == "hello"
        assert turned_away.ask("GET", "/").status == 503
        queued.remove(turned_away)
        server.signal(signal.SIGUSR1)
        for wire in [*wires, *queued]:
            assert wire.answer().status == 200


def test_health_paths_that_hang_take_no_more_than_their_own_places(host):
    options = ["--queue-size", "0"]
    with serve(host, "/wait priority=health", options=options) as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 4)
        with server.connect() as wire:
            assert wire.ask("GET", "/wait").status == 503
            assert wire.ask("GET", "/").status == 200
        server.signal(signal.SIGUSR1)
        for wire in wires:
            assert wire.answer().text == "opened"


def test_a_body_has_the_limit_of_its_path(host):
    limits = ["/read max-body-size=100", "/rea* max-body-size=4"]
    with serve(host, *limits, options=["--body-size-max", "10"]) as server:

        def statuses(path: str, size: int) -> set[int]:
            with server.connect() as wire:
                known = wire.ask("POST", path, body=b"x" * size).status
            with server.connect() as wire:
                head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                wire.send(head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size))
                return {known, wire.answer("POST").status}

        assert statuses("/read", 100) == {200}
        assert statuses("/read", 101) == {413}
        assert statuses("/reading", 4) == {200}
        assert statuses("/reading", 5) == {413}
        assert statuses("/", 10) == {200}
        assert statuses("/", 11) == {413}


def test_a_queue_that_stays_long_is_cut_but_for_its_last(host):
    options = ["--shed", "codel", "--queue-target", "10ms"]
    with serve(host, options=options) as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 2)
        queued = [stack.enter_context(server.connect()) for _ in range(4)]
        for wire in queued:
            ask(wire, "/")
        for _ in range(3):
            wire = first_answered(queued)
            answer = wire.answer()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            queued.remove(wire)
        server.wait_for_log(r"as all had waited for too long \(--queue-target\)")
        server.signal(signal.SIGUSR1)
        for wire in [*wires, *queued]:
            assert wire.answer().status == 200


def test_the_access_log_says_why_a_request_was_turned_away(tmp_path: Path):
    log = tmp_path / "log"
    options = ["--access-log", str(log), "--access-log-format", "%(s)s %(U)s %(shed)s", "--queue-size", "0"]
    limit = "/wait max-concurrency=2"
    with serve(HOSTS["threads"], limit, options=options) as server, ExitStack() as stack:
        wires = waiting_at_the_gate(server, stack, 2)
        with server.connect() as wire:
            assert wire.ask("GET", "/wait").status == 503
            assert wire.ask("GET", "/").status == 503
        server.signal(signal.SIGUSR1)
        for wire in wires:
            assert wire.answer().status == 200
        server.stop()
    lines = log.read_text().splitlines()
    assert sorted(lines) == ["200 /wait -", "200 /wait -", "503 / queue_full", "503 /wait limit"]


def test_limits_stand_in_tables_of_a_file(tmp_path: Path):
    (tmp_path / "tidegate.toml").write_text(
        '[[limits]]\npath = "/upload"\nmax-body-size = 3\n[[limits]]\npath = "/*"\nmax-body-size = "1KiB"\n'
    )
    options = ["--config", str(tmp_path / "tidegate.toml")]
    with Server(WSGI, options=options) as server, server.connect() as wire:
        assert wire.ask("POST", "/read", body=b"four").text == "4"
        assert wire.ask("POST", "/upload", body=b"four").status == 413


CALL = """
import urllib.error, urllib.request, threading
import tidegate

def ready(addresses):
    threading.Thread(target=ask, args=addresses).start()

def ask(address):
    host, port = address
    try:
        urllib.request.urlopen(f"http://{host}:{port}/upload", b"four")
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)

def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]

try:
    tidegate.serve(application, limits=[{"path": "/upload", "max_bodysize": 3}])
except ValueError as error:
    print(error)
limits = [{"path": "/upload", "max_body_size": 3}]
tidegate.serve(application, bind="127.0.0.1:0", on_ready=ready, limits=limits)
"""


def test_limits_stand_in_a_call():
    called = subprocess.run(
        [sys.executable, "-c", CALL], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    refused, status = called.stdout.splitlines()
    assert 'table 1, "max-bodysize": no such key; did you mean max-body-size?' in refused
    assert status == "413"
