"""Calls that wait in the standard library and in clients of HTTP, fifty at once in one process."""

from __future__ import annotations

import json

import pytest

from support.clients import texts
from support.hosts import AT_ONCE, THREADS

APP = "apps.waiting:application"

OVER_THE_NET = ["urllib3", "requests", "urllib", "http_client", "raw_socket", "raw_socket_into"]
IN_THE_PROCESS = [
    *("queue", "simple_queue", "lock", "event", "condition", "semaphore", "barrier"),
    *("thread", "executor", "sleep", "select", "poll", "selectors", "files", "dns"),
    *("child_output", "child_end", "child_run"),
]


@pytest.fixture(scope="module")
def server(host, backend):
    with host.serve(APP, env={"BACKEND": backend.authority}) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == [], server.log


def targets(way):
    return [f"/{way}?count={AT_ONCE}&name={number}" for number in range(AT_ONCE)]


@pytest.mark.parametrize("way", OVER_THE_NET)
def test_calls_of_another_service_are_there_at_once(server, backend, way):
    # Twice: the second round finds threads, connections and names that the first has left.
    for _ in range(2):
        before = backend.requests
        backend.most_at_once = 0
        assert texts(server, targets(way)) == [str(number) for number in range(AT_ONCE)]
        assert backend.requests - before == AT_ONCE
        assert backend.most_at_once == AT_ONCE


@pytest.mark.parametrize("way", IN_THE_PROCESS)
def test_calls_wait_for_one_another_at_once(server, way):
    for _ in range(2):
        assert texts(server, targets(way)) == [str(number) for number in range(AT_ONCE)]


def test_different_waits_mix(server):
    mixed = [*OVER_THE_NET, *IN_THE_PROCESS]
    asked = [f"/{way}?count=2&name={number}" for number in range(2) for way in mixed]
    assert texts(server, asked) == ["0"] * len(mixed) + ["1"] * len(mixed)


def test_what_is_shared_is_guarded_by_locks(server):
    texts(server, targets("counter"))
    counted = json.loads(texts(server, ["/counted"])[0])
    assert (counted["total"], counted["inside"]) == (AT_ONCE, 0)
    assert 1 <= counted["most_inside"] <= 3


def test_contextvars_and_thread_locals_are_a_call_s_own(host, server):
    left_by_others = {""}
    for start in range(0, 3 * AT_ONCE, AT_ONCE):
        names = [str(number) for number in range(start, start + AT_ONCE)]
        asked = [f"/locals?count={AT_ONCE}&name={name}" for name in names]
        found = [json.loads(text) for text in texts(server, asked)]
        assert [(one["context"], one["local"]) for one in found] == [(name, name) for name in names]
        assert {one["earlier"]["context"] for one in found} == {""}, "a context is fresh"
        # A greenlet's locals end with it. A thread's are for its next call: that is what they are kept for.
        earlier = [one["earlier"]["local"] for one in found]
        assert set(earlier) <= left_by_others
        kept = [name for name in earlier if name]
        assert len(set(kept)) == len(kept), "two calls at once saw the same thread's locals"
        if host is THREADS:
            left_by_others |= set(names)
