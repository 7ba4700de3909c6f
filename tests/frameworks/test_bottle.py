"""A Bottle application."""

from __future__ import annotations

import hashlib
import os

import pytest

from support.clients import Client
from support.server import Server

BODY = os.urandom(300_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bottle")
    (folder / "tides.bin").write_bytes(BODY)
    (folder / "note.txt").write_text("high water at noon\n")
    return folder


@pytest.fixture(scope="module")
def server(files):
    with Server("apps.bottle_app:application", env={"BOTTLE_FILES": str(files)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client():
    with Client() as client:
        yield client


def test_routes_take_their_parts_from_the_path(server, client):
    assert client.get(server.url("/")).text == "Bottle at the tide gate\n"
    assert client.get(server.url("/hello/Nan%20a/2")).text == "Hello, Nan a! Hello, Nan a! "
    assert client.get(server.url("/hello/Nana/often")).status_code == 404


def test_json_goes_both_ways(server, client):
    seen = client.get(server.url("/json"), params={"a": "1 2", "b": "\N{WATER WAVE}"}).json()
    assert seen == {"query": {"a": "1 2", "b": "\N{WATER WAVE}"}, "path": "/json", "method": "GET"}
    assert client.post(server.url("/json"), json={"deep": [1, {"x": None}]}).json() == {
        "got": {"deep": [1, {"x": None}]}
    }


def test_a_form_arrives_with_its_repeated_fields(server, client):
    answer = client.post(server.url("/form"), data={"tide": ["low", "high"], "text": "a&b=c +d"})
    assert answer.json() == {"tide": ["low", "high"], "text": ["a&b=c +d"]}


def test_an_upload_arrives_whole(server, client):
    answer = client.post(
        server.url("/upload"),
        data={"note": "from the sea"},
        files={"file": ("tides.bin", BODY, "application/x-tide")},
    )
    assert answer.json() == {
        "name": "tides.bin",
        "size": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "note": "from the sea",
    }


def test_a_chunked_body_arrives_whole(server, client):
    pieces = (BODY[start : start + 7001] for start in range(0, len(BODY), 7001))
    assert client.post(server.url("/body"), data=pieces).text == hashlib.sha256(BODY).hexdigest()


def test_a_static_file_is_sent_whole_in_part_and_not_again(server, client):
    whole = client.get(server.url("/static/tides.bin"))
    assert whole.content == BODY
    assert whole.headers["Content-Length"] == str(len(BODY))
    part = client.get(server.url("/static/tides.bin"), headers={"Range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.content == BODY[1000:2000]
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(BODY)}"
    again = client.get(
        server.url("/static/tides.bin"), headers={"If-Modified-Since": whole.headers["Last-Modified"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    head = client.head(server.url("/static/note.txt"))
    assert head.headers["Content-Length"] == "19"
    assert client.get(server.url("/static/none.txt")).status_code == 404


def test_signed_cookies_come_back(server, client):
    assert [client.get(server.url("/visits")).text for _ in range(3)] == ["1", "2", "3"]
    assert client.cookies["plain"] == "1"


def test_a_stream_arrives_whole(server, client):
    assert client.get(server.url("/stream/2000")).text == "".join(
        f"line {number}\n" for number in range(2000)
    )
    assert client.get(server.url("/stream/0")).text == ""


def test_errors_and_redirects_are_bottles_own(server, client):
    teapot = client.get(server.url("/teapot"))
    assert teapot.status_code == 418
    assert "no coffee here" in teapot.text
    away = client.get(server.url("/away"))
    assert away.text == "Bottle at the tide gate\n"
    assert away.url == server.url("/")
    assert client.post(server.url("/away")).status_code == 405


def test_a_failure_is_answered_and_logged_and_the_connection_goes_on(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/broken").status == 500
        assert wire.ask("GET", "/").text == "Bottle at the tide gate\n"
    server.wait_for_log("probe: a bottle broke")
