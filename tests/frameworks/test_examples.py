"""The other examples do what their first lines promise."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.sync.client import connect

from support.clients import Client
from support.server import EXAMPLES, PATIENCE_S, Server


@pytest.fixture(scope="module")
def streaming():
    with Server("streaming:application", cwd=EXAMPLES) as server:
        yield server


@pytest.fixture(scope="module")
def notes():
    with Server("flask_app:app", cwd=EXAMPLES) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture(scope="module")
def django():
    with Server("django_single:application", cwd=EXAMPLES) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture(scope="module")
def backend():
    command = [sys.executable, "backend.py", "--port", "0"]
    with subprocess.Popen(command, cwd=EXAMPLES, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def test_ticks_arrive_whole_and_in_order(streaming):
    with streaming.connect() as wire:
        answer = wire.ask("GET", "/?ticks=3&every=0.01")
        assert answer.headers["Content-Type"] == "text/event-stream"
        events = answer.text.removesuffix("\n\n").split("\n\n")
        assert [event.splitlines()[0] for event in events] == ["id: 1", "id: 2", "id: 3"]


def test_a_tick_is_seen_while_the_next_one_is_waited_for(streaming):
    with streaming.connect() as wire:
        began = time.monotonic()
        wire.send(b"GET /?ticks=2&every=0.7 HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        while b"\n\n" not in received.partition(b"\r\n\r\n")[2]:
            received += wire.receive_some()
        assert time.monotonic() - began < 0.6
        assert b"id: 2" not in received


def test_the_ticking_ends_when_the_listener_leaves(streaming):
    since = len(streaming.log)
    with streaming.connect() as wire:
        wire.send(b"GET /?every=0.01 HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.receive(1000)
        wire.reset()
    streaming.wait_for_log(r"a listener left after \d+ ticks", since=since)


def test_notes_are_kept_shown_and_removed(notes):
    with Client() as session:
        added = session.post(notes.url("/notes"), json={"text": "spring tide"})
        assert added.status_code == 201
        assert session.get(notes.url(added.headers["Location"])).json()["text"] == "spring tide"
        assert "spring tide" in session.get(notes.url("/notes")).json().values()
        assert session.delete(notes.url(added.headers["Location"])).status_code == 204
        assert session.get(notes.url(added.headers["Location"])).status_code == 404
        assert session.post(notes.url("/notes"), json=["no object"]).status_code == 400


def test_django_in_one_file_greets_and_counts(django):
    with Client() as session:
        assert "Hello from Django" in session.get(django.url("/")).text
        greeting = session.get(django.url("/greet/J%C3%B6rg")).json()["greeting"]
        assert greeting == "Hello, J\N{LATIN SMALL LETTER O WITH DIAERESIS}rg!"
        assert session.get(django.url("/count/1000")).text == "".join(
            f"{number}\n" for number in range(1, 1001)
        )
        assert session.get(django.url("/none")).status_code == 404


def test_django_refuses_a_host_that_is_not_its_own(django):
    with django.connect() as wire:
        assert wire.ask("GET", "/", host="elsewhere.example").status == 400


@pytest.mark.parametrize("flags", [("--threads", "1"), ("--threads", "200"), ("--concurrency", "greenlets")])
def test_a_page_of_two_slow_backends_is_the_same_under_every_host(backend, flags):
    with Server("slow_backends:app", cwd=EXAMPLES, options=flags, env={"BACKEND": backend}) as server:

        def page(_: int) -> object:
            with Client() as session:
                return session.get(server.url("/")).json()

        with ThreadPoolExecutor(8) as clients:
            pages = list(clients.map(page, range(8)))
        assert pages == [{"high_water": "11:42", "port": "Cuxhaven", "wind": "NW 5"}] * 8
        assert server.complaints() == []


def test_a_backend_that_does_not_answer_is_said_to_the_client():
    # The port of the discard protocol, where nobody listens.
    with Server("slow_backends:app", cwd=EXAMPLES, env={"BACKEND": "http://127.0.0.1:9"}) as server:
        with Client() as session:
            answer = session.get(server.url("/"))
        assert answer.status_code == 502
        assert "has not answered" in answer.json()["error"]


@pytest.mark.parametrize(
    ("app", "interface"),
    [("django_single", "wsgi"), ("django_single:application", "wsgi"), ("django_single:asgi", "asgi")],
)
def test_django_is_served_by_either_interface(app, interface):
    with Server(app, cwd=EXAMPLES) as server, server.connect() as wire:
        assert f"({interface}, " in server.log
        assert b"Hello from Django" in wire.ask("GET", "/").body
        assert wire.ask("GET", "/count/3").body == b"1\n2\n3\n"
        assert server.complaints() == []


def test_tides_are_told_by_fastapi():
    with Server("tides", cwd=EXAMPLES) as server, server.connect() as wire:
        assert -2 < json.loads(wire.ask("GET", "/").body)["height"] < 2
        assert len(json.loads(wire.ask("GET", "/forecast?hours=6").body)) == 6
        assert wire.ask("GET", "/forecast?hours=0").status == 422
        with connect(f"ws://{server.authority}/live?every=0", proxy=None) as websocket:
            assert list(json.loads(websocket.recv(PATIENCE_S))) == ["height"]
        assert server.complaints() == []


def test_django_and_a_chat_share_a_process():
    with Server("django_single", cwd=EXAMPLES, options=["--mount", "/live=chat:app"]) as server:
        with server.connect() as wire:
            assert b"Hello from Django" in wire.ask("GET", "/").body
            assert b"new WebSocket" in wire.ask("GET", "/live/").body
        url = f"ws://{server.authority}/live/"
        with connect(url, proxy=None) as one, connect(url, proxy=None) as other:
            one.send("high water")
            assert (one.recv(PATIENCE_S), other.recv(PATIENCE_S)) == ("high water", "high water")
