"""WebSockets: the handshake, messages both ways, limits, closes from either side and from the server."""

from __future__ import annotations

import ast
import re
import signal

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from support.server import Server
from support.wire import Wire

APP = "apps.asgi_sockets:app"
HANDSHAKE = {
    "Host": "a",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request):
    with Server(APP, options=["--loop", request.param]) as server:
        yield server


def open_at(server: Server, path: str, **options) -> ClientConnection:
    return connect(f"ws://{server.host}:{server.port}{path}", max_size=None, **options)


def handshake(path: str, **changed: str) -> bytes:
    fields = HANDSHAKE | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


def raw_open(wire: Wire, path: str = "/echo", rest: bytes = b"") -> None:
    wire.send(handshake(path) + rest)
    assert wire.line() == b"HTTP/1.1 101 Switching Protocols\r\n"
    while wire.line() != b"\r\n":
        pass


def masked(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    assert len(payload) < 126
    return bytes([opcode | (0x80 if last else 0), 0x80 | len(payload), 0, 0, 0, 0]) + payload


def close_code(wire: Wire) -> int:
    """The code of the Close that comes next."""
    head = wire.receive(2)
    assert head[0] == 0x88, head
    payload = wire.receive(head[1])
    return int.from_bytes(payload[:2], "big")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_come_back_as_they_were_sent(server, compression):
    messages = ["", "text", b"", b"\x00\xff", "ünïcode" * 10_000, bytes(1 << 20), b"x" * (3 << 20)]
    with open_at(server, "/echo", compression=compression) as socket:
        for message in messages:
            socket.send(message)
            assert socket.recv() == message
        for message in messages[:4] * 50:
            socket.send(message)
        assert [socket.recv() for _ in range(200)] == messages[:4] * 50
        socket.send(["in ", "frag", "ments"])
        assert socket.recv() == "in fragments"
        assert socket.ping().wait(10)


def test_the_scope_says_what_the_request_says(server):
    before = len(server.output)
    with open_at(server, "/show%5Fscope?a=b", subprotocols=["one", "two"]) as socket:
        scope = ast.literal_eval(str(socket.recv()))
        assert socket.subprotocol == "two"
        assert socket.response is not None and socket.response.headers["x-accepted"] == "yes"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3001, "shown")
    assert scope.pop("client")[0] == "127.0.0.1"
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/show_scope",
        "raw_path": b"/show%5Fscope",
        "query_string": b"a=b",
        "root_path": "",
        "server": (server.host, server.port),
        "subprotocols": ["one", "two"],
        "extensions": {"websocket.http.response": {}},
    }
    server.wait_until(lambda: "send: ClientDisconnected" in server.output[before:] or None)
    assert "disconnect: 3001 shown" in server.output[before:]


@pytest.mark.parametrize(("code", "told"), [((1000, "bye"), "1000 bye"), ((4999, ""), "4999 ")])
def test_the_application_is_told_how_the_client_has_closed(server, code, told):
    before = len(server.output)
    with open_at(server, "/echo") as socket:
        socket.close(*code)
    server.wait_until(lambda: f"disconnect: {told}" in server.output[before:] or None)


def test_a_client_that_vanishes_counts_as_1006(server):
    before = len(server.output)
    with server.connect() as wire:
        raw_open(wire)
        wire.reset()
    server.wait_until(lambda: "disconnect: 1006" in server.output[before:] or None)


def test_a_close_before_the_accept_is_a_403_whatever_its_reason_is(server):
    with pytest.raises(InvalidStatus) as refused:
        open_at(server, "/forbid")
    assert refused.value.response.status_code == 403


def test_a_request_can_be_denied_with_a_response(server):
    with pytest.raises(InvalidStatus) as refused:
        open_at(server, "/deny")
    response = refused.value.response
    assert (response.status_code, response.headers["x-why"]) == (401, "because")


def test_who_receives_while_a_request_is_denied_hears_of_the_end(server):
    before = len(server.output)
    with server.connect() as wire:
        wire.send(handshake("/deny-and-listen"))
        assert wire.answer().status == 401
        server.wait_until(lambda: "heard {'type': 'websocket.disconnect'" in server.output[before:] or None)


def test_a_cancellation_that_is_not_the_servers_is_a_failure(server):
    before = len(server.log)
    with open_at(server, "/cancelled-within") as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
    server.wait_until(lambda: "failed on a WebSocket" in server.log[before:] or None)
    assert "CancelledError" in server.log[before:]


def test_no_answer_is_a_500_and_a_failure_closes_with_1011(server):
    with pytest.raises(InvalidStatus) as refused:
        open_at(server, "/nothing")
    assert refused.value.response.status_code == 500
    with open_at(server, "/fail") as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Content-Length": "1"}, 400),
    ],
)
def test_a_bad_handshake_is_refused(server, change, status):
    fields = "".join(f"{name}: {value}\r\n" for name, value in (HANDSHAKE | change).items())
    with server.connect() as wire:
        wire.send(f"GET /echo HTTP/1.1\r\n{fields}\r\n".encode() + b"x" * ("Content-Length" in change))
        assert wire.answer().status == status


@pytest.mark.parametrize("body", [{"Content_Length": "1"}, {"Transfer_Encoding": "chunked"}])
def test_a_handshake_with_a_body_is_refused_before_the_body_has_come(server, body):
    with server.connect() as wire:
        wire.send(handshake("/echo", **body))
        answer = wire.answer()
        assert (answer.status, answer.headers["Connection"]) == (400, "close")
        assert wire.rest() == b""


def test_post_and_http_1_0_become_no_websocket(server):
    fields = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
    for line in ("POST /echo HTTP/1.1", "GET /echo HTTP/1.0"):
        with server.connect() as wire:
            wire.send(f"{line}\r\n{fields}\r\n".encode())
            assert wire.answer().status == 400


def test_what_comes_with_the_handshake_is_read_after_it(server):
    with server.connect() as wire:
        raw_open(wire, rest=masked(1, b"early"))
        assert wire.receive(7) == b"\x81\x05early"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (masked(3, b""), 1002),  # no such opcode
        (masked(0x40 | 1, b""), 1002),  # a reserved bit
        (masked(0, b"x"), 1002),  # nothing to continue
        (masked(9, b"", last=False), 1002),  # a Ping in fragments
        (masked(1, b"\xff"), 1007),
        (masked(8, (1004).to_bytes(2, "big")), 1002),
        (masked(8, b"\x03"), 1002),
    ],
)
def test_who_breaks_a_rule_is_told_and_cut_off(server, frames, code):
    with server.connect() as wire:
        raw_open(wire)
        wire.send(frames)
        assert close_code(wire) == code
        wire.end_sending()
        assert wire.rest() == b""


def test_what_came_before_a_broken_rule_is_answered_first(server):
    with server.connect() as wire:
        raw_open(wire)
        wire.send(masked(1, b"one") + masked(1, b"two") + masked(3, b""))
        assert wire.receive(10) == b"\x81\x03one\x81\x03two"
        assert close_code(wire) == 1002
        wire.end_sending()
        assert wire.rest() == b""


def test_an_application_that_takes_nothing_from_who_breaks_a_rule_is_closed_by_the_drain():
    with Server(APP, options=["--graceful-timeout", "1s"]) as server, server.connect() as wire:
        raw_open(wire, "/deaf", rest=masked(1, b"one") + masked(3, b""))
        server.signal(signal.SIGTERM)
        assert close_code(wire) == 1012
        assert wire.rest() == b""
        server.wait()


def test_a_message_larger_than_the_limit_is_refused_at_its_head():
    options = ["--websocket-message-size-max", "1KiB"]
    with Server(APP, options=options) as server, open_at(server, "/echo") as socket:
        socket.send(b"x" * 1024)
        assert len(socket.recv()) == 1024
        socket.send(bytes(1025))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_compression_can_be_left_out():
    with Server(APP, options=["--websocket-compression=false"]) as server, open_at(server, "/echo") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_a_silent_peer_is_closed_and_one_that_answers_stays():
    options = ["--websocket-ping-interval", "100ms", "--websocket-ping-timeout", "200ms"]
    with (
        Server(APP, options=options) as server,
        server.connect() as silent,
        open_at(server, "/echo") as lively,
    ):
        raw_open(silent)
        assert silent.receive(2) == b"\x89\x00"
        assert close_code(silent) == 1011
        lively.send("still there")
        assert lively.recv() == "still there"


def test_an_application_that_takes_nothing_stops_its_client(server):
    with server.connect() as wire:
        raw_open(wire, "/deaf")
        wire.sock.settimeout(0.5)
        message = bytes([0x82, 0xFE, 0x7F, 0xFF, 0, 0, 0, 0]) + bytes(0x7FFF)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 1 << 28:
                sent += wire.sock.send(message)
        # What the kernel holds on both sides, and a little in the server.
        assert sent < 32 << 20


def test_a_client_that_takes_nothing_suspends_the_application(server):
    before = len(server.output)
    with server.connect() as wire:
        raw_open(wire, "/flood")
        found = server.wait_until(lambda: re.search(r"suspended at (\d+)\n", server.output[before:]))
    assert int(found[1]) < 16 << 20


def test_an_application_that_never_has_to_wait_leaves_the_loop_to_others(server):
    with open_at(server, "/never-waits") as socket:
        assert [socket.recv() for _ in range(1001)] == ["."] * 1000 + ["others went on"]


def test_a_drain_closes_with_1012():
    with Server(APP) as server:
        with open_at(server, "/echo") as socket:
            socket.send("a")
            assert socket.recv() == "a"
            server.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        assert server.wait() == 0
        assert "disconnect: 1012" in server.output


def test_a_drain_answers_a_handshake_that_waits_with_503_and_tells_the_application():
    with Server(APP) as server, server.connect() as wire:
        wire.send(handshake("/undecided"))
        server.wait_until(lambda: "undecided" in server.output or None)
        server.signal(signal.SIGTERM)
        assert wire.answer().status == 503
        assert server.wait() == 0
        assert "websocket.disconnect 1012" in server.output
        assert server.complaints() == []


def test_what_is_accepted_during_a_drain_is_closed_with_1012():
    with Server(APP) as server, open_at(server, "/echo") as socket, server.connect() as wire:
        wire.send(handshake("/late"))
        server.wait_until(lambda: "late" in server.output or None)
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert wire.line() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while wire.line() != b"\r\n":
            pass
        assert close_code(wire) == 1012
        wire.send(masked(8, (1012).to_bytes(2, "big")))
        assert server.wait() == 0
        assert server.output.count("disconnect: 1012") == 2


def test_an_open_websocket_takes_no_permit():
    options = ["--max-concurrency", "1", "--queue-size", "0"]
    with (
        Server(APP, options=options) as server,
        open_at(server, "/echo") as first,
        open_at(server, "/echo") as second,
    ):
        for socket in (first, second):
            socket.send("a")
            assert socket.recv() == "a"


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("send-first", "RuntimeError: websocket.send: websocket.accept must come first"),
        ("accept-twice", "RuntimeError: websocket.accept: the WebSocket was accepted or closed already"),
        ("http", 'ValueError: "http.response.start" is no message'),
        ("subprotocol", "ValueError: websocket.accept: a subprotocol is one that the client has offered"),
        ("reserved", "ValueError: websocket.accept: fields of the handshake"),
        ("neither", 'ValueError: websocket.send: either "text" or "bytes" must be given'),
        ("both", 'ValueError: websocket.send: either "text" or "bytes" must be given'),
        ("text-bytes", 'TypeError: websocket.send: "text" must be a str, not bytes'),
        ("surrogate", "ValueError: websocket.send: \"text\": 'utf-8' codec can't encode character '\\ud800'"),
        ("bytes-text", 'TypeError: websocket.send: "bytes" must be bytes, not str'),
        ("code", 'ValueError: websocket.close: "code": a code is'),
        ("reason", 'TypeError: websocket.close: "reason" must be a str, not list'),
    ],
)
def test_a_mistake_is_told_with_its_rule(server, mistake, told):
    before = len(server.output)
    with server.connect() as wire:
        fields = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
        wire.send(f"GET /mistake?{mistake} HTTP/1.1\r\n{fields}\r\n".encode())
        server.wait_until(lambda: "told: " in server.output[before:] or None)
    line = next(line for line in server.output[before:].splitlines() if line.startswith("told: "))
    assert line.startswith(f"told: {told}") and "[ASGI" in line
