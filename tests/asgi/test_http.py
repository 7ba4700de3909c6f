"""HTTP as an application meets it: bodies in pieces, responses of every kind, and their ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os

import pytest

from support.server import Server
from support.wire import Wire

APP = "apps.asgi_probes:application"
HELLO = b"Hello, world!"
BODY = os.urandom(300_000)


@pytest.fixture(scope="module")
def server(loop):
    with Server(APP, options=["--loop", loop]) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def wire(server):
    with server.connect() as wire:
        yield wire


@pytest.fixture
def quiet(server):
    """The test leaves no complaint in the log."""
    since = len(server.log)
    yield
    with server.connect() as wire:
        assert wire.ask("GET", "/hello").body == HELLO
    assert server.complaints(since) == []


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_chunk(wire: Wire) -> bytes:
    data = wire.receive(int(wire.line(), 16))
    assert wire.line() == b"\r\n"
    return data


def read_head(wire: Wire) -> tuple[bytes, list[bytes]]:
    """The status line and the fields, for responses that are read piece by piece."""
    status, *fields = iter(lambda: wire.line().rstrip(b"\r\n"), b"")
    return status, fields


def read_through(wire: Wire, size: int) -> bytes:
    """The next `size` bytes of a body in chunks, however they are divided."""
    data = b""
    while len(data) < size:
        data += read_chunk(wire)
    assert len(data) == size
    return data


def test_the_application_runs_on_the_chosen_loop(server, wire, loop):
    assert wire.ask("GET", "/loop").text == loop


# The request's body


@pytest.mark.usefixtures("quiet")
def test_a_request_without_a_body_is_one_message(wire):
    for method in ("GET", "HEAD", "POST", "DELETE"):
        answer = wire.ask(method, "/messages")
        if method != "HEAD":
            [message] = json.loads(answer.body)
            assert (message["size"], message["more"]) == (0, False)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("size", [1, 1000, 65_536, 300_000])
def test_a_body_with_a_length_comes_in_messages_that_add_up(wire, size):
    messages = json.loads(wire.ask("POST", "/messages", body=BODY[:size]).body)
    assert sum(message["size"] for message in messages) == size
    assert [message["more"] for message in messages] == [True] * (len(messages) - 1) + [False]
    assert set(messages[0]["keys"]) <= {"type", "body", "more_body"}


@pytest.mark.usefixtures("quiet")
def test_a_body_in_chunks_comes_whole(wire):
    wire.send(b"POST /whole HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for begin in range(0, len(BODY), 7001):
        wire.send(chunk(BODY[begin : begin + 7001]))
    wire.send(b"0\r\n\r\n")
    assert wire.answer().body == BODY


@pytest.mark.usefixtures("quiet")
def test_a_body_comes_piece_by_piece_while_the_response_is_on_its_way(wire):
    wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    status, fields = read_head(wire)
    assert status == b"HTTP/1.1 200 OK"
    assert read_through(wire, 6) == b"ready\n"
    for piece in (b"one", b"two" * 1000, b"three"):
        wire.send(chunk(piece))
        assert read_through(wire, len(piece)) == piece
    wire.send(b"0\r\n\r\n")
    assert read_chunk(wire) == b""
    # A response that began before the body was in may end the connection (RFC 9112 section 9.3), and says so.
    if b"connection: close" in [field.lower() for field in fields]:
        assert wire.rest() == b""
    else:
        assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
def test_a_body_with_a_length_comes_piece_by_piece_too(wire):
    wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
    assert read_head(wire)[0] == b"HTTP/1.1 200 OK"
    assert read_through(wire, 6) == b"ready\n"
    for piece in (b"a", b"bc", b"def"):
        wire.send(piece)
        assert read_through(wire, len(piece)) == piece
    assert read_chunk(wire) == b""


@pytest.mark.usefixtures("quiet")
def test_a_body_that_is_not_read_does_not_spoil_the_connection(server):
    connection = server.http()
    for size in (10, 50_000, 3_000_000):
        connection.request("POST", "/ignores_body", body=bytes(size))
        assert connection.getresponse().read() == b"not read"
        connection.request("GET", "/hello")
        assert connection.getresponse().read() == HELLO
    connection.close()


@pytest.mark.usefixtures("quiet")
def test_expect_is_answered_when_the_application_receives(wire):
    head = b"POST /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    wire.send(head)
    assert read_head(wire) == (b"HTTP/1.1 100 Continue", [])
    wire.send(b"hello")
    assert wire.answer().body == b"hello"


@pytest.mark.usefixtures("quiet")
def test_expect_is_not_answered_when_the_application_does_not_receive(wire):
    head = b"POST /ignores_body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    wire.send(head)
    assert read_head(wire)[0] == b"HTTP/1.1 200 OK"


def test_an_application_that_takes_its_time_holds_the_client_and_not_the_body(server, name):
    size = 64 * 1024 * 1024
    with server.connect() as wire:
        before = len(server.log)
        wire.send(
            f"POST /reads_slowly?name={name} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        server.wait_for_log(f"waits {name}", since=before)
        wire.sock.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += wire.sock.send(bytes(min(65_536, size - sent)))
        # What the system's buffers hold, and no more than a few blocks beside.
        assert sent < size // 2
        with server.connect() as other:
            assert other.ask("GET", f"/open_gate?name={name}").text == "open"
        wire.sock.settimeout(30)
        while sent < size:
            sent += wire.sock.send(bytes(min(1 << 20, size - sent)))
        assert wire.answer().text == str(size)


# The response


@pytest.mark.usefixtures("quiet")
def test_a_response_without_a_length_goes_in_chunks_and_the_connection_stays(wire):
    for _ in range(2):
        answer = wire.ask("GET", "/parts")
        assert (answer.body, answer.headers["Transfer-Encoding"]) == (HELLO, "chunked")
        assert "Content-Length" not in answer.headers


@pytest.mark.usefixtures("quiet")
def test_a_length_of_the_applications_is_kept(wire):
    answer = wire.ask("GET", "/parts_with_length")
    assert (answer.body, answer.headers.get_all("Content-Length")) == (HELLO, ["13"])
    assert "Transfer-Encoding" not in answer.headers


@pytest.mark.usefixtures("quiet")
def test_a_response_in_one_part_comes_whole(wire):
    answer = wire.ask("GET", "/one_part")
    assert answer.body == HELLO
    assert answer.headers["Content-Length"] == "13" or answer.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.usefixtures("quiet")
def test_messages_may_leave_out_what_has_a_default(wire):
    answer = wire.ask("GET", "/bare")
    assert (answer.status, answer.reason, answer.body) == (202, "Accepted", b"")
    assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["hello", "parts", "parts_with_length", "one_part", "large?size=1000000"])
def test_head_gives_the_head_alone_and_keeps_the_connection(wire, path):
    answer = wire.ask("HEAD", f"/{path}")
    assert (answer.status, answer.body) == (200, b"")
    if path in ("hello", "parts_with_length"):
        assert answer.headers["Content-Length"] == "13"
    assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["hello", "parts", "parts_with_length", "one_part"])
def test_an_http_1_0_client_gets_no_chunks(server, path):
    received = server.raw(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == HELLO


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("code", [200, 204, 205, 299, 304, 404, 418, 451, 500, 503, 599])
def test_every_status_is_sent_as_given(wire, code):
    answer = wire.ask("GET", f"/status?is={code}")
    assert (answer.status, answer.body) == (code, b"")
    if code in (204, 304):
        assert "Transfer-Encoding" not in answer.headers
    assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
def test_fields_arrive_repeated_in_order_and_byte_for_byte(wire):
    wire.send(b"GET /fields HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    received = wire.rest()
    lines = received.partition(b"\r\n\r\n")[0].split(b"\r\n")
    mine = [line for line in lines if line.lower().startswith((b"set-cookie", b"x-latin"))]
    expected = [b"set-cookie: moon=full; Path=/", b"x-latin: \xe9t\xe9", b"set-cookie: sun=down; Path=/"]
    assert [(line.partition(b":")[0].lower() + b":" + line.partition(b":")[2]) for line in mine] == expected


@pytest.mark.usefixtures("quiet")
def test_names_in_upper_case_pass_or_the_application_is_told(wire):
    answer = wire.ask("GET", "/upper_case")
    if answer.text == "passed":
        assert answer.headers["x-tide"] == "low"
    else:
        assert "headers" in answer.text and "lower" in answer.text


@pytest.mark.usefixtures("quiet")
def test_framing_is_told_once_whatever_the_application_says(wire):
    for _ in range(2):
        answer = wire.ask("GET", "/hop_by_hop")
        assert answer.text == "framed once"
        assert "Keep-Alive" not in answer.headers
        framing = (answer.headers.get_all("Transfer-Encoding") or []) + (
            answer.headers.get_all("Content-Length") or []
        )
        assert len(framing) == 1


@pytest.mark.usefixtures("quiet")
def test_a_large_part_arrives_whole_and_leaves_the_server_to_others(server, wire):
    wire.send(b"GET /large?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    with server.connect() as other:
        for _ in range(5):
            assert other.ask("GET", "/hello").body == HELLO
    assert wire.answer().body == b"\xa5" * 50_000_000


@pytest.mark.usefixtures("quiet")
def test_a_pipeline_is_answered_in_order(wire):
    paths = ["hello", "parts", "bare", "one_part", "parts_with_length"]
    request = "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n"
    wire.send("".join(request.format(path) for path in paths).encode())
    assert [wire.answer().body for _ in paths] == [HELLO, HELLO, b"", HELLO, HELLO]


@pytest.mark.usefixtures("quiet")
def test_a_half_closed_client_gets_its_whole_response(wire):
    wire.send(b"GET /parts HTTP/1.1\r\nHost: a\r\n\r\n")
    wire.end_sending()
    assert wire.answer().body == HELLO


# Ends, good and bad


def test_no_response_is_a_500_and_the_log_says_why(server, wire):
    since = len(server.log)
    answer = wire.ask("GET", "/sends_nothing")
    assert answer.status == 500
    server.wait_for_log("(?i)http.response.start|response", since=since)
    with server.connect() as other:
        assert other.ask("GET", "/hello").body == HELLO


@pytest.mark.parametrize("path", ["raises", "raises_after_start", "only_starts"])
def test_a_failure_before_the_first_byte_gives_a_500(server, path):
    since = len(server.log)
    with server.connect() as wire:
        answer = wire.ask("GET", f"/{path}")
    assert answer.status == 500
    assert b"probe" not in answer.body
    if path.startswith("raises"):
        server.wait_for_log(r"Traceback \(most recent call last\)", since=since)
        server.wait_for_log(f"in {path}\n", since=since)
        server.wait_for_log("RuntimeError: probe: failed", since=since)
    with server.connect() as wire:
        assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.parametrize("path", ["exits", "exits_in_a_task", "interrupts"])
def test_an_application_that_exits_does_not_take_the_server_with_it(loop, path):
    # As with WSGI: one request's code does not decide for all the others.
    with Server(APP, options=["--loop", loop]) as server:
        with server.connect() as wire:
            assert wire.ask("GET", f"/{path}").status == 500
        with server.connect() as wire:
            assert wire.ask("GET", "/hello").body == HELLO
        server.wait_for_log("KeyboardInterrupt" if path == "interrupts" else "SystemExit")


@pytest.mark.parametrize("path", ["raises_in_the_middle", "stops_in_the_middle", "too_few_bytes"])
def test_a_response_that_does_not_come_to_its_end_is_cut_short(server, path):
    with server.connect() as wire:
        wire.send(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as found:
            wire.answer()
        if isinstance(found.value, http.client.IncompleteRead):
            assert found.value.partial in (b"half", b"")
    with server.connect() as wire:
        assert wire.ask("GET", "/hello").body == HELLO
    if path.startswith("raises"):
        server.wait_for_log("RuntimeError: probe: failed in the middle")


def test_more_bytes_than_the_length_raise_and_are_not_sent(server, name):
    with server.connect() as wire:
        wire.send(f"GET /too_many_bytes?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.answer().body == b"righ"
        server.wait_for_log(f"{name} raised (?!OSError).*: http.response.body: .*content-length")
        # Closed or kept, what follows on the connection is no part of the surplus.
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            rest = wire.rest()
            assert rest == b"" or rest.endswith(HELLO)


def test_a_failure_after_the_end_leaves_the_response_alone(server, wire):
    since = len(server.log)
    assert wire.ask("GET", "/raises_at_the_end").text == "all there"
    server.wait_for_log("RuntimeError: probe: failed at the end", since=since)
    with server.connect() as other:
        assert other.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
def test_after_the_end_there_is_only_the_disconnect_to_receive(server, wire, name):
    since = len(server.log)
    assert wire.ask("GET", f"/after_the_end?name={name}").text == "answered"
    server.wait_for_log(rf"{name} received \['http.disconnect', 'http.disconnect'\]", since=since)
    assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_that_leaves_is_told_and_what_is_sent_then_raises_oserror(server, name, method, leave):
    with server.connect() as wire:
        body = "Content-Length: 5\r\n\r\nhello" if method == "POST" else "\r\n"
        wire.send(f"{method} /waits_for_departure?name={name} HTTP/1.1\r\nHost: a\r\n{body}".encode())
        server.wait_for_log(f"{name} waits")
        getattr(wire, leave)()
    server.wait_for_log(f"{name} received http.disconnect")
    if leave == "reset":
        server.wait_for_log(f"{name} raised .*, OSError True")


def test_a_body_that_is_cut_short_ends_with_the_disconnect(server, name):
    with server.connect() as wire:
        head = f"POST /reads_slowly?name={name} HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"
        wire.send(head.encode())
        server.wait_for_log(f"waits {name}")
        wire.send(b"x")
        wire.reset()
    with server.connect() as other:
        assert other.ask("GET", f"/open_gate?name={name}").text == "open"
    # The probe insists on http.request, and shows what came in its place.
    server.wait_for_log("AssertionError: {'type': 'http.disconnect'}")


@pytest.mark.usefixtures("quiet")
def test_send_raises_oserror_when_the_client_has_left_in_the_middle(server, name):
    with server.connect() as wire:
        wire.send(f"GET /endless?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wire.receive(100_000)
        wire.reset()
    server.wait_for_log(f"{name} ended by .*, OSError True")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["works_on", "leaves_a_task"])
def test_work_goes_on_after_the_response(server, wire, name, path):
    assert wire.ask("GET", f"/{path}?name={name}").text == "answered"
    # On the same connection, which does not wait for that work.
    assert wire.ask("GET", "/hello").body == HELLO
    assert f"{name} worked on" not in server.log
    assert wire.ask("GET", f"/open_gate?name={name}").text == "open"
    server.wait_for_log(f"{name} worked on")


def test_a_bad_request_does_not_reach_the_application(server, wire):
    wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = wire.answer()
    assert (answer.status, answer.headers["Connection"]) == (400, "close")
    assert wire.rest() == b""
