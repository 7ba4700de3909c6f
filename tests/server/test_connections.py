"""What a client sees of connections: keep-alive, deadlines, back-pressure, departures."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from support.server import Server

APP = "apps.engine_probe:application"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


# Whatever requests run on, connections behave the same. Here bodies are read as they come.
HOSTS = {
    "inline": ["--threads", "1"],
    "threads": ["--threads", "20", "--request-buffering", "off"],
    "greenlets": ["--concurrency", "greenlets"],
    "bridge": ["--concurrency", "asyncio"],
    "beside asyncio": [
        *("--threads", "20", "--request-buffering", "off"),
        *("--mount", "/asgi=apps.asgi_basics:app"),
    ],
}


@pytest.fixture(scope="module", params=HOSTS)
def hasty(request):
    """A server whose deadlines pass in moments."""
    options = [
        *HOSTS[request.param],
        "--head-timeout",
        "0.5",
        "--keep-alive-timeout",
        "0.5",
        "--write-timeout",
        "0.5",
    ]
    options += ["--body-timeout", "0.5", "--body-rate-min", "1000"]
    with Server(APP, options=options) as server:
        yield server


@pytest.fixture(scope="module", params=HOSTS)
def server(request):
    with Server(APP, options=HOSTS[request.param]) as server:
        yield server


def test_a_head_that_is_not_complete_in_time_is_answered_with_408(hasty):
    with hasty.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost:")
        answer = wire.answer()
        assert answer.status == 408
        assert answer.headers["Connection"] == "close"
        assert wire.rest() == b""


def test_a_head_that_dribbles_in_does_not_prolong_its_deadline(hasty):
    with hasty.connect() as wire:
        began = time.monotonic()
        wire.sock.settimeout(0.1)
        received = b""
        while time.monotonic() - began < 10 and not received:
            try:
                wire.send(b"X")
                received = wire.sock.recv(100)
            except TimeoutError:
                continue
            except OSError:
                break
        assert received.startswith(b"HTTP/1.1 4")
        assert time.monotonic() - began < 5


def test_a_connection_that_says_nothing_is_closed_without_a_word(hasty):
    with hasty.connect() as wire:
        assert wire.rest() == b""


def test_an_idle_keep_alive_connection_is_closed_without_a_word(hasty):
    with hasty.connect() as wire:
        assert wire.ask("GET", "/").body == b"hello"
        assert wire.rest() == b""


def test_a_request_that_came_before_its_idle_connection_was_closed_is_answered():
    """The deadline passes in one call; before anybody looks at it there is a second call, and a request."""
    options = ["--threads", "1", "--keep-alive-timeout", "0.3"]
    with Server(APP, options=options) as server, server.connect() as idle:
        assert idle.ask("GET", "/").body == b"hello"
        with server.connect() as first, server.connect() as second:
            first.send(b"GET /slow?for=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_log("called /slow")
            second.send(b"GET /slow?for=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_log("called /slow[^$]*called /slow")
            assert idle.ask("GET", "/").body == b"hello"


def test_a_small_body_that_does_not_come_in_time_is_answered_with_408_and_the_application_not_run(hasty):
    before = len(hasty.log)
    with hasty.connect() as wire:
        wire.send(b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        assert wire.answer().status == 408
    assert "called /never" not in hasty.log[before:]


def test_a_body_that_is_slower_than_the_minimum_rate_fails_in_the_application(hasty):
    with hasty.connect() as wire:
        size = 1024 * 1024
        wire.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        wire.send(b"x" * (size - 10))
        assert wire.answer().status == 408
    hasty.wait_for_log("read failed: TimeoutError")


def test_a_reader_that_takes_nothing_is_cut_off_and_the_iterable_closed(hasty):
    before = len(hasty.log)
    with hasty.connect() as wire:
        wire.send(b"GET /stream?count=100000&size=65536 HTTP/1.1\r\nHost: a\r\n\r\n")
        hasty.wait_for_log(r"stream closed after \d+ blocks", since=before)
    assert not hasty.complaints(before)


def test_an_endless_response_to_a_slow_reader_does_not_grow_memory(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/").status == 200
        before = resident_kib(server.pid)
        wire.send(b"GET /stream?count=1000000&size=65536 HTTP/1.1\r\nHost: a\r\n\r\n")
        peak = 0
        for _ in range(50):
            assert wire.receive(256 * 1024)
            peak = max(peak, resident_kib(server.pid))
        assert peak - before < 8 * 1024
        wire.reset()
    server.wait_for_log("stream closed after")


def test_a_large_upload_does_not_grow_memory(server):
    size = 64 * 1024 * 1024
    with server.connect() as wire:
        assert wire.ask("GET", "/").status == 200
        before = resident_kib(server.pid)
        wire.send(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        block = b"x" * (1024 * 1024)
        peak = 0
        for _ in range(size // len(block)):
            wire.send(block)
            peak = max(peak, resident_kib(server.pid))
        assert wire.answer().body == b"%d" % size
        assert peak - before < 8 * 1024


def test_a_large_block_to_a_slow_reader_leaves_the_server_to_others(server):
    with server.connect() as slow, server.connect() as other:
        slow.send(b"GET /large?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(5):
            assert other.ask("GET", "/").body == b"hello"
        assert len(slow.answer().body) == 50_000_000


def test_a_slow_upload_leaves_the_server_to_others(server):
    with server.connect() as slow, server.connect() as other:
        slow.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        for _ in range(5):
            assert other.ask("GET", "/").body == b"hello"
        slow.send(b"67890")
        assert slow.answer().body == b"10"


def test_a_client_that_leaves_in_the_middle_of_a_response_has_the_iterable_closed_and_no_traceback(server):
    before = len(server.log)
    with server.connect() as wire:
        wire.send(b"GET /stream?count=200&size=1000&pause=0.02 HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.receive(1500)
        wire.reset()
    found = server.wait_for_log(r"stream closed after (\d+) blocks", since=before)
    assert int(found[1]) < 200
    assert not server.complaints(before)


def test_a_half_closed_client_gets_its_whole_response(server):
    with server.connect() as wire:
        wire.send(b"GET /stream?count=5&size=1000&pause=0.02 HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.end_sending()
        assert len(wire.answer().body) == 5000


def test_a_body_cut_short_raises_oserror_in_the_application(server):
    before = len(server.log)
    with server.connect() as wire:
        wire.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
        wire.end_sending()
        assert wire.answer().status == 400
    server.wait_for_log("read failed: OSError", since=before)


def test_a_pipeline_is_answered_in_order(server):
    with server.connect() as wire:
        wire.send(
            b"GET /slow?for=0.2 HTTP/1.1\r\nHost: a\r\n\r\n"
            + GET
            + b"GET /large?size=3 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert [wire.answer().body for _ in range(3)] == [b"slow", b"hello", b"xxx"]


def test_ten_thousand_pipelined_requests_are_all_answered(server):
    count = 10_000
    with server.connect() as wire:
        wire.sock.setblocking(False)
        left = memoryview(GET * count)
        received = b""
        found = 0
        deadline = time.monotonic() + 30
        while found < count and time.monotonic() < deadline:
            try:
                if left:
                    left = left[wire.sock.send(left) :]
            except BlockingIOError:
                pass
            try:
                received += wire.sock.recv(1 << 20)
            except BlockingIOError:
                time.sleep(0.001)
            found = received.count(b"HTTP/1.1 200 OK")
        assert found == count


def test_a_connection_that_pipelines_for_ever_does_not_starve_another(server):
    with server.connect() as greedy, server.connect() as modest:
        greedy.sock.setblocking(False)
        for _ in range(20):
            for _ in range(10):
                try:
                    greedy.sock.send(GET * 1000)
                except BlockingIOError:
                    break
            assert modest.ask("GET", "/").body == b"hello"
            with contextlib.suppress(BlockingIOError):
                greedy.sock.recv(1 << 22)


def test_expect_is_answered_when_the_application_reads(server):
    with server.connect() as wire:
        wire.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        assert wire.line() == b"\r\n"
        wire.send(b"hello")
        assert wire.answer().body == b"5"


def test_an_answer_without_reading_closes_a_connection_that_expects_to_continue(server):
    with server.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        answer = wire.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert wire.rest() == b""


def test_a_small_unread_body_is_dropped_and_the_connection_kept(server):
    with server.connect() as wire:
        assert wire.ask("POST", "/", body=b"unread").body == b"hello"
        assert wire.ask("GET", "/").body == b"hello"


def test_a_huge_unread_body_closes_the_connection_after_the_answer(server):
    with server.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 300_000)
        answer = wire.answer()
        assert (answer.body, answer.headers["Connection"]) == (b"hello", "close")


def test_many_stalled_uploads_together_stay_within_bounds():
    count, size = 1000, 250_000
    with Server(APP, options=["--body-timeout", "60"]) as server, contextlib.ExitStack() as stack:
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200
        before = resident_kib(server.pid)
        wires = [stack.enter_context(server.connect()) for _ in range(count)]
        for wire in wires:
            wire.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            wire.send(b"x" * (size - 1))
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200
        # 238 MiB are on their way; 64 of that may be here, 16 KiB for each, and what the allocator adds.
        assert resident_kib(server.pid) - before < 128 * 1024
        for wire in wires:
            wire.send(b"x")
        for wire in wires:
            assert wire.answer().body == b"%d" % size


def test_unix_socket_with_its_mode(tmp_path):
    path = tmp_path / "a.sock"
    with Server(APP, binds=[f"unix:{path}"], options=["--unix-socket-mode", "0640"]) as server:
        assert path.stat().st_mode & 0o777 == 0o640
        with server.connect() as wire:
            answer = wire.ask("GET", "/environ")
            assert b'"SERVER_NAME": "localhost"' in answer.body
            assert b'"REMOTE_ADDR": "127.0.0.1"' in answer.body
        assert server.stop() == 0
    assert not path.exists()


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "a.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with Server(APP, binds=[f"unix:{path}"]) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200
        with pytest.raises(Exception, match="in use"), Server(APP, binds=[f"unix:{path}"]):
            pass
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200


def test_several_addresses_at_once_v4_v6_and_unix(tmp_path):
    binds = ["127.0.0.1:0", "[::1]:0", f"unix:{tmp_path / 'a.sock'}"]
    with Server(APP, binds=binds) as server:
        for index in range(3):
            with server.connect(index) as wire:
                assert wire.ask("GET", "/").body == b"hello"
        with server.connect(1) as wire:
            assert b'"REMOTE_ADDR": "::1"' in wire.ask("GET", "/environ").body


def test_an_inherited_descriptor():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        number = listening.fileno()
        with Server(APP, binds=[f"fd://{number}"], pass_fds=[number]) as server:
            assert server.port == listening.getsockname()[1]
            with server.connect() as wire:
                assert wire.ask("GET", "/").body == b"hello"


def test_a_server_that_runs_out_of_descriptors_serves_on_and_recovers():
    with Server("apps.few_descriptors:application") as server:
        crowd = [server.connect() for _ in range(60)]
        served = 0
        for wire in crowd:
            wire.sock.settimeout(0.2)
            try:
                wire.send(GET)
                served += wire.answer().status == 200
            except (TimeoutError, http.client.HTTPException, OSError):
                pass
        assert 10 < served < 60
        server.wait_for_log("no new connections for now")
        for wire in crowd:
            wire.close()
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200


def test_no_more_connections_than_the_limit_are_open_and_the_others_wait():
    with Server(APP, options=["--connections-max", "2"]) as server:
        first, second, third = server.connect(), server.connect(), server.connect()
        with first, second, third:
            assert first.ask("GET", "/").status == 200
            assert second.ask("GET", "/").status == 200
            third.send(GET)
            third.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                third.sock.recv(1)
            first.close()
            third.sock.settimeout(10)
            assert third.sock.recv(12) == b"HTTP/1.1 200"


def test_an_idle_server_sleeps():
    with Server(APP) as server, server.connect() as wire:
        assert wire.ask("GET", "/").status == 200

        def switches() -> int:
            total = 0
            for task in Path(f"/proc/{server.pid}/task").iterdir():
                for line in (task / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches"):
                        total += int(line.split()[1])
            return total

        time.sleep(0.5)
        before = switches()
        time.sleep(3)
        assert switches() - before <= 3


def test_with_one_thread_the_application_runs_on_the_main_thread_alone():
    with Server(APP, options=["--threads", "1"]) as server, server.connect() as wire:
        assert wire.ask("GET", "/threads").body == b"MainThread"
        environ = wire.ask("GET", "/environ").body
    assert b'"wsgi.multithread": false' in environ


@pytest.mark.parametrize("host", HOSTS)
def test_a_signal_handler_of_the_applications_own_runs(host):
    with Server("apps.own_signal:application", options=HOSTS[host]) as server:
        os.kill(server.pid, signal.SIGUSR1)
        server.wait_for_log("handled SIGUSR1")
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200


def test_a_body_that_fills_memory_exactly_and_then_some_is_delivered_whole():
    with Server(APP, options=["--body-memory-max", "4KiB"]) as server, server.connect() as wire:
        for size in (4095, 4096, 4097, 5000, 8192, 100_000):
            assert wire.ask("POST", "/read", body=b"x" * size).body == b"%d" % size


def test_a_chunked_body_behind_expect_is_asked_for_and_whole_before_the_application_starts():
    with Server(APP, options=["--body-memory-max", "4KiB"]) as server, server.connect() as wire:
        wire.send(
            b"POST /environ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        )
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        wire.line()
        for _ in range(20):
            wire.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        wire.send(b"0\r\n\r\n")
        assert b'"CONTENT_LENGTH": "20000"' in wire.answer().body


def test_an_answer_without_reading_the_body_ends_at_once(server):
    with server.connect() as wire:
        began = time.monotonic()
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        wire.rest()
        assert time.monotonic() - began < 1.5


def test_a_steady_reader_is_not_cut_because_the_application_was_busy():
    size = 60_000_000
    received = []

    def read_steadily(wire):
        while block := wire.receive(500_000):
            received.append(len(block))
            time.sleep(0.03)

    with Server(APP, options=["--write-timeout", "1"]) as server, server.connect() as reader:
        reader.send(b"GET /large?size=%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % size)
        steady = threading.Thread(target=read_steadily, args=(reader,))
        steady.start()
        with server.connect() as one, server.connect() as two:
            while steady.is_alive():
                for busy in (one, two):
                    busy.send(b"GET /slow?for=0.6 HTTP/1.1\r\nHost: a\r\n\r\n")
                for busy in (one, two):
                    assert busy.answer().body == b"slow"
        steady.join()
        assert sum(received) > size


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("inline", "a signal handler failed"),
        ("threads", "a signal handler failed"),
        ("greenlets", "too late"),
    ],
)
def test_a_signal_handler_that_raises_between_requests_does_not_end_the_server(host, text):
    with Server("apps.own_signal:application", options=HOSTS[host]) as server:
        os.kill(server.pid, signal.SIGUSR2)
        server.wait_for_log(text)
        with server.connect() as wire:
            assert wire.ask("GET", "/").status == 200


def test_a_server_that_can_start_no_thread_ends_instead_of_trying_for_ever(tmp_path):
    (tmp_path / "no_threading.py").write_text(
        "import sys\nfrom apps.own_signal import application\nsys.modules['threading'] = None\n"
    )
    with Server("no_threading:application", cwd=tmp_path) as server:
        assert server.wait() == 1
        assert server.log.count("a signal handler failed") < 100
