"""A FastAPI application."""

from __future__ import annotations

import json
import os

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.server import PATIENCE_S, Server

BODY = os.urandom(2_000_000)


@pytest.fixture(scope="module")
def server():
    with Server("apps.fastapi_app:app") as server:
        yield server
        assert server.stop() == 0
        assert "probe: fastapi starts" in server.log
        assert "probe: fastapi stops" in server.log


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def test_json_goes_both_ways(client):
    sent = {"place": "the gate \N{WATER WAVE}", "height": 120, "notes": ["neap"]}
    answer = client.post("/readings", json=sent)
    assert (answer.status_code, answer.json()) == (201, sent)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"place": "a", "height": 9999}', ["body", "height"]),
        (b'{"height": 1}', ["body", "place"]),
        (b'{"place": ', ["body", 10]),
        (b"", ["body"]),
    ],
)
def test_what_is_not_valid_is_a_422_that_says_where(client, content, where):
    answer = client.post("/readings", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == where


def test_an_endpoint_without_async_runs_in_a_thread(client):
    answer = client.get("/readings/7", headers={"X-Tide": "high"})
    assert answer.json() == {"number": 7, "tide": "high", "main": False}
    assert client.get("/readings/seven").status_code == 422


@pytest.mark.parametrize(("path", "status"), [("/readings/1", 200), ("/fails", 409), ("/breaks", 500)])
def test_a_dependency_is_closed_after_each_request_however_it_ends(server, client, name, path, status):
    assert client.get(path, params={"name": name}).status_code == status
    server.wait_for_log(f"{name} ledger closed")
    assert server.log.count(f"{name} ledger opened") == server.log.count(f"{name} ledger closed") == 1


def test_an_upload_arrives_whole(client):
    sent = client.post("/upload", files={"file": ("t.bin", BODY, "application/x-tide")}, data={"note": "n"})
    assert sent.json() == {"name": "t.bin", "size": len(BODY), "note": "n", "kind": "application/x-tide"}


def test_a_stream_arrives_line_by_line(server, client, name):
    with client.stream("GET", f"/stream?count=1000&name={name}") as answer:
        assert list(answer.iter_lines()) == [f"wave {number}" for number in range(1000)]
    server.wait_for_log(f"{name} ledger closed")


def test_background_work_follows_the_response(server, client, name):
    assert client.get(f"/background?name={name}").json() == "answered"
    server.wait_for_log(f"{name} worked on")


def test_the_state_of_the_lifespan_and_the_description_are_there(server, client):
    assert client.get("/?a=b").json() == {"moon": "full", "root": "", "url": server.url("/?a=b")}
    assert "/readings/{number}" in client.get("/openapi.json").json()["paths"]
    assert "swagger" in client.get("/docs").text


def test_a_websocket_speaks_json(server):
    with connect(f"ws://{server.authority}/sum?start=5", proxy=None) as websocket:
        for total in (6, 7, 8):
            websocket.send('{"add": 1}')
            assert json.loads(websocket.recv()) == {"total": total}
    server.wait_for_log("sum closed 1000 at 8")


def test_a_websocket_with_an_invalid_query_is_refused(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{server.authority}/sum?start=low", proxy=None)
    assert refused.value.response.status_code == 403


def test_a_failure_is_answered_and_logged_and_the_server_goes_on(server, client):
    since = len(server.log)
    assert client.get("/breaks").status_code == 500
    server.wait_for_log("RuntimeError: probe: fastapi broke", since=since)
    assert client.get("/").status_code == 200
