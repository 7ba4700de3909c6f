"""From a signal to the end."""

from __future__ import annotations

import signal
import time

import pytest

from support.server import Server

APP = "apps.engine_probe:application"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0(number):
    with Server(APP) as server:
        server.signal(number)
        assert server.wait() == 0
        assert not server.complaints()


def test_what_is_in_flight_is_finished_and_its_connection_closed():
    with Server(APP) as server, server.connect() as wire:
        wire.send(b"GET /slow?for=0.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        server.signal(signal.SIGTERM)
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, b"slow")
        assert server.wait() == 0


def test_a_request_that_was_waiting_when_the_drain_began_is_answered_with_connection_close():
    # On one thread, so that the second has to wait.
    options = ["--threads", "1"]
    with Server(APP, options=options) as server, server.connect() as first, server.connect() as second:
        first.send(b"GET /slow?for=0.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        second.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.signal(signal.SIGTERM)
        answer = second.answer()
        assert (answer.body, answer.headers["Connection"]) == (b"hello", "close")
        assert server.wait() == 0


def test_a_draining_server_accepts_nobody():
    with Server(APP) as server, server.connect() as wire:
        wire.send(b"GET /stream?count=20&size=10&pause=0.1 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /stream")
        server.signal(signal.SIGTERM)
        with pytest.raises(OSError):
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                server.connect(timeout_s=1).close()
                time.sleep(0.05)
        assert len(wire.answer().body) == 200
        assert server.wait() == 0


def test_idle_connections_do_not_hold_up_the_end():
    with Server(APP) as server:
        crowd = [server.connect() for _ in range(20)]
        for wire in crowd:
            assert wire.ask("GET", "/").status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        for wire in crowd:
            wire.close()


def test_the_drain_ends_within_the_graceful_timeout():
    with Server(APP, options=["--graceful-timeout", "1"]) as server, server.connect() as wire:
        wire.send(b"GET /stream?count=1000&size=10&pause=0.1 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /stream")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        server.wait()
        assert 0.8 < time.monotonic() - began < 6
        assert "stream closed" in server.log


def test_a_second_signal_stops_at_once():
    with Server(APP) as server, server.connect() as wire:
        wire.send(b"GET /stream?count=1000&size=10&pause=0.1 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /stream")
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        time.sleep(0.2)
        server.signal(signal.SIGTERM)
        server.wait()
        assert time.monotonic() - began < 6


def test_an_application_that_does_not_return_is_interrupted_by_the_second_signal():
    with Server(APP, options=["--threads", "1"]) as server, server.connect() as wire:
        wire.send(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /stuck")
        server.signal(signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - began < 6


def test_an_application_that_cannot_be_interrupted_does_not_keep_the_process():
    with Server("apps.deaf:application") as server, server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("deaf")
        server.signal(signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 1
        assert time.monotonic() - began < 10
        assert "does not let go" in server.log


@pytest.mark.parametrize("call", ["/computes", "/sleeps", "/returns"])
@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("apps.endless:application", []),
        ("apps.endless:asynchronous", ["--mount", "/wsgi=apps.endless:application"]),
    ],
    ids=["threads", "beside a loop"],
)
def test_a_signal_handler_that_exits_ends_the_process_in_order_whatever_its_threads_do(app, options, call):
    prefix = "/wsgi" if options else ""
    # Output is for Python to flush.
    env = {"PYTHONUNBUFFERED": ""}
    with Server(app, options=options, env=env) as server, server.connect() as wire:
        wire.send(f"GET {prefix}{call} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        server.wait_for_log(f"called {call}")
        server.signal(signal.SIGUSR1)
        assert server.wait() == 7
        assert server.output == "atexit"


@pytest.mark.parametrize("call", ["/computes", "/returns"])
def test_the_message_that_a_signal_handler_exits_with_is_printed_and_the_status_1(call):
    with Server("apps.endless:application") as server, server.connect() as wire:
        wire.send(f"GET {call} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        server.wait_for_log(f"called {call}")
        server.signal(signal.SIGUSR2)
        assert server.wait() == 1
        assert server.log.endswith("high water\n")


def test_a_stopped_reader_does_not_hold_up_the_drain_past_its_grace():
    with Server(APP, options=["--graceful-timeout", "1"]) as server, server.connect() as wire:
        wire.send(b"GET /large?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /large")
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - began < 6


def test_a_signal_to_a_child_that_the_application_forked_ends_the_child_and_not_the_server():
    with Server("apps.forking:application") as server, server.connect() as wire:
        for _ in range(3):
            answer = wire.ask("GET", "/")
            assert (answer.body, answer.headers["Connection"]) == (b"-15", None)
        assert server.stop() == 0


def test_who_has_connected_before_the_drain_is_answered():
    with Server(APP) as server, server.connect() as busy:
        busy.send(b"GET /slow?for=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        waiting = [server.connect() for _ in range(5)]
        for wire in waiting:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.signal(signal.SIGTERM)
        for wire in waiting:
            answer = wire.answer()
            assert (answer.body, answer.headers["Connection"]) == (b"hello", "close")
            wire.close()
        assert server.wait() == 0
