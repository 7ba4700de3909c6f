"""ASGI applications on asyncio: what they are told, what becomes of what they send, how they wait and end."""

from __future__ import annotations

import ast
import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from apps import asgi_basics
from support.looks import most_resident_kib
from support.server import TESTS, Server
from support.wire import Wire

APP = "apps.asgi_basics:app"


@pytest.fixture(scope="module")
def server():
    with Server(APP, options=["--loop", "asyncio"]) as server:
        yield server


def ask(wire: Wire, target: str, *fields: str) -> None:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]
    wire.send("\r\n".join(lines).encode())


def test_the_scope_says_what_the_request_says(server):
    with server.connect() as wire:
        target = "/show%5Fscope?a=%20b"
        asked = wire.ask("GET", target, "X-Twice: one", "x-twice: two", host="example.org")
        client = wire.sock.getsockname()
    scope = ast.literal_eval(asked.text)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/show_scope",
        "raw_path": b"/show%5Fscope",
        "query_string": b"a=%20b",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x-twice", b"one"), (b"x-twice", b"two")],
        "client": client,
        "server": (server.host, server.port),
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
        },
    }


def test_what_an_application_does_to_its_scope_no_other_request_sees(server):
    with server.connect() as wire:
        new = wire.ask("GET", "/changed-scope").text
        assert new.count("{}") == 3
        for what in ("change", "add", "inside", "empty", "keep", "keep-inside", "kept"):
            for target in (f"/changed-scope?{what}", "/changed-scope", "/changed-scope"):
                assert wire.ask("GET", target).text == new


def test_a_unix_socket_has_no_client_address(tmp_path):
    path = tmp_path / "socket"
    with Server(APP, binds=[f"unix:{path}"]) as server, server.connect() as wire:
        scope = ast.literal_eval(wire.ask("GET", "/show-scope").text)
    assert (scope["client"], scope["server"]) == (None, (str(path), None))


def test_where_it_is_mounted_is_told_and_stays_in_the_path():
    with Server(APP, options=["--script-name", "/show-scope"]) as server, server.connect() as wire:
        scope = ast.literal_eval(wire.ask("GET", "/show-scope").text)
    assert (scope["root_path"], scope["path"]) == ("/show-scope", "/show-scope")


def test_a_body_comes_back_while_it_is_still_being_sent(server):
    with server.connect() as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"3\r\none\r\n")
        assert wire.line() == b"HTTP/1.1 200 OK\r\n"
        while wire.line() != b"\r\n":
            pass
        assert wire.receive(8) == b"3\r\none\r\n"
        wire.send(b"3\r\ntwo\r\n")
        assert wire.receive(8) == b"3\r\ntwo\r\n"
        wire.send(b"0\r\n\r\n")
        assert wire.receive(5) == b"0\r\n\r\n"


def test_a_large_body_is_echoed_whole(server):
    body = bytes(range(256)) * 8192
    with server.connect() as wire:
        assert wire.ask("POST", "/echo", body=b"first").body == b"first"
        assert wire.ask("POST", "/echo", body=body).body == body


def test_who_expects_100_is_told_to_continue(server):
    with server.connect() as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (wire.line(), wire.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        wire.send(b"ok")
        assert wire.answer("POST").text == "ok"


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_the_departure_is_received_and_a_send_after_it_raises(server, leave):
    before = len(server.log)
    with server.connect() as wire:
        ask(wire, "/leave")
        server.wait_until(lambda: "waiting" in server.output[-200:] or None, 10)
        getattr(wire, leave)()
    server.wait_until(lambda: "send: ClientDisconnected" in server.output[-200:] or None, 10)
    assert "received http.disconnect" in server.output
    assert server.complaints(before) == []


def test_a_task_that_receives_ends_with_the_response(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/both").text == "both"
    server.wait_until(lambda: "watcher: http.disconnect" in server.output or None, 10)


def test_receive_can_be_given_up(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/timeout").text == "timed out"
        assert wire.ask("GET", "/timeout").text == "timed out"


def test_a_receive_that_was_given_up_is_no_task_that_is_to_be_told_first(server):
    before = len(server.output)
    with server.connect() as wire:
        ask(wire, "/gave-up")
        assert wire.line() == b"HTTP/1.1 200 OK\r\n"
    server.wait_until(lambda: "sent after the departure: 0\n" in server.output[before:] or None, 10)


def test_work_goes_on_after_the_response(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/background").text == "sent"
        assert wire.ask("GET", "/context").text == "nothing"
    server.wait_until(lambda: "background work is done" in server.output or None, 10)


def test_what_one_request_sets_in_its_context_no_other_sees(server):
    with server.connect() as wire:
        assert [wire.ask("GET", "/context").text for _ in range(3)] == ["nothing"] * 3


def test_an_application_that_nobody_reads_is_suspended(server):
    before = len(server.output)
    with server.connect() as wire:
        ask(wire, "/flood")
        found = server.wait_until(lambda: re.search(r"suspended at (\d+)\n", server.output[before:]))
    assert int(found[1]) < 16 << 20
    server.wait_until(lambda: "send: ClientDisconnected" in server.output[before:] or None, 10)


def test_a_failure_before_the_response_is_a_500(server):
    before = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/fail").status == 500
        assert wire.ask("GET", "/nothing").status == 500
    server.wait_for_log("ValueError: on purpose", since=before)
    server.wait_for_log('the application sent no response on GET "/nothing"', since=before)


def test_a_cancellation_that_is_not_the_servers_is_a_failure(server):
    before = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/cancelled-within").status == 500
    server.wait_until(lambda: "the application failed on GET" in server.log[before:] or None, 10)
    assert "CancelledError" in server.log[before:]


def test_a_failure_in_the_middle_cuts_the_response(server):
    with server.connect() as wire, pytest.raises(http.client.IncompleteRead):
        wire.ask("GET", "/fail-midway")


def test_hints_come_before_the_response(server):
    with server.connect() as wire:
        ask(wire, "/hints")
        assert wire.line() == b"HTTP/1.1 103 Early Hints\r\n"
        assert wire.line() == b"Link: </a.css>; rel=preload\r\n"
        assert wire.line() == b"\r\n"
        assert wire.answer().text == "hinted"


def test_trailers_go_to_who_takes_them(server):
    with server.connect() as wire:
        ask(wire, "/trailers", "TE: trailers", "Connection: close, te")
        assert wire.rest().endswith(b"\r\n4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n")
    with server.connect() as wire:
        ask(wire, "/trailers", "Connection: close")
        assert wire.rest().endswith(b"\r\n4\r\nbody\r\n0\r\n\r\n")


def test_files_are_sent_by_path_and_by_descriptor(server):
    with open(asgi_basics.__file__, "rb") as file:
        text = file.read()
    with server.connect() as wire:
        assert wire.ask("GET", "/file").body == text
        assert wire.ask("GET", "/part-of-file").body == text[2:10] + text[:4]


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("no-dict", "TypeError: send() takes a dict, not str"),
        ("no-type", 'ValueError: a message must have a "type"'),
        ("type-no-str", 'TypeError: a message\'s "type" must be a str'),
        ("unknown", 'ValueError: "http.response.end" is no message'),
        ("websocket", 'ValueError: "websocket.accept" is no message'),
        ("no-status", 'ValueError: http.response.start: "status" is missing'),
        ("status-str", 'TypeError: http.response.start: "status" must be an int, not str'),
        ("status-low", 'ValueError: http.response.start: "status": a final status is 200 to 599'),
        ("headers-str", 'TypeError: http.response.start: "headers" must be pairs of bytes, not str'),
        ("headers-flat", 'TypeError: http.response.start: "headers" must be'),
        ("headers-none", 'TypeError: http.response.start: "headers" must be an iterable'),
        ("header-name", 'ValueError: http.response.start: "headers": "a b": a field name is a token'),
        ("header-value", 'ValueError: http.response.start: "headers": "a": a field value'),
        ("length-twice", 'ValueError: http.response.start: "headers": "content-length"'),
        ("body-first", "RuntimeError: http.response.body: http.response.start must come first"),
        ("start-twice", "RuntimeError: http.response.start: the response was started already"),
        ("body-str", 'TypeError: http.response.body: "body" must be bytes, not str'),
        ("after-end", "RuntimeError: http.response.body: the response is complete"),
        ("trailers-unannounced", "RuntimeError: http.response.trailers: trailers follow"),
        ("too-long", "ValueError: http.response.body: more bytes than the content-length"),
    ],
)
def test_a_mistake_is_told_with_its_rule(server, mistake, told):
    before = len(server.output)
    with server.connect() as wire:
        ask(wire, f"/mistake?{mistake}", "Connection: close")
        wire.rest()
    server.wait_until(lambda: "told: " in server.output[before:] or None, 10)
    line = next(line for line in server.output[before:].splitlines() if line.startswith("told: "))
    assert line.startswith(f"told: {told}") and "[ASGI" in line


def test_who_leaves_is_cancelled_where_that_is_wanted():
    with Server(APP, options=["--cancel-on-disconnect"]) as server:
        with server.connect() as wire:
            ask(wire, "/long")
            server.wait_until(lambda: "long begins" in server.output or None, 10)
        server.wait_until(lambda: "cancelled" in server.output or None, 10)


def test_a_drain_waits_for_requests_and_the_end_cancels_them():
    with Server(APP, options=["--graceful-timeout", "0.3s"]) as server, server.connect() as wire:
        ask(wire, "/long")
        server.wait_until(lambda: "long begins" in server.output or None, 10)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "cancelled" in server.output


def test_the_lifespan_frames_the_requests_which_have_copies_of_its_state():
    with Server("apps.asgi_basics:with_lifespan", options=["--lifespan", "on"]) as server:
        with server.connect() as wire:
            assert [wire.ask("GET", "/").text for _ in range(3)] == ["7 1", "7 2", "7 3"]
        assert server.stop() == 0
        assert server.output.split() == ["started", "shutting", "down"]


def run(app: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidegate", "--bind", "127.0.0.1:0", *options, app]
    return subprocess.run(
        command, cwd=TESTS, capture_output=True, text=True, timeout=30, env={**os.environ, **env}
    )


@pytest.mark.parametrize(
    ("app", "options", "line"),
    [
        ("refuses_to_start", [], "lifespan: the application's start-up failed: no database"),
        ("app", ["--lifespan", "on"], "lifespan: the application has no lifespan (--lifespan on)"),
        ("hangs", ["--lifespan-timeout", "0.2s"], "start-up took longer than 0.2 s (--lifespan-timeout)"),
    ],
)
def test_a_start_up_that_fails_ends_the_server_before_anything_is_bound(app, options, line):
    ended = run(f"apps.asgi_basics:{app}", *options, HANGS_AT="startup")
    assert (ended.returncode, line in ended.stderr) == (1, True), ended.stderr
    assert "listening" not in ended.stderr


def test_a_shutdown_that_hangs_ends_at_its_deadline():
    options = ["--lifespan-timeout", "0.2s"]
    with Server("apps.asgi_basics:hangs", options=options, env={"HANGS_AT": "shutdown"}) as server:
        assert server.stop() == 1
        assert "shutdown took longer than 0.2 s" in server.log


def test_a_client_that_has_closed_its_side_is_not_sent_more_than_it_takes():
    with Server(APP, options=["--loop", "asyncio"]) as server, server.connect() as wire:
        wire.ask("GET", "/echo")
        before = most_resident_kib(server.pid)
        ask(wire, "/stream", "Connection: close")
        wire.sock.shutdown(socket.SHUT_WR)
        server.wait_until(lambda: "streaming" in server.output or None)
        # Others are served meanwhile: the task waits, and does not spin.
        with server.connect() as other:
            assert other.ask("GET", "/echo").status == 200
        assert len(wire.answer().body) == asgi_basics.STREAM_PARTS << 20
        assert most_resident_kib(server.pid) - before < 16 << 10


def test_what_is_wrong_with_a_body_is_the_clients_fault_whatever_the_application_answers(server):
    since = len(server.log)
    with server.connect() as wire:
        wire.send(b"POST /report-fault HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        wire.send(b"no chunk\r\n")
        assert wire.answer("POST").status == 400
    assert not server.complaints(since)


def test_hints_may_come_until_the_body_is_complete(server):
    received = server.raw(b"GET /late-hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert received.count(b"HTTP/1.1") == 2
    assert b"hin" in received and received.endswith(b"ted\r\n0\r\n\r\n")


def test_parts_of_a_file_without_an_offset_follow_one_another(server):
    with open(asgi_basics.__file__, "rb") as file:
        expected = file.read(12)
    with server.connect() as wire:
        assert wire.ask("GET", "/parts-of-file").body == expected


def test_a_pipe_is_no_file_to_be_sent(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    server = Server(APP, options=["--loop", "asyncio"], env={"PIPE": str(path)})
    with server, server.connect() as wire:
        assert wire.ask("GET", "/pipe").status == 500
        server.wait_for_log("not a regular file")


def test_work_after_a_response_is_not_cancelled_by_a_departure_that_came_with_the_requests_end():
    options = ["--loop", "asyncio", "--cancel-on-disconnect"]
    with Server(APP, options=options) as server, server.connect() as wire:
        wire.send(b"POST /after-all HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\none")
        server.wait_until(lambda: "waiting for the rest" in server.output or None)
        wire.send(b"two")
        wire.close()
        server.wait_until(lambda: "background work is done" in server.output or None)
        assert "cancelled" not in server.output


def test_an_iterator_without_throw_is_cancelled_all_the_same():
    options = ["--loop", "asyncio", "--interface", "asgi", "--graceful-timeout", "1"]
    with Server("apps.asgi_basics:plain", options=options) as server, server.connect() as wire:
        ask(wire, "/bare")
        server.wait_until(lambda: "bare begins" in server.output or None)
        assert server.stop() == 0
        assert not server.complaints()
