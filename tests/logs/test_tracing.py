"""Spans of the server's: what a collector is told, whose parents they are, what trouble does to them."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from support.admin import Admin
from support.collector import Collector, Reply, Span
from support.command import one_line, run
from support.server import Server
from support.websocket import open_websocket
from support.wire import Answer

PLAIN = "apps.traced:plain"
WSGI = "apps.traced:application"
ASGI = "apps.traced:asynchronous"
HOSTS = {
    "threads": (WSGI, ()),
    "inline": (WSGI, ("--threads", "1")),
    "greenlets": (WSGI, ("--concurrency", "greenlets")),
    "bridge": (WSGI, ("--concurrency", "asyncio")),
    "asyncio": (ASGI, ("--loop", "asyncio")),
    "uvloop": (ASGI, ("--loop", "uvloop")),
}
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE_AT_A_TIME = ("--threads", "2", "--max-concurrency", "1")
TRUST = ("--trusted-proxies", "127.0.0.1")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
NEW = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>0[01])")


def serve(collector: Collector, app: str = PLAIN, *options: str, **more: Any) -> Server:
    return Server(app, options=["--otlp-endpoint", collector.endpoint, *options], **more)


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200
    said: dict[str, Any] = json.loads(answer.text)
    return said


def spans(server: Server, collector: Collector) -> list[Span]:
    """All of them, once the server has ended and so has sent the last."""
    assert server.stop() == 0
    return collector.wait()


def test_a_span_says_what_the_server_has_seen() -> None:
    with Collector() as collector, serve(collector) as server:
        began_s = time.time()
        with server.connect() as wire:
            wire.ask("GET", "/slow?secret=1", "User-Agent: test/1")
        ended_s = time.time()
        # While it serves.
        span = collector.only()
        pid = server.pid
    assert (span.name, span.kind, span.parent_id, span.flags, span.is_error) == ("GET", 2, "", 0x101, False)
    assert began_s - 0.1 <= span.began_s <= span.began_s + span.took_s <= ended_s + 0.1
    assert span.took_s >= 0.2
    attributes = span.attributes
    queue_us, application_us = attributes.pop("tidegate.queue_us"), attributes.pop("tidegate.application_us")
    assert 0 <= queue_us < 200_000 <= application_us <= span.took_s * 1e6 + 1
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/slow",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "localhost",
        "user_agent.original": "test/1",
    }
    assert span.resource == {"service.name": "tidegate", "process.pid": pid}


@pytest.mark.parametrize("host", HOSTS)
def test_it_is_the_parent_of_the_applications(host: str) -> None:
    app, options = HOSTS[host]
    with Collector() as collector, serve(collector, app, *options, *TRUST) as server:
        with server.connect() as wire:
            new = told(wire.ask("GET", "/"))
            followed = told(wire.ask("GET", "/", f"traceparent: {SAMPLED}", "tracestate: a=1,b=2"))
        first, second = sorted(spans(server, collector), key=lambda span: span.began_s)
    assert (new["trace"], new["parent"], new["recorded"]) == (first.trace_id, first.span_id, True)
    assert first.parent_id == ""
    assert (followed["trace"], followed["parent"], followed["recorded"]) == (TRACE, second.span_id, True)
    assert (second.trace_id, second.parent_id, second.flags) == (TRACE, PARENT, 0x301)
    assert followed["tracestate"] == "a=1,b=2"


def test_only_a_trusted_peer_has_its_trace_followed() -> None:
    with Collector() as collector, serve(collector, WSGI) as server:
        with server.connect() as wire:
            fields = (f"traceparent: {SAMPLED}", "tracestate: a=1")
            said = [told(wire.ask("GET", "/", *fields))]
            said.append(told(wire.ask("GET", "/", f"traceparent: {UNSAMPLED}")))
        found = {span.trace_id: span for span in spans(server, collector)}
    assert len(found) == 2
    for each in said:
        span = found[each["trace"]]
        assert (span.trace_id != TRACE, span.parent_id, each["parent"]) == (True, "", span.span_id)
        assert each["tracestate"] is None


@pytest.mark.parametrize("fields", [("traceparent: nonsense",), (f"traceparent: {SAMPLED}",) * 2])
def test_what_is_no_traceparent_begins_a_new_trace_from_anybody(fields: tuple[str, ...]) -> None:
    with Collector() as collector, serve(collector, WSGI, *TRUST) as server:
        with server.connect() as wire:
            said = told(wire.ask("GET", "/", *fields, "tracestate: a=1"))
        [span] = spans(server, collector)
    found = NEW.fullmatch(said["traceparent"])
    assert found
    assert (found["trace"], found["span"], found["flags"]) == (span.trace_id, span.span_id, "01")
    assert (span.trace_id != TRACE, span.parent_id, said["tracestate"]) == (True, "", None)


def test_what_a_trusted_peer_does_not_record_is_passed_on_as_it_came() -> None:
    with Collector() as collector, serve(collector, WSGI, *TRUST) as server:
        with server.connect() as wire:
            said = told(wire.ask("GET", "/", f"traceparent: {UNSAMPLED}", "tracestate: a=1"))
        assert spans(server, collector) == []
    assert (said["traceparent"], said["tracestate"], said["recorded"]) == (UNSAMPLED, "a=1", False)


def test_what_is_not_in_the_sample_is_not_recorded_by_the_application_either() -> None:
    with Collector() as collector, serve(collector, WSGI, *TRUST, "--otlp-sample", "0") as server:
        with server.connect() as wire:
            new = told(wire.ask("GET", "/"))
            followed = told(wire.ask("GET", "/", f"traceparent: {SAMPLED}"))
        [span] = spans(server, collector)
    found = NEW.fullmatch(new["traceparent"])
    assert found
    assert (found["flags"], new["recorded"]) == ("00", False)
    # Those of others are not the sample's to choose.
    assert (span.trace_id, followed["recorded"]) == (TRACE, True)


def test_a_part_of_the_traces_is_the_sample() -> None:
    with Collector() as collector, serve(collector, PLAIN, "--otlp-sample", "0.5") as server:
        with server.connect() as wire:
            said = [told(wire.ask("GET", "/"))["traceparent"] for _ in range(200)]
        found = {span.trace_id for span in spans(server, collector)}
    assert found == {trace.split("-")[1] for trace in said if trace.endswith("-01")}
    assert 50 < len(found) < 150


def test_without_an_endpoint_nothing_is_replaced() -> None:
    with Server(PLAIN, options=TRUST) as server, server.connect() as wire:
        said = told(wire.ask("GET", "/", f"traceparent: {SAMPLED}"))
        assert said["traceparent"] == SAMPLED
        assert told(wire.ask("GET", "/"))["traceparent"] is None


def test_errors_are_those_of_the_server() -> None:
    with Collector() as collector, serve(collector) as server:
        for path in ("/nowhere", "/fail", "/short"):
            server.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        found = {span.attributes["url.path"]: span for span in spans(server, collector)}
    said = {
        path: (span.is_error, span.attributes["http.response.status_code"], span.attributes.get("error.type"))
        for path, span in found.items()
    }
    assert said == {
        "/nowhere": (False, 404, None),
        "/fail": (True, 500, "500"),
        "/short": (True, 200, "application"),
    }


def test_a_client_that_leaves_is_seen_to_have_left() -> None:
    with Collector() as collector, serve(collector, PLAIN, *ONE_AT_A_TIME) as server:
        with server.connect() as first:
            first.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            with server.connect() as second:
                second.send(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
            first.answer()
        found = {span.attributes["url.path"]: span for span in spans(server, collector)}
    left = found["/left"]
    assert (left.is_error, left.attributes["error.type"]) == (True, "client")
    assert "http.response.status_code" not in left.attributes
    assert "tidegate.application_us" not in left.attributes


def test_a_client_that_leaves_a_stream_is_no_error() -> None:
    with Collector() as collector, serve(collector) as server:
        with server.connect() as wire:
            wire.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.receive_some()
        span = collector.only()
    assert (span.is_error, span.attributes["http.response.status_code"]) == (False, 200)
    assert "error.type" not in span.attributes


@pytest.mark.parametrize(
    ("options", "request_", "status"),
    [
        (["--request-timeout", "100ms", "--threads", "2"], b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 504),
        (["--body-timeout", "100ms"], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhal", 408),
        (["--body-size-max", "1"], CHUNKED + b"5\r\nwhole\r\n0\r\n\r\n", 413),
    ],
)
def test_what_the_server_answers_itself_has_a_span(options: list[str], request_: bytes, status: int) -> None:
    with Collector() as collector, serve(collector, PLAIN, *options) as server:
        with server.connect() as wire:
            wire.send(request_)
            assert wire.answer().status == status
        [span] = spans(server, collector)
    assert span.attributes["http.response.status_code"] == status
    assert span.is_error is (status >= 500)
    assert ("tidegate.application_us" in span.attributes) is (status == 504)


def test_what_is_turned_away_has_a_span_with_the_time_it_has_waited() -> None:
    options = [*ONE_AT_A_TIME, "--queue-timeout", "50ms"]
    with Collector() as collector, serve(collector, PLAIN, *options) as server:
        with server.connect() as first, server.connect() as second:
            first.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            second.send(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
            assert second.answer().status == 503
            assert first.answer().status == 200
        found = {span.attributes["url.path"]: span for span in spans(server, collector)}
    late = found["/late"]
    assert (late.is_error, late.attributes["error.type"]) == (True, "503")
    assert late.attributes["tidegate.queue_us"] >= 50_000
    assert "tidegate.application_us" not in late.attributes


def test_a_method_that_is_not_known_is_named_apart() -> None:
    with Collector() as collector, serve(collector) as server:
        with server.connect() as wire:
            wire.ask("BREW", "/")
            wire.ask("get", "/")
            wire.ask("other", "/")
        found = spans(server, collector)
    assert [span.name for span in found] == ["HTTP"] * 3
    assert {span.attributes["http.request.method"] for span in found} == {"_OTHER"}
    assert {span.attributes["http.request.method_original"] for span in found} == {"BREW", "get", "other"}


def test_whom_a_request_is_for_is_said_as_its_client_says_it() -> None:
    with Collector() as collector, serve(collector) as server:
        for number, host in enumerate((" a.example", " [::1]:81", "")):
            server.raw(f"GET /{number} HTTP/1.1\r\nHost:{host}\r\nConnection: close\r\n\r\n".encode())
        server.raw(b"GET /3 HTTP/1.0\r\n\r\n")
        found = {span.attributes["url.path"]: span.attributes for span in spans(server, collector)}
        own = ("127.0.0.1", server.port)
    said = [(found[f"/{n}"]["server.address"], found[f"/{n}"].get("server.port")) for n in range(4)]
    assert said == [("a.example", None), ("::1", 81), own, own]
    assert found["/3"]["network.protocol.version"] == "1.0"


def test_what_a_client_sends_is_text_whatever_it_is_and_not_all_of_it() -> None:
    path = "/" + "x" * 4000
    with Collector() as collector, serve(collector) as server:
        agent = b'"\\\xff\t<>' + b"y" * 3000
        head = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: ".encode()
        server.raw(head + agent + b"\r\n\r\n")
        [span] = spans(server, collector)
    assert span.attributes["url.path"] == path[:1024]
    assert span.attributes["user_agent.original"] == '"\\\ufffd\t<>' + "y" * 1018


def test_a_unix_socket_has_no_address(tmp_path: Any) -> None:
    with Collector() as collector, serve(collector, WSGI, binds=[f"unix:{tmp_path}/socket"]) as server:
        with server.connect() as wire:
            wire.send(b"GET / HTTP/1.0\r\n\r\n")
            wire.answer()
        [span] = spans(server, collector)
    assert "client.address" not in span.attributes
    assert span.attributes["server.address"] == f"{tmp_path}/socket"


def test_a_websocket_is_a_span_until_it_is_open() -> None:
    with Collector() as collector, serve(collector, ASGI) as server:
        with open_websocket(server, "/live"):
            span = collector.only()
        assert server.stop() == 0
    assert (span.attributes["http.response.status_code"], span.is_error) == (101, False)


def test_who_asks_for_health_is_not_in_the_traces() -> None:
    options = ["--live-path", "/live", "--ready-path", "/ready", "--ready-by", "server"]
    with Collector() as collector, serve(collector, PLAIN, *options) as server:
        with server.connect() as wire:
            for path in ("/live", "/ready", "/"):
                assert wire.ask("GET", path).status == 200
        [span] = spans(server, collector)
    assert span.attributes["url.path"] == "/"


def test_ids_of_requests_and_the_access_log_go_with_it() -> None:
    line = "%(trace_id)s %(span_id)s %(request_id)s"
    options = ["--request-id", "--access-log", "-", "--access-log-format", line]
    with Collector() as collector, serve(collector, WSGI, *TRUST, *options) as server:
        with server.connect() as wire:
            # Each of them may change the places of the others.
            fields = (f"traceparent: {SAMPLED}", "tracestate: a=1", "X-Request-ID: one", "traceparen: t")
            answers = [wire.ask("GET", "/", *fields), wire.ask("GET", "/", *fields[::-1])]
            answers.append(wire.ask("GET", "/", "traceparent: x", "tracestate: y", "X-Request-ID: one"))
        found = spans(server, collector)
        lines = server.output.splitlines()
    assert {answer.headers["X-Request-ID"] for answer in answers} == {"one"}
    assert sorted(lines) == sorted(f"{span.trace_id} {span.span_id} one" for span in found)


def test_each_worker_tells_of_its_own(tmp_path: Any) -> None:
    options = ["--workers", "2", "--otlp-service-name", "shop", "--control-socket", str(tmp_path / "control")]
    with Collector() as collector, serve(collector, PLAIN, *options, supervised=True) as server:
        for _ in range(20):
            with server.connect() as wire:
                wire.ask("GET", "/")
        supervisor = server.pid
        found = spans(server, collector)
    assert len({span.span_id for span in found}) == 20
    assert {span.resource["service.name"] for span in found} == {"shop"}
    assert supervisor not in {span.resource["process.pid"] for span in found}


def test_a_service_is_called_what_its_sdk_calls_it_unless_the_server_is_told() -> None:
    for options, expected in (((), "of-the-sdk"), (("--otlp-service-name", "shop"), "shop")):
        with Collector() as collector:
            with serve(collector, PLAIN, *options, env={"OTEL_SERVICE_NAME": "of-the-sdk"}) as server:
                with server.connect() as wire:
                    wire.ask("GET", "/")
                [span] = spans(server, collector)
            assert span.resource["service.name"] == expected


def test_many_spans_go_in_batches() -> None:
    with Collector() as collector, serve(collector) as server:
        with server.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
            for _ in range(2000):
                wire.answer()
        found = spans(server, collector)
    assert len({span.span_id for span in found}) == 2000
    assert collector.requests <= 12


# Trouble.


def dropped_and_sent(server: Server, sum_: int) -> tuple[float, float]:
    """What metrics say, once all are told of."""

    def counted(admin: Admin) -> tuple[float, float] | None:
        scrape = admin.scrape()
        names = ("tidegate_spans_dropped_total", "tidegate_spans_sent_total")
        dropped, sent = (scrape.value(name) for name in names)
        return (dropped, sent) if dropped + sent == sum_ else None

    return Admin(server).wait_for(counted)


ADMIN = ("--admin", "127.0.0.1:0")


def test_a_collector_that_comes_late_is_told_of_what_was_before_it() -> None:
    with Collector(listens=False) as collector, serve(collector, PLAIN, *ADMIN) as server:
        with server.connect() as wire:
            wire.ask("GET", "/")
        server.wait_for_log(rf"spans cannot be sent to {collector.endpoint}/v1/traces: Connection refused")
        collector.listen()
        assert collector.only().name == "GET"
        assert dropped_and_sent(server, 1) == (0, 1)
        assert server.stop() == 0
        assert "were dropped" not in server.log


def test_what_no_collector_takes_in_ten_seconds_is_dropped_and_counted_and_said_once() -> None:
    with Collector(listens=False) as collector, serve(collector, PLAIN, *ADMIN) as server:
        with server.connect() as wire:
            began_s = time.monotonic()
            for _ in range(3):
                wire.ask("GET", "/")
            assert dropped_and_sent(server, 3) == (3, 0)
            assert 8 <= time.monotonic() - began_s < 25
            wire.ask("GET", "/")
            # By now there is no second attempt.
            assert dropped_and_sent(server, 4) == (4, 0)
            collector.listen()
            wire.ask("GET", "/last")
            assert collector.only().attributes["url.path"] == "/last"
            server.wait_for_log("spans that were dropped: 4\n")
        assert server.stop() == 0
        assert server.log.count("spans cannot be sent") == 1
        assert server.log.count("were dropped") == 1


@pytest.mark.parametrize("status", [400, 404, 500, 302])
def test_what_a_collector_refuses_is_not_sent_again(status: int) -> None:
    replies = [Reply(status, headers={"Location": "/elsewhere"})] * 2
    with Collector(*replies) as collector, serve(collector, PLAIN, *ADMIN) as server:
        with server.connect() as wire:
            for count in (1, 2):
                wire.ask("GET", "/")
                assert dropped_and_sent(server, count) == (count, 0)
            wire.ask("GET", "/")
            assert dropped_and_sent(server, 3) == (2, 1)
        assert server.stop() == 0
        assert collector.requests == 3
        assert server.log.count(f"/v1/traces: it answers {status} ") == 1
        assert server.log.count("spans that were dropped: 2\n") == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_collector_puts_off_is_sent_again(status: int) -> None:
    replies = [Reply(status, headers={"Retry-After": after}) for after in ("0", "1", "soon")]
    with Collector(*replies) as collector, serve(collector, PLAIN, *ADMIN) as server:
        with server.connect() as wire:
            wire.ask("GET", "/")
        assert collector.only().name == "GET"
        assert dropped_and_sent(server, 1) == (0, 1)
        assert server.stop() == 0
    assert collector.requests == 4
    assert server.log.count("spans cannot be sent") == 1


@pytest.mark.parametrize(
    ("after", "expected"),
    # A number beyond all numbers is none.
    [("3600", (1, 0)), (str(2**64 - 1), (1, 0)), (str(2**64), (0, 1))],
)
def test_nobody_is_waited_for_longer_than_spans_are_kept(after: str, expected: tuple[int, int]) -> None:
    reply = Reply(503, headers={"Retry-After": after})
    with Collector(reply) as collector, serve(collector, PLAIN, *ADMIN) as server:
        with server.connect() as wire:
            wire.ask("GET", "/")
        assert dropped_and_sent(server, 1) == expected
        assert server.stop() == 0


def test_what_a_collector_takes_in_part_is_counted_in_part() -> None:
    partial = {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "two\ntoo many"}}
    reply = Reply(body=json.dumps(partial))
    with Collector(reply) as collector, serve(collector, PLAIN, *ADMIN) as server:
        with server.connect() as wire:
            for _ in range(3):
                wire.ask("GET", "/")
        assert dropped_and_sent(server, 3) == (2, 1)
        assert server.stop() == 0
        assert collector.requests == 1
        assert r'it takes not all of them: "two\ntoo many"' in server.log
        assert "spans that were dropped: 2\n" in server.log


def test_a_slow_collector_keeps_neither_requests_nor_the_end_waiting() -> None:
    with Collector() as collector, serve(collector) as server:
        collector.answers.clear()
        with server.connect() as wire:
            wire.ask("GET", "/")
            collector.wait(requests=1)
            began_s = time.monotonic()
            for _ in range(200):
                assert wire.ask("GET", "/").status == 200
            assert time.monotonic() - began_s < 5
        began_s = time.monotonic()
        assert server.stop() == 0
        assert 1.5 < time.monotonic() - began_s < 10
        assert "the last spans are lost: the collector does not take them" in server.log


def test_when_too_many_wait_the_rest_is_dropped_and_counted() -> None:
    with Collector() as collector, serve(collector, PLAIN, *ADMIN) as server:
        collector.answers.clear()
        with server.connect() as wire:
            wire.ask("GET", "/")
            collector.wait(requests=1)
            for _ in range(10):
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
                for _ in range(1000):
                    wire.answer()
        assert Admin(server).scrape().value("tidegate_spans_dropped_total") >= 10_000 - 8192 - 512
        collector.answers.set()
        server.wait_for_log("spans that were dropped: ")
        assert server.stop() == 0


def test_the_last_spans_are_sent_at_the_end() -> None:
    with Collector() as collector, serve(collector) as server:
        with server.connect() as wire:
            wire.ask("GET", "/")
        began_s = time.monotonic()
        assert server.stop() == 0
        assert len(collector.wait()) == 1
        assert time.monotonic() - began_s < 10


# Settings.


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("--otlp-endpoint", "https://localhost:4318", "only http is spoken"),
        ("--otlp-endpoint", "localhost:4318", "it does not begin with http://; accepted: http://HOST"),
        ("--otlp-endpoint", "http://localhost:x", "the port must be a number"),
        ("--otlp-endpoint", "http://a:b@localhost", "it has more than a host"),
        ("--otlp-sample", "2", "out of range; accepted: 0 to 1"),
        ("--otlp-sample", "half", "not a number; accepted: 0 to 1"),
        ("--otlp-service-name", "", "the text is empty"),
        ("--request-id-header", "traceparent", "that field means something else"),
    ],
)
def test_bad_settings_are_refused_in_a_line(option: str, value: str, fault: str) -> None:
    line = one_line(run(option, value, PLAIN))
    assert option in line
    assert fault in line


def test_spans_are_made_of_what_is_observed() -> None:
    line = one_line(run("--otlp-endpoint", "http://localhost:4318", "--observe", "off", PLAIN))
    assert "not with otlp-endpoint" in line


def test_the_settings_are_checked_and_shown() -> None:
    options = ["--otlp-endpoint", "http://localhost:4318/v1/traces", "--otlp-sample", "0.1"]
    checked = run("config", "check", *options, PLAIN)
    assert (checked.returncode, checked.stderr) == (0, "")
    shown = run("config", "show", *options, PLAIN)
    assert 'otlp-endpoint = "http://localhost:4318"' in shown.stdout
    assert "otlp-sample = 0.1" in shown.stdout
