"""Applications that use gevent themselves find what they find under gevent.pywsgi."""

from __future__ import annotations

import json

import pytest

from support.clients import texts
from support.hosts import AT_ONCE, GREENLETS, Pywsgi

APP = "apps.gevent_probes:application"

ANSWERS = {
    "/timeout": ["0.01 seconds"] * 4,
    "/timeout_of_a_request": "0.05 seconds",
    "/timeout_nested": ["outer", "value"],
    "/spawned": {
        "values": [str(number) for number in range(10)],
        "failed": "invalid literal for int() with base 10: 'tide'",
        "first": ["first"],
    },
    "/killed": ["exit", "finally", True, True],
    "/pools": {
        "ordered": [str(number) for number in range(12)],
        "unordered": list(range(12)),
        "most": 3,
        "free": 3,
    },
    "/threads": [0, 0, 1, 3, 6, 1, 2],
    "/handed_over": [[0, 1, 2, 3, 4], "done"],
}


@pytest.fixture(scope="module")
def ours(backend):
    with GREENLETS.serve(APP, env={"BACKEND": backend.authority}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def theirs(backend):
    with Pywsgi(APP, env={"BACKEND": backend.authority}) as server:
        yield server


@pytest.fixture(params=["ours", "theirs"])
def server(request):
    """Ours, and gevent's: a test that passes on the one and fails on the other has found a difference."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("path", ANSWERS)
def test_what_the_application_does_with_gevent_is_what_comes_back(server, path):
    assert json.loads(texts(server, [path])[0]) == ANSWERS[path]


def test_many_do_all_of_it_at_once(server):
    # `/pools` counts what runs in a pool that all calls share.
    paths = [path for path in ANSWERS if path != "/pools"] * 5
    assert [json.loads(text) for text in texts(server, paths)] == [ANSWERS[path] for path in paths]


def test_both_servers_run_a_call_in_the_same_place(ours, theirs):
    [mine], [other] = texts(ours, ["/place"]), texts(theirs, ["/place"])
    assert json.loads(mine) == json.loads(other)


def test_a_timeout_that_nobody_catches_is_a_500_and_the_server_goes_on(server):
    since = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/timeout_uncaught").status == 500
    server.wait_for_log("0.01 seconds", since=since)
    assert json.loads(texts(server, ["/timeout"])[0]) == ANSWERS["/timeout"]


def test_locals_are_a_greenlets_own(server):
    # Twice: a connection of its own for each call, since under pywsgi a greenlet serves a connection.
    for _ in range(2):
        names = [str(number) for number in range(AT_ONCE)]
        asked = [f"/locals_of_a_call?count={AT_ONCE}&name={name}" for name in names]
        for name, text in zip(names, texts(server, asked), strict=True):
            found = json.loads(text)
            assert found["earlier"] == ["none", "fresh", []]
            assert found["now"] == [name, name, [name]]
            assert found["spawned"] == ["none", []]


def test_locals_end_with_a_call_on_a_kept_connection(ours):
    with ours.connect() as wire:
        for name in "abc":
            found = json.loads(wire.ask("GET", f"/locals_of_a_call?count=1&name={name}").text)
            assert found["earlier"] == ["none", "fresh", []]


def test_a_greenlet_goes_on_after_its_call(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/outlives?name=x").status == 200
        assert json.loads(wire.ask("GET", "/outlived?name=x").text) == "ran"


def test_streams_wait_between_their_blocks_in_their_own_greenlet(server):
    names = [str(number) for number in range(AT_ONCE)]
    asked = [f"/streamed?count={AT_ONCE}&name={name}" for name in names]
    expected = ["".join(f"{number} {name} {name} True\n" for number in range(5)) for name in names]
    assert texts(server, asked) == expected
