"""Ids of requests, what front servers say of them, and traces: who is believed, and where it is found."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from support.command import one_line, run
from support.server import Address, Server
from support.websocket import open_websocket
from support.wire import Answer, Wire

WSGI = "apps.identified:application"
ASGI = "apps.identified:asynchronous"
TRUST = ("--trusted-proxies", "127.0.0.1")
HOSTS = {
    "threads": (WSGI, ()),
    "inline": (WSGI, ("--threads", "1")),
    "greenlets": (WSGI, ("--concurrency", "greenlets")),
    "bridge": (WSGI, ("--concurrency", "asyncio")),
    "asyncio": (ASGI, ("--loop", "asyncio")),
    "uvloop": (ASGI, ("--loop", "uvloop")),
}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> tuple[str, tuple[str, ...]]:
    return HOSTS[request.param]


def field(answer: Answer, name: str) -> list[str]:
    return list(answer.headers.get_all(name, []))


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200
    said: dict[str, Any] = json.loads(answer.text)
    return said


def test_without_the_setting_nothing_is_added_and_nothing_taken_away() -> None:
    for app in (WSGI, ASGI):
        with Server(app, options=TRUST) as server, server.connect() as wire:
            answer = wire.ask("GET", "/", "X-Request-ID: a client's")
            said = told(answer)
            assert (said["field"], said["id"], said["context"]) == ("a client's", None, None)
            assert field(answer, "X-Request-ID") == []


def test_each_request_has_an_id_everywhere_it_is_looked_for(
    host: tuple[str, tuple[str, ...]], tmp_path: Path
) -> None:
    app, options = host
    log = tmp_path / "log"
    options = (*options, "--request-id", "--access-log", str(log), "--access-log-format", "json")
    ids = []
    with Server(app, options=options) as server:
        with server.connect() as wire:
            for _ in range(60):
                answer = wire.ask("GET", "/")
                said = told(answer)
                assert said["field"] == said["id"] == said["context"]
                assert field(answer, "X-Request-ID") == [said["id"]]
                assert uuid.UUID(said["id"]).version == 7
                server.wait_for_log(f"site {said['id']}: at /")
                ids.append(said["id"])
        assert server.stop() == 0
    assert len(set(ids)) == 60
    # By time: in each millisecond they are in any order.
    assert [id[:13] for id in ids] == sorted(id[:13] for id in ids)
    assert [json.loads(line)["request_id"] for line in log.read_text().splitlines()] == ids


def test_requests_at_once_keep_their_ids_apart(host: tuple[str, tuple[str, ...]]) -> None:
    app, options = host
    with Server(app, options=[*options, *TRUST, "--request-id"]) as server:
        wrong = []

        def ask(number: int) -> None:
            with server.connect() as wire:
                for turn in range(5):
                    id = f"client-{number}-{turn}"
                    said = told(wire.ask("GET", "/slow", f"X-Request-ID: {id}"))
                    if {said["field"], said["id"], said["context"]} != {id}:
                        wrong.append(said)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_only_a_trusted_peer_chooses_an_id_and_only_a_good_one() -> None:
    good = [
        "a",
        "0123456789abcdef0123456789abcdef",
        "Root=1-67891233-abcdef012345678912345678;Self=1",
        "x" * 128,
    ]
    bad = ["", "a b", "a,b", '"a"', "x" * 129, "<a>", "\xe9", "a\tb", "%0a"]
    for app in (WSGI, ASGI):
        with Server(app, options=[*TRUST, "--request-id"]) as server, server.connect() as wire:
            for id in good:
                answer = wire.ask("GET", "/", f"x-request-id: {id}")
                assert told(answer)["id"] == told(answer)["field"] == id
                assert field(answer, "X-Request-ID") == [id]
            for id in bad:
                answer = wire.ask("GET", "/", f"X-Request-ID: {id}")
                assert uuid.UUID(told(answer)["id"]).version == 7
                assert told(answer)["field"] == told(answer)["id"]
            said = told(wire.ask("GET", "/", "X-Request-ID: one", "X-Request-ID: two"))
            assert uuid.UUID(said["id"]).version == 7
            assert said["field"] == said["id"]
        # Others than the one that asks are trusted, or nobody.
        for options in ([], ["--trusted-proxies", "10.0.0.0/8,unix,::1"]):
            env = {"TIDEGATE_TRUSTED_PROXIES": options[1]} if options else {}
            with Server(app, options=["--request-id"], env=env) as server, server.connect() as wire:
                answer = wire.ask("GET", "/", "X-Request-ID: mine", f"X-Request-Start: t={time.time():.3f}")
                said = told(answer)
                assert uuid.UUID(said["id"]).version == 7
                assert said["field"] == said["id"]
                assert said["waited_us"] is None


@pytest.mark.parametrize("trust", [(), TRUST], ids=["nobody", "the peer"])
def test_a_name_that_cgi_cannot_tell_from_the_header_is_no_way_around(trust: tuple[str, ...]) -> None:
    options = ["--request-id", "--underscore-names", "keep", *trust]
    with Server(WSGI, options=options) as server, server.connect() as wire:
        for fields in (
            ["X_Request_ID: mine", "X-Request_ID: mine"],
            ["X_Request_ID: mine"],
            ["X-Request-ID: proxys", "X_Request_ID: mine"],
        ):
            answer = wire.ask("GET", "/", *fields)
            said = told(answer)
            assert said["field"] == said["id"]
            assert uuid.UUID(said["id"]).version == 7
            assert field(answer, "X-Request-ID") == [said["id"]]


def test_unix_sockets_and_networks_are_trusted_where_the_settings_say_so(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    options = ["--request-id", "--trusted-proxies", "unix"]
    with Server(WSGI, binds=[f"unix:{path}", "127.0.0.1:0"], options=options) as server:
        with server.connect(0) as wire:
            assert told(wire.ask("GET", "/", "X-Request-ID: mine"))["id"] == "mine"
        with server.connect(1) as wire:
            assert told(wire.ask("GET", "/", "X-Request-ID: mine"))["id"] != "mine"
    options = ["--request-id", "--trusted-proxies", "10.0.0.1", "--trusted-proxies", "127.0.0.0/8"]
    # Over an IPv6 socket, a peer with an IPv4 address has that.
    for bind in ("127.0.0.1:0", "[::]:0"):
        with (
            Server(WSGI, binds=[bind], options=options) as server,
            Wire(Address("127.0.0.1", server.port).connect(10)) as wire,
        ):
            assert told(wire.ask("GET", "/", "X-Request-ID: mine"))["id"] == "mine"


def test_the_header_can_have_another_name() -> None:
    options = [*TRUST, "--request-id", "--request-id-header", "X-Correlation-ID"]
    with Server(WSGI, options=options) as server:
        answer = requests.get(
            server.url(), headers={"X-Correlation-ID": "mine", "X-Request-ID": "other"}, timeout=10
        )
        assert answer.headers["X-Correlation-ID"] == "mine"
        assert "X-Request-ID" not in answer.headers
        assert (answer.json()["id"], answer.json()["field"]) == ("mine", "other")


def test_what_the_application_says_of_the_id_stands() -> None:
    for app in (WSGI, ASGI):
        with Server(app, options=["--request-id"]) as server, server.connect() as wire:
            assert field(wire.ask("GET", "/own"), "X-Request-ID") == ["the application's"]


def test_the_log_of_a_failure_and_its_answer_name_the_request(host: tuple[str, tuple[str, ...]]) -> None:
    app, options = host
    with Server(app, options=[*options, *TRUST, "--request-id"]) as server, server.connect() as wire:
        answer = wire.ask("GET", "/fail", "X-Request-ID: abc-1")
        assert answer.status == 500
        assert field(answer, "X-Request-ID") == ["abc-1"]
        server.wait_for_log(
            r'(?m)^tidegate\.error abc-1: the application failed on GET "/fail" \[abc-1\]\nTraceback '
        )
        if app == WSGI:
            short = b"GET /short HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc-2\r\n\r\n"
            assert b"\r\nX-Request-ID: abc-2\r\n" in server.raw(short)
            server.wait_for_log(
                r"(?m)^tidegate\.error abc-2: the response ended \d+ bytes short.* \[abc-2\]$"
            )


def test_a_websocket_has_an_id_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = [
        *TRUST,
        "--request-id",
        "--access-log",
        str(log),
        "--access-log-format",
        "%(s)s %(request_id)s %(r)s",
    ]
    with Server(ASGI, options=options) as server:
        with open_websocket(server, "/live", fields=["X-Request-ID: socket-1"]) as peer:
            assert field(peer.answer, "X-Request-ID") == ["socket-1"]
            said = peer.json()
            assert {said["field"], said["id"], said["context"]} == {"socket-1"}
            assert peer.closing().code == 1000
        with open_websocket(server, "/live/fail", fields=["X-Request-ID: socket-2"]) as peer:
            peer.json()
            assert peer.closing().code == 1011
        server.wait_for_log(
            r"(?m)^tidegate\.error socket-2: the application failed on a WebSocket \[socket-2\]$"
        )
        with server.connect() as wire:
            wire.send(
                b"GET /live HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"X-Request-ID: socket-3\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            answer = wire.answer()
            assert (answer.status, field(answer, "X-Request-ID")) == (400, ["socket-3"])
        assert server.stop() == 0
    lines = log.read_text().splitlines()
    assert lines == [
        "101 socket-1 GET /live HTTP/1.1",
        "101 socket-2 GET /live/fail HTTP/1.1",
        "400 socket-3 GET /live HTTP/1.1",
    ]


def test_the_servers_own_answers_name_the_request_if_there_is_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--request-id", "--access-log", str(log), "--access-log-format", "%(s)s %(request_id)s"]
    with Server(WSGI, options=[*TRUST, *options]) as server:
        with server.connect() as wire:
            # Its body is no good, which is seen once the head was understood.
            wire.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"
            )
            answer = wire.answer()
            assert (answer.status, field(answer, "X-Request-ID")) == (400, ["abc"])
        with server.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nX-Request-ID: abc\r\n\r\n")
            answer = wire.answer()
            assert (answer.status, field(answer, "X-Request-ID")) == (400, [])
        assert server.stop() == 0
    assert log.read_text().splitlines() == ["400 abc", "400 -"]


def test_middleware_for_ids_finds_and_tells_the_same_id(tmp_path: Path) -> None:
    for app in ("apps.identified_starlette:application", "apps.identified_django:application"):
        log = tmp_path / app.partition(":")[0]
        options = ["--request-id", "--access-log", str(log), "--access-log-format", "%(request_id)s"]
        with Server(app, options=options) as server:
            answer = requests.get(server.url(), timeout=10)
            assert uuid.UUID(answer.text).version == 7
            assert answer.headers["X-Request-ID"] == answer.text
            assert server.stop() == 0
        assert log.read_text() == answer.text + "\n"


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_what_a_front_server_says_of_its_queue_is_measured(app: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = [*TRUST, "--access-log", str(log), "--access-log-format", "%(front_queue_us)s"]
    with Server(app, options=options) as server, server.connect() as wire:

        def waited_us(*fields: str) -> int | None:
            said = told(wire.ask("GET", "/", *fields))["waited_us"]
            assert said is None or isinstance(said, int)
            return said

        before = time.time() - 2
        for text in (f"t={before:.3f}", f"{before:.6f}", f"{before * 1e3:.0f}", f"t={before * 1e6:.0f}"):
            for name in ("X-Request-Start", "X-Queue-Start"):
                waited = waited_us(f"{name}: {text}")
                assert waited is not None
                assert 1_990_000 < waited < 30_000_000
        # By another clock it has yet to come.
        assert waited_us(f"X-Request-Start: t={time.time() + 2:.3f}") == 0
        for text in (
            "",
            "t=",
            "soon",
            "0",
            "-1",
            "t=1.5",
            "99999999999999999999",
            f"{time.time() - 7200:.3f}",
        ):
            assert waited_us(f"X-Request-Start: {text}") is None
        assert waited_us() is None
        assert server.stop() == 0
    lines = log.read_text().splitlines()
    assert all(int(line) > 1_990_000 for line in lines[:8])
    assert lines[8:] == ["0"] + ["-"] * 9


@pytest.mark.parametrize("app", [WSGI, ASGI])
def test_the_trace_is_logged_and_passed_on_as_it_came(app: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--access-log", str(log), "--access-log-format", "%(trace_id)s %(span_id)s"]
    good, bad = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1"
    with Server(app, options=options) as server, server.connect() as wire:
        said = told(wire.ask("GET", "/", f"traceparent: {good}", "tracestate: a=1,b=2"))
        assert (said["traceparent"], said["tracestate"]) == (good, "a=1,b=2")
        assert told(wire.ask("GET", "/", f"traceparent: {bad}"))["traceparent"] == bad
        wire.ask("GET", "/", f"traceparent: {good}", f"traceparent: {good}")
        wire.ask("GET", "/")
        assert server.stop() == 0
    assert log.read_text().splitlines() == [f"{TRACE} {SPAN}", "- -", "- -", "- -"]


def test_json_has_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = [*TRUST, "--request-id", "--access-log", str(log), "--access-log-format", "json"]
    with Server(WSGI, options=options) as server, server.connect() as wire:
        start = f"{time.time() - 1:.3f}"
        wire.ask(
            "GET",
            "/",
            "X-Request-ID: abc",
            f"X-Request-Start: t={start}",
            f"Traceparent: 00-{TRACE}-{SPAN}-00",
        )
        assert server.stop() == 0
    line = json.loads(log.read_text())
    assert (line["request_id"], line["trace_id"], line["span_id"]) == ("abc", TRACE, SPAN)
    assert 990_000 < line["front_queue_us"] < 30_000_000


def test_environ_atoms_are_those_of_the_environ(tmp_path: Path) -> None:
    log = tmp_path / "log"
    form = "%({tidegate.request_id}e)s %({tidegate.front_queue_us}e)s %({http_x_request_id}e)s"
    options = [*TRUST, "--request-id", "--access-log", str(log), "--access-log-format", form]
    with Server(WSGI, options=options) as server, server.connect() as wire:
        wire.ask("GET", "/", "X-Request-ID: abc", f"X-Request-Start: t={time.time():.3f}")
        assert server.stop() == 0
    assert re.fullmatch(r"abc \d+ abc\n", log.read_text())


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--trusted-proxies", "localhost", "neither an address nor a network"),
        ("--trusted-proxies", "10.0.0.1/8", "the network is 10.0.0.0/8, the address 10.0.0.1"),
        ("--trusted-proxies", "127.0.0.1:80", "neither an address nor a network"),
        ("--request-id-header", "", "it is not 1 to 64 characters long"),
        ("--request-id-header", "X Request", "not a name"),
        ("--request-id-header", "X_Request_ID", "not a name"),
        ("--request-id-header", "content-length", "that field means something else"),
        ("--request-id-header", "Sec-WebSocket-Key", "that field means something else"),
    ],
)
def test_bad_settings_are_refused_in_a_line(option: str, value: str, reason: str) -> None:
    line = one_line(run(option, value, WSGI))
    assert option in line
    assert reason in line
