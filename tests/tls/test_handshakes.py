"""Handshakes that fail, that take their time, that come in crowds, and that are spared."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import trustme

from support.admin import Admin
from support.server import Server
from support.tls import Authority, secure_wire

APP = "apps.secure:application"


def hello(authority: Authority) -> bytes:
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def is_served(server: Server, authority: Authority) -> bool:
    with secure_wire(server, authority.context()) as wire:
        return wire.ask("GET", "/").status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00",
        b"\x16\x03\x01",
        b"\x16\x03\x01\xff\xff" + b"x" * 100,
        b"\x16\x03\x01\x00\x05hello",
        b"\x17\x03\x03\x00\x05hello",
        b"\x80\x2e\x01\x03\x01\x00\x15",
        bytes(100_000),
        b"\x16" * 100_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:12]),
)
def test_garbage_ends_its_own_connection_alone(authority: Authority, sent: bytes) -> None:
    options = [*authority.options(), "--head-timeout", "500ms"]
    with Server(APP, options=options) as server, secure_wire(server, authority.context()) as wire:
        assert wire.ask("GET", "/").status == 200
        with server.connect() as garbage:
            try:
                garbage.send(sent)
                garbage.rest()
            except ConnectionError:
                pass
        assert wire.ask("GET", "/").status == 200
        assert is_served(server, authority)
        assert not server.complaints()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_a_handshake_that_stops_half_way_is_ended_by_the_time_for_a_head(
    authority: Authority, share: float
) -> None:
    first = hello(authority)
    options = [*authority.options(), "--head-timeout", "300ms"]
    with Server(APP, options=options) as server, server.connect() as slow:
        began = time.monotonic()
        slow.send(first[: int(len(first) * share)])
        slow.rest()
        assert 0.25 < time.monotonic() - began < 10
        assert is_served(server, authority)


def test_a_hello_that_comes_byte_by_byte_is_understood(authority: Authority) -> None:
    context = authority.context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with Server(APP, options=authority.options()) as server, server.connect() as wire:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    wire.send(bytes([byte]))
                incoming.write(wire.receive_some())
        tls.write(b"GET / HTTP/1.0\r\n\r\n")
        for byte in outgoing.read():
            wire.send(bytes([byte]))
        incoming.write(wire.rest())
        assert tls.read().startswith(b"HTTP/1.1 200")


def test_a_version_that_is_too_old_is_refused(authority: Authority) -> None:
    context = authority.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Server(APP, options=[*authority.options(), "--tls-min-version", "1.3"]) as server:
        with pytest.raises(ssl.SSLError):
            secure_wire(server, context)
        assert is_served(server, authority)


def test_only_the_suites_that_are_wanted_are_offered(authority: Authority) -> None:
    suites = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    flags = [part for suite in suites for part in ("--tls-ciphers", suite)]
    with Server(APP, options=[*authority.options(), *flags]) as server:
        with secure_wire(server, authority.context()) as wire:
            assert json.loads(wire.ask("GET", "/").body)["SSL_CIPHER"] == "TLS_CHACHA20_POLY1305_SHA256"
        context = authority.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with secure_wire(server, context) as wire:
            assert json.loads(wire.ask("GET", "/").body)["SSL_CIPHER"] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_http_is_agreed_on_and_what_is_not_spoken_is_refused(authority: Authority) -> None:
    with Server(APP, options=authority.options()) as server:
        for offered in (["http/1.1"], ["something", "http/1.1"]):
            with secure_wire(server, authority.context(protocols=offered)) as wire:
                assert isinstance(wire.sock, ssl.SSLSocket)
                assert wire.sock.selected_alpn_protocol() == "http/1.1"
        # RFC 7301 section 3.2.
        with pytest.raises(ssl.SSLError, match="(?i)no application protocol"):
            secure_wire(server, authority.context(protocols=["something"]))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_whichever_worker_they_come_to(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    options = [*authority.options(), "--workers", "3"]
    with Server(APP, options=options, supervised=True) as server:
        with secure_wire(server, context) as wire:
            told = json.loads(wire.ask("GET", "/").body)
            assert told["SSL_SESSION_RESUMED"] == "Initial"
            assert isinstance(wire.sock, ssl.SSLSocket)
            session = wire.sock.session
        wires = [secure_wire(server, context, session=session) for _ in range(12)]
        for wire in wires:
            with wire:
                assert json.loads(wire.ask("GET", "/").body)["SSL_SESSION_RESUMED"] == "Resumed"


def test_early_data_is_not_taken(authority: Authority) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    session = authority.directory / "session.pem"
    with Server(APP, options=authority.options()) as server:
        command = [
            openssl,
            "s_client",
            "-connect",
            f"127.0.0.1:{server.port}",
            "-CAfile",
            str(authority.file),
        ]
        request = b"GET / HTTP/1.0\r\n\r\n"
        subprocess.run([*command, "-sess_out", str(session), "-ign_eof"], input=request, capture_output=True)
        text = subprocess.run(
            [openssl, "sess_id", "-in", str(session), "-text", "-noout"], capture_output=True
        )
        assert b"Max Early Data: 0" in text.stdout


def test_renegotiation_is_refused(authority: Authority) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    with Server(APP, options=authority.options()) as server:
        command = [openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.port}"]
        ended = subprocess.run(command, input=b"R\n", capture_output=True, timeout=30)
        assert b"no renegotiation" in ended.stderr
        assert is_served(server, authority)


def test_a_crowd_of_new_connections_does_not_hold_up_an_old_one(authority: Authority) -> None:
    options = authority.options(key_type=trustme.KeyType.RSA)
    first = hello(authority)
    with Server(APP, options=options) as server, secure_wire(server, authority.context()) as wire:
        wire.ask("GET", "/")
        crowd = [socket.create_connection((server.host, server.port)) for _ in range(400)]
        try:
            sending = threading.Thread(target=lambda: [sock.sendall(first) for sock in crowd])
            sending.start()
            slowest = 0.0
            for _ in range(50):
                began = time.monotonic()
                assert wire.ask("GET", "/").status == 200
                slowest = max(slowest, time.monotonic() - began)
            sending.join()
            # All of their arithmetic takes longer than that.
            assert slowest < 0.15
            for sock in crowd:
                sock.settimeout(30)
                assert sock.recv(1) == b"\x16"
        finally:
            for sock in crowd:
                sock.close()


def test_nothing_is_computed_for_those_that_have_gone_before_their_turn(authority: Authority) -> None:
    first = hello(authority)
    with Server(APP, options=[*authority.options(), "--admin", "127.0.0.1:0"]) as server:
        admin = Admin(server)
        server.signal(signal.SIGSTOP)
        try:
            gone = [server.connect() for _ in range(5)]
            for wire in gone:
                wire.send(first)
                wire.sock.shutdown(socket.SHUT_WR)
        finally:
            server.signal(signal.SIGCONT)
        for wire in gone:
            assert wire.rest() == b""
            wire.close()
        assert is_served(server, authority)
        scrape = admin.scrape()
        for result, count in (("full", 1), ("failed", 5)):
            assert scrape.value("tidegate_tls_handshakes_total", result=result) == count


def test_those_that_say_nothing_are_ended_while_a_crowd_comes(authority: Authority) -> None:
    options = [*authority.options(key_type=trustme.KeyType.RSA), "--head-timeout", "500ms"]
    first = hello(authority)
    with Server(APP, options=options) as server:
        silent = [server.connect() for _ in range(20)]
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            # More than the time that a round has for them.
            crowd = [server.connect() for _ in range(5)]
            for wire in crowd:
                wire.send(first)
            for wire in crowd:
                assert wire.receive(1) == b"\x16"
                wire.close()
        for wire in silent:
            assert wire.rest() == b""
            wire.close()


def test_a_handshake_that_has_begun_when_the_server_drains_is_finished_and_its_request_answered(
    authority: Authority,
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with Server(APP, options=authority.options()) as server, server.connect() as wire:
        wire.send(outgoing.read())
        incoming.write(wire.receive_some())
        server.signal(signal.SIGTERM)
        # Longer than an idle connection has then.
        time.sleep(0.6)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(wire.receive_some())
        tls.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.send(outgoing.read())
        incoming.write(wire.rest())
        assert tls.read().startswith(b"HTTP/1.1 200")
        assert server.wait() == 0


def test_handshakes_are_counted_by_what_becomes_of_them(authority: Authority) -> None:
    options = [*authority.options(), "--admin", "127.0.0.1:0"]
    with Server(APP, options=options) as server:
        admin = Admin(server)
        context = authority.context()
        with secure_wire(server, context) as wire:
            wire.ask("GET", "/")
            assert isinstance(wire.sock, ssl.SSLSocket)
            session = wire.sock.session
        with secure_wire(server, context, session=session) as wire:
            wire.ask("GET", "/")
        with server.connect() as garbage:
            garbage.send(b"\x16\x03\x01\x00\x05hello")
            garbage.rest()
        scrape = admin.scrape()
        for result in ("full", "resumed", "failed"):
            assert scrape.value("tidegate_tls_handshakes_total", result=result) == 1
