"""A stack of middleware between the server and the applications."""

from __future__ import annotations

import gzip

import pytest

from support.clients import Client
from support.server import Server

WAVES = b"the flood begins\n" + b"".join(b"flood %d\n" % number for number in range(1000))


@pytest.fixture(scope="module", params=["application", "validated"])
def server(request):
    with Server(f"apps.middleware_stack:{request.param}") as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.fixture
def client():
    with Client() as client:
        yield client


def test_a_rewritten_response_arrives_whole_and_the_inner_one_is_closed(server, client):
    since = len(server.log)
    answer = client.get(server.url("/"), headers={"Accept-Encoding": "identity"})
    assert answer.content == WAVES
    assert answer.headers["Content-Length"] == str(len(WAVES))
    server.wait_for_log("probe: waves closed", since=since)


def test_a_compressed_response_arrives_whole(server):
    with server.connect() as wire:
        for _ in range(2):
            answer = wire.ask("GET", "/", "Accept-Encoding: gzip")
            assert answer.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(answer.body) == WAVES


def test_head_passes_through_the_stack(server):
    with server.connect() as wire:
        assert wire.ask("HEAD", "/").headers["Content-Length"] == str(len(WAVES))
        assert wire.ask("GET", "/").body == WAVES


@pytest.mark.parametrize("path", ["/fails", "/fails-late"])
def test_a_failure_inside_is_answered_by_the_middleware(server, path):
    with server.connect() as wire:
        for _ in range(2):
            answer = wire.ask("GET", path)
            assert (answer.status, answer.body) == (502, b"rewritten error")
        assert wire.ask("GET", "/").body == WAVES


def test_a_mounted_application_sees_its_own_root(server, client):
    seen = client.get(server.url("/api/deep/er")).json()
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/api", "/deep/er")
    assert seen["HTTP_HOST"] == server.authority
    assert client.get(server.url("/api")).json()["PATH_INFO"] == ""


def test_a_proxys_fields_take_effect(server, client):
    fields = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "tide.example",
        "X-Forwarded-Prefix": "/behind",
    }
    assert client.get(server.url("/api/x"), headers=fields).json() == {
        "SCRIPT_NAME": "/behind/api",
        "PATH_INFO": "/x",
        "REMOTE_ADDR": "203.0.113.7",
        "HTTP_HOST": "tide.example",
        "SERVER_NAME": "tide.example",
        "wsgi.url_scheme": "https",
        "REQUEST_METHOD": "GET",
    }
