"""The Django project of `tests/frameworks` by ASGI, with Channels; its interface is told by its kind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.clients import Client
from support.server import PATIENCE_S, TESTS, Server

BODY = os.urandom(500_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a project made ready: migrated, with a user, static files collected."""
    folder = tmp_path_factory.mktemp("django")
    variables = {"DJANGO_SITE_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "apps.django_site.settings"}
    command = [sys.executable, "-m", "django", "prepare"]
    env = os.environ | variables | {"PYTHONPATH": str(TESTS)}
    subprocess.run(command, env=env, check=True, timeout=2 * PATIENCE_S)
    return variables


@pytest.fixture(scope="module")
def server(site):
    with Server("apps.django_site.asgi:application", env=site) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client():
    with Client() as client:
        yield client


def enter(server, path, origin="http://localhost"):
    """Channels lets in who comes from a host of the site's own."""
    return connect(f"ws://{server.authority}/{path}/", proxy=None, origin=origin)


def heard(websocket):
    return json.loads(websocket.recv(PATIENCE_S))["heard"]


def test_both_interfaces_are_told_apart(site, server, client):
    assert "(asgi," in server.log
    with Server("apps.django_site.wsgi:application", env=site) as other:
        assert "(wsgi," in other.log
        for one in (server, other):
            assert client.get(one.url("/readings/?place=the%20gate")).json()["database"] == "sqlite"


def test_a_form_with_its_token_writes_to_the_database(server, client):
    page = client.get(server.url("/"))
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text).group(1)
    sent = {"csrfmiddlewaretoken": token, "place": "the asgi pier", "height": ["80", "90"]}
    after = client.post(server.url("/readings/add/"), data=sent)
    assert [after.history[0].status_code, after.status_code] == [302, 200]
    assert "<li>the asgi pier: 80 cm</li><li>the asgi pier: 90 cm</li>" in after.text


@pytest.mark.parametrize("size", [0, 1, 20_000, 500_000])
def test_a_body_is_seen_whole_with_a_length_and_in_chunks(server, client, size):
    body = BODY[:size]
    for data in (body, (body[start : start + 1234] for start in range(0, size, 1234))):
        seen = client.post(server.url("/body/"), data=data).json()
        assert (seen["size"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_an_upload_reaches_the_disk_and_is_downloaded_again(server, client):
    sent = client.post(server.url("/upload/"), files={"file": ("a.bin", BODY)}, data={"note": "n"}).json()
    assert (sent["size"], sent["kind"], sent["note"]) == (len(BODY), "TemporaryUploadedFile", "n")
    got = client.get(server.url(f"/download/{sent['name']}"), headers={"Accept-Encoding": "identity"})
    assert got.content == BODY


def test_views_on_the_loop_wait_there_and_in_the_database(server, client):
    assert client.get(server.url("/async/")).json() == {"first": "the gate: 120 cm", "kind": "ASGIRequest"}


def test_streams_from_both_kinds_of_views_arrive_whole(server, client):
    # Django has a word to say about a synchronous iterator, and reads it whole in a thread.
    lines = client.get(server.url("/stream/2000/")).text.splitlines()
    assert lines[0] == "0,the gate: 120 cm" and lines[1:] == [str(number) for number in range(1, 2000)]
    lines = client.get(server.url("/async-stream/2000/")).text.splitlines()
    assert lines == [str(number) for number in range(2000)]


def test_a_stream_is_closed_when_its_client_leaves(server):
    since = len(server.log)
    with server.connect() as wire:
        wire.send(b"GET /async-stream/100000000/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.receive(1000)
        wire.reset()
    server.wait_for_log("probe: django stream closed", since=since)


def test_the_admin_shows_its_login_and_static_files_are_served(server, client):
    assert "Django administration" in client.get(server.url("/admin/")).text
    style = client.get(server.url("/static/harbour/tide.css"), headers={"Accept-Encoding": "gzip"})
    assert style.headers["Content-Encoding"] == "gzip"
    assert client.get(server.url("/static/admin/css/base.css")).status_code == 200


def test_a_failing_view_is_answered_and_the_connection_goes_on(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/broken/").status == 500
        assert wire.ask("GET", "/none/").status == 404
        assert wire.ask("GET", "/readings/").status == 200
        assert wire.ask("GET", "/readings/", host="elsewhere.example").status == 400
    server.wait_for_log("probe: django broke")


def test_many_clients_at_once_are_all_answered(server):
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        assert client.get(server.url("/async/")).status_code == 200
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(50)]
        for number, wire in enumerate(wires):
            wire.send(f"GET /readings/?place={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert {wire.answer().status for wire in wires} == {200}


def test_what_one_says_in_a_room_all_in_it_hear(server):
    with enter(server, "chat/ebb") as first:
        assert heard(first) == "somebody came"
        with enter(server, "chat/ebb") as second, enter(server, "chat/flood") as elsewhere:
            assert heard(first) == heard(second) == heard(elsewhere) == "somebody came"
            second.send(json.dumps({"say": "low \N{WATER WAVE}"}))
            assert heard(first) == heard(second) == "low \N{WATER WAVE}"
            elsewhere.send(json.dumps({"say": "high"}))
            assert heard(elsewhere) == "high"
        assert heard(first) == "somebody left"
    server.wait_for_log("probe: chat closed 1000")


def test_thirty_in_a_room_hear_each_other(server):
    with contextlib.ExitStack() as stack:
        crowd = []
        for _ in range(30):
            crowd.append(stack.enter_context(enter(server, "chat/crowd")))
            for one in crowd:
                assert heard(one) == "somebody came"
        for number, one in enumerate(crowd):
            one.send(json.dumps({"say": number}))
        for one in crowd:
            assert sorted(heard(one) for _ in crowd) == list(range(30))


def test_a_room_that_is_closed_and_a_foreign_origin_are_refused(server):
    for path, origin in (("chat/closed", "http://localhost"), ("chat/ebb", "http://elsewhere.example")):
        with pytest.raises(InvalidStatus) as refused:
            enter(server, path, origin)
        assert refused.value.response.status_code == 403


def test_a_synchronous_consumer_uses_the_orm(server):
    with enter(server, "pilot") as websocket:
        websocket.send("the gate")
        assert websocket.recv(PATIENCE_S) == "120"
        websocket.send(b"\x00\x01\x02")
        assert websocket.recv(PATIENCE_S) == b"\x02\x01\x00"
