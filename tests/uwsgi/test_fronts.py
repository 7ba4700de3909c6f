"""Behind nginx (`uwsgi_pass` and its like) and Apache (mod_proxy_uwsgi and its like)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cgi import CgiFront, missing
from support.clients import Client
from support.server import Server

BODY = os.urandom(400_000)
FRONTS = [
    (program, protocol, over_unix)
    for program in ("nginx", "apache")
    for protocol in ("uwsgi", "scgi", "fastcgi")
    for over_unix in (False, True)
]


@pytest.fixture(
    scope="module", params=FRONTS, ids=lambda front: "-".join(map(str, front[:2])) + "-unix" * front[2]
)
def front(request: pytest.FixtureRequest) -> tuple[str, str, bool]:
    kind: tuple[str, str, bool] = request.param
    if reason := missing(kind[0]):
        pytest.skip(reason)
    return kind


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # A short path: a unix socket's name has room for a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="tides-"))
    folder.chmod(0o755)
    (folder / "tides.bin").write_bytes(BODY)
    yield folder
    shutil.rmtree(folder)


def served(app: str, front: tuple[str, str, bool], folder: Path) -> Server:
    program, protocol, over_unix = front
    address = f"unix:{folder}/{app.partition(':')[0]}-{program}-{protocol}" if over_unix else "127.0.0.1:0"
    # Apache's workers are another user's.
    options = ("--unix-socket-mode", "666")
    return Server(app, binds=(f"{protocol}://{address}",), options=options, env={"FLASK_FILES": str(folder)})


@pytest.fixture(scope="module")
def plain(front, folder):
    with (
        served("apps.handed_on:validated", front, folder) as server,
        CgiFront(*front[:2], server.addresses[0]) as proxy,
    ):
        yield proxy
        assert server.complaints() == []


@pytest.fixture(scope="module")
def flask(front, folder):
    with (
        served("apps.flask_app:app", front, folder) as server,
        CgiFront(*front[:2], server.addresses[0]) as proxy,
    ):
        yield f"http://127.0.0.1:{proxy.port}"


@pytest.fixture
def client():
    with Client() as client:
        yield client


def told(proxy, path="/", *fields):
    with proxy.connect() as wire:
        answer = wire.ask("GET", path, *fields, host="pilot.example")
    assert answer.status == 200
    return json.loads(answer.body)


def test_the_environ_is_what_the_front_server_says(plain):
    seen = told(plain, "/a%20b/?c=%20d", "X-Tide: neap", "Cookie: a=b", "X-Forwarded-For: 192.0.2.99")
    assert seen["HARBOUR"] == "low water"
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("", "/a b/", "c=%20d")
    assert seen["REQUEST_URI"] == "/a%20b/?c=%20d"
    assert (seen["REQUEST_METHOD"], seen["SERVER_PROTOCOL"]) == ("GET", "HTTP/1.1")
    assert (seen["HTTP_X_TIDE"], seen["HTTP_COOKIE"]) == ("neap", "a=b")
    assert seen["HTTP_HOST"] == "pilot.example"
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    # nginx has been given no name here.
    assert seen["SERVER_NAME"] == "pilot.example"
    # Apache says what goes with the Host field.
    assert seen["SERVER_PORT"] == (str(plain.port) if plain.program == "nginx" else "80")
    assert "UWSGI_FILE" not in seen
    assert "HTTP_PROXY" not in told(plain, "/", "Proxy: evil")


@pytest.mark.parametrize("size", [0, 1, 100_000, 20_000_000])
def test_an_upload_arrives_whole(plain, size):
    body = os.urandom(size)
    with plain.connect() as wire:
        answer = wire.ask("POST", "/digest", body=body)
    assert (answer.status, answer.text) == (200, hashlib.sha256(body).hexdigest())


def test_an_upload_in_chunks_arrives_whole_if_the_front_server_takes_it(plain):
    with plain.connect() as wire:
        wire.send(b"POST /digest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"ebb", b"flood" * 10_000):
            wire.send(b"%x\r\n%s\r\n" % (len(part), part))
        wire.send(b"0\r\n\r\n")
        answer = wire.answer("POST")
    if plain.program == "apache":
        # It wants to know the length first, whatever is behind it.
        assert answer.status == 411
    else:
        assert (answer.status, answer.text) == (200, hashlib.sha256(b"ebb" + b"flood" * 10_000).hexdigest())


def test_a_client_that_waits_for_continue_is_told_by_the_front_server(plain):
    with plain.connect() as wire:
        wire.send(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert wire.line().startswith(b"HTTP/1.1 100 ")
        assert wire.line() == b"\r\n"
        wire.send(b"ebb")
        assert wire.answer("POST").text == hashlib.sha256(b"ebb").hexdigest()


def test_a_response_of_unknown_length_arrives_whole(plain):
    with plain.connect() as wire:
        answer = wire.ask("GET", "/blocks?count=300")
        assert (answer.status, answer.body) == (200, bytes(range(256)) * 256 * 300)
        # The client's connection goes on.
        assert wire.ask("GET", "/nothing").status == 204
        assert wire.ask("HEAD", "/blocks?count=3").status == 200


def test_nginx_sends_the_file_that_the_application_names(plain):
    if plain.program != "nginx":
        pytest.skip("X-Accel-Redirect is nginx's")
    (plain.folder / "tide").write_text("high water")
    with plain.connect() as wire:
        assert wire.ask("GET", "/accel").text == "high water"


def test_a_form_a_session_and_a_redirect(flask, client):
    assert client.get(f"{flask}/login").text == "nobody"
    assert client.post(f"{flask}/login", data={"name": "Nana"}).text == "Nana"
    assert client.get(f"{flask}/login").text == "Nana"


def test_an_upload_in_a_form_and_a_download(flask, client):
    seen = client.post(f"{flask}/upload", files={"file": ("up.bin", BODY)}, data={"note": "spring"})
    assert (seen.status_code, seen.json()["size"]) == (201, len(BODY))
    assert client.get(f"{flask}/files/tides.bin").content == BODY
    part = client.get(f"{flask}/files/tides.bin", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, BODY[10:20])
    etag = client.head(f"{flask}/files/tides.bin").headers["ETag"]
    assert client.get(f"{flask}/files/tides.bin", headers={"If-None-Match": etag}).status_code == 304


def test_a_stream_and_an_error(flask, client):
    assert client.get(f"{flask}/stream?count=3").text == "/stream 0\n/stream 1\n/stream 2\n"
    gone = client.get(f"{flask}/gone")
    assert (gone.status_code, gone.headers["X-Handled"]) == (410, "yes")
    assert client.get(f"{flask}/broken").status_code == 500
