"""uwsgi listeners beside others: what requests run on, workers, clients that leave, and frameworks."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys

import pytest

from support.cgi import USUAL, CgiFront, missing, uwsgi
from support.clients import Client
from support.server import PATIENCE_S, TESTS, Server

HOSTS = {
    "inline": ["--threads", "1"],
    "threads": ["--threads", "20"],
    "unbuffered": ["--threads", "20", "--request-buffering", "off"],
    "greenlets": ["--concurrency", "greenlets"],
    "bridge": ["--concurrency", "asyncio"],
}
BODY = os.urandom(300_000)
BIND = ("uwsgi://127.0.0.1:0",)


@pytest.fixture
def client():
    with Client() as client:
        yield client


@pytest.fixture
def nginx():
    if reason := missing("nginx"):
        pytest.skip(reason)
    return lambda server, **options: CgiFront("nginx", "uwsgi", server.addresses[0], **options)


@pytest.mark.parametrize("host", HOSTS)
def test_a_request_is_answered_whatever_it_runs_on(host):
    with Server("apps.handed_on:application", binds=BIND, options=HOSTS[host]) as server:
        variables = USUAL | {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/digest",
            "CONTENT_LENGTH": str(len(BODY)),
        }
        answer = server.raw(uwsgi(variables, BODY))
        assert answer.endswith(hashlib.sha256(BODY).hexdigest().encode())
        blocks = server.raw(uwsgi(USUAL | {"PATH_INFO": "/blocks", "QUERY_STRING": "count=9"}))
        assert blocks.endswith(bytes(range(256)) * 256 * 9)
        assert server.stop() == 0


@pytest.mark.parametrize("host", ["threads", "greenlets", "bridge"])
def test_a_client_that_leaves_the_front_server_is_seen_to_leave(nginx, host):
    with (
        Server("apps.departures:application", binds=BIND, options=HOSTS[host]) as server,
        nginx(server) as front,
    ):
        with front.connect() as wire:
            wire.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for_log("waiting")
        server.wait_for_log("waited: True")


def test_a_body_that_nginx_passes_on_as_it_comes_arrives_whole(nginx):
    with (
        Server("apps.handed_on:application", binds=BIND, options=HOSTS["unbuffered"]) as server,
        nginx(server, own="uwsgi_request_buffering off;") as front,
        front.connect() as wire,
    ):
        wire.send(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        for at in range(0, len(BODY), 50_000):
            wire.send(BODY[at : at + 50_000])
        assert wire.answer("POST").text == hashlib.sha256(BODY).hexdigest()


def test_new_workers_take_over_without_a_lost_request(nginx):
    with (
        Server(
            "apps.handed_on:application", binds=BIND, options=("--workers", "2"), supervised=True
        ) as server,
        nginx(server) as front,
    ):
        seen = set()
        for _ in range(3):
            since = len(server.log)
            server.signal(signal.SIGHUP)
            for number in range(50):
                with front.connect() as wire:
                    answer = wire.ask("GET", f"/{number}")
                assert answer.status == 200
                seen.add(answer.status)
            server.wait_for_log("reload", since=since)
        assert seen == {200}
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("bind", "is_open"),
    [
        ("uwsgi://0.0.0.0:0", True),
        ("scgi://[::]:0", True),
        ("fastcgi://0.0.0.0:0", True),
        ("uwsgi://127.0.0.1:0", False),
        ("uwsgi://[::1]:0", False),
        ("0.0.0.0:0", False),
    ],
)
def test_a_listener_that_other_machines_reach_is_warned_of(bind, is_open):
    with Server("apps.handed_on:application", binds=(bind,)) as server:
        found = re.findall(r"warn: (\S+) believes whoever connects", server.log)
    assert found == ([bind] if is_open else [])


def test_django_behind_the_validator_has_forms_cookies_and_uploads(nginx, client, tmp_path):
    env = {"DJANGO_SITE_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "apps.django_site.settings"}
    command = [sys.executable, "-m", "django", "prepare"]
    prepared = os.environ | env | {"PYTHONPATH": str(TESTS)}
    subprocess.run(command, env=prepared, check=True, timeout=2 * PATIENCE_S)
    with (
        Server("apps.django_site.wsgi:validated", binds=BIND, env=env) as server,
        nginx(server) as front,
    ):
        url = f"http://127.0.0.1:{front.port}"
        page = client.get(f"{url}/").text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found
        sent = {"csrfmiddlewaretoken": found[1], "place": "the pier", "height": ["80"]}
        after = client.post(f"{url}/readings/add/", data=sent)
        assert [after.history[0].status_code, after.status_code] == [302, 200]
        assert "<li>the pier: 80 cm</li>" in after.text
        assert client.post(f"{url}/readings/add/", data={"place": "x", "height": "1"}).status_code == 403
        sent = client.post(f"{url}/upload/", files={"file": ("tides.bin", BODY)}, data={"note": "n"}).json()
        assert (sent["size"], sent["note"]) == (len(BODY), "n")
        got = client.get(f"{url}/download/{sent['name']}", headers={"Accept-Encoding": "identity"})
        assert got.content == BODY
        assert server.complaints() == []


def test_bottle_has_forms_cookies_streams_and_redirects(nginx, client, tmp_path):
    env = {"BOTTLE_FILES": str(tmp_path)}
    with (
        Server("apps.bottle_app:application", binds=BIND, env=env) as server,
        nginx(server) as front,
    ):
        url = f"http://127.0.0.1:{front.port}"
        assert [client.get(f"{url}/visits").text for _ in range(3)] == ["1", "2", "3"]
        assert client.get(f"{url}/stream/3").text == "line 0\nline 1\nline 2\n"
        assert client.get(f"{url}/teapot").status_code == 418
        away = client.get(f"{url}/away", allow_redirects=False)
        # Where to, Bottle makes of the host that it is told.
        assert (away.status_code, away.headers["Location"]) in {(303, "http://127.0.0.1/"), (303, f"{url}/")}
