"""How requests, and what carries them, come to their ends."""

from __future__ import annotations

import signal
import threading

import pytest
from h2.errors import ErrorCodes

from support.http2 import Http2, serving


def test_an_application_that_fails_resets_its_own_stream_alone():
    with serving("apps.streams:wsgi") as server, Http2(server) as http2:
        failed = http2.ask("/fails")
        other = http2.ask("/")
        http2.pump(lambda: failed.over)
        assert (failed.status, failed.reset) == (200, ErrorCodes.INTERNAL_ERROR)
        assert http2.response(other).status == 200
        server.wait_for_log("in the middle of a response")


def test_a_response_that_is_short_of_its_length_is_reset():
    with serving("apps.streams:wsgi") as server, Http2(server) as http2:
        short = http2.ask("/short")
        http2.pump(lambda: short.over)
        assert short.reset == ErrorCodes.INTERNAL_ERROR
        assert http2.get("/").status == 200


def test_a_client_that_resets_a_stream_has_left():
    with serving("apps.streams:asgi") as server, Http2(server) as http2:
        stream = http2.ask("/leaves?gone")
        http2.settle()
        http2.conn.reset_stream(stream.number, ErrorCodes.CANCEL)
        http2.flush()
        assert http2.get("/waits?gone").status == 200


def test_a_connection_that_is_lost_takes_its_requests_along():
    with serving("apps.streams:asgi") as server, Http2(server) as other:
        with Http2(server) as http2:
            for number in range(10):
                http2.ask(f"/leaves?{number}")
            http2.settle()
        for number in range(10):
            assert other.get(f"/waits?{number}").status == 200


def test_a_request_that_takes_too_long_is_answered_and_others_live():
    with serving("apps.streams:wsgi", "--request-timeout", "500ms") as server, Http2(server) as http2:
        slow = http2.ask("/waits?never")
        upload = http2.ask("/echo", method="POST", end=False)
        assert http2.get("/").status == 200
        assert http2.response(slow).status == 504
        assert http2.response(upload).status == 408
        assert http2.get("/").status == 200


def test_requests_that_are_too_many_are_turned_away_one_by_one():
    options = ("--max-concurrency", "1", "--queue-size", "2")
    with serving("apps.streams:asgi", *options) as server, Http2(server) as http2:
        first = http2.ask("/leaves?it")
        http2.settle()
        streams = [http2.ask("/") for _ in range(5)]
        http2.pump(lambda: sum(stream.over for stream in streams) == 3)
        turned_away = [stream for stream in streams if stream.over]
        assert [stream.status for stream in turned_away] == [503] * 3
        assert all(stream.get("retry-after") for stream in turned_away)
        http2.conn.reset_stream(first.number)
        http2.flush()
        http2.pump(lambda: all(stream.over for stream in streams))
        assert sorted(stream.status for stream in streams) == [200, 200, 503, 503, 503]


def test_a_limit_of_a_path_holds_for_streams():
    with (
        serving("apps.streams:asgi", "--limits", "/waits max-concurrency=1 queue-size=0") as server,
        Http2(server) as http2,
    ):
        first = http2.ask("/waits?a")
        http2.settle()
        assert http2.get("/waits?b").status in (429, 503)
        assert http2.get("/open?a").status == 200
        assert http2.response(first).status == 200


def test_an_idle_connection_is_ended_with_a_word():
    with serving("apps.streams:wsgi", "--keep-alive-timeout", "1s") as server, Http2(server) as http2:
        assert http2.get("/").status == 200
        last = http2.end()
        assert (last.error_code, last.last_stream_id) == (ErrorCodes.NO_ERROR, 1)


def test_a_server_that_drains_finishes_what_has_begun():
    with serving("apps.streams:asgi") as server, Http2(server) as http2, Http2(server) as idle:
        slow = http2.ask("/echo", method="POST", end=False)
        idle.settle()
        http2.settle()
        server.signal(signal.SIGTERM)
        http2.pump(lambda: http2.goaway is not None)
        assert http2.goaway.error_code == ErrorCodes.NO_ERROR
        assert idle.end() is not None
        http2.send(slow, b"finished")
        assert bytes(http2.response(slow).body) == b"finished"
        assert http2.end().last_stream_id == slow.number
        assert server.wait() == 0


def test_health_is_answered_by_the_server():
    with serving("apps.streams:wsgi", "--live-path", "/live") as server, Http2(server) as http2:
        response = http2.get("/live")
        assert (response.status, bytes(response.body)) == (200, b"ok\n")


def test_requests_are_logged_with_their_protocol():
    with serving("apps.streams:wsgi", "--access-log", "-") as server, Http2(server) as http2:
        assert http2.get("/logged").status == 200
        server.wait_until(lambda: '"GET /logged HTTP/2" 200 13' in server.output or None)


def test_trailers_follow_the_body():
    with serving("apps.streams:asgi") as server, Http2(server) as http2:
        response = http2.get("/trailers", fields=[("te", "trailers")])
        assert bytes(response.body) == b"Hello, world!"
        assert response.trailers == [("x-after", "all")]


def test_trailers_of_a_request_are_taken_for_its_end():
    with serving("apps.streams:wsgi") as server, Http2(server) as http2:
        stream = http2.ask("/echo", method="POST", end=False)
        http2.send(stream, b"body", end=False)
        http2.conn.send_headers(stream.number, [("x-after", "all")], end_stream=True)
        http2.flush()
        assert bytes(http2.response(stream).body) == b"body"


def test_early_hints_come_before_the_response():
    with serving("apps.streams:asgi") as server, Http2(server) as http2:
        response = http2.get("/hints")
        assert (response.interim, response.status) == ([103], 200)


@pytest.mark.parametrize("app", ["apps.streams:wsgi", "apps.streams:asgi"])
def test_no_request_is_lost_when_workers_are_replaced(app):
    with serving(app, "--workers", "2", supervised=True) as server:
        outcomes, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                with Http2(server) as http2:
                    while not stop.is_set() and http2.goaway is None and not http2.closed:
                        streams = [http2.ask("/") for _ in range(5)]
                        http2.pump(lambda streams=streams: all(s.over for s in streams) or http2.closed)
                        last = http2.goaway.last_stream_id if http2.goaway else 2**31
                        outcomes.extend(s.status for s in streams if s.number <= last or s.over)

        clients = [threading.Thread(target=client) for _ in range(4)]
        for thread in clients:
            thread.start()
        for _ in range(3):
            since = len(server.log)
            seen = len(outcomes)
            server.signal(signal.SIGHUP)
            server.wait_for_log("reloaded|worker", since=since)
            server.wait_until(lambda seen=seen: len(outcomes) > seen + 500 or None)
        stop.set()
        for thread in clients:
            thread.join(30)
        assert set(outcomes) == {200}
