"""WebSockets between an application and its client: handshakes, messages, closes, and who waits for whom."""

from __future__ import annotations

import contextlib
import re
import signal

import pytest

from support.looks import descriptors, resident_kib, until_it_stands
from support.server import PATIENCE_S, Server
from support.websocket import Frame, Opcode, Refused, frame, open_websocket, request

APP = "apps.websocket_probes:application"
BLOCK_SIZE = 65_536


@pytest.fixture(scope="module")
def server(loop):
    with Server(APP, options=["--loop", loop]) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def quiet(server):
    """The test leaves no complaint in the log."""
    since = len(server.log)
    yield
    assert ask(server, "/hello") == "Hello, world!"
    assert server.complaints(since) == []


def ask(server, path):
    with server.connect() as wire:
        return wire.ask("GET", path).text


# The handshake


@pytest.mark.usefixtures("quiet")
def test_the_handshake_is_that_of_the_rfc(server):
    # The example of RFC 6455 section 1.3.
    with server.connect() as wire:
        wire.send(request("/echo", key="dGhlIHNhbXBsZSBub25jZQ=="))
        answer = wire.answer()
    assert (answer.status, answer.reason) == (101, "Switching Protocols")
    assert answer.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer.headers["Upgrade"].lower() == "websocket"
    assert answer.headers["Connection"].lower() == "upgrade"
    for name in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding"):
        assert name not in answer.headers


@pytest.mark.usefixtures("quiet")
def test_the_application_chooses_a_subprotocol_and_adds_fields(server):
    with open_websocket(server, "/chooses", fields=["Sec-WebSocket-Protocol: ebb, flood"]) as peer:
        assert peer.answer.headers["Sec-WebSocket-Protocol"] == "flood"
        assert peer.answer.headers["X-Moon"] == "full"
        assert peer.answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
        assert peer.json() == ["ebb", "flood"]
    with open_websocket(server, "/chooses") as peer:
        assert "Sec-WebSocket-Protocol" not in peer.answer.headers
        assert peer.json() == []


@pytest.mark.usefixtures("quiet")
def test_a_close_before_the_accept_is_a_403(server):
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            open_websocket(server, "/refuses")
        assert refused.value.answer.status == 403


@pytest.mark.usefixtures("quiet")
def test_a_denial_is_a_response_like_any_other(server):
    with pytest.raises(Refused) as refused:
        open_websocket(server, "/denies")
    answer = refused.value.answer
    assert (answer.status, answer.text, answer.headers["X-Tide"]) == (401, "not without a ticket", "low")


@pytest.mark.parametrize("path", ["/fails_at_once", "/returns_at_once"])
def test_no_answer_at_all_is_a_500(server, path):
    with pytest.raises(Refused) as refused:
        open_websocket(server, path)
    assert refused.value.answer.status == 500
    if path == "/fails_at_once":
        server.wait_for_log("RuntimeError: probe: failed before it was open")
    assert ask(server, "/hello") == "Hello, world!"


@pytest.mark.usefixtures("quiet")
def test_the_connection_serves_requests_until_the_handshake(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/hello").status == 200
        assert wire.ask("POST", "/whole", body=b"body").text == "body"
        wire.send(request("/echo"))
        assert wire.answer().status == 101
        wire.send(frame("here"))
        assert wire.receive(6) == b"\x81\x04here"


@pytest.mark.usefixtures("quiet")
def test_what_is_sent_before_the_accept_waits_for_it(server, name):
    with server.connect() as wire:
        wire.send(request(f"/accepts_late?name={name}") + frame("early"))
        server.wait_for_log(f"{name} waits")
        wire.send(frame(b"", opcode=Opcode.PING))
        assert ask(server, f"/open_gate?name={name}") == "open"
        assert wire.answer().status == 101
        received = wire.receive(9)
        assert sorted([received[:7], received[7:]]) == [b"\x81\x05early", b"\x8a\x00"] or sorted(
            [received[:2], received[2:]]
        ) == [b"\x81\x05early", b"\x8a\x00"]


@pytest.mark.usefixtures("quiet")
def test_what_is_sent_before_the_accept_is_held_within_bounds(server, name):
    with server.connect() as wire:
        wire.send(request(f"/accepts_late?name={name}") + frame("early"))
        server.wait_for_log(f"{name} waits")
        before = resident_kib(server.pid)
        wire.sock.settimeout(0.5)
        block = frame(bytes(BLOCK_SIZE))
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                wire.send(block)
        assert resident_kib(server.pid) - before < 8 * 1024
        wire.reset()
    # The application accepts who has gone, and finds out.
    assert ask(server, f"/open_gate?name={name}") == "open"


@pytest.mark.usefixtures("quiet")
def test_a_client_that_leaves_before_the_accept_is_told_of(server, name):
    with server.connect() as wire:
        wire.send(request(f"/waits_before_accept?name={name}"))
        server.wait_for_log(f"{name} waits")
        wire.reset()
    server.wait_for_log(f"{name} disconnected 1006")


# Messages


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
def test_messages_of_every_size_come_back(server, size):
    with open_websocket(server, "/echo") as peer:
        for message in ("\u00e9" * (size // 2) + "x" * (size % 2), bytes(size)):
            peer.send(message)
            assert peer.message() == message


@pytest.mark.usefixtures("quiet")
def test_messages_have_the_keys_of_the_specification(server, name):
    with open_websocket(server, f"/keys?name={name}") as peer:
        peer.send("said")
        text = peer.message()
        peer.send(b"said")
        data = peer.message()
        peer.close(4000, "enough")
        peer.closing()
    assert text in (
        "{'type': 'websocket.receive', 'text': 'said'}",
        "{'type': 'websocket.receive', 'text': 'said', 'bytes': None}",
        "{'type': 'websocket.receive', 'bytes': None, 'text': 'said'}",
    )
    assert data in (
        "{'type': 'websocket.receive', 'bytes': b'said'}",
        "{'type': 'websocket.receive', 'bytes': b'said', 'text': None}",
        "{'type': 'websocket.receive', 'text': None, 'bytes': b'said'}",
    )
    server.wait_for_log(
        re.escape(f"{name} received {{'type': 'websocket.disconnect', 'code': 4000, 'reason': 'enough'}}")
    )


@pytest.mark.usefixtures("quiet")
def test_one_task_receives_while_another_sends(server):
    with open_websocket(server, "/both_ways") as peer:
        for number in range(100):
            peer.send(f"word {number}")
        received = [peer.message() for _ in range(200)]
        assert received[:100] == [str(number) for number in range(100)]
        assert received[100:] == [f"heard word {number}" for number in range(100)]
        peer.close()
        assert peer.closing().code == 1000


@pytest.mark.usefixtures("quiet")
def test_many_messages_in_one_piece_are_all_received(server):
    count = 2000
    with open_websocket(server, "/echo") as peer:
        peer.wire.send(b"".join(frame(f"{number}") for number in range(count)))
        assert [peer.message() for _ in range(count)] == [f"{number}" for number in range(count)]


# Ends


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [
        (1000, "", "1000 ''"),
        (1001, "going", "1001 'going'"),
        (3000, "", "3000 ''"),
        (4999, "\u00e9bb", "4999 '\u00e9bb'"),
        (1000, "x" * 123, f"1000 '{'x' * 123}'"),
        (None, "", "1005 ''"),
    ],
)
def test_the_clients_close_is_answered_and_told(server, name, code, reason, seen):
    with open_websocket(server, f"/echo?name={name}") as peer:
        peer.close(code, reason)
        assert peer.closing().code == code
        assert peer.end() == b""
    server.wait_for_log(re.escape(f"{name} disconnected {seen}"))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("", 1000, ""),
        ("code=1000", 1000, ""),
        ("code=4321&reason=low%20water", 4321, "low water"),
        ("code=1001&reason=%C3%A9bb", 1001, "\u00e9bb"),
        ("code=1011", 1011, ""),
    ],
)
def test_the_applications_close_reaches_the_client_and_comes_back(server, name, query, code, reason):
    with open_websocket(server, f"/closes?name={name}&{query}") as peer:
        found = peer.closing()
        assert (found.code, found.reason) == (code, reason)
        peer.close(found.code)
        assert peer.end() == b""
    server.wait_for_log(f"{name} disconnected {code}")


@pytest.mark.usefixtures("quiet")
def test_a_reason_that_its_frame_cannot_hold_is_cut_between_characters(server, name):
    # RFC 6455 section 5.5: a control frame holds 125 bytes, two of which are the code.
    with open_websocket(server, f"/closes?name={name}&code=4000&reason={'%C3%A9' * 100}") as peer:
        found = peer.closing()
        assert found.code == 4000
        assert found.reason == "\u00e9" * 61
        peer.close(4000)
    server.wait_for_log(f"{name} disconnected 4000")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_lost_connection_is_a_1006(server, name, leave):
    with open_websocket(server, f"/echo?name={name}") as peer:
        peer.send("here")
        assert peer.message() == "here"
        getattr(peer.wire, leave)()
    server.wait_for_log(f"{name} disconnected 1006")


@pytest.mark.usefixtures("quiet")
def test_a_connection_lost_within_a_frame_is_a_1006(server, name):
    with open_websocket(server, f"/echo?name={name}") as peer:
        peer.wire.send(frame("cut", announce=100))
        peer.wire.end_sending()
        assert peer.end() in (b"", b"\x88\x02\x03\xea")
    server.wait_for_log(f"{name} disconnected 1006")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_what_is_sent_when_the_client_has_gone_raises_oserror(server, name, leave):
    with open_websocket(server, f"/sends_after_departure?name={name}") as peer:
        if leave == "close":
            peer.close()
            peer.closing()
        else:
            peer.wire.reset()
    server.wait_for_log(f"{name} raised .*, OSError True")


@pytest.mark.usefixtures("quiet")
def test_an_application_that_returns_leaves_a_closed_websocket(server):
    with open_websocket(server, "/returns") as peer:
        assert peer.message() == "over"
        assert peer.closing().code == 1000
        peer.close()
        assert peer.end() == b""


def test_an_application_that_fails_closes_with_1011(server):
    with open_websocket(server, "/fails") as peer:
        found = peer.closing()
        assert found.code == 1011
        assert "probe" not in found.reason
    server.wait_for_log("RuntimeError: probe: failed while open")
    assert ask(server, "/hello") == "Hello, world!"


# Holding and being held


def test_a_message_over_the_limit_closes_with_1009(loop, name):
    options = ["--loop", loop, "--websocket-message-size-max", "1000"]
    with Server(APP, options=options) as server:
        with open_websocket(server, f"/echo?name={name}") as peer:
            peer.send("x" * 1000)
            assert peer.message() == "x" * 1000
            # Told from its head alone, before any of it is there.
            peer.wire.send(frame("", announce=1001))
            assert peer.closing().code == 1009
        server.wait_for_log(f"{name} disconnected 1009")
        with open_websocket(server, f"/echo?name={name}-parts") as peer:
            peer.send("x" * 600, fin=False)
            peer.send("x" * 600, opcode=Opcode.CONTINUATION)
            assert peer.closing().code == 1009
        server.wait_for_log(f"{name}-parts disconnected 1009")
        with open_websocket(server, "/echo") as peer:
            peer.wire.send(frame("", announce=1 << 62))
            assert peer.closing().code == 1009


def test_a_frame_over_the_limit_closes_with_1009():
    options = ["--websocket-frame-size-max", "500"]
    with Server(APP, options=options) as server, open_websocket(server, "/echo") as peer:
        peer.send("x" * 500, fin=False)
        peer.send("x" * 500, opcode=Opcode.CONTINUATION)
        assert peer.message() == "x" * 1000
        peer.send("x" * 501)
        assert peer.closing().code == 1009


def test_a_peer_that_answers_pings_stays_and_a_silent_one_goes(loop, name):
    options = ["--loop", loop, "--websocket-ping-interval", "0.2s", "--websocket-ping-timeout", "0.2s"]
    with Server(APP, options=options) as server:
        with (
            open_websocket(server, f"/echo?name={name}-silent") as silent,
            open_websocket(server, f"/echo?name={name}-lively") as lively,
        ):
            for _ in range(5):
                ping = lively.frame()
                assert ping.opcode == Opcode.PING and ping.fin
                lively.send(ping.payload, opcode=Opcode.PONG)
            assert silent.frame().opcode == Opcode.PING
            assert silent.closing().code == 1011
            assert silent.end() == b""
            lively.send("here")
            while (found := lively.frame()).opcode == Opcode.PING:
                lively.send(found.payload, opcode=Opcode.PONG)
            assert found == Frame(Opcode.TEXT, b"here")
            assert f"{name}-lively disconnected" not in server.log
        server.wait_for_log(f"{name}-silent disconnected (1006|1011)")


def test_without_pings_nothing_is_asked():
    options = ["--websocket-ping-interval", "off"]
    with Server(APP, options=options) as server, open_websocket(server, "/echo") as peer:
        peer.wire.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.wire.sock.recv(1)


def test_a_reader_that_stops_suspends_the_sender_and_memory_does_not_grow(server, name):
    with open_websocket(server, f"/floods?name={name}") as peer:
        before = resident_kib(server.pid)
        look = lambda: int(ask(server, f"/how_far?name={name}"))  # noqa: E731
        stood_at = until_it_stands(look)
        assert 0 < stood_at < 500
        peak = resident_kib(server.pid)
        for _ in range(200):
            assert len(peer.message()) == BLOCK_SIZE
            peak = max(peak, resident_kib(server.pid))
        assert until_it_stands(look) > stood_at
        assert peak - before < 8 * 1024
        peer.wire.reset()
    server.wait_for_log(f"{name} ended by .*, OSError True")


def test_a_reader_that_takes_nothing_is_cut_off(name):
    options = ["--write-timeout", "0.5"]
    with Server(APP, options=options) as server, open_websocket(server, f"/floods?name={name}"):
        server.wait_for_log(f"{name} ended by .*, OSError True")


def test_an_application_that_does_not_receive_holds_its_client_and_memory_does_not_grow(server, name):
    with open_websocket(server, f"/is_deaf?name={name}") as peer:
        before = resident_kib(server.pid)
        block = memoryview(frame(bytes(BLOCK_SIZE)))
        peer.wire.sock.settimeout(0.5)
        count, left = 0, block
        with contextlib.suppress(TimeoutError):
            while count < 10_000:
                left = left[peer.wire.sock.send(left) :]
                if not left:
                    count, left = count + 1, block
        assert count < 500
        assert resident_kib(server.pid) - before < 8 * 1024
        assert ask(server, f"/open_gate?name={name}") == "open"
        peer.wire.sock.settimeout(PATIENCE_S)
        peer.wire.send(bytes(left))
        peer.send("end")
        assert peer.message() == str((count + 1) * BLOCK_SIZE)


def test_short_messages_that_nobody_receives_are_held_within_bounds(server, name):
    with open_websocket(server, f"/is_deaf?name={name}") as peer:
        before = resident_kib(server.pid)
        peer.wire.sock.settimeout(0.5)
        many = frame(b"") * 10_000
        with pytest.raises(TimeoutError):
            for _ in range(2000):
                peer.wire.send(many)
        assert resident_kib(server.pid) - before < 8 * 1024
        peer.wire.reset()
    assert ask(server, f"/open_gate?name={name}") == "open"


def test_a_flood_of_pings_that_nobody_reads_answers_to_is_held_within_bounds(server, name):
    with open_websocket(server, f"/is_deaf?name={name}") as peer:
        before = resident_kib(server.pid)
        peer.wire.sock.settimeout(0.5)
        many = frame(bytes(125), opcode=Opcode.PING) * 500
        with contextlib.suppress(TimeoutError):
            for _ in range(2000):
                peer.wire.send(many)
        assert resident_kib(server.pid) - before < 8 * 1024
        peer.wire.reset()
    assert ask(server, f"/open_gate?name={name}") == "open"


def test_five_hundred_connections_rest_open_and_close(server, name):
    count = 500
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(open_websocket(server, f"/echo?name={name}")) for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.send(str(number))
        assert [peer.message() for peer in peers] == [str(number) for number in range(count)]
        # Half of them take leave, the others are just gone.
        for peer in peers[::2]:
            peer.close()
        assert {peer.closing().code for peer in peers[::2]} == {1000}
    for code in (1000, 1006):
        left = f"{name} disconnected {code}"
        server.wait_until(lambda left=left: server.log.count(left) == count // 2 or None)
    assert until_it_stands(lambda: descriptors(server.pid)) < 50


# The server's end


def test_a_drain_closes_with_1012_and_waits_for_the_application(loop, name):
    with Server(APP, options=["--loop", loop]) as server:
        with open_websocket(server, f"/slow_to_leave?name={name}") as peer:
            assert peer.message() == "ready"
            server.signal(signal.SIGTERM)
            assert peer.closing().code == 1012
            peer.close(1012)
            assert peer.end() == b""
        assert server.wait() == 0
        assert f"{name} disconnected 1012" in server.log
        assert f"{name} is through" in server.log
        assert server.complaints() == []


def test_a_client_that_does_not_answer_the_close_does_not_hold_up_the_drain(name):
    options = ["--websocket-close-timeout", "0.3s"]
    with Server(APP, options=options) as server:
        with open_websocket(server, f"/slow_to_leave?name={name}") as peer:
            assert peer.message() == "ready"
            server.signal(signal.SIGTERM)
            assert server.wait(10) == 0
            assert peer.closing().code == 1012
        assert f"{name} is through" in server.log


def test_an_application_that_never_leaves_is_ended_with_the_grace(name):
    with Server(APP, options=["--graceful-timeout", "0.5s"]) as server:
        with open_websocket(server, f"/never_leaves?name={name}") as peer:
            assert peer.message() == "ready"
            server.signal(signal.SIGTERM)
            assert peer.closing().code == 1012
            server.wait(10)
        assert f"{name} disconnected 1012" in server.log


def test_a_handshake_that_waits_when_the_drain_begins_is_answered(name):
    with Server(APP) as server, server.connect() as wire:
        wire.send(request(f"/waits_before_accept?name={name}"))
        server.wait_for_log(f"{name} waits")
        server.signal(signal.SIGTERM)
        assert wire.answer().status == 503
        assert server.wait() == 0
        assert f"{name} disconnected 1012" in server.log
