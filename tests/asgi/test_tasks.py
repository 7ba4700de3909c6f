"""An application's tasks: who waits, who sends, who is cancelled, and what one request sees of another."""

from __future__ import annotations

import sys
import time

import pytest

from support.clients import Crowd
from support.looks import resident_kib, until_it_stands
from support.server import Server

APP = "apps.asgi_probes:application"
BLOCK_SIZE = 65_536


@pytest.fixture(scope="module")
def server(loop):
    with Server(APP, options=["--loop", loop]) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.fixture
def wire(server):
    with server.connect() as wire:
        yield wire


def begin(wire, path, head=""):
    wire.send(f"GET /{path} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())


def begin_in_chunks(wire, path):
    """A request whose body follows. Returns once the response has begun, which is before any of that."""
    wire.send(f"POST /{path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    head = b"".join(iter(wire.line, b"\r\n"))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    read_chunk(wire, b"ready\n")


def read_chunk(wire, expected):
    assert int(wire.line(), 16) == len(expected)
    assert wire.receive(len(expected) + 2) == expected + b"\r\n"


def ask(server, path):
    with server.connect() as wire:
        return wire.ask("GET", path).text


def test_each_request_has_a_context_of_its_own(server):
    targets = [f"/context?name={name}&other={other}" for name, other in (("a", "b"), ("b", "a"))]
    for _ in range(2):
        with Crowd(server, targets) as crowd:
            assert [answer.text for answer in crowd.answers()] == ["none, a", "none, b"]


def test_another_task_can_wait_for_the_body_while_the_response_begins(wire):
    begin_in_chunks(wire, "receive_in_a_task")
    wire.send(b"3\r\none\r\n")
    wire.send(b"3\r\ntwo\r\n0\r\n\r\n")
    read_chunk(wire, b"onetwo")
    assert wire.line() == b"0\r\n" and wire.line() == b"\r\n"


def test_a_wait_that_is_given_up_loses_nothing(server):
    for _ in range(3):
        with server.connect() as wire:
            begin_in_chunks(wire, "receive_in_time")
            read_chunk(wire, b"impatient\n")
            body = b""
            for number in range(30):
                piece = b"%d " % number
                wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                body += piece
                # Some come together and some apart, before and after the application has given up again.
                time.sleep(0.004 * (number % 5))
            wire.send(b"0\r\n\r\n")
            read_chunk(wire, body)
            assert wire.line() == b"0\r\n" and wire.line() == b"\r\n"


def test_waits_that_are_given_up_leave_nothing_behind(server):
    assert int(ask(server, "/gives_up_often")) < 500


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
def test_a_wait_ends_with_asyncio_timeout(wire):
    for _ in range(2):
        assert wire.ask("POST", "/receive_within", body=b"12345").text == "timed out after 5 bytes"


def test_two_tasks_that_wait_at_once_both_hear_of_the_departure(server, name):
    with server.connect() as wire:
        begin(wire, f"receive_twice_at_once?name={name}")
        server.wait_for_log(f"{name} waits")
    server.wait_for_log(rf"{name} received \['http.disconnect', 'http.disconnect'\]")


def test_parts_sent_from_tasks_come_in_the_order_of_the_tasks(wire):
    expected = b"".join(b"%d\n" % number for number in range(100))
    assert wire.ask("GET", "/sends_from_tasks").body == expected


def test_a_sender_that_never_has_to_wait_leaves_the_loop_to_others(wire):
    assert wire.ask("GET", "/never_waits").text == "." * 1000 + "others went on"


def test_parts_of_several_senders_that_have_to_wait_stay_whole(wire):
    blocks = wire.ask("GET", "/many_senders").body.split(b"\n")
    assert blocks.pop() == b""
    assert sorted(blocks) == sorted(letter * 200_000 for letter in (b"a", b"b", b"c", b"d") for _ in range(8))


def test_a_task_group_that_listens_and_speaks_ends_with_the_speaker(server, wire, name):
    assert wire.ask("GET", f"/task_group?name={name}&for=0.05").text == "speaking\ndone\n"
    server.wait_for_log(f"{name} is through")
    assert wire.ask("GET", "/hello").status == 200


def test_a_task_group_that_listens_and_speaks_ends_with_the_client(server, name):
    with server.connect() as wire:
        begin(wire, f"task_group?name={name}")
        assert b"".join(iter(wire.line, b"\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        read_chunk(wire, b"speaking\n")
    server.wait_for_log(f"{name} heard http.disconnect")
    server.wait_for_log(f"{name} is through")


def test_a_task_that_hears_of_the_departure_can_end_the_one_that_speaks(server, name):
    with server.connect() as wire:
        begin(wire, f"hears_and_speaks?name={name}")
        assert wire.receive(1000)
        wire.reset()
    server.wait_for_log(f"{name} ended by CancelledError")


def test_a_request_runs_to_its_end_though_its_client_has_left(server, name):
    with server.connect() as wire:
        begin(wire, f"sleeps?name={name}")
        server.wait_for_log(f"{name} sleeps")
        wire.reset()
    assert ask(server, f"/open_gate?name={name}") == "open"
    server.wait_for_log(f"{name} woke")
    assert f"{name} cancelled" not in server.log


@pytest.fixture(scope="module")
def strict(loop):
    """A server that cancels what nobody waits for."""
    with Server(APP, options=["--loop", loop, "--cancel-on-disconnect"]) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def test_with_cancel_on_disconnect_a_request_ends_with_its_client(strict, name):
    with strict.connect() as wire:
        begin(wire, f"sleeps?name={name}")
        strict.wait_for_log(f"{name} sleeps")
        wire.reset()
    strict.wait_for_log(f"{name} cancelled")
    assert ask(strict, "/hello") == "Hello, world!"


def test_with_cancel_on_disconnect_work_after_the_response_goes_on(strict, name):
    # The client of a response that is complete has not left it.
    assert ask(strict, f"/works_on?name={name}") == "answered"
    assert ask(strict, f"/open_gate?name={name}") == "open"
    strict.wait_for_log(f"{name} worked on")


def test_a_reader_that_stops_suspends_the_sender_and_memory_does_not_grow(server, name):
    with server.connect() as wire:
        before = resident_kib(server.pid)
        begin(wire, f"endless?name={name}")
        assert wire.receive(1000)
        look = lambda: int(ask(server, f"/how_far?name={name}"))  # noqa: E731
        stood_at = until_it_stands(look)
        assert stood_at > 0
        peak = resident_kib(server.pid)
        for _ in range(50):
            assert wire.receive(4 * BLOCK_SIZE)
            peak = max(peak, resident_kib(server.pid))
        assert until_it_stands(look) > stood_at
        assert peak - before < 8 * 1024
        wire.reset()
    server.wait_for_log(f"{name} ended by .*, OSError True")


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_send_that_is_given_up_leaves_the_response_whole(server, wire, name, connection):
    begin(wire, f"cancels_its_send?name={name}", f"Connection: {connection}\r\n")
    server.wait_for_log(f"{name} gave up")
    body = wire.answer().body
    found = server.wait_for_log(rf"{name} sent (\d+) and (\d+)")
    sent, block = int(found[1]), int(found[2])
    assert body == bytes(len(body) - 5) + b"after"
    assert len(body) - 5 in (sent, sent + block)


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_the_last_send_returns_once_there_is_room(server, wire, name, connection):
    begin(wire, f"large?size=10000000&name={name}", f"Connection: {connection}\r\n")
    server.wait_for_log(f"{name} sends")
    assert len(wire.answer().body) == 10_000_000
    server.wait_for_log(f"{name} has sent")


def test_a_sender_without_room_leaves_the_loop_to_others(server, name):
    with server.connect() as wire:
        begin(wire, f"large?size={50_000_000}")
        for _ in range(20):
            assert ask(server, "/hello") == "Hello, world!"
        assert len(wire.answer().body) == 50_000_000


def test_a_hundred_requests_wait_at_once(server, name):
    with Crowd(server, [f"/sleeps?name={name}"] * 100) as crowd:
        server.wait_until(lambda: server.log.count(f"{name} sleeps") == 100 or None)
        assert ask(server, f"/open_gate?name={name}") == "open"
        assert {answer.text for answer in crowd.answers()} == {"woke"}
