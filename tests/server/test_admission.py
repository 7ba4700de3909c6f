"""How many requests run, how many wait, and what becomes of the others."""

from __future__ import annotations

import select
import signal
from contextlib import ExitStack

import pytest

from support.server import PATIENCE_S, Server
from support.wire import Wire

APP = "apps.meeting:application"
HOSTS = {
    "threads": ["--threads", "2"],
    "fewer than threads": ["--threads", "50", "--max-concurrency", "2"],
    "greenlets": ["--concurrency", "greenlets", "--max-concurrency", "2"],
    "beside asyncio": ["--threads", "2", "--mount", "/asgi=apps.asgi_basics:app"],
}


@pytest.fixture(params=HOSTS)
def host(request):
    return HOSTS[request.param]


def ask(wire: Wire, target: str) -> None:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def fill(server: Server, stack: ExitStack) -> list[Wire]:
    """Have as many calls run as may, one of which ends when another is told to."""
    wires = [stack.enter_context(server.connect()) for _ in range(2)]
    for wire in wires:
        ask(wire, "/wait")
    server.wait_for_log(r"(?s)at the gate.*at the gate")
    return wires


def test_a_full_queue_turns_away_at_once_and_keeps_the_connection(host):
    options = [*host, "--queue-size", "3", "--queue-timeout", "60s"]
    with Server(APP, options=options) as server, ExitStack() as stack:
        running = fill(server, stack)
        waiting = [stack.enter_context(server.connect()) for _ in range(4)]
        for wire in waiting:
            ask(wire, "/")
        # One more than may wait: whichever it is, it is told so.
        answered, _, _ = select.select([wire.sock for wire in waiting], [], [], PATIENCE_S)
        (late,) = [wire for wire in waiting if wire.sock in answered]
        waiting.remove(late)
        answer = late.answer()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert late.ask("GET", "/").status == 503
        server.signal(signal.SIGUSR1)
        for wire in [*running, *waiting]:
            assert wire.answer().status == 200
        server.wait_for_log("turned away")


def test_the_log_tells_of_all_who_were_turned_away_though_no_more_come():
    options = ["--threads", "2", "--queue-size", "0"]
    with Server(APP, options=options) as server, ExitStack() as stack:
        fill(server, stack)
        with server.connect() as wire:
            for _ in range(4):
                assert wire.ask("GET", "/").status == 503
        server.wait_for_log("1 request was turned away(?s:.*)3 requests were turned away")
        server.signal(signal.SIGUSR1)


def test_idle_connections_count_for_nothing(host):
    options = [*host, "--queue-size", "0"]
    with Server(APP, options=options) as server, ExitStack() as stack:
        for _ in range(20):
            wire = stack.enter_context(server.connect())
            assert wire.ask("GET", "/").status == 200
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200


def test_who_waits_too_long_is_told_so_although_nothing_comes_to_an_end(host):
    options = [*host, "--queue-timeout", "100ms"]
    with Server(APP, options=options) as server, ExitStack() as stack:
        running = fill(server, stack)
        with server.connect() as wire:
            answer = wire.ask("GET", "/")
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
        server.signal(signal.SIGUSR1)
        for wire in running:
            assert wire.answer().text == "opened"


def test_who_leaves_the_queue_is_never_run(host):
    with Server(APP, options=[*host, "--log-level", "debug"]) as server, ExitStack() as stack:
        running = fill(server, stack)
        with server.connect() as leaving:
            ask(leaving, "/tell?left")
        server.wait_for_log("the client has left before its turn came")
        with server.connect() as wire:
            ask(wire, "/tell?stayed")
            server.signal(signal.SIGUSR1)
            assert wire.answer().status == 200
        for wire in running:
            assert wire.answer().text == "opened"
        server.wait_for_log("told stayed")
        assert "told left" not in server.log


def test_a_pipelining_client_has_one_place_and_its_answers_in_order(host):
    with Server(APP, options=host) as server, server.connect() as wire:
        wire.send(b"".join(b"GET /echo?%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(200)))
        assert [wire.answer().text for _ in range(200)] == [str(number) for number in range(200)]


def test_a_drain_serves_those_who_wait(host):
    with Server(APP, options=host) as server, ExitStack() as stack:
        running = fill(server, stack)
        waiting = [stack.enter_context(server.connect()) for _ in range(5)]
        for wire in waiting:
            ask(wire, "/")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGUSR1)
        for wire in [*running, *waiting]:
            assert wire.answer().status == 200
        assert server.wait() == 0
