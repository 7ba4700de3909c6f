"""A request that takes too long is answered for its application, and no other one notices."""

from __future__ import annotations

import contextlib
import signal

import pytest

from support.admin import Admin
from support.server import Server
from support.websocket import request as handshake

WSGI, ASGI = "apps.late:application", "apps.late:asgi"
HOSTS = {
    "inline": (WSGI, ["--threads", "1"]),
    "threads": (WSGI, ["--threads", "4"]),
    "greenlets": (WSGI, ["--concurrency", "greenlets", "--cancel-on-disconnect"]),
    "bridge": (WSGI, ["--concurrency", "asyncio"]),
    "beside asyncio": (WSGI, ["--threads", "4", "--mount", "/asgi=apps.asgi_basics:app"]),
    "asyncio": (ASGI, ["--cancel-on-disconnect"]),
}
FORMAT = "%(method)s %(path)s %(status)s"


@pytest.fixture(scope="module", params=HOSTS)
def server(request):
    app, options = HOSTS[request.param]
    with Server(app, options=[*options, "--request-timeout", "0.3", "--access-log", "-"]) as server:
        server.name = request.param
        yield server


def needs(server: Server, *names: str) -> None:
    """Skip where there is no such thing."""
    if server.name not in names:
        pytest.skip(f"not on {server.name}")


def get(server: Server, path: str):
    with server.connect() as wire:
        return wire.ask("GET", path)


def test_the_client_is_answered_while_the_application_goes_on(server):
    before = len(server.log)
    answer = get(server, "/sleep")
    assert (answer.status, answer.text) == (504, "The request took too long.\n")
    assert answer.headers["Connection"] == "close"
    server.wait_for_log(r'GET "/sleep": 0.[3-9] s: it is over its time', since=before)
    assert server.wait_until(lambda: 'GET /sleep HTTP/1.1" 504 27' in server.output or None)


def test_what_it_is_at_is_in_the_log(server):
    before = len(server.log)
    get(server, "/sleep")
    server.wait_for_log(r"in sleep_in_a_call\n|in asgi\n", since=before)
    server.wait_for_log(r"await asyncio.sleep\(LONG_S\)|time.sleep\(LONG_S\)", since=before)


def test_an_exception_ends_it_where_it_waits(server):
    needs(server, "greenlets", "bridge", "asyncio")
    before = len(server.log)
    path = "/awaits" if server.name == "bridge" else "/sleep"
    assert get(server, path).status == 504
    server.wait_for_log(f"{path}: RequestTimeout", since=before)
    assert "failed" not in server.log[before:]


def test_an_exception_ends_it_where_it_computes(server):
    before = len(server.log)
    assert get(server, "/compute").status == 504
    server.wait_for_log("/compute: RequestTimeout", since=before)
    assert get(server, "/quick").text == "in time"
    assert "the application failed" not in server.log[before:]


def test_one_that_is_answered_before_it_has_begun_does_not_begin(server):
    needs(server, "greenlets", "bridge", "asyncio")
    before = len(server.log)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(5)]
        for wire in wires:
            assert wire.ask("GET", "/quick").text == "in time"
        wires[0].send(b"GET /compute HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("computes", since=before)
        # They are read at once, when the first one has been interrupted.
        for wire in wires[1:]:
            wire.send(b"GET /compute HTTP/1.1\r\nHost: a\r\n\r\n")
        assert {wire.answer().status for wire in wires} == {504}
    assert get(server, "/quick").text == "in time"
    assert server.log[before:].count("computes") < len(wires)
    assert "failed" not in server.log[before:]


def test_a_handshake_that_is_answered_before_it_has_begun_does_not_begin(server):
    needs(server, "asyncio")
    before = len(server.log)
    with server.connect() as first, server.connect() as second, server.connect() as third:
        for wire in (second, third):
            assert wire.ask("GET", "/quick").text == "in time"
        first.send(b"GET /compute HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("computes", since=before)
        # Both are read when that has been interrupted; then the one keeps the loop from the other.
        second.send(b"GET /compute HTTP/1.1\r\nHost: a\r\n\r\n")
        third.send(handshake())
        assert [wire.answer().status for wire in (first, second, third)] == [504, 504, 504]
    assert get(server, "/quick").text == "in time"
    assert "a WebSocket begins" not in server.log[before:]
    assert "failed" not in server.log[before:]


def test_it_cleans_up_after_itself(server):
    needs(server, "greenlets", "asyncio")
    before = len(server.log)
    assert get(server, "/cleans-up").status == 504
    server.wait_for_log("has cleaned up", since=before)
    server.wait_for_log("/cleans-up: RequestTimeout", since=before)


def test_one_that_goes_on_regardless_harms_nobody(server):
    needs(server, "greenlets", "asyncio")
    before = len(server.log)
    assert get(server, "/swallows").status == 504
    server.wait_for_log("goes on", since=before)
    assert get(server, "/quick").text == "in time"


def test_a_task_that_waits_for_others_ends_with_them(server):
    needs(server, "asyncio")
    before = len(server.log)
    assert get(server, "/group").status == 504
    server.wait_for_log("/group: RequestTimeout", since=before)


@pytest.mark.parametrize("path", ["/task-group", "/compute-in-a-group"])
def test_the_children_of_a_task_group_end_first(server, path):
    needs(server, "asyncio")
    before = len(server.log)
    assert get(server, path).status == 504
    server.wait_for_log(f"a child was cancelled\n(.*\n)*{path}: RequestTimeout", since=before)
    assert "the application failed" not in server.log[before:]


def test_one_that_waits_for_its_client_sees_that_nobody_waits_for_it(server):
    needs(server, "threads", "beside asyncio")
    before = len(server.log)
    assert get(server, "/waits").status == 504
    server.wait_for_log("cancelled: True", since=before)


def test_a_response_that_has_begun_is_cut(server):
    before = len(server.log)
    with server.connect() as wire:
        wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        received = wire.rest()
    assert received.startswith(b"HTTP/1.1 200 ") and b"begun" in received
    assert not received.endswith(b"0\r\n\r\n")
    server.wait_for_log('GET "/stream": 0.[3-9] s: it is over its time: its response is cut', since=before)


def test_a_response_that_was_cut_for_its_time_is_told_apart():
    options = ["--threads", "2", "--request-timeout", "0.2", "--admin", "127.0.0.1:0"]
    options += ["--access-log", "-", "--access-log-format", "%(U)s %(s)s %(cut)s"]
    with Server(WSGI, options=options) as server:
        admin = Admin(server)
        with server.connect() as wire:
            wire.send(b"GET /stream-c HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"begun" in wire.rest()
        assert get(server, "/quick").text == "in time"
        assert server.wait_until(lambda: "/stream-c 200 request_timeout" in server.output or None)
        assert "/quick 200 -" in server.output
        admin.wait_for_value(1, "tidegate_responses_cut_total", reason="request_timeout")
        assert admin.scrape().value("tidegate_responses_cut_total") == 1


def test_a_body_that_does_not_come_is_the_clients_fault(server):
    needs(server, "threads", "beside asyncio")
    with server.connect() as wire:
        wire.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        assert wire.answer().status == 408


def test_a_connection_that_was_in_time_goes_on(server):
    with server.connect() as wire:
        for _ in range(3):
            assert wire.ask("GET", "/quick").text == "in time"


def test_a_thread_gets_no_exception_that_was_meant_for_the_request_before():
    with Server(WSGI, options=["--threads", "1", "--request-timeout", "0.3"]) as server:
        for _ in range(3):
            assert get(server, "/c").status == 504
            assert get(server, "/quick").text == "in time"
        assert "the application failed" not in server.log


def test_the_log_names_the_setting_that_was_meant():
    limits = ["--limits", "/c timeout=0.2", "--limits", "/sleep max-concurrency=1"]
    with Server(WSGI, options=["--threads", "3", "--request-timeout", "0.3", *limits]) as server:
        for path, setting in [
            ("/c", r'timeout of \[\[limits\]\] "/c"'),
            ("/sleep", "--request-timeout"),
            ("/compute", "--request-timeout"),
        ]:
            assert get(server, path).status == 504
            server.wait_for_log(f'GET "{path}": .*answered for the application with 504 \\({setting}\\)')


def test_what_waits_for_its_turn_is_turned_away_in_time():
    options = ["--threads", "2", "--request-timeout", "0.4"]
    with Server(WSGI, options=options) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(4)]
        for wire in wires:
            wire.send(b"GET /c HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sorted(wire.answer().status for wire in wires) == [503, 503, 504, 504]


def test_lost_threads_are_replaced():
    options = ["--threads", "2", "--request-timeout", "0.2", "--max-lost-threads", "4"]
    with Server(WSGI, options=options) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            wires = [stack.enter_context(server.connect()) for _ in range(2)]
            for wire in wires:
                wire.send(b"GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
            assert [wire.answer().status for wire in wires] == [504, 504]
            server.wait_for_log("threads? do(es)? not come back")
        server.wait_for_log("4 threads do not come back")
        assert get(server, "/quick").text == "in time"


def test_a_worker_that_has_lost_too_many_threads_is_replaced():
    options = ["--threads", "2", "--request-timeout", "0.2", "--max-lost-threads", "0", "--workers", "1"]
    with Server(WSGI, options=[*options, "--graceful-timeout", "1"], supervised=True) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/sleep").status == 504
        server.wait_for_log("1 of its threads does not come back")
        assert get(server, "/quick").text == "in time"


def test_slow_requests_are_told_of_and_go_on():
    with Server(WSGI, options=["--threads", "2", "--slow-request", "0.2"]) as server:
        assert get(server, "/c").text == "in time"
        server.wait_for_log(r'GET "/c": 0.[2-9] s: it has taken so long and goes on')
        server.wait_for_log("in in_c")


def test_a_log_that_is_stuck_does_not_keep_the_server_from_ending():
    options = ["--threads", "2", "--request-timeout", "0.2", "--graceful-timeout", "1"]
    with Server("apps.stuck_log:application", options=options) as server:
        assert get(server, "/").status == 504
        server.wait_for_log("the log is stuck")
        server.signal(signal.SIGTERM)
        server.wait()


def test_of_many_that_are_late_at_once_only_some_are_told_of():
    options = ["--concurrency", "greenlets", "--request-timeout", "0.3"]
    with Server(WSGI, options=options) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(50)]
        for wire in wires:
            wire.send(b"GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
        assert {wire.answer().status for wire in wires} == {504}
        server.wait_for_log(r"\d+ more requests took too long within a second")
        assert server.log.count("is over its time") < 50
