"""A Falcon application."""

from __future__ import annotations

import hashlib
import os

import pytest

from support.clients import Client
from support.server import Server

BODY = os.urandom(250_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("falcon") / "tides.bin"
    path.write_bytes(BODY)
    with Server("apps.falcon_app:application", env={"FALCON_FILE": str(path)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client():
    with Client() as client:
        yield client


def test_a_resource_answers_through_the_middleware(server, client):
    answer = client.get(server.url("/?name=Nana"))
    assert answer.text == "Hello, Nana!"
    assert answer.headers["X-Stamp"] == "yes"
    assert answer.cookies["seen"] == "1"


def test_media_goes_both_ways(server, client):
    assert client.post(server.url("/media"), json={"a": 1}).json() == {"got": {"a": 1}, "length": 8}
    assert (
        client.post(server.url("/media"), data="{", headers={"Content-Type": "application/json"}).status_code
        == 400
    )


@pytest.mark.parametrize("bounded", ["true", "false"])
def test_a_body_is_read_whole(server, client, bounded):
    for _ in range(2):
        answer = client.post(server.url(f"/body?bounded={bounded}"), data=BODY)
        assert answer.text == hashlib.sha256(BODY).hexdigest()


def test_a_chunked_body_is_read_whole(server, client):
    answer = client.post(
        server.url("/body"), data=(BODY[start : start + 3333] for start in range(0, len(BODY), 3333))
    )
    assert answer.text == hashlib.sha256(BODY).hexdigest()


def test_a_multipart_form_is_read_from_the_stream(server, client):
    answer = client.post(server.url("/form"), files={"one": b"1" * 100, "two": BODY})
    assert answer.json() == {"one": 100, "two": len(BODY)}


def test_a_stream_arrives_whole(server, client):
    expected = b"".join(b"%d\n" % number for number in range(3000))
    assert client.get(server.url("/stream/3000")).content == expected


@pytest.mark.parametrize("memory", ["true", "false"])
def test_a_file_is_sent_through_the_wrapper(server, memory):
    with server.connect() as wire:
        for _ in range(2):
            assert wire.ask("GET", f"/file?memory={memory}").body == BODY
        assert wire.ask("HEAD", f"/file?memory={memory}").status == 200
        assert wire.ask("GET", "/").text == "Hello, sea!"


def test_errors_and_empty_responses_are_falcons_own(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/errors").status == 422
        assert wire.ask("DELETE", "/errors").status == 204
        options = wire.ask("OPTIONS", "/errors")
        assert options.status == 200
        assert "DELETE" in options.headers["Allow"]
        assert wire.ask("PUT", "/errors", body=b"x").status == 500
        assert wire.ask("GET", "/").status == 200
    server.wait_for_log("probe: falcon broke")
