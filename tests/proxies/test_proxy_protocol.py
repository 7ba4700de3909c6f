"""The PROXY protocol before HTTP: over raw sockets, and as HAProxy and nginx speak it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.proxies import Kind
from support.server import Server
from support.tcp_proxies import HAPROXY_V1, HAPROXY_V2, NGINX_STREAM, has_nginx_stream
from support.wire import Wire

TRUST = ("--trusted-proxies", "127.0.0.1")
PROXIED = ("proxy+http://127.0.0.1:0",)
APPS = {"wsgi": "apps.fronted:application", "asgi": "apps.fronted:asynchronous"}

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 8443\r\n"
GET = b"GET / HTTP/1.1\r\nHost: site.example\r\n\r\n"
ENDS = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.2") + struct.pack("!HH", 4711, 8443)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def binary(*tlvs: bytes, command: int = 0x21, family: int = 0x11, ends: bytes = ENDS, more: int = 0) -> bytes:
    rest = ends + b"".join(tlvs)
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) + more) + rest


@pytest.fixture(scope="module", params=APPS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    options = [*TRUST, "--request-id", "--head-timeout", "2s"]
    with Server(APPS[request.param], binds=PROXIED, options=options) as server:
        yield server


def told(wire: Wire) -> dict[str, Any]:
    answer = wire.answer()
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.text)
    return found


@pytest.mark.parametrize("header", [LINE, binary()], ids=["v1", "v2"])
def test_the_client_and_what_it_has_connected_to_are_those_of_the_header(server, header):
    with server.connect() as wire:
        wire.send(header + GET + GET)
        for _ in range(2):
            seen = told(wire)
            assert (seen["client"], seen["server"]) == (["192.0.2.1", 4711], ["198.51.100.2", 8443])
            assert (seen["scheme"], seen["proxy"]) == ("http", {})


@pytest.mark.parametrize("header", [LINE, binary(tlv(0x02, b"a.example"))], ids=["v1", "v2"])
def test_a_header_may_come_byte_by_byte(server, header):
    with server.connect() as wire:
        for byte in header + GET:
            wire.send(bytes([byte]))
        assert told(wire)["client"] == ["192.0.2.1", 4711]


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ff::1 what 1 2\r\n",
        binary(command=0x20),
        binary(family=0, ends=b""),
    ],
)
def test_a_connection_of_the_proxys_own_has_its_address(server, header):
    with server.connect() as wire:
        own = list(wire.sock.getsockname())
        wire.send(header + GET)
        seen = told(wire)
        assert (seen["client"], seen["server"]) == (own, [server.host, server.port])


def test_what_the_proxy_knows_of_the_clients_tls_is_told(server):
    tls = (
        bytes([7, 0, 0, 0, 0])
        + tlv(0x21, b"TLSv1.3")
        + tlv(0x22, b"Ada")
        + tlv(0x23, b"TLS_AES_128_GCM_SHA256")
    )
    tlvs = [tlv(0x01, b"h2"), tlv(0x02, b"shop.example"), tlv(0x05, b"id-1"), tlv(0x20, tls), tlv(0xEE, b"?")]
    with server.connect() as wire:
        wire.send(binary(*tlvs) + GET)
        seen = told(wire)
    assert seen["scheme"] == "https"
    assert seen["proxy"] == {
        "alpn": "h2",
        "authority": "shop.example",
        "unique_id": "id-1",
        "tls_version": "TLSv1.3",
        "tls_cipher": "TLS_AES_128_GCM_SHA256",
        "client_name": "Ada",
        "client_verified": True,
    }


def test_what_comes_behind_the_header_is_the_clients_word(server):
    forged = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Request-ID: forged\r\n"
    with server.connect() as wire:
        wire.send(LINE + GET[:-2] + forged + b"\r\n")
        seen = told(wire)
    assert (seen["client"], seen["scheme"]) == (["192.0.2.1", 4711], "http")
    assert set(seen["fields"]) == {"host", "x-request-id"}
    assert seen["fields"]["x-request-id"] != "forged"


def test_a_client_that_is_itself_a_trusted_proxy_is_believed(server):
    header = b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 80\r\n"
    with server.connect() as wire:
        wire.send(header + GET[:-2] + b"X-Forwarded-For: 192.0.2.7\r\n\r\n")
        assert told(wire)["client"] == ["192.0.2.7", 0]


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 65iii\r\n",
        b"PROXY TCP4 not-an-ip 198.51.100.2 4711 443\r\n",
        b"PROXY TCP9 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
        b"PROXY UNKNOWN" + b" a" * 100 + b"\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        b"",
        binary(command=0x31),
        binary(command=0x22),
        binary(family=0x41),
        binary(ends=ENDS[:11]),
        binary(tlv(0x01, b"h2")[:-1]),
        binary(more=0xF000),
    ],
    ids=[
        "five fields",
        "port",
        "address",
        "family",
        "line end",
        "too long",
        "no end",
        "none",
        "v2 version",
        "v2 command",
        "v2 family",
        "v2 short",
        "v2 cut off",
        "v2 too long",
    ],
)
def test_a_malformed_header_is_answered_with_400_and_the_end(server, header):
    answer = server.raw(header + GET)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_header_that_ends_early_is_refused(server):
    with server.connect() as wire:
        wire.send(LINE[:-1])
        wire.end_sending()
        assert wire.rest().startswith(b"HTTP/1.1 400 ")


def test_a_header_that_does_not_come_is_not_waited_for(server):
    with server.connect() as wire:
        wire.send(LINE[:9])
        assert wire.rest() == b""


def test_a_second_header_is_no_http(server):
    with server.connect() as wire:
        wire.send(LINE + GET)
        told(wire)
        wire.send(LINE + GET)
        assert wire.answer().status == 400
        assert wire.rest() == b""
    assert server.raw(LINE + LINE + GET).startswith(b"HTTP/1.1 400 ")


def test_a_header_within_a_body_is_the_bodys(server):
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LINE)
    with server.connect() as wire:
        wire.send(LINE + head + LINE + GET)
        assert [told(wire)["client"] for _ in range(2)] == [["192.0.2.1", 4711]] * 2
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.raw(LINE + chunked + LINE).startswith(b"HTTP/1.1 400 ")


def test_nobody_else_may_say_whose_connection_it_is():
    with Server(APPS["wsgi"], binds=PROXIED, options=["--trusted-proxies", "10.0.0.1"]) as server:
        for request in (LINE + GET, GET):
            answer = server.raw(request)
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert answer.count(b"HTTP/1.1") == 1


def test_a_listener_without_it_takes_a_header_for_bad_http():
    with Server(APPS["wsgi"], binds=("127.0.0.1:0", *PROXIED), options=TRUST) as server:
        assert server.raw(LINE + GET).startswith(b"HTTP/1.1 400 ")
        assert server.raw(binary() + GET).startswith(b"HTTP/1.1 400 ")
        with server.connect(1) as wire:
            wire.send(LINE + GET)
            assert told(wire)["client"] == ["192.0.2.1", 4711]


def test_over_a_unix_socket(tmp_path: Path) -> None:
    binds = (f"proxy+http://unix:{tmp_path}/socket",)
    options = ["--trusted-proxies", "unix"]
    with Server(APPS["wsgi"], binds=binds, options=options) as server, server.connect() as wire:
        wire.send(LINE + GET)
        assert told(wire)["client"] == ["192.0.2.1", 4711]


def test_the_client_stands_in_the_access_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Server(APPS["wsgi"], binds=PROXIED, options=[*TRUST, "--access-log", str(log)]) as server:
        with server.connect() as wire:
            wire.send(LINE + GET)
            told(wire)
        assert server.stop() == 0
    assert log.read_text().startswith("192.0.2.1 ")


@pytest.mark.parametrize(
    "kind", [HAPROXY_V1, HAPROXY_V2, NGINX_STREAM], ids=["haproxy v1", "haproxy v2", "nginx"]
)
def test_behind_a_proxy_that_passes_connections_on(server: Server, kind: Kind) -> None:
    if missing := kind.missing():
        pytest.skip(missing)
    if kind is NGINX_STREAM and not has_nginx_stream():
        pytest.skip("nginx has no stream module")
    with kind.before(server.addresses) as proxy, proxy.connect() as wire:
        for _ in range(3):
            wire.send(GET)
            seen = told(wire)
            assert seen["client"] == list(wire.sock.getsockname())
            assert seen["server"] == list(wire.sock.getpeername())
