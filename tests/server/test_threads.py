"""Several calls at once in one process: `--threads`."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack

import pytest

from support.server import Server
from support.wire import Wire

APP = "apps.meeting:application"


def serve(threads: int, *options: str) -> Server:
    return Server(APP, options=["--threads", str(threads), *options])


def ask(wire: Wire, target: str) -> None:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


@pytest.mark.parametrize("count", [2, 8, 50])
def test_as_many_calls_as_threads_run_at_once(count):
    with serve(count) as server, ExitStack() as stack:
        # Twice: the second time the threads are there, and calls are known to block.
        for _ in range(2):
            wires = [stack.enter_context(server.connect()) for _ in range(count)]
            for wire in wires:
                ask(wire, f"/meet?count={count}")
            names = {wire.answer().text for wire in wires}
            assert len(names) == count
            assert all(name.startswith("tidegate-") for name in names)
        assert not server.complaints()


def test_a_call_that_blocks_holds_up_nobody():
    with serve(2) as server, server.connect() as blocked, server.connect() as other:
        ask(blocked, "/wait")
        assert other.ask("GET", "/inside?count=1").text == "inside"
        for _ in range(100):
            assert other.ask("GET", "/").text == "hello"
        assert other.ask("GET", "/open").text == "open"
        assert blocked.answer().text == "opened"


def test_what_is_over_the_threads_waits_and_is_answered():
    with serve(2) as server, ExitStack() as stack:
        blocked = [stack.enter_context(server.connect()) for _ in range(2)]
        for wire in blocked:
            ask(wire, "/wait")
        waiting = [stack.enter_context(server.connect()) for _ in range(20)]
        for wire in waiting:
            ask(wire, "/")
        waiting[0].sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting[0].sock.recv(1)
        # A third call would open the gate; it must not run while two do.
        with server.connect() as opener:
            ask(opener, "/open")
            opener.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                opener.sock.recv(1)
        server.signal(signal.SIGKILL)


def test_a_queue_drains_when_threads_come_free():
    with serve(2) as server, ExitStack() as stack:
        # Each pair meets, so that no more than two and no fewer than two run, until all have.
        wires = [stack.enter_context(server.connect()) for _ in range(40)]
        for wire in wires:
            ask(wire, "/meet?count=2")
        assert len({wire.answer().text for wire in wires}) <= 3


def test_one_request_stays_on_one_thread_and_in_one_context():
    with serve(4) as server, ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(4)]
        for number, wire in enumerate(wires):
            ask(wire, f"/places?{number}")
        for wire in wires:
            wire.answer()
        with server.connect() as wire:
            requests = []
            # close() comes after the last byte of the answer.
            while len(requests) < 4:
                requests = json.loads(wire.ask("GET", "/closed").text)
        threads = set()
        for seen in requests:
            assert seen[0] == "earlier ", "a context is fresh"
            steps = [step.split() for step in seen[1:]]
            assert [step[0] for step in steps] == ["call", "iterate", "iterate", "close"]
            assert len({tuple(step[1:]) for step in steps}) == 1
            threads.add(steps[0][1])
        assert len(threads) == 4


def test_threads_are_python_s_own_and_keep_their_locals():
    with serve(3) as server, server.connect() as wire:
        counts = [json.loads(wire.ask("GET", "/threads").text) for _ in range(10)]
        assert counts[-1]["multi"] is True
        names = [name for name in counts[-1]["names"] if name != "MainThread"]
        # One thread more than may run calls, at most.
        assert names[0] == "tidegate-1"
        assert len(names) <= 4
        # Ten requests on no more than four threads: one of them has seen three.
        assert max(count["count"] for count in counts) >= 3


def test_a_slow_upload_holds_up_nobody():
    with serve(2) as server, server.connect() as slow, server.connect() as other:
        size = 1_000_000
        slow.send(f"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        slow.send(b"x" * (size // 2))
        for _ in range(50):
            assert other.ask("GET", "/").text == "hello"
        slow.send(b"x" * (size - size // 2))
        assert slow.answer().text == str(size)


def test_slow_readers_hold_up_nobody_and_get_all():
    with serve(3) as server, ExitStack() as stack:
        readers = [stack.enter_context(server.connect()) for _ in range(2)]
        for reader in readers:
            ask(reader, "/drip?count=400")
        with server.connect() as other:
            for _ in range(50):
                assert other.ask("GET", "/").text == "hello"
        for reader in readers:
            assert len(reader.answer().body) == 400 * 65536


def test_slow_uploads_on_all_threads_are_still_read():
    with serve(2) as server, ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(2)]
        size = 600_000
        for wire in wires:
            wire.send(f"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(6):
            for wire in wires:
                wire.send(b"x" * (size // 6))
        assert [wire.answer().text for wire in wires] == [str(size)] * 2


def test_a_drain_finishes_what_is_in_flight():
    with serve(4) as server, ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(2)]
        for wire in wires:
            ask(wire, "/meet?count=3")
        with server.connect() as last:
            last.send(b"GET /meet?count=3 HTTP/1.1\r\nHost: a\r\n")
            with server.connect() as other:
                # Its turn comes after the bytes of the others were read.
                assert other.ask("GET", "/").text == "hello"
                server.signal(signal.SIGTERM)
                # Idle connections are closed when the drain has begun.
                assert other.rest() == b""
            last.send(b"\r\n")
            for wire in [*wires, last]:
                answer = wire.answer()
                assert answer.text.startswith("tidegate-")
                assert answer.headers["Connection"] == "close"
        assert server.wait() == 0
        assert not server.complaints()


def test_a_second_signal_stops_although_calls_go_on():
    with serve(4) as server, server.connect() as wire, server.connect() as other:
        ask(wire, "/wait")
        assert other.ask("GET", "/inside?count=1").text == "inside"
        server.signal(signal.SIGTERM)
        # Two signals at once are one. The drain has begun when idle connections are closed.
        assert other.rest() == b""
        server.signal(signal.SIGTERM)
        # The call cannot be interrupted: the process ends without it.
        assert server.wait() in (0, 1)


def test_an_idle_server_ends_at_once():
    with serve(200) as server:
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not server.complaints()


@pytest.mark.parametrize("path", ["/", "/meet?count=1"])
def test_a_storm_of_short_connections_is_answered(path):
    with serve(8) as server:
        for _ in range(10):
            with ExitStack() as stack:
                wires = [stack.enter_context(server.connect()) for _ in range(40)]
                for wire in wires:
                    ask(wire, path)
                for wire in wires[::2]:
                    assert wire.answer().status == 200
        assert not server.complaints()
