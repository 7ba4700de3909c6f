"""A Pyramid application."""

from __future__ import annotations

import os

import pytest

from support.clients import Client
from support.server import Server

BODY = os.urandom(200_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("pyramid") / "tides.bin"
    path.write_bytes(BODY)
    with Server("apps.pyramid_app:application", env={"PYRAMID_FILE": str(path)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client():
    with Client() as client:
        yield client


def test_a_view_answers_through_the_tween(server, client):
    answer = client.get(server.url("/"))
    assert answer.text == "Pyramid at the tide gate\n"
    assert answer.headers["X-Tween"] == "passed"


def test_a_route_gives_its_parts_and_knows_its_url(server, client):
    url = server.url("/harbour/S%C3%B8r?depth=3&depth=5")
    seen = client.get(url).json()
    assert seen == {"name": "S\N{LATIN SMALL LETTER O WITH STROKE}r", "depth": ["3", "5"], "url": url}


def test_an_upload_arrives_whole(server, client):
    answer = client.post(server.url("/upload"), files={"file": ("tides.bin", BODY)}, data={"note": "n"})
    assert answer.json() == {"name": "tides.bin", "size": len(BODY), "note": "n"}


def test_a_chunked_body_is_seen_whole(server, client):
    answer = client.post(server.url("/body"), data=iter([b'{"a": [', b"1, 2", b"]}"]))
    assert answer.json() == {"size": 13, "json": {"a": [1, 2]}}


def test_a_stream_arrives_whole(server, client):
    assert client.get(server.url("/stream")).content == b"".join(
        b"wave %d\n" % number for number in range(1000)
    )


def test_a_file_is_sent_through_the_wrapper(server):
    with server.connect() as wire:
        for _ in range(2):
            answer = wire.ask("GET", "/file")
            assert answer.body == BODY
            assert answer.headers["Content-Length"] == "200000"
        assert wire.ask("HEAD", "/file").headers["Content-Length"] == "200000"
        assert wire.ask("GET", "/").status == 200


def test_redirects_cookies_and_exception_views_work(server, client):
    assert client.get(server.url("/away")).text == "Pyramid at the tide gate\n"
    assert [client.get(server.url("/cookie")).text for _ in range(2)] == ["none", "waxing"]
    assert client.get(server.url("/ebb")).status_code == 503
    assert client.get(server.url("/none")).status_code == 404


def test_a_failure_that_pyramid_lets_through_is_the_servers_to_answer(server):
    with server.connect() as wire:
        answer = wire.ask("GET", "/broken")
        assert answer.status == 500
        assert b"probe" not in answer.body
    with server.connect() as wire:
        assert wire.ask("GET", "/").status == 200
    server.wait_for_log("probe: pyramid broke")
