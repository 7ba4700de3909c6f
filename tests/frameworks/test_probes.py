"""Every probing application: as it is, behind wsgiref's validator, and behind werkzeug's."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading

import pytest

from apps import probes
from support.server import Server

WRAPPINGS = ["plain", "validated", "linted"]
HELLO = b"Hello, world!"
LINES = b"first\nsecond, longer\n\nlast without end"
words = (f"word-{number}" for number in itertools.count())


def serve(wrapping):
    # werkzeug's validator takes any arguments, to complain of all but two: it does not tell what it is.
    return Server(f"apps.probes:{wrapping}", options=["--interface", "wsgi"])


@pytest.fixture(scope="module", params=WRAPPINGS)
def server(request):
    with serve(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def plain():
    with Server("apps.probes:plain") as server:
        yield server


@pytest.fixture
def quiet(server):
    """The test leaves no complaint in the log."""
    since = len(server.log)
    yield
    assert complaints(server, since) == []


def complaints(server, since):
    # What a test has caused stands in the log before what is said after it.
    word = next(words)
    with server.connect() as wire:
        assert wire.ask("GET", f"/say?word={word}").status == 200
    server.wait_for_log(f"probe: said {word}\n", since=since)
    return server.complaints(since)


def ask(server, method, path, *fields, body=b""):
    with server.connect() as wire:
        return wire.ask(method, path, *fields, body=body)


BODIES = {
    "hello": (200, HELLO),
    "with_length": (200, HELLO),
    "empty": (200, b""),
    "generator": (200, b"".join(b"%d\n" % number for number in range(100))),
    "empty_blocks": (200, HELLO),
    "late": (404, b"Nobody is here."),
    "write": (200, b"written, written again, returned"),
    "only_write": (200, b"written"),
    "large?size=1048576": (200, b"\xa5" * 1048576),
    "no_content": (204, b""),
    "not_modified": (304, b""),
    "repeated_fields": (299, b"two cookies"),
    "real_file": (200, probes.TIDES),
    "real_file_without_length": (200, probes.TIDES),
    "file_from_the_middle": (200, probes.TIDES[1000:]),
    "memory_file": (200, probes.TIDES),
    "wrapped_not_returned": (200, b"%d" % len(probes.TIDES)),
    "closing": (200, b"0\n1\n2\n"),
    "replaced": (503, b"an error page"),
    "replaced_after_an_empty_block": (503, b"an error page"),
    "context": (200, b"none, this one, True"),
    "errors": (200, b"written"),
    "nothing/here": (404, b"no such probe"),
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", BODIES)
def test_a_probe_answers_as_it_should(server, path):
    status, body = BODIES[path]
    answer = ask(server, "GET", f"/{path}")
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", BODIES)
def test_head_gives_the_head_alone_and_keeps_the_connection(server, path):
    with server.connect() as wire:
        assert wire.ask("HEAD", f"/{path}").status == BODIES[path][0]
        assert wire.ask("GET", "/hello").body == HELLO


@pytest.mark.usefixtures("quiet")
def test_all_probes_answer_in_turn_on_one_connection(server):
    with server.connect() as wire:
        for path, (status, body) in BODIES.items():
            answer = wire.ask("GET", f"/{path}")
            assert (path, answer.status, answer.body) == (path, status, body)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "path", ["hello", "generator", "large?size=100000", "write", "real_file_without_length"]
)
def test_an_http_1_0_client_gets_no_chunks(server, path):
    received = server.raw(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == BODIES.get(path, (200, b"\xa5" * 100000))[1]


@pytest.mark.usefixtures("quiet")
def test_a_single_block_is_given_its_length(server):
    answer = ask(server, "GET", "/hello")
    # Behind a wrapper the iterable has no length any more, so the server cannot know.
    if server.app.endswith(":plain"):
        assert answer.headers["Content-Length"] == "13"
    else:
        assert answer.headers["Content-Length"] == "13" or answer.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.usefixtures("quiet")
def test_responses_without_content_carry_no_framing(server):
    for path in ("no_content", "not_modified"):
        answer = ask(server, "GET", f"/{path}")
        assert "Transfer-Encoding" not in answer.headers
        if path == "no_content":
            assert "Content-Length" not in answer.headers
        else:
            assert answer.headers["ETag"] == '"high-water"'


@pytest.mark.usefixtures("quiet")
def test_fields_arrive_repeated_in_order_and_byte_for_byte(server):
    answer = ask(server, "GET", "/repeated_fields")
    assert answer.reason == "Unusual But Fine"
    assert answer.headers.get_all("Set-Cookie") == ["moon=full; Path=/", "sun=down; Path=/"]
    raw = server.raw(b"GET /repeated_fields HTTP/1.0\r\n\r\n")
    assert b"X-Latin: \xe9t\xe9\r\n" in raw


@pytest.mark.usefixtures("quiet")
def test_exc_info_replaces_status_and_fields(server):
    for path in ("replaced", "replaced_after_an_empty_block"):
        answer = ask(server, "GET", f"/{path}")
        assert answer.headers["X-Error"] == "yes"
        assert "X-Kept" not in answer.headers


@pytest.mark.usefixtures("quiet")
def test_the_environment_describes_the_request(server):
    fields = ["X-One: 1", "X-One: 2", "Cookie: a=1", "Content-Type: text/x-tide"]
    answer = ask(server, "POST", "/environment?a=%20b&c", *fields, body=b"12345")
    seen = json.loads(answer.body)
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environment",
        "QUERY_STRING": "a=%20b&c",
        "CONTENT_TYPE": "text/x-tide",
        "CONTENT_LENGTH": "5",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_COOKIE": "a=1",
        "wsgi.url_scheme": "http",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PORT": str(server.port),
    }
    assert {name: seen[name] for name in expected} == expected
    assert seen["HTTP_X_ONE"].replace(" ", "") == "1,2"
    assert seen["SERVER_NAME"]
    assert seen["types"] == ["str"]
    assert seen["flags"]["wsgi.version"] == [1, 0]


@pytest.mark.usefixtures("quiet")
def test_each_request_has_an_environment_and_a_context_of_its_own(server):
    with server.connect() as wire:
        for _ in range(3):
            assert json.loads(wire.ask("GET", "/environment").body)["stale"] is False
            assert wire.ask("GET", "/context").text == "none, this one, True"


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["read_length", "read_minus_one", "echo"])
@pytest.mark.parametrize("size", [0, 1, 13, 70_000, 1_000_000])
def test_a_body_is_read_whole(server, path, size):
    body = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    request = f"POST /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + body
    with contextlib.ExitStack() as wires:
        wire = wires.enter_context(server.connect())
        for _ in range(2):
            # Sending goes on beside reading: an answer may come while the body is still on its way.
            sender = threading.Thread(target=wire.send, args=(request,))
            sender.start()
            answer = wire.answer("POST")
            sender.join()
            assert answer.body == body
            # A response that began before the body was in may end the connection (RFC 9112 9.3).
            if answer.headers["Connection"] == "close":
                wire = wires.enter_context(server.connect())


@pytest.mark.usefixtures("quiet")
def test_the_end_of_a_body_lasts(server):
    with server.connect() as wire:
        assert wire.ask("POST", "/read_blocks", body=LINES).body == LINES + b"[end]"
        assert wire.ask("GET", "/read_blocks").body == b"[end]"


@pytest.mark.usefixtures("quiet")
def test_a_body_is_iterated_by_lines(server):
    answer = ask(server, "POST", "/iterate_lines", body=LINES)
    assert "".join(json.loads(answer.body)).encode() == LINES
    assert len(json.loads(answer.body)) == 4


@pytest.mark.parametrize(
    ("path", "count"), [("read_line", 4), ("read_lines", 4), ("read_lines_hint", 4), ("read_line_size", 11)]
)
def test_lines_are_read_in_every_standard_way(plain, path, count):
    lines = json.loads(ask(plain, "POST", f"/{path}", body=LINES).body)
    assert "".join(lines).encode() == LINES
    assert len(lines) == count


def test_read_without_a_size_reads_all(plain):
    with plain.connect() as wire:
        assert wire.ask("POST", "/read_all", body=LINES).body == LINES
        assert wire.ask("GET", "/read_all").body == b""


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["read_minus_one", "echo", "read_blocks"])
def test_a_chunked_body_is_read_whole(server, path):
    chunks = [b"one", b"", b"two" * 1000, b"three"]
    connection = server.http()
    connection.request("POST", f"/{path}", body=iter(chunks), encode_chunked=True)
    expected = b"".join(chunks) + (b"[end]" if path == "read_blocks" else b"")
    assert connection.getresponse().read() == expected
    connection.request("GET", "/hello")
    assert connection.getresponse().read() == HELLO
    connection.close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_a_body_left_unread_does_not_spoil_the_connection(server, size):
    connection = server.http()
    for _ in range(3):
        connection.request("POST", "/ignore_body", body=b"z" * size)
        assert connection.getresponse().read() == b"not read"
        connection.request("GET", "/hello")
        assert connection.getresponse().read() == HELLO
    connection.close()


@pytest.mark.usefixtures("quiet")
def test_pipelined_requests_are_answered_in_order(server):
    with server.connect() as wire:
        request = "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n"
        paths = ["generator", "hello", "late", "real_file", "write"]
        wire.send("".join(request.format(path) for path in paths).encode())
        assert [wire.answer().body for _ in paths] == [BODIES[path][1] for path in paths]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_iterable_is_closed_once_on_the_thread_that_called(server, method):
    since = len(server.log)
    name = next(words)
    ask(server, method, f"/closing?name={name}")
    assert complaints(server, since) == []
    assert server.log.count(f"probe: closed {name} on the same thread", since) == 1


@pytest.mark.usefixtures("quiet")
def test_the_iterable_is_closed_once_when_the_client_leaves(server):
    since = len(server.log)
    name = next(words)
    with server.connect() as wire:
        wire.send(f"GET /endless?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wire.receive(10_000)
        wire.reset()
    server.wait_for_log(f"probe: closed {name} on the same thread", since=since)
    assert complaints(server, since) == []
    assert server.log.count(f"probe: closed {name} ", since) == 1


@pytest.mark.parametrize("path", ["raises_at_first_block", "raises_in_the_middle"])
def test_the_iterable_is_closed_once_when_it_fails(server, path):
    since = len(server.log)
    name = next(words)
    server.raw(f"GET /{path}?name={name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    complaints(server, since)
    assert server.log.count(f"probe: closed {name} on the same thread", since) == 1
    assert "probe: failed in iteration" in server.log[since:]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_wrapped_file_is_closed_once(server, method):
    # werkzeug's middleware puts a wrapper of its own in place of the server's.
    for path in ("memory_file", "wrapped_not_returned"):
        since = len(server.log)
        ask(server, method, f"/{path}")
        assert complaints(server, since) == []
        assert server.log.count("probe: file closed", since) == 1


@pytest.mark.usefixtures("quiet")
def test_the_error_stream_takes_any_text(server):
    since = len(server.log)
    assert ask(server, "GET", "/errors").body == b"written"
    assert complaints(server, since) == []
    for text in ("probe: Gezeiten \N{WATER WAVE}", "probe: one\nprobe: two\n", "probe: lone "):
        assert text in server.log[since:]


FAILURES = [
    "raises",
    "raises_after_start",
    "raises_at_first_block",
    "starts_twice",
    "never_starts",
    "exits",
    "interrupts",
    "returns_none",
    "returns_str",
    "yields_str",
    "splits_the_response",
]
# In these the failure stands in the application's own code, which the traceback must show.
RAISING = ["raises", "raises_after_start", "starts_twice", "exits", "interrupts", "splits_the_response"]


@pytest.mark.parametrize("path", FAILURES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_failure_before_the_first_byte_gives_a_500_and_a_traceback(plain, path, method):
    since = len(plain.log)
    answer = ask(plain, method, f"/{path}", "Connection: close")
    assert answer.status == 500
    assert "Set-Cookie" not in answer.headers
    assert b"probe" not in answer.body
    complaints(plain, since)
    culprit = {"interrupts": "KeyboardInterrupt", "exits": "SystemExit"}.get(path, "Error: ")
    assert culprit in plain.log[since:]
    if path in RAISING:
        assert "Traceback (most recent call last)" in plain.log[since:]
        assert f"in {path}\n" in plain.log[since:]
    assert ask(plain, "GET", "/hello").body == HELLO


@pytest.mark.parametrize("path", FAILURES)
def test_a_failure_behind_a_validator_gives_a_500(server, path):
    # These two wrappers let some offences pass; what they let pass is the server's to find.
    assert ask(server, "GET", f"/{path}").status == 500
    assert ask(server, "GET", "/hello").body == HELLO


@pytest.mark.parametrize("path", ["raises_in_the_middle", "too_late_to_replace", "too_few_bytes"])
def test_a_failure_after_the_first_byte_cuts_the_connection_short(server, path):
    with server.connect() as wire:
        wire.send(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        with pytest.raises((http.client.IncompleteRead, http.client.BadStatusLine, ConnectionResetError)):
            wire.answer()
            wire.answer()
    assert ask(server, "GET", "/hello").body == HELLO


def test_more_bytes_than_announced_are_not_sent(plain):
    with plain.connect() as wire:
        wire.send(b"GET /too_many_bytes HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.answer().body == b"right"
        # Closed or kept, what follows on the connection is no part of the application's surplus.
        wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        try:
            rest = wire.rest()
        except ConnectionResetError:
            rest = b""
        assert rest == b"" or rest.endswith(HELLO)


def test_the_server_ends_with_status_zero_and_a_quiet_log():
    for wrapping in WRAPPINGS:
        with serve(wrapping) as server:
            assert ask(server, "GET", "/hello").body == HELLO
            assert server.stop() == 0
            assert server.complaints() == []
