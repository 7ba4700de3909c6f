"""A slow stream holds up only itself."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes

from support.http2 import Http2, serving


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def server(request):
    with serving(f"apps.streams:{request.param}") as server:
        yield server


def test_a_response_that_is_not_read_holds_up_no_other(server):
    with Http2(server) as http2:
        # The connection's window is large; that of this stream stays shut.
        http2.conn.increment_flow_control_window(2**24)
        slow = http2.ask("/large", reads=False)
        http2.pump(lambda: len(slow.body) >= 65_535)
        for _ in range(5):
            assert http2.get("/").status == 200
        assert len(http2.get("/large").body) == 256 * 16 * 1024
        assert len(slow.body) == 65_535
        http2.conn.increment_flow_control_window(2**24, slow.number)
        http2.flush()
        assert len(http2.response(slow).body) == 256 * 16 * 1024


def test_a_window_of_a_few_bytes_is_kept_to(server):
    with Http2(server, settings={SettingCodes.INITIAL_WINDOW_SIZE: 3}) as http2:
        response = http2.get("/")
        assert bytes(response.body) == b"Hello, world!"
        assert response.data_frames >= 5


def test_a_window_that_shrinks_below_nothing_is_kept_to(server):
    with Http2(server) as http2:
        http2.conn.increment_flow_control_window(2**24)
        slow = http2.ask("/large", reads=False)
        http2.pump(lambda: len(slow.body) >= 65_535)
        http2.conn.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        http2.settle()
        http2.conn.increment_flow_control_window(65_535, slow.number)
        http2.settle()
        assert len(slow.body) == 65_535
        http2.conn.increment_flow_control_window(2**24, slow.number)
        http2.flush()
        assert len(http2.response(slow).body) == 256 * 16 * 1024


def test_bodies_that_nobody_takes_hold_up_no_other_request():
    with serving("apps.streams:asgi") as server, Http2(server) as http2:
        http2.settle()
        late = [http2.ask(f"/reads_late?{number}", method="POST", end=False) for number in range(100)]
        sent = [http2.fill(stream) for stream in late]
        http2.settle()
        # What is taken from the line is bounded, for each.
        sent = [more + http2.fill(stream) for more, stream in zip(sent, late, strict=True)]
        assert max(sent) <= 1024 * 1024
        body = b"y" * 1_000_000
        assert bytes(http2.get("/echo", method="POST", body=body).body) == body
        for number, stream in enumerate(late):
            assert http2.get(f"/open?{number}").status == 200
            http2.send(stream, b"end")
            assert int(http2.response(stream).body) == sent[number] + 3


def test_a_file_is_sent_piece_by_piece():
    with serving("apps.streams:wsgi") as server, Http2(server) as http2:
        slow = http2.ask("/file", reads=False)
        http2.pump(lambda: len(slow.body) >= 65_535)
        http2.conn.increment_flow_control_window(2**24)
        http2.conn.increment_flow_control_window(2**24, slow.number)
        http2.flush()
        response = http2.response(slow)
        assert response.ended and len(response.body) == 256 * 16 * 1024


def test_a_request_that_is_answered_before_its_body_is_in_is_told_to_stop():
    with serving("apps.streams:asgi") as server, Http2(server) as http2:
        stream = http2.ask("/", method="POST", end=False)
        http2.pump(lambda: stream.ended)
        assert stream.status == 200
        http2.pump(lambda: stream.reset is not None)
        assert stream.reset == 0
        assert http2.get("/").status == 200
