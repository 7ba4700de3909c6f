"""Mounts: which application has a request, and what it sees of its place."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from support.server import Server

SHAPES = """
import json

def wsgi(name):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        seen = [name, environ["SCRIPT_NAME"], environ["PATH_INFO"]]
        return [json.dumps(seen).encode()]
    return application

def asgi(name):
    async def application(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        seen = [name, scope["root_path"], scope["path"]]
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})
    return application

site = wsgi("site")
api = wsgi("api")
live = asgi("live")
old = asgi("old")
"""

MIXED = ["--mount", "/api=service:api", "--mount", "/live/old=service:old", "--mount", "/live=service:live"]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "service.py").write_text(SHAPES)
    return tmp_path


def seen(server: Server, path: str) -> list[str]:
    with server.connect() as wire:
        return json.loads(wire.ask("GET", path).body)


@pytest.mark.parametrize(
    ("options", "path", "expected"),
    [
        ([], "/", ["site", "", "/"]),
        ([], "/apis", ["site", "", "/apis"]),
        ([], "/api", ["api", "/api", ""]),
        ([], "/api/", ["api", "/api", "/"]),
        ([], "/api/x%2Fy", ["api", "/api", "/x/y"]),
        ([], "/%61pi/x", ["api", "/api", "/x"]),
        ([], "/live", ["live", "/live", "/live"]),
        ([], "/live/x", ["live", "/live", "/live/x"]),
        ([], "/live/older", ["live", "/live", "/live/older"]),
        ([], "/live/old/x", ["old", "/live/old", "/live/old/x"]),
        (["--script-name", "/app"], "/app/x", ["site", "/app", "/x"]),
        (["--script-name", "/app"], "/app/api/x", ["api", "/app/api", "/x"]),
        (["--script-name", "/app"], "/app/live/x", ["live", "/app/live", "/app/live/x"]),
    ],
)
def test_the_longest_prefix_that_ends_with_a_segment_has_the_request(project, options, path, expected):
    with Server("service:site", cwd=project, options=[*MIXED, *options]) as server:
        assert seen(server, path) == expected


@pytest.mark.parametrize("options", [[], ["--threads", "1"], ["-c", "greenlets"]])
def test_wsgi_applications_are_mounted_under_every_host(project, options):
    options = [*options, "--mount", "/api=service:api"]
    with Server("service:site", cwd=project, options=options) as server:
        assert seen(server, "/api/x") == ["api", "/api", "/x"]
        assert seen(server, "/x") == ["site", "", "/x"]


@pytest.mark.parametrize(
    ("app", "options", "banner"),
    [
        ("service:live", [], r"\(asgi, asyncio 10000, "),
        ("service:site", MIXED, r"\(wsgi and asgi, threads 200 and asyncio 10000, "),
        ("", MIXED[:2], r"\(wsgi, threads 200, "),
    ],
    ids=["asgi", "mixed", "no main application"],
)
def test_the_banner_tells_what_the_applications_are_and_what_they_run_on(project, app, options, banner):
    with Server(app, cwd=project, options=options) as server:
        server.wait_for_log(banner)


def test_a_prefix_beyond_ascii_is_latin_1_in_script_name_as_bytes_are_in_path_info(project):
    with Server("service:live", cwd=project, options=["--mount", "/日/é=service:api"]) as server:
        name, *places = seen(server, "/%E6%97%A5/%C3%A9/%C3%A9")
        assert name == "api"
        assert [place.encode("latin-1").decode() for place in places] == ["/日/é", "/é"]


THREADS_START = """
import signal
import threading
from pathlib import Path
from time import sleep

from service import live

def leave(*_):
    raise SystemExit(7)

signal.signal(signal.SIGUSR1, leave)
start, started = threading.Thread.start, []

def interrupted(thread):
    start(thread)
    if thread.name.startswith("tidegate-"):
        signal.raise_signal(signal.SIGUSR1)

def once(thread):
    if thread.name.startswith("tidegate-"):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
    start(thread)

def scarce(thread):
    if thread.name.startswith("tidegate-") and not Path("plenty").exists():
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
    start(thread)

threading.Thread.start = next((by for by in (interrupted, scarce) if Path(by.__name__).exists()), once)

def wsgi(environ, start_response):
    environ["wsgi.errors"].write(f"runs {environ['PATH_INFO']}\\n")
    while environ["PATH_INFO"] in ("/first", "/stays") and not Path("go").exists():
        sleep(0.01)
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


def test_a_signal_handler_ends_the_server_also_while_a_thread_starts(project):
    (project / "starts.py").write_text(THREADS_START)
    (project / "interrupted").touch()
    options = ["--mount", "/wsgi=starts:wsgi"]
    with Server("starts:live", cwd=project, options=options) as server, server.connect() as wire:
        wire.send(b"GET /wsgi HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.wait() == 7


def test_requests_run_in_their_order_when_no_more_threads_can_be_started(project):
    (project / "starts.py").write_text(THREADS_START)
    options = ["--mount", "/wsgi=starts:wsgi", "--threads", "2"]
    with Server("starts:live", cwd=project, options=options) as server, ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(4)]
        for wire, name in zip(wires, ["first", "second", "third", "fourth"], strict=True):
            wire.send(f"GET /wsgi/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            # Each has come before the next: the loop answers this later.
            assert seen(server, "/") == ["live", "", "/"]
        server.wait_for_log("runs /first")
        (project / "go").touch()
        assert [wire.answer().status for wire in wires] == [200] * 4
        server.wait_for_log("runs /fourth")
        ran = [line for line in server.log.splitlines() if line.startswith("runs ")]
        assert ran == ["runs /first", "runs /second", "runs /third", "runs /fourth"]


def test_while_no_thread_can_be_started_requests_wait_in_the_queue_and_have_theirs_when_they_can(project):
    (project / "starts.py").write_text(THREADS_START)
    (project / "scarce").touch()
    options = ["--mount", "/wsgi=starts:wsgi", "--threads", "50"]
    with Server("starts:live", cwd=project, options=options) as server, ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(50)]
        for wire in wires:
            wire.send(b"GET /wsgi/stays HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("no more than 2 requests at once for now")
        assert seen(server, "/") == ["live", "", "/"]
        server.wait_until(lambda: server.log.count("runs /stays") == 2 or None)
        # One a second, at most, and not one for each request.
        assert server.log.count("can't start new thread") < 20
        (project / "plenty").touch()
        # Nothing else happens by then: no call ends, and nobody comes.
        server.wait_until(lambda: server.log.count("runs /stays") == 50 or None)
        (project / "go").touch()
        assert [wire.answer().status for wire in wires] == [200] * 50


def test_without_any_thread_requests_are_turned_away_until_one_can_be_started(project):
    (project / "starts.py").write_text(THREADS_START.replace("len(started) == 2", "not started"))
    (project / "scarce").touch()
    options = ["--mount", "/wsgi=starts:wsgi"]
    with Server("starts:live", cwd=project, options=options) as server:

        def status() -> int:
            with server.connect() as wire:
                return wire.ask("GET", "/wsgi/").status

        assert [status() for _ in range(50)] == [503] * 50
        assert server.log.count("can't start new thread") < 20
        (project / "plenty").touch()
        server.wait_until(lambda: status() == 200 or None)
