"""WebSocket frames, good and bad, against one application (RFC 6455 sections 4 and 5, RFC 7692)."""

from __future__ import annotations

import random
import re
import zlib

import pytest
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from support.looks import segments_received
from support.server import Server
from support.websocket import Frame, Opcode, frame, open_websocket, request

APP = "apps.websocket_probes:application"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


@pytest.fixture(scope="module")
def server():
    with Server(APP, options=["--websocket-message-size-max", "1MiB"]) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.fixture
def peer(server):
    with open_websocket(server, "/echo") as peer:
        yield peer


# Good ones


def test_a_message_in_fragments_comes_back_whole(peer):
    peer.send("high ", fin=False)
    peer.send("", opcode=Opcode.CONTINUATION, fin=False)
    peer.send("wat", opcode=Opcode.CONTINUATION, fin=False)
    peer.send("er", opcode=Opcode.CONTINUATION)
    assert peer.message() == "high water"


def test_a_character_may_be_cut_by_fragments_and_by_packets(peer):
    text = "\N{WATER WAVE}\u00e9"
    pieces = [text.encode()[at : at + 1] for at in range(6)]
    for at, piece in enumerate(pieces):
        opcode = Opcode.TEXT if at == 0 else Opcode.CONTINUATION
        peer.send(piece, opcode=opcode, fin=at == len(pieces) - 1)
    assert peer.message() == text
    for byte in frame(text):
        peer.wire.send(bytes([byte]))
    assert peer.message() == text


def test_control_frames_come_between_fragments(peer):
    peer.send("high ", fin=False)
    peer.send(b"are you there?", opcode=Opcode.PING)
    assert peer.frame() == Frame(Opcode.PONG, b"are you there?")
    peer.send(b"unasked", opcode=Opcode.PONG)
    peer.send("water", opcode=Opcode.CONTINUATION)
    assert peer.message() == "high water"


@pytest.mark.parametrize("size", [0, 1, 125])
def test_pings_are_answered_with_what_they_hold(peer, size):
    peer.send(bytes(size), opcode=Opcode.PING)
    assert peer.frame() == Frame(Opcode.PONG, bytes(size))


def test_pings_that_come_together_are_answered_together(peer):
    # A write of the server's is a segment of its own, up to the ten that TCP sends before any is acknowledged
    # (RFC 6928).
    before = segments_received(peer.wire.sock)
    peer.wire.send(b"".join(frame(str(number), opcode=Opcode.PING) for number in range(1000)))
    assert [peer.frame() for _ in range(1000)] == [
        Frame(Opcode.PONG, str(number).encode()) for number in range(1000)
    ]
    assert segments_received(peer.wire.sock) - before < 6


def test_pings_before_a_close_are_answered_before_it(peer):
    ping = frame(b"ping", opcode=Opcode.PING)
    peer.wire.send(ping + ping + frame(b"\x03\xe8", opcode=Opcode.CLOSE) + ping)
    pong = Frame(Opcode.PONG, b"ping")
    assert [peer.frame() for _ in range(3)] == [pong, pong, Frame(Opcode.CLOSE, b"\x03\xe8")]
    assert peer.end() == b""


def test_a_mask_is_taken_off_wherever_the_packets_end(peer):
    data = random.Random(6455).randbytes(1000)
    masked = frame(data, mask=b"\x37\xfa\x21\x3d")
    for at in range(0, len(masked), 7):
        peer.wire.send(masked[at : at + 7])
    assert peer.message() == data


def test_a_length_may_be_written_longer_than_it_needs_or_is_refused(peer):
    # RFC 6455 section 5.2 wants the shortest form; who insists on it closes with 1002.
    peer.wire.send(b"\x81\xfe\x00\x02\x00\x00\x00\x00hi")
    found = peer.frame()
    assert found == Frame(Opcode.TEXT, b"hi") or found.code == 1002


def test_many_fragments_are_one_message(peer):
    count = 10_000
    pieces = [frame("x", opcode=Opcode.CONTINUATION, fin=False)] * (count - 2)
    peer.wire.send(frame("x", fin=False) + b"".join(pieces) + frame("x", opcode=Opcode.CONTINUATION))
    assert peer.message() == "x" * count


def test_wsproto_finds_nothing_wrong(server):
    with open_websocket(server, "/echo") as peer:
        client = Connection(ConnectionType.CLIENT)
        heard = []

        def say(*events):
            peer.wire.send(b"".join(client.send(event) for event in events))

        def hear():
            while not heard:
                client.receive_data(peer.wire.receive_some())
                heard.extend(client.events())
            return heard.pop(0)

        say(TextMessage("high ", message_finished=False), Ping(b"?"), TextMessage("water"))
        assert hear() == Pong(b"?")
        assert hear() == TextMessage("high water")
        say(BytesMessage(b"\x00\xff"))
        assert hear() == BytesMessage(bytearray(b"\x00\xff"))
        say(CloseConnection(4000, "enough"))
        found = hear()
        assert (found.code, found.reason or "") == (4000, "enough")


# Bad ones

BAD_FRAMES = {
    "no mask": (frame("hi", mask=None), 1002),
    "an opcode that is not taken": (frame("hi", opcode=3), 1002),
    "a control opcode that is not taken": (frame("hi", opcode=0xB), 1002),
    "the first reserved bit": (frame("hi", rsv=4), 1002),
    "the second reserved bit": (frame("hi", rsv=2), 1002),
    "the third reserved bit": (frame("hi", rsv=1), 1002),
    "a continuation of nothing": (frame("hi", opcode=Opcode.CONTINUATION), 1002),
    "a message within a message": (frame("hi", fin=False) + frame("hi"), 1002),
    "a ping in fragments": (frame("hi", opcode=Opcode.PING, fin=False), 1002),
    "a long ping": (frame(bytes(126), opcode=Opcode.PING), 1002),
    "a long close": (frame(b"\x03\xe8" + b"x" * 124, opcode=Opcode.CLOSE), 1002),
    "a length with its highest bit set": (b"\x82\xff\x80" + bytes(11), (1002, 1009)),
    "a close of one byte": (frame(b"\x03", opcode=Opcode.CLOSE), 1002),
    "a close that is no UTF-8": (frame(b"\x03\xe8\xff", opcode=Opcode.CLOSE), 1007),
    "text that is no UTF-8": (frame(b"\xff\xfe", opcode=Opcode.TEXT), 1007),
    "text that ends within a character": (frame(b"\xf0\x9f\x8c", opcode=Opcode.TEXT), 1007),
    "a surrogate in text": (frame(b"\xed\xa0\x80", opcode=Opcode.TEXT), 1007),
    "text that is wrong before its end": (frame(b"\xff", opcode=Opcode.TEXT, fin=False), 1007),
    **{
        f"the close code {code}": (frame(code.to_bytes(2, "big"), opcode=Opcode.CLOSE), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535)
    },
}


@pytest.mark.parametrize("what", BAD_FRAMES)
def test_a_bad_frame_closes_and_nothing_after_it_is_heard(server, name, what):
    bad, code = BAD_FRAMES[what]
    with open_websocket(server, f"/echo?name={name}") as peer:
        peer.send("good")
        assert peer.message() == "good"
        peer.wire.send(bad + frame("unheard") + frame(b"?", opcode=Opcode.PING))
        found = peer.frame()
        assert found.opcode == Opcode.CLOSE
        assert found.code in (code if isinstance(code, tuple) else (code,))
        peer.close(found.code)
        assert peer.end() == b""
    told = server.wait_for_log(rf"{name} disconnected (\d+)")
    assert int(told[1]) in (found.code, 1006)


def test_what_follows_a_close_is_not_heard(server, name):
    with open_websocket(server, f"/echo?name={name}") as peer:
        peer.close(1000)
        with pytest.raises((EOFError, ConnectionError)):
            peer.send("unheard")
            assert peer.frame().opcode == Opcode.CLOSE
            peer.frame()
    server.wait_for_log(f"{name} disconnected 1000")


BAD_HANDSHAKES = {
    "no Connection": ({"Connection": None}, (400, 404, 426)),
    "Connection without upgrade": ({"Connection": "keep-alive"}, (400, 404, 426)),
    "an older version": ({"Sec-WebSocket-Version": "8"}, (426,)),
    "a newer version": ({"Sec-WebSocket-Version": "14"}, (426,)),
    "no version": ({"Sec-WebSocket-Version": None}, (400, 426)),
    "no key": ({"Sec-WebSocket-Key": None}, (400,)),
    "a short key": ({"Sec-WebSocket-Key": "c2hvcnQ="}, (400,)),
    "a key that is no base64": ({"Sec-WebSocket-Key": "?" * 24}, (400,)),
    "a length": ({"Content-Length": "5"}, (400,)),
    "chunks": ({"Transfer-Encoding": "chunked"}, (400,)),
}


@pytest.mark.parametrize("what", BAD_HANDSHAKES)
def test_a_bad_handshake_is_refused(server, what):
    changed, statuses = BAD_HANDSHAKES[what]
    head = request("/echo").decode()
    for name, value in changed.items():
        head = re.sub(rf"(?m)^{name}: .*\r\n", "", head)
        if value is not None:
            head = head.removesuffix("\r\n") + f"{name}: {value}\r\n\r\n"
    with server.connect() as wire:
        wire.send(head.encode())
        answer = wire.answer()
        assert answer.status in statuses
        if answer.status == 426:
            assert (
                answer.headers["Upgrade"].lower() == "websocket" or "Sec-WebSocket-Version" in answer.headers
            )
        if "version" in what and answer.status == 426:
            assert answer.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize("line", ["POST /echo HTTP/1.1", "GET /echo HTTP/1.0"])
def test_only_get_in_http_1_1_becomes_a_websocket(server, line):
    with server.connect() as wire:
        wire.send(request("/echo").replace(b"GET /echo HTTP/1.1", line.encode()))
        assert wire.answer().status in (400, 404, 405, 426)


def test_an_upgrade_to_something_else_is_passed_over(server):
    with server.connect() as wire:
        for protocol in ("h2c", "TLS/1.0", "websocket/13"):
            answer = wire.ask("GET", "/hello", "Connection: Upgrade", f"Upgrade: {protocol}")
            assert answer.status in (200, 400)
            if answer.status == 400:
                break


def test_a_request_behind_the_handshake_is_no_request(server):
    # Row WS02 of the corpus: what follows the head waits, and is frames once the upgrade is made.
    with server.connect() as wire:
        wire.send(request("/echo") + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.answer().status == 101
        rest = wire.rest()
        assert b"HTTP/1.1" not in rest and b"Hello" not in rest
        assert rest[:1] == b"\x88"


def test_a_request_behind_a_refused_handshake_is_not_taken_for_frames(server):
    with server.connect() as wire:
        wire.send(request("/refuses") + b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert wire.answer().status == 403
        # Closed, or served as the request that it is; never anything in between.
        rest = wire.rest()
        assert rest == b"" or (rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.endswith(b"Hello, world!"))


# Compression


def packed(data: bytes) -> bytes:
    """The payload of a compressed message (RFC 7692 section 7.2.1)."""
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def unpacked(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")


def send_packed(peer, data: bytes, *, opcode: int = Opcode.TEXT, fin: bool = True) -> None:
    peer.wire.send(frame(data, opcode=opcode, rsv=4, fin=fin))


def test_compressed_messages_go_both_ways(server):
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        assert peer.answer.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        for text in (b"tide " * 10_000, b"ebb", b""):
            send_packed(peer, packed(text))
            found = peer.frame()
            assert (unpacked(found.payload) if found.rsv1 else found.payload) == text
        peer.send("plain beside it")
        found = peer.frame()
        assert (unpacked(found.payload) if found.rsv1 else found.payload) == b"plain beside it"


def test_a_large_message_comes_back_smaller(server):
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        peer.send("tide " * 10_000)
        found = peer.frame()
        assert found.rsv1 and len(found.payload) < 5000
        assert unpacked(found.payload) == b"tide " * 10_000


def test_a_compressed_message_may_be_cut_anywhere(server):
    data = random.Random(7692).randbytes(5000)
    payload = packed(data)
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        send_packed(peer, payload[:100], opcode=Opcode.BINARY, fin=False)
        peer.send(b"?", opcode=Opcode.PING)
        peer.send(payload[100:3000], opcode=Opcode.CONTINUATION, fin=False)
        peer.send(payload[3000:], opcode=Opcode.CONTINUATION)
        assert peer.frame() == Frame(Opcode.PONG, b"?")
        found = peer.frame()
        assert (unpacked(found.payload) if found.rsv1 else found.payload) == data


@pytest.mark.parametrize(
    ("offer", "taken"),
    [
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
        ("permessage-deflate; tide=high, permessage-deflate", True),
        ("x-webkit-deflate-frame", False),
        ("permessage-deflate; tide=high", False),
        ("permessage-deflate; client_max_window_bits=99", False),
    ],
)
def test_an_offer_of_compression_is_taken_or_left(server, offer, taken):
    with open_websocket(server, "/echo", fields=[f"Sec-WebSocket-Extensions: {offer}"]) as peer:
        answer = peer.answer.headers.get("Sec-WebSocket-Extensions", "")
        assert answer.startswith("permessage-deflate") == taken
        if not taken:
            assert answer == ""
            peer.wire.send(frame("hi", rsv=4))
            assert peer.closing().code == 1002


@pytest.mark.parametrize(
    "offer",
    [PerMessageDeflate(), PerMessageDeflate(client_max_window_bits=9, server_max_window_bits=9)],
    ids=str,
)
def test_wsproto_agrees_on_compression(server, offer):
    fields = [f"Sec-WebSocket-Extensions: permessage-deflate; {offer.offer()}".rstrip("; True")]
    with open_websocket(server, "/echo", fields=fields) as peer:
        offer.finalize(peer.answer.headers["Sec-WebSocket-Extensions"])
        client = Connection(ConnectionType.CLIENT, extensions=[offer])
        for text in ("tide " * 1000, "ebb", "tide " * 1000):
            peer.wire.send(client.send(TextMessage(text)))
            heard = ""
            while len(heard) < len(text):
                client.receive_data(peer.wire.receive_some())
                heard += "".join(event.data for event in client.events())
            assert heard == text


def test_what_unpacks_beyond_the_limit_closes_with_1009(server):
    bomb = packed(bytes(64 * 1024 * 1024))
    assert len(bomb) < 100_000
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        send_packed(peer, bomb, opcode=Opcode.BINARY)
        assert peer.closing().code == 1009


def test_what_does_not_unpack_closes(server):
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        send_packed(peer, b"\xff\xff\xff\xff")
        assert peer.closing().code in (1002, 1007)


def test_compressed_text_must_be_utf_8_too(server):
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        send_packed(peer, packed(b"\xff\xfe"))
        assert peer.closing().code == 1007


def test_only_the_first_frame_of_a_message_says_that_it_is_compressed(server):
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        send_packed(peer, packed(b"tide")[:2], fin=False)
        send_packed(peer, packed(b"tide")[2:], opcode=Opcode.CONTINUATION)
        assert peer.closing().code == 1002


def test_a_compressed_ping_closes(server):
    with open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        send_packed(peer, b"?", opcode=Opcode.PING)
        assert peer.closing().code == 1002


def test_compression_can_be_left_out():
    options = ["--websocket-compression=false"]
    with Server(APP, options=options) as server, open_websocket(server, "/echo", fields=[DEFLATE]) as peer:
        assert "Sec-WebSocket-Extensions" not in peer.answer.headers
        peer.send("tide " * 1000)
        assert peer.frame() == Frame(Opcode.TEXT, b"tide " * 1000)
