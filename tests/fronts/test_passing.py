"""What passes through each front: bodies, streams, events, WebSockets, statuses, departures, addresses."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace

import httpx
import pytest

from support.fronts import Fronted, fronts
from support.proxies import APACHE, APACHE_UWSGI, HAPROXY, HAPROXY_H2, KINDS, NGINX, NGINX_TLS
from support.server import PATIENCE_S, Server
from support.websocket import Refused, open_websocket

BEHIND = "apps.behind:application"
BODY_MAX = 6_000_000
# An address of the client's that is not the front's.
CLIENT = "127.0.0.7"


@pytest.fixture(scope="module", params=fronts())
def server(request):
    with Fronted(request.param, BEHIND, options=["--body-size-max", str(BODY_MAX)]) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def told(server, *fields, path="/", **options):
    with server.connect(**options) as wire:
        return json.loads(wire.ask("GET", path, *fields, host=server.authority).text)


def opened(server, name):
    with server.connect() as wire:
        assert wire.ask("GET", f"/open?gate={name.replace(' ', '%20')}").status == 200


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_an_upload_arrives_whole(server, size):
    body = os.urandom(size)
    with server.connect() as wire:
        answer = wire.ask("POST", "/digest", body=body)
    assert (answer.status, answer.text) == (200, hashlib.sha256(body).hexdigest())


def test_an_upload_in_chunks_arrives_whole(server):
    client = server.http()
    blocks = [os.urandom(30_000) for _ in range(20)]
    client.request("POST", "/digest", body=iter(blocks), encode_chunked=True)
    response = client.getresponse()
    expected = (200, hashlib.sha256(b"".join(blocks)).hexdigest())
    if server.kind is APACHE_UWSGI:
        # mod_proxy_uwsgi has to know the length before it begins.
        expected = (411, None)
    assert (response.status, response.read().decode() if expected[1] else None) == expected
    client.close()


def test_an_upload_that_is_too_large_is_refused_by_the_server(server):
    with server.connect() as wire:
        wire.send(f"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_MAX + 1}\r\n\r\n".encode())
        # The front may have refused it before it has all.
        try:
            for _ in range(BODY_MAX // 60_000 + 1):
                wire.send(bytes(60_000))
        except OSError:
            pass
        assert wire.answer().status == 413


def test_a_stream_is_passed_on_as_it_comes(server, name):
    client = server.http()
    client.request("GET", f"/stream?name={name}")
    response = client.getresponse()
    assert response.read(6) == b"flood "
    opened(server, name)
    assert response.read() == b"ebb"
    client.close()


def test_events_arrive_as_they_are_made(server, name):
    client = server.http()
    client.request("GET", f"/events?name={name}")
    response = client.getresponse()
    assert response.getheader("Content-Type") == "text/event-stream"
    for number in range(3):
        assert response.readline() + response.readline() == f"data: {number}\n\n".encode()
        opened(server, f"{name} {number}")
    assert response.read() == b""
    client.close()


def test_a_websocket_is_passed_on(server):
    if not server.kind.websockets:
        with pytest.raises(Refused):
            open_websocket(server, "/live")
        return
    with open_websocket(server, "/live") as peer:
        for message in ("tide", b"\x00\x01", "x" * 100_000):
            peer.send(message)
            assert peer.message() == message
        peer.close()
        assert peer.closing().code == 1000


@pytest.mark.parametrize("status", [200, 201, 304, 404, 418, 500, 503])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_status_is_passed_on_with_its_body_if_it_has_one(server, method, status):
    with server.connect() as wire:
        answer = wire.ask(method, f"/status?status={status}")
    assert (answer.status, answer.headers["ETag"]) == (status, '"tide"')
    assert answer.body == (b"" if method == "HEAD" or status == 304 else b"tides")


def test_cookies_go_both_ways(server):
    with server.connect() as wire:
        answer = wire.ask("GET", "/cookies", "Cookie: a=1; b=2")
    assert answer.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2; HttpOnly"]
    assert answer.text == "a=1; b=2"


def test_the_target_arrives_as_it_was_sent(server):
    seen = told(server, path="/a%20b/%C3%A9?c=%2F&d=+e")
    assert (seen["path"], seen["query"]) == ("/a%20b/%C3%A9", "c=%2F&d=+e")


def test_a_client_that_leaves_a_stream_is_missed(server, name):
    with server.connect() as wire:
        wire.send(f"GET /flood?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wire.receive(200_000)
    server.wait_for_log(f"{name} is cut off")


def test_a_client_that_leaves_is_missed_by_an_application_that_is_silent(server, name):
    if server.kind.programs[0] == "apache2":
        pytest.skip("Apache does not look whether its client is still there until it has something to send")
    with server.connect() as wire:
        wire.send(f"GET /departure?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        server.wait_for_log(f"{name} waits")
    server.wait_for_log(f"{name}: http.disconnect")


def test_the_application_is_told_the_host_that_the_client_asked_for(server):
    assert told(server)["fields"]["host"] == server.authority


def test_what_a_client_says_of_itself_is_not_passed_on(server):
    seen = told(server, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: gopher", client=CLIENT)["fields"]
    assert seen.get("x-forwarded-for", CLIENT) == CLIENT
    assert seen.get("x-forwarded-proto") in (None, "https" if server.kind.tls else "http")


def test_the_application_is_told_who_the_client_is(server):
    seen = told(server, "X-Forwarded-For: 192.0.2.1", client=CLIENT)
    assert seen["client"][0] == CLIENT
    assert seen["scheme"] == ("https" if server.kind.tls else "http")


@pytest.mark.parametrize("kind", fronts(NGINX, NGINX_TLS, APACHE, HAPROXY, HAPROXY_H2))
def test_connections_to_the_server_are_used_again(kind):
    # It trusts nobody, and so tells of the connection's own client.
    with Server(BEHIND, options=kind.options) as server, kind.before(server.addresses) as proxy:
        client = proxy.http()
        seen = set()
        for _ in range(20):
            client.request("GET", "/")
            seen.add(json.loads(client.getresponse().read())["client"][1])
        client.close()
        # Each of the front's processes or threads has its own.
        assert len(seen) < 10


@pytest.mark.parametrize("kind", fronts(*(kind for kind in KINDS if kind.keeps)))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_connections_that_the_server_closes_first_cost_no_request(kind, method):
    """Whoever sets the timeouts the wrong way round: the server's is the shorter one."""
    with (
        Fronted(kind, BEHIND, options=["--keep-alive-timeout", "50ms"]) as server,
        server.connect() as wire,
    ):
        for number in range(40):
            assert wire.ask(method, "/", body=b"" if method == "GET" else b"tide").status == 200, number
            # About when the server closes, sometimes before and sometimes after.
            time.sleep(0.045 + number % 10 / 1000)


@pytest.mark.parametrize("kind", fronts(NGINX_TLS))
def test_http2_at_the_edge_is_http1_behind_it(kind):
    with Fronted(kind, BEHIND) as server:
        client = httpx.Client(
            http1=False, http2=True, trust_env=False, timeout=PATIENCE_S, verify=server.front.tls
        )
        with client:
            answer = client.get(server.url("/"))
            assert answer.http_version == "HTTP/2"
            assert answer.json()["version"] == "1.1"
            body = os.urandom(1_000_000)
            assert client.post(server.url("/digest"), content=body).text == hashlib.sha256(body).hexdigest()
            assert client.head(server.url("/status?status=404")).status_code == 404
        with server.front.connect_plain() as wire:
            redirect = wire.ask("GET", "/a?b", host="site.example")
        assert (redirect.status, redirect.headers["Location"]) == (301, "https://site.example/a?b")


@pytest.mark.parametrize("kind", fronts(replace(APACHE, name="apache-unix", over_unix=True)))
def test_apache_reaches_a_unix_socket(kind):
    # Its processes are another user's.
    with Fronted(kind, BEHIND, options=["--unix-socket-mode", "666"]) as server:
        assert told(server, client=CLIENT)["fields"]["x-forwarded-for"] == CLIENT
        with open_websocket(server, "/live") as peer:
            peer.send("tide")
            assert peer.message() == "tide"
