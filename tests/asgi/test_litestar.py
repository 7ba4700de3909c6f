"""A Litestar application."""

from __future__ import annotations

import json
import os

import httpx
import pytest
from websockets.sync.client import connect

from support.server import PATIENCE_S, Server

BODY = os.urandom(300_000)


@pytest.fixture(scope="module")
def server():
    with Server("apps.litestar_app:app") as server:
        yield server
        assert server.stop() == 0
        assert "probe: litestar starts" in server.log
        assert "probe: litestar stops" in server.log


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def test_a_handler_sees_its_request_and_what_the_lifespan_left(client):
    assert client.get("/").json() == {"tide": "high", "client": "127.0.0.1"}


def test_json_is_validated_both_ways(client):
    sent = {"place": "the gate", "height": 120}
    answer = client.post("/readings", json=sent)
    assert (answer.status_code, answer.json()) == (201, sent)
    assert client.post("/readings", json={"place": "the gate", "height": "deep"}).status_code == 400
    assert client.get("/readings/7").json() == {"number": 7}


def test_bodies_and_uploads_arrive_whole(client):
    assert client.post("/body", content=BODY).json() == {"size": len(BODY)}
    pieces = (BODY[start : start + 7777] for start in range(0, len(BODY), 7777))
    assert client.post("/body", content=pieces).json() == {"size": len(BODY)}
    sent = client.post("/upload", files={"data": ("tides.bin", BODY)})
    assert sent.json() == {"name": "tides.bin", "size": len(BODY)}


def test_a_stream_arrives_whole(client):
    assert client.get("/stream?count=3000").text == "".join(f"{number}\n" for number in range(3000))


def test_events_arrive_one_by_one(client):
    with client.stream("GET", "/events?count=100") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data:")]
    assert lines == [f"data: tide {number}" for number in range(100)]


def test_background_work_follows_the_response(server, client, name):
    assert client.get(f"/background?name={name}").text.strip('"') == "answered"
    server.wait_for_log(f"{name} worked on")


def test_a_failure_is_answered_and_the_server_goes_on(client):
    assert client.get("/broken").status_code == 500
    assert client.get("/none").status_code == 404
    assert client.get("/").status_code == 200


def test_websockets_of_both_kinds_answer(server):
    with connect(f"ws://{server.authority}/listen", proxy=None) as websocket:
        for number in range(10):
            websocket.send(json.dumps({"once": number}))
            assert json.loads(websocket.recv(PATIENCE_S)) == {"twice": 2 * number}
    since = len(server.log)
    with connect(f"ws://{server.authority}/count", proxy=None) as websocket:
        websocket.send("tide")
        assert websocket.recv(PATIENCE_S) == "4"
    server.wait_for_log("litestar websocket (closed 1000|is over)", since=since)
