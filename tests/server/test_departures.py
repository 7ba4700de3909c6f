"""The client's departure is visible to synchronous code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.server import TESTS, Server
from support.wire import Wire

APP = "apps.departures:application"
HOSTS = {
    "inline": ["--threads", "1"],
    "threads": ["--threads", "20"],
    "greenlets": ["--concurrency", "greenlets"],
    "bridge": ["--concurrency", "asyncio"],
    "beside asyncio": ["--threads", "20", "--mount", "/asgi=apps.asgi_basics:app"],
}


@pytest.fixture(scope="module", params=HOSTS)
def server(request):
    with Server(APP, options=HOSTS[request.param]) as server:
        yield server


def ask(wire: Wire, target: str) -> None:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_who_waits_for_the_departure_goes_on_when_the_client_leaves(server, leave):
    before = len(server.log)
    with server.connect() as wire:
        ask(wire, "/wait")
        server.wait_for_log("waiting", since=before)
        getattr(wire, leave)()
    server.wait_for_log("waited: True", since=before)


def test_a_look_sees_that_the_client_has_left(server):
    before = len(server.log)
    with server.connect() as wire:
        ask(wire, "/look")
        server.wait_for_log("looking", since=before)
    server.wait_for_log("seen: True", since=before)


def test_a_wait_ends_in_time_while_the_client_is_there(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/timeout").text == "False False False"
        assert wire.ask("GET", "/bad").text.startswith("timeout: ")


def test_a_callback_is_called_while_the_request_goes_on():
    # Inline, nobody turns the reactor meanwhile.
    for host in ("threads", "greenlets"):
        with Server(APP, options=HOSTS[host]) as server:
            with server.connect() as wire:
                ask(wire, "/callback")
                server.wait_for_log("registered")
            server.wait_for_log("called: True")
            server.wait_for_log("called at once: True")
            server.wait_for_log("ZeroDivisionError")
            with server.connect() as wire:
                assert wire.ask("GET", "/").text == "here"


def test_a_callback_is_not_called_for_a_request_that_is_over(server):
    before = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/leave-callback").text == "here"
        assert wire.ask("GET", "/").text == "here"
    with server.connect() as wire:
        # Whatever the departure led to has happened before this is answered.
        assert wire.ask("GET", "/timeout").status == 200
    assert "over" not in server.log[before:]


@pytest.mark.parametrize("host", ["threads", "greenlets"])
def test_the_late_end_of_a_request_leaves_the_callbacks_of_the_next_alone(host):
    with Server(APP, options=HOSTS[host]) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/slow-close").text == "here"
            ask(wire, "/callback")
            server.wait_for_log("registered")
            server.wait_for_log("closed")
        server.wait_for_log("called: True")


@pytest.mark.parametrize("host", ["threads", "greenlets"])
def test_a_slow_callback_holds_up_nobody_and_is_not_followed_by_one_that_is_too_late(host):
    with Server(APP, options=HOSTS[host]) as server:
        with server.connect() as slow, server.connect() as brief:
            ask(slow, "/slow-callback")
            server.wait_for_log("registered")
            ask(brief, "/brief")
            server.wait_for_log("brief begins")
        server.wait_for_log("callback begins")
        with server.connect() as wire:
            assert wire.ask("GET", "/").text == "here"
        # Where the callbacks of the second have to wait for those of the first, its end does not.
        server.wait_for_log("brief ends")
        server.wait_for_log("callback ends")
        with server.connect() as wire:
            assert wire.ask("GET", "/timeout").status == 200
        assert "for a request that is over" not in server.log.partition("callback ends")[2]


def test_waiting_again_and_again_takes_no_memory(server):
    with server.connect() as wire:
        assert int(wire.ask("GET", "/many-waits").text) < 4096


def test_a_thread_of_the_application_s_own_can_wait(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/own-thread").text == "False"


def test_a_greenlet_whose_client_has_left_can_be_ended():
    options = ["--concurrency", "greenlets", "--cancel-on-disconnect"]
    with Server(APP, options=options) as server:
        with server.connect() as wire:
            ask(wire, "/sleep")
            server.wait_for_log("sleeping")
        server.wait_for_log("raised: ClientLeft")
        with server.connect() as wire:
            assert wire.ask("GET", "/").text == "here"
        assert not server.complaints()


def test_threads_cannot_be_ended_and_the_setting_says_so():
    command = [
        sys.executable,
        "-m",
        "tidegate",
        "--cancel-on-disconnect",
        "--bind",
        "127.0.0.1:0",
        "apps.departures",
    ]
    run = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2
    assert "cancel-on-disconnect" in run.stderr and "greenlets" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
