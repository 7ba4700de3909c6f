"""What a hostile peer does with frames: it is told to calm down, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import time
import urllib.request

import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings

from support.http2 import Http2, frame, serving

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = ErrorCodes.CANCEL.to_bytes(4, "big")


@pytest.fixture(scope="module")
def server():
    options = ("--head-timeout", "2s", "--write-timeout", "2s", "--log-level", "debug")
    with serving("apps.streams:wsgi", *options) as server:
        yield server


def block(path="/", *more):
    head = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "localhost"), *more]
    return hpack.Encoder().encode(head)


def flood(http2, frames):
    """Send until the server has had enough; give its last word."""
    http2.sock.settimeout(10)
    with contextlib.suppress(OSError):
        for data in frames:
            http2.raw(data)
            if http2.closed:
                break
    http2.closed, http2.deaf = False, True
    return http2.end()


def repeated(make, count=20_000, batch=50):
    """Frames in batches, on streams of rising numbers."""
    return (
        b"".join(make(2 * number + 1) for number in range(start, start + batch))
        for start in range(0, count, batch)
    )


FLOODS = {
    "rapid reset": lambda n: frame(HEADERS, END_HEADERS | END_STREAM, n, block("/waits?never"))
    + frame(RST_STREAM, 0, n, CANCEL),
    "resets that the server is made to send": lambda n: frame(HEADERS, END_HEADERS, n, block("/echo"))
    + frame(WINDOW_UPDATE, 0, n, bytes(4)),
    "malformed requests": lambda n: frame(
        HEADERS, END_HEADERS | END_STREAM, n, block("/", ("connection", "close"))
    ),
    "empty DATA": lambda n: (frame(HEADERS, END_HEADERS, 1, block("/echo")) if n == 1 else b"")
    + frame(DATA, 0, 1),
    "SETTINGS": lambda n: frame(SETTINGS, 0, 0),
    "PING": lambda n: frame(PING, 0, 0, bytes(8)),
    "PRIORITY": lambda n: frame(PRIORITY, 0, n, b"\0\0\0\0\1"),
    "CONTINUATION": lambda n: frame(HEADERS, 0, 1, block()) if n == 1 else frame(CONTINUATION, 0, 1),
    "CONTINUATION with fields": lambda n: frame(HEADERS, 0, 1, block())
    if n == 1
    else frame(CONTINUATION, 0, 1, hpack.Encoder().encode([(f"x-{n}", "y" * 100)])),
    "WINDOW_UPDATE": lambda n: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "unknown frames": lambda n: frame(200, 0, 0, b"?"),
}


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_its_connection_and_no_other(server, make):
    with Http2(server) as other, Http2(server) as http2:
        assert other.get("/").status == 200
        last = flood(http2, repeated(make))
        if last is not None:
            assert last.error_code in (ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR)
        assert other.get("/").status == 200


def test_fields_that_grow_when_they_are_decompressed_are_not_taken(server):
    with Http2(server) as http2:
        encoder = hpack.Encoder()
        # One long field in the table, and then a byte for each time that it comes again.
        first = encoder.encode(
            [(":method", "GET"), (":path", "/fails"), (":scheme", "http"), (":authority", "a")]
        )
        bomb = first + hpack.Encoder().encode([("x", "y" * 4000)], huffman=False)
        bomb += b"\xbe" * 8000
        http2.raw(frame(HEADERS, END_HEADERS | END_STREAM, 1, bomb))
        http2.deaf = True
        # Whether it is answered with 431 or the end of the connection, the application does not see it.
        http2.raw(frame(PING, 0, 0, bytes(8)))
        assert http2.sock.recv(1)
        with Http2(server) as other:
            assert other.get("/").status == 200
        assert "in the middle" not in server.log


def test_a_head_that_does_not_end_has_its_time(server):
    with Http2(server) as http2:
        http2.raw(frame(HEADERS, END_STREAM, 1, block()))
        assert http2.end() is not None


def test_a_preface_that_does_not_come_has_its_time(server):
    with server.connect() as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\n")
        wire.rest()


def test_a_window_that_stays_shut_has_its_time(server):
    with Http2(server, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0}) as http2:
        stalled = [http2.ask("/large") for _ in range(10)]
        http2.pump(lambda: all(stream.over for stream in stalled))
        assert all(stream.reset is not None and not stream.body for stream in stalled)
        assert http2.get("/", method="HEAD").status == 200


def test_a_connection_that_takes_nothing_has_its_time(server):
    since = len(server.log)
    with Http2(server) as http2, Http2(server) as other:
        http2.conn.increment_flow_control_window(2**30)
        for _ in range(8):
            stream = http2.ask("/large", reads=False)
            http2.conn.increment_flow_control_window(2**24, stream.number)
        http2.flush()
        assert other.get("/").status == 200
        # Not a byte is read until the server has given up.
        server.wait_for_log("the connection is lost: timed out", since=since)
        assert other.get("/").status == 200


def test_what_is_ended_and_takes_nothing_holds_up_no_other():
    options = ("--head-timeout", "500ms", "--write-timeout", "5s")
    with (
        serving("apps.streams:wsgi", *options) as server,
        Http2(server, settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**30}) as http2,
        Http2(server) as other,
    ):
        http2.conn.increment_flow_control_window(2**30)
        http2.flush()
        large = [http2.ask("/large", reads=False) for _ in range(8)]
        other.settle()
        # A head that does not end: after its time the server ends the connection, and cannot say so.
        http2.raw(frame(HEADERS, 0, large[-1].number + 2, block()))
        until = time.monotonic() + 2
        while time.monotonic() < until:
            began = time.monotonic()
            assert other.get("/").status == 200
            assert time.monotonic() - began < 1


def test_streams_beyond_the_limit_are_refused():
    with serving("apps.streams:wsgi", "--http2-streams-max", "4") as server, Http2(server) as http2:
        http2.settle()
        assert http2.conn.remote_settings.max_concurrent_streams == 4
        streams = [http2.ask("/echo", method="POST", end=False) for _ in range(4)]
        # What a client does that has not heard of it.
        http2.conn.remote_settings = Settings(client=False)
        refused = http2.ask("/", method="POST", end=False)
        http2.pump(lambda: refused.over)
        assert refused.reset == ErrorCodes.REFUSED_STREAM
        for stream in streams:
            http2.send(stream, b"lives")
            assert bytes(http2.response(stream).body) == b"lives"


def test_streams_of_all_connections_together_are_limited():
    options = ("--connections-max", "3", "--http2-streams-max", "2")
    with (
        serving("apps.streams:wsgi", *options) as server,
        Http2(server) as one,
        Http2(server) as two,
    ):
        held = [http2.ask("/echo", method="POST", end=False) for http2 in (one, one, two)]
        one.settle()
        two.settle()
        refused = two.response(two.ask("/", method="POST", end=False))
        assert refused.reset == ErrorCodes.REFUSED_STREAM
        for http2, stream in zip((one, one, two), held, strict=True):
            http2.send(stream, b"lives")
            assert bytes(http2.response(stream).body) == b"lives"
        assert two.get("/").status == 200


def test_what_is_calmed_is_counted():
    with serving("apps.streams:wsgi", "--admin", "127.0.0.1:0", supervised=True) as server:
        with Http2(server) as http2:
            assert http2.get("/").status == 200
            flood(http2, repeated(FLOODS["PING"]))
        admin = server.wait_for_log(r"admin[^\n]*?(http://[\d.:]+)")[1]
        text = urllib.request.urlopen(f"{admin}/metrics").read().decode()
        assert "tidegate_http2_calmed_total 1" in text
        assert "tidegate_http2_streams_total 1" in text
