"""Synchronous code waits for asynchronous code in greenlets on the loop, many at once in one process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

import tidegate
from support.clients import texts
from support.hosts import GREENLETS, THREADS
from support.server import TESTS, Server

APP = "apps.bridge:application"
BRIDGE = ("--concurrency", "asyncio")
MANY = 200

ELSEWHERE = "RuntimeError: tidegate.await_ works in a WSGI application under --concurrency asyncio"
BY_A_LOOP = "await it, instead of tidegate.await_"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request):
    return request.param


@pytest.fixture(scope="module", params=["application", "validated"])
def server(request, loop):
    with Server(f"apps.bridge:{request.param}", options=[*BRIDGE, "--loop", loop]) as server:
        yield server
        assert server.stop() == 0
        # What one test's view fails with on purpose.
        complaints = [line for line in server.complaints() if "Traceback" not in line]
        assert complaints == [], server.log


def ask(server, target):
    with server.connect() as wire:
        answer = wire.ask("GET", target)
        assert answer.status == 200, answer.text
        return json.loads(answer.body)


def begin(wire, target):
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def test_many_calls_wait_at_once(server):
    names = [str(number) for number in range(MANY)]
    asked = [f"/met?count={MANY}&name={name}" for name in names]
    for _ in range(2):
        assert [json.loads(text) for text in texts(server, asked)] == names


def test_one_call_waits_for_several_tasks_at_once(server):
    assert ask(server, "/gather") == [1, 2, 3]


def test_whatever_can_be_awaited_can_be_waited_for(server):
    *results, refused = ask(server, "/kinds")
    assert results == ["coroutine", "at once", "task", "future", "object"]
    assert refused.startswith("TypeError: ")


def test_an_exception_comes_through_with_the_frames_of_both_sides(server):
    text, names = ask(server, "/raised")
    assert text == "from the coroutine"
    assert names[0] == "raised" and names[-2:] == ["outer", "inner"]


def test_an_exception_that_nobody_catches_is_a_500_and_the_server_goes_on(server):
    since = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/uncaught").status == 500
        server.wait_for_log("nobody catches this", since=since)
        assert wire.ask("GET", "/gather").status == 200


@pytest.mark.parametrize("by", ["SystemExit", "KeyboardInterrupt"])
def test_what_is_to_end_a_process_ends_one_request_and_the_server_goes_on(server, by):
    since = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", f"/exits?by={by}").status == 500
        server.wait_for_log(by, since=since)
    assert ask(server, "/gather") == [1, 2, 3]


def test_a_task_that_was_cancelled_is_an_exception_too(server):
    assert ask(server, "/cancelled_by_itself") == "cancelled"


def test_a_task_sees_its_call_s_context_and_nobody_else_s(server):
    names = [str(number) for number in range(20)]
    asked = [f"/context?count={len(names)}&name={name}" for name in names]
    for _ in range(2):
        found = [json.loads(text) for text in texts(server, asked)]
        assert found == [["none", name, name] for name in names]


def test_a_coroutine_that_waits_in_this_way_is_told_to_await(server):
    refused, after = ask(server, "/nested")
    assert refused.endswith(BY_A_LOOP) and after == "goes on"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks begin at once from Python 3.12 on")
def test_tasks_that_begin_at_once_are_waited_for_as_others_are(server):
    with server.connect() as wire:
        wire.send(b"POST /nested_eagerly HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        wire.send(bytes(300_000))
        waited, [refused, after], unread = json.loads(wire.answer().body)
    assert waited == [1, 2, 3, 4, 5, 6]
    assert refused.endswith(BY_A_LOOP) and after == "goes on"
    assert unread.startswith("RuntimeError: asynchronous code must not wait for the client")


def test_no_loop_seems_to_run_so_that_code_may_run_one_of_its_own(server):
    ran, running, nested = ask(server, "/own_loop")
    assert ran == "ran"
    assert running.startswith("RuntimeError: no running event loop")
    assert nested.endswith(BY_A_LOOP)
    assert ask(server, "/gather") == [1, 2, 3]


def test_a_thread_of_the_application_s_own_is_told_what_is_needed(server):
    assert ask(server, "/own_thread") == [ELSEWHERE]


def test_a_greenlet_of_the_application_s_own_waits_too(server):
    assert ask(server, "/own_greenlet") == ["waited"]


def test_streams_wait_between_their_blocks_and_in_their_end(server):
    since = len(server.log)
    names = [str(number) for number in range(20)]
    asked = [f"/streamed?count={len(names)}&name={name}" for name in names]
    assert texts(server, asked) == ["".join(f"{number} {name}\n" for number in range(3)) for name in names]
    for name in names:
        server.wait_for_log(rf"closed {name}\b", since=since)


def test_a_response_that_waits_for_its_client_lets_others_go_on(server):
    size = 400
    with server.connect() as slow:
        begin(slow, f"/flood?count={size}")
        assert slow.line() == b"HTTP/1.1 200 OK\r\n"
        for _ in range(3):
            assert ask(server, "/gather") == [1, 2, 3]
        while slow.line() != b"\r\n":
            pass
        received = 0
        while length := int(slow.line(), 16):
            received += len(slow.receive(length))
            slow.receive(2)
        assert received == size * 65_536


@pytest.mark.parametrize("buffering", ["auto", "off"])
def test_a_body_that_comes_slowly_lets_others_go_on(loop, buffering):
    body = bytes(range(256)) * 4000
    options = [*BRIDGE, "--loop", loop, "--request-buffering", buffering]
    with Server(APP, options=options) as server, server.connect() as wire:
        wire.send(f"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for start in range(0, len(body), 300_000):
            wire.send(body[start : start + 300_000])
            assert ask(server, "/gather") == [1, 2, 3]
        assert json.loads(wire.answer().body) == [len(body), hashlib.sha256(body).hexdigest()]
        # A task is not where a request waits for its client.
        wire.send(b"POST /body_in_a_task HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        wire.send(bytes(300_000))
        text = json.loads(wire.answer().body)
        assert text.startswith("RuntimeError: asynchronous code must not wait for the client")
        assert server.stop() == 0
        assert not server.complaints()


@pytest.mark.parametrize("by", ["callback", "wait"])
def test_code_sees_its_client_leave_and_what_it_calls_then_may_wait(server, by):
    since = len(server.log)
    with server.connect() as wire:
        begin(wire, f"/wait_for_departure?by={by}")
        server.wait_for_log("waiting", since=since)
    server.wait_for_log("waited: True", since=since)
    if by == "callback":
        assert "callback: awaited" in server.log[since:]


def test_a_call_whose_client_has_left_is_ended_with_its_task(loop):
    with Server(APP, options=[*BRIDGE, "--loop", loop, "--cancel-on-disconnect"]) as server:
        with server.connect() as wire:
            begin(wire, "/sleep")
            server.wait_for_log("asleep")
        server.wait_for_log("the task was cancelled")
        server.wait_for_log("raised: ClientLeft")
        server.wait_for_log("cleaned up: awaited")
        assert ask(server, "/gather") == [1, 2, 3]
        assert server.stop() == 0
        assert not server.complaints()


def test_a_greenlet_of_the_application_s_own_may_outlive_its_call(loop):
    with Server(APP, options=[*BRIDGE, "--loop", loop, "--cancel-on-disconnect"]) as server:
        with server.connect() as wire:
            begin(wire, "/own_greenlet_is_left")
            server.wait_for_log("waiting")
        server.wait_for_log("cleaned up: awaited")
        assert ask(server, "/own_greenlet_ends") == "goes on"
        assert server.stop() == 0
        assert not server.complaints()


def until_it_no_longer_listens(server):
    while True:
        try:
            server.connect().close()
        except OSError:
            return


def test_a_drain_waits_for_calls_that_wait(loop, tmp_path):
    with Server(APP, options=[*BRIDGE, "--loop", loop]) as server, server.connect() as wire:
        begin(wire, f"/released?by={tmp_path}/file")
        server.wait_for_log("waiting for a file")
        server.signal(signal.SIGTERM)
        until_it_no_longer_listens(server)
        (tmp_path / "file").touch()
        assert json.loads(wire.answer().body) == "released"
        assert server.wait() == 0
        assert not server.complaints()


def test_a_forced_stop_lets_calls_clean_up(loop):
    with Server(APP, options=[*BRIDGE, "--loop", loop]) as server, ExitStack() as stack:
        for _ in range(3):
            begin(stack.enter_context(server.connect()), "/sleep")
        server.wait_for_log(r"(?s)asleep.*asleep.*asleep")
        server.signal(signal.SIGTERM)
        # The drain has begun then: two signals at once would be one.
        until_it_no_longer_listens(server)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.log.count("raised: GreenletExit") == 3
        assert server.log.count("cleaned up: awaited") == 3
        assert not server.complaints()


def test_a_child_that_a_call_forks_takes_nothing_from_its_parent(server):
    for _ in range(3):
        assert ask(server, "/fork") == [True, "awaited"]


# Frameworks and clients


@pytest.mark.parametrize("app", ["apps.bridge_flask:app", "apps.bridge_django:application"])
class TestOfViews:
    @pytest.fixture
    def views(self, app, loop, backend):
        with Server(app, options=[*BRIDGE, "--loop", loop], env={"BACKEND": backend.authority}) as server:
            yield server
            assert server.stop() == 0
            assert server.complaints() == [], server.log

    def test_many_wait_for_an_asynchronous_client_at_once(self, views, backend):
        asked = [f"/meet/{MANY}?name={number}" for number in range(MANY)]
        found = [json.loads(text) for text in texts(views, asked)]
        assert [one["name"] for one in found] == [one["backend"] for one in found]
        assert [one["name"] for one in found] == [str(number) for number in range(MANY)]
        languages = {one.get("language") for one in found}
        assert languages in ({None}, {"de", "fr"})
        assert all(one.get("language") in (None, "de" if int(one["name"]) % 2 else "fr") for one in found)

    def test_streams_wait_for_it_too(self, views):
        expected = "0a1a2a" if "flask" in views.app else "012"
        assert texts(views, ["/stream?name=a"]) == [expected]

    def test_asynchronous_views_run_as_they_do_on_threads(self, app, loop, backend):
        pytest.importorskip("asgiref")
        with Server(app, options=[*BRIDGE, "--loop", loop], env={"BACKEND": backend.authority}) as server:
            assert texts(server, ["/asynchronous"]) == ["ran" if "flask" in app else "asynchronous"]


def test_a_view_asks_several_at_once_and_sees_its_client_time_out(loop, backend):
    options = [*BRIDGE, "--loop", loop]
    with Server("apps.bridge_flask:app", options=options, env={"BACKEND": backend.authority}) as server:
        assert ask(server, "/both") == ["one", "two"]
        assert texts(server, ["/timeout"]) == ["ReadTimeout"]


def test_django_s_queries_run_beside_it(loop, backend):
    options = [*BRIDGE, "--loop", loop]
    with Server(
        "apps.bridge_django:application", options=options, env={"BACKEND": backend.authority}
    ) as server:
        assert ask(server, "/query") == [42, "x"]


# Elsewhere


@pytest.mark.parametrize("host", [THREADS, GREENLETS], ids=str)
def test_under_other_hosts_an_error_says_where_it_works(host):
    with host.serve("apps.bridge:elsewhere") as server:
        assert texts(server, ["/"]) == [ELSEWHERE]


def test_in_an_asgi_application_an_error_says_to_await(loop):
    with Server("apps.bridge:asgi", options=["--loop", loop]) as server:
        assert texts(server, ["/"])[0].endswith(BY_A_LOOP)


def test_without_a_server_an_error_says_where_it_works():
    said = []

    def refused(awaitable):
        try:
            tidegate.await_(awaitable)
        except RuntimeError as error:
            said.append(str(error))

    async def coroutine():
        refused(future)

    future = asyncio.Future(loop=asyncio.new_event_loop())
    refused(future)
    thread = threading.Thread(target=refused, args=[future])
    thread.start()
    thread.join()
    asyncio.run(coroutine())
    future.get_loop().close()
    assert said[:2] == [ELSEWHERE.partition(": ")[2]] * 2
    assert said[2].endswith(BY_A_LOOP)


def test_without_greenlet_one_line_says_what_to_install(tmp_path):
    (tmp_path / "greenlet.py").write_text("raise ModuleNotFoundError('not here', name='greenlet')\n")
    command = [sys.executable, "-m", "tidegate", *BRIDGE, "--bind", "127.0.0.1:0", "apps.bridge:elsewhere"]
    env = {"PYTHONPATH": f"{tmp_path}:{TESTS}", "PATH": ""}
    # The application itself must do without it.
    run = subprocess.run(
        [*command[:-1], "apps.probes:plain"], cwd=TESTS, env=env, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "pip install 'tidegate[bridge]'" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
