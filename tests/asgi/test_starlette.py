"""A Starlette application."""

from __future__ import annotations

import hashlib
import http.client
import os

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from support.server import PATIENCE_S, Server

BODY = os.urandom(400_000)


@pytest.fixture(scope="module")
def server(loop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("starlette")
    (folder / "tides.bin").write_bytes(BODY)
    variables = {"STARLETTE_FILE": str(folder / "tides.bin"), "STARLETTE_STATIC": str(folder)}
    with Server("apps.starlette_app:app", options=["--loop", loop], env=variables) as server:
        yield server
        assert server.stop() == 0
        assert server.log.count("probe: starlette starts") == 1
        assert server.log.count("probe: starlette stops") == 1


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def open_websocket(server, path, **options):
    return connect(f"ws://{server.authority}{path}", proxy=None, **options)


def in_pieces(body, size):
    return (body[start : start + size] for start in range(0, len(body), size))


def test_a_route_sees_its_request_and_the_state_of_the_lifespan(server, client):
    first, second = (client.get("/?q=1").json() for _ in range(2))
    assert first["tide"] == "high"
    assert first["url"] == server.url("/?q=1")
    assert first["client"] == "127.0.0.1"
    # The list is shared by all requests, each of which has a state of its own.
    assert second["visits"] == first["visits"] + 1


@pytest.mark.parametrize("path", ["/body", "/pieces"])
@pytest.mark.parametrize("size", [0, 1, 70_000, 400_000])
def test_a_body_arrives_whole_with_a_length_and_in_chunks(client, path, size):
    body = BODY[:size]
    for content in (body, in_pieces(body, 9999)):
        seen = client.post(path, content=content).json()
        assert (seen["size"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_a_stream_goes_through_while_it_comes(client):
    assert client.post("/echo", content=in_pieces(BODY, 10_000)).content == BODY


def test_an_upload_arrives_whole(client):
    sent = client.post("/upload", files={"file": ("tides.bin", BODY)}, data={"note": "n"})
    assert sent.json() == {"name": "tides.bin", "size": len(BODY), "note": "n"}


def test_streams_from_the_loop_and_from_threads_arrive_whole(client):
    expected = "".join(f"{number}\n" for number in range(5000))
    with client.stream("GET", "/stream?count=5000") as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert "".join(answer.iter_text()) == expected
    assert client.get("/thread-stream").text == "".join(f"{number} False\n" for number in range(100))
    assert client.get("/in-thread").text == "False"


def test_a_stream_is_closed_when_its_client_leaves(server, name):
    with server.connect() as wire:
        wire.send(f"GET /stream?count=100000000&name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wire.receive(100_000)
        wire.reset()
    server.wait_for_log(f"{name} stream closed")


def test_background_work_goes_on_after_the_response(server, client, name):
    assert client.get(f"/background?name={name}").text == "answered"
    assert f"{name} worked" not in server.log
    assert client.get(f"/open-gate?name={name}").text == "open"
    server.wait_for_log(f"{name} worked on")
    server.wait_for_log(f"{name} worked in a thread")


def test_a_file_is_sent_whole_in_part_and_not_again(client):
    for path in ("/file", "/static/tides.bin"):
        whole = client.get(path)
        assert whole.content == BODY
        assert client.head(path).headers["Content-Length"] == whole.headers["Content-Length"] == "400000"
    part = client.get("/file", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, BODY[100:300])
    known = client.get("/static/tides.bin", headers={"If-None-Match": whole.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_middleware_between_the_application_and_the_server_changes_nothing(client):
    for encoding in ("gzip", "identity"):
        answer = client.get("/wrapped/stream?count=3000", headers={"Accept-Encoding": encoding})
        assert answer.headers.get("Content-Encoding", "identity") == encoding
        assert answer.headers["X-Stamp"] == "GET"
        assert answer.text == "".join(f"{number}\n" for number in range(3000))
        assert client.get("/wrapped/file", headers={"Accept-Encoding": encoding}).content == BODY
    assert client.post("/wrapped/body", content=in_pieces(BODY, 5000)).json()["size"] == len(BODY)


def test_a_departure_is_seen_by_who_asks_for_it(server, name):
    with server.connect() as wire:
        wire.send(f"GET /departure?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        server.wait_for_log(f"{name} waits")
    server.wait_for_log(f"{name} has gone")


def test_a_body_that_is_cut_short_is_seen_as_a_departure(server):
    since = len(server.log)
    with server.connect() as wire:
        wire.send(b"POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(1000))
        server.wait_for_log("reads a body", since=since)
        wire.reset()
    server.wait_for_log("client disconnected in the middle of its body", since=since)


def test_errors_are_starlettes_own(server, client):
    gone = client.get("/gone")
    assert (gone.status_code, gone.text, gone.headers["X-Handled"]) == (410, "out with the tide", "yes")
    assert client.get("/none").status_code == 404
    assert client.delete("/body").status_code == 405
    assert client.get("/broken").status_code == 500
    server.wait_for_log("RuntimeError: probe: starlette broke")


def test_a_failure_in_a_stream_cuts_it_short(server):
    with server.connect() as wire:
        wire.send(b"GET /breaks-in-stream HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)):
            wire.answer()
    server.wait_for_log("RuntimeError: probe: stream broke")


def test_a_websocket_goes_both_ways_and_tells_how_it_ended(server):
    with open_websocket(server, "/shout", subprotocols=["waves"]) as websocket:
        assert websocket.subprotocol == "waves"
        for text in ("ebb", "\u00e9tale", "x" * 100_000):
            websocket.send(text)
            assert websocket.recv() == text.upper()
        websocket.close(4002, "enough")
    server.wait_for_log("starlette websocket closed 4002 'enough'")


def test_a_websocket_is_denied_with_a_response_or_closed_with_a_reason(server):
    with pytest.raises(InvalidStatus) as denied:
        open_websocket(server, "/guarded")
    assert (denied.value.response.status_code, denied.value.response.body) == (401, b"say the word")
    with open_websocket(server, "/guarded?word=flood") as websocket:
        assert websocket.recv() == '{"tide":"high"}'
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "that is all")
    with pytest.raises(InvalidStatus) as nowhere:
        open_websocket(server, "/nowhere")
    assert nowhere.value.response.status_code in (403, 404)
