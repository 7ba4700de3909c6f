"""A Flask application."""

from __future__ import annotations

import hashlib
import http.client
import os

import httpx
import pytest

from support.clients import Client
from support.server import PATIENCE_S, Server

BODY = os.urandom(400_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flask")
    (folder / "tides.bin").write_bytes(BODY)
    with Server("apps.flask_app:app", env={"FLASK_FILES": str(folder)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client():
    with Client() as client:
        yield client


def test_a_template_is_rendered(server, client):
    assert client.get(server.url("/")).text == "<h1>Tides &amp; gates</h1>"


def test_json_goes_both_ways(server, client):
    sent = {"list": [1, 2.5, None], "wave": "\N{WATER WAVE}"}
    assert client.post(server.url("/json?a=1"), json=sent).json() == {"got": sent, "args": {"a": "1"}}
    assert (
        client.post(server.url("/json"), data="{", headers={"Content-Type": "application/json"}).status_code
        == 400
    )


def test_a_session_lasts_through_a_redirect(server, client):
    assert client.get(server.url("/login")).text == "nobody"
    assert client.post(server.url("/login"), data={"name": "Nana"}).text == "Nana"
    assert client.get(server.url("/login")).text == "Nana"


@pytest.mark.parametrize("size", [0, 1, 400_000])
def test_a_chunked_body_is_seen_whole(server, client, size):
    body = BODY[:size]
    seen = client.post(
        server.url("/body"), data=(body[start : start + 999] for start in range(0, size, 999))
    ).json()
    assert (seen["size"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_a_chunked_body_from_httpx_is_seen_whole(server):
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        seen = client.post(
            server.url("/body"), content=(BODY[start : start + 50_000] for start in range(0, 400_000, 50_000))
        )
        assert seen.json()["sha256"] == hashlib.sha256(BODY).hexdigest()


def test_a_stream_sees_its_request_and_its_callbacks_run_at_the_end(server, client):
    since = len(server.log)
    answer = client.get(server.url("/stream?count=500&name=whole"))
    assert answer.text == "".join(f"/stream {number}\n" for number in range(500))
    server.wait_for_log("probe: response closed whole", since=since)
    server.wait_for_log("probe: torn down whole after NoneType", since=since)


def test_the_callbacks_run_when_the_client_leaves(server):
    since = len(server.log)
    with server.connect() as wire:
        wire.send(b"GET /stream?count=100000000&name=left HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.receive(5000)
        wire.reset()
    server.wait_for_log("probe: response closed left", since=since)
    server.wait_for_log("probe: torn down left", since=since)


def test_the_callbacks_run_for_head(server, client):
    since = len(server.log)
    assert client.head(server.url("/stream?count=5&name=head")).content == b""
    server.wait_for_log("probe: response closed head", since=since)


def test_an_upload_is_saved_and_served_again(server, client):
    answer = client.post(server.url("/upload"), files={"file": ("up.bin", BODY)}, data={"note": "sent"})
    assert answer.status_code == 201
    assert answer.json() == {"name": "up.bin", "size": len(BODY), "note": "sent"}
    assert client.get(server.url("/files/up.bin")).content == BODY


def test_send_file_gives_ranges(server, client):
    url = server.url("/files/tides.bin")
    for asked, start, end in (
        ("0-0", 0, 1),
        ("100-299", 100, 300),
        ("399000-", 399_000, 400_000),
        ("-10", 399_990, 400_000),
    ):
        part = client.get(url, headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, BODY[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/400000"
    assert client.get(url, headers={"Range": "bytes=500000-"}).status_code == 416


def test_send_file_heeds_conditions(server, client):
    url = server.url("/files/tides.bin")
    whole = client.get(url)
    assert whole.content == BODY
    for field, value in (
        ("If-None-Match", whole.headers["ETag"]),
        ("If-Modified-Since", whole.headers["Last-Modified"]),
    ):
        again = client.get(url, headers={field: value})
        assert (again.status_code, again.content) == (304, b"")
        assert "Transfer-Encoding" not in again.headers
    assert (
        client.get(url, headers={"Range": "bytes=0-9", "If-Range": whole.headers["ETag"]}).content
        == BODY[:10]
    )
    assert client.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).content == BODY
    head = client.head(url)
    assert head.headers["Content-Length"] == "400000"


def test_errors_are_flasks_own(server, client):
    gone = client.get(server.url("/gone"))
    assert (gone.status_code, gone.text, gone.headers["X-Handled"]) == (410, "went out with the tide", "yes")
    assert client.get(server.url("/none")).status_code == 404
    refused = client.delete(server.url("/"))
    assert refused.status_code == 405
    assert "GET" in refused.headers["Allow"]


def test_a_failure_is_answered_and_logged_and_the_connection_goes_on(server):
    since = len(server.log)
    with server.connect() as wire:
        assert wire.ask("GET", "/broken").status == 500
        assert wire.ask("GET", "/").status == 200
    server.wait_for_log("probe: flask broke", since=since)


def test_a_failure_in_a_stream_cuts_it_short(server):
    with server.connect() as wire:
        wire.send(b"GET /breaks-in-stream HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(http.client.IncompleteRead):
            wire.answer()
    server.wait_for_log("probe: stream broke")
