"""A Flask application behind asgiref's WsgiToAsgi: each bridge calls for what the server promises to both."""

from __future__ import annotations

import hashlib
import os

import pytest

from support.clients import Client
from support.server import Server

BODY = os.urandom(400_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrapped")
    (folder / "tides.bin").write_bytes(BODY)
    with Server("apps.wrapped_flask_app:app", env={"FLASK_FILES": str(folder)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client():
    with Client() as client:
        yield client


def test_an_object_with_an_asynchronous_call_is_told_to_be_asgi(server):
    assert "(asgi," in server.log


def test_json_forms_and_sessions_go_through(server, client):
    sent = {"list": [1, 2.5, None], "wave": "\N{WATER WAVE}"}
    assert client.post(server.url("/json?a=1"), json=sent).json() == {"got": sent, "args": {"a": "1"}}
    assert client.post(server.url("/login"), data={"name": "Nana"}).text == "Nana"
    assert client.get(server.url("/login")).text == "Nana"


def test_bodies_uploads_and_files_arrive_whole(server, client):
    seen = client.post(server.url("/body"), data=BODY).json()
    assert (seen["size"], seen["sha256"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    answer = client.post(server.url("/upload"), files={"file": ("up.bin", BODY)}, data={"note": "sent"})
    assert answer.json() == {"name": "up.bin", "size": len(BODY), "note": "sent"}
    assert client.get(server.url("/files/up.bin")).content == BODY
    part = client.get(server.url("/files/tides.bin"), headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, BODY[100:300])


def test_a_stream_sees_its_request_and_ends_with_its_callbacks(server, client, name):
    answer = client.get(server.url(f"/stream?count=500&name={name}"))
    assert answer.text == "".join(f"/stream {number}\n" for number in range(500))


def test_errors_are_flasks_own(server, client):
    assert client.get(server.url("/gone")).text == "went out with the tide"
    assert client.get(server.url("/broken")).status_code == 500
    assert client.get(server.url("/none")).status_code == 404
    assert client.get(server.url("/")).status_code == 200
