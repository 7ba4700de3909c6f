"""A Quart application."""

from __future__ import annotations

import json
import os

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support.server import PATIENCE_S, Server

BODY = os.urandom(300_000)


@pytest.fixture(scope="module")
def server():
    with Server("apps.quart_app:app") as server:
        yield server
        assert server.stop() == 0
        assert "probe: quart starts" in server.log
        assert "probe: quart stops" in server.log


@pytest.fixture
def client(server):
    options = {"base_url": server.url(""), "trust_env": False, "timeout": PATIENCE_S}
    with httpx.Client(follow_redirects=True, **options) as client:
        yield client


def test_a_view_sees_its_request(client):
    seen = client.get("/?depth=3").json()
    assert seen == {"path": "/", "args": {"depth": "3"}, "remote": "127.0.0.1", "scheme": "http"}
    assert client.get("/thread?word=%C3%A9bb").text == "\u00e9bb"


def test_json_bodies_and_uploads_arrive_whole(client):
    assert client.post("/json", json={"wave": [1, None]}).json() == {"got": {"wave": [1, None]}}
    pieces = (BODY[start : start + 3333] for start in range(0, len(BODY), 3333))
    assert client.post("/pieces", content=pieces).json() == {"size": len(BODY)}
    assert client.post("/pieces", content=BODY).json() == {"size": len(BODY)}
    sent = client.post("/upload", files={"file": ("tides.bin", BODY)}, data={"note": "n"})
    assert sent.json() == {"name": "tides.bin", "size": len(BODY), "note": "n"}


def test_a_session_lasts_through_a_redirect(client):
    assert client.get("/login").text == "nobody"
    assert client.post("/login", data={"name": "Nana"}).text == "Nana"
    assert client.get("/login").text == "Nana"


def test_a_stream_arrives_whole(client):
    assert client.get("/stream?count=3000").text == "".join(f"{number}\n" for number in range(3000))
    assert client.head("/stream?count=3000").content == b""


def test_background_work_follows_the_response(server, client, name):
    assert client.get(f"/background?name={name}").text == "answered"
    server.wait_for_log(f"{name} worked on")


def test_errors_are_quarts_own(server, client):
    assert client.get("/gone").status_code == 410
    assert client.get("/none").status_code == 404
    assert client.get("/broken").status_code == 500
    server.wait_for_log("RuntimeError: probe: quart broke")
    assert client.get("/").status_code == 200


def test_a_websocket_goes_both_ways_and_is_cancelled_when_its_client_leaves(server):
    with connect(f"ws://{server.authority}/echo", proxy=None) as websocket:
        for message in ("tide", b"\x00\xff", "x" * 100_000):
            websocket.send(message)
            assert websocket.recv(PATIENCE_S) == message
    server.wait_for_log("quart websocket cancelled")


def test_a_websocket_is_closed_with_a_code_and_a_reason(server):
    with connect(f"ws://{server.authority}/echo", proxy=None) as websocket:
        websocket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(PATIENCE_S)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as asked")


def test_a_websocket_is_denied_with_a_response_or_let_in(server):
    with pytest.raises(InvalidStatus) as denied:
        connect(f"ws://{server.authority}/guarded", proxy=None)
    assert (denied.value.response.status_code, denied.value.response.body) == (401, b"say the word")
    target = f"ws://{server.authority}/guarded?word=flood"
    options = {"subprotocols": ["ebb", "waves"], "additional_headers": {"X-Moon": "full"}}
    with connect(target, proxy=None, **options) as websocket:
        assert websocket.subprotocol == "waves"
        assert json.loads(websocket.recv(PATIENCE_S)) == {"moon": "full"}
