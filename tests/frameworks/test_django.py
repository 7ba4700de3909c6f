"""A Django project with a database, uploads, downloads, the admin and static files."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys

import pytest
import requests

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


@pytest.fixture(scope="module", params=["application", "validated"])
def server(request, site):
    with Server(f"apps.django_site.wsgi:{request.param}", env=site) as server:
        yield server
        assert server.stop() == 0
        # Django logs a traceback of its own for the view that fails on purpose.
        complaints = [line for line in server.complaints() if "Traceback" not in line]
        assert complaints == []


@pytest.fixture
def client():
    with Client() as client:
        yield client


def token(page):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)


def test_the_orm_reads_what_the_migration_wrote(server, client):
    answer = client.get(server.url("/readings/?place=the%20gate")).json()
    assert answer == {"readings": [{"place": "the gate", "height": 120}], "database": "sqlite"}


def test_a_form_with_its_token_writes_to_the_database(server, client):
    page = client.get(server.url("/"))
    place = f"the {server.app} pier"
    sent = {"csrfmiddlewaretoken": token(page.text), "place": place, "height": ["80", "90"]}
    after = client.post(server.url("/readings/add/"), data=sent)
    assert [after.history[0].status_code, after.status_code] == [302, 200]
    assert f"<li>{place}: 80 cm</li><li>{place}: 90 cm</li>" in after.text


def test_a_form_without_its_token_is_refused_and_the_connection_goes_on(server):
    with server.connect() as wire:
        form = "Content-Type: application/x-www-form-urlencoded"
        for _ in range(2):
            assert wire.ask("POST", "/readings/add/", form, body=b"place=x&height=1").status == 403
        assert wire.ask("GET", "/readings/").status == 200


def test_a_failed_transaction_leaves_nothing(server, client):
    page = client.get(server.url("/"))
    sent = {"csrfmiddlewaretoken": token(page.text), "place": "nowhere", "height": ["1", "deep"]}
    assert client.post(server.url("/readings/add/"), data=sent).status_code == 500
    assert client.get(server.url("/readings/?place=nowhere")).json()["readings"] == []


@pytest.mark.parametrize(
    ("size", "kind"), [(1000, "InMemoryUploadedFile"), (500_000, "TemporaryUploadedFile")]
)
def test_an_upload_reaches_the_disk_and_is_downloaded_again(server, client, size, kind):
    url = server.url("/upload/")
    sent = client.post(url, files={"file": ("tides.bin", BODY[:size])}, data={"note": "n"}).json()
    assert (sent["size"], sent["kind"], sent["note"]) == (size, kind, "n")
    for _ in range(2):
        got = client.get(server.url(f"/download/{sent['name']}"), headers={"Accept-Encoding": "identity"})
        assert got.content == BODY[:size]
        assert got.headers["Content-Length"] == str(size)
        assert "attachment" in got.headers["Content-Disposition"]
    head = client.head(server.url(f"/download/{sent['name']}"), headers={"Accept-Encoding": "identity"})
    assert (head.content, head.headers["Content-Length"]) == (b"", str(size))


def test_a_chunked_multipart_upload_reaches_the_disk(server, client):
    # The boundary and all: the body that requests would send with a length, sent in chunks instead.
    upload = requests.Request("POST", server.url(), files={"file": ("c.bin", BODY)}, data={"note": "chunked"})
    form = client.prepare_request(upload).body
    kind = {"Content-Type": "multipart/form-data; boundary=tide"}
    form = form.replace(re.match(rb"--(\w+)", form).group(1), b"tide")
    pieces = (form[start : start + 10_000] for start in range(0, len(form), 10_000))
    sent = client.post(server.url("/upload/"), data=pieces, headers=kind).json()
    assert (sent["size"], sent["note"]) == (len(BODY), "chunked")


@pytest.mark.parametrize("size", [0, 1, 20_000, 500_000])
def test_a_chunked_body_is_seen_whole(server, client, size):
    body = BODY[:size]
    seen = client.post(
        server.url("/body/"), data=(body[start : start + 1234] for start in range(0, size, 1234))
    ).json()
    assert (seen["size"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_a_body_with_a_length_is_seen_whole(server, client):
    for _ in range(2):
        seen = client.post(server.url("/body/"), data=BODY).json()
        assert seen["sha256"] == hashlib.sha256(BODY).hexdigest()
        assert seen["length"] == str(len(BODY))


def test_a_streaming_response_arrives_whole(server, client):
    for encoding in ("identity", "gzip"):
        answer = client.get(server.url("/stream/2000/"), headers={"Accept-Encoding": encoding})
        lines = answer.text.splitlines()
        assert lines[0] == "0,the gate: 120 cm"
        assert lines[1:] == [str(number) for number in range(1, 2000)]
        assert answer.headers.get("Content-Encoding") == (None if encoding == "identity" else "gzip")


def test_a_session_lasts_on_one_client_and_starts_anew_on_the_next(server, client):
    assert [client.get(server.url("/sessions/")).json()["visits"] for _ in range(3)] == [1, 2, 3]
    with Client() as other:
        assert other.get(server.url("/sessions/")).json() == {"visits": 1, "secure": False}


def test_the_admin_shows_its_login_and_lets_the_keeper_in(server, client):
    page = client.get(server.url("/admin/"))
    assert page.url.endswith("/admin/login/?next=/admin/")
    assert "Django administration" in page.text
    sent = {"csrfmiddlewaretoken": token(page.text), "username": "keeper", "password": "high water"}
    inside = client.post(page.url, data=sent)
    assert "Site administration" in inside.text
    assert "Readings" in client.get(server.url("/admin/harbour/")).text


def test_whitenoise_serves_static_files_compressed_and_once(server, client):
    url = server.url("/static/harbour/tide.css")
    plain = client.get(url, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    small = client.get(url, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert small.headers["Content-Encoding"] == "gzip"
    packed = small.raw.read(decode_content=False)
    assert len(packed) == int(small.headers["Content-Length"]) < len(plain.content)
    assert gzip.decompress(packed) == plain.content
    again = client.get(url, headers={"If-Modified-Since": plain.headers["Last-Modified"]})
    assert (again.status_code, again.content) == (304, b"")
    part = client.get(url, headers={"Range": "bytes=3-6", "Accept-Encoding": "identity"})
    assert (part.status_code, part.content) == (206, plain.content[3:7])
    assert client.get(server.url("/static/admin/css/base.css")).status_code == 200


def test_a_failing_view_is_answered_and_the_connection_goes_on(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/broken/").status == 500
        assert wire.ask("GET", "/none/").status == 404
        assert wire.ask("GET", "/readings/").status == 200
    server.wait_for_log("probe: django broke")


def test_a_host_that_is_not_allowed_is_refused(server):
    with server.connect() as wire:
        assert wire.ask("GET", "/readings/", host="elsewhere.example").status == 400
        assert wire.ask("GET", "/readings/", host="tide.example:1234").status == 200
