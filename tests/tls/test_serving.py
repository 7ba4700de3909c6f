"""HTTP over TLS, on every host and with clients of every kind: what goes in comes out."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from apps.secure import block
from support.server import TESTS, Server
from support.tls import Authority, secure_wire

HOSTS = {
    "one thread": ("apps.secure:application", ["--threads", "1"]),
    "threads": ("apps.secure:application", []),
    "greenlets": ("apps.secure:application", ["--concurrency", "greenlets"]),
    "bridge": ("apps.secure:application", ["--concurrency", "asyncio"]),
    "asyncio": ("apps.secure:asgi", []),
}

# More than all buffers between a server and a client hold together.
LARGE = 12_000_000


@pytest.fixture(params=HOSTS)
def serve(request: pytest.FixtureRequest, authority: Authority) -> Callable[..., Server]:
    app, options = HOSTS[request.param]
    return lambda *more: Server(app, options=[*authority.options(), *options, *more])


def url(server: Server, path: str) -> str:
    return f"https://localhost:{server.port}{path}"


def test_requests_of_a_connection_are_answered_one_after_the_other(
    serve: Callable[..., Server], authority: Authority
) -> None:
    with serve() as server, httpx.Client(verify=authority.context()) as client:
        for _ in range(20):
            response = client.get(url(server, "/"))
            assert response.status_code == 200
            told = response.json()
            assert told.get("wsgi.url_scheme", told.get("scheme")) == "https"


def test_large_bodies_pass_in_both_directions_at_once(
    serve: Callable[..., Server], authority: Authority
) -> None:
    body = block(LARGE)
    digest = hashlib.sha256(body).hexdigest()

    def exchange(client: httpx.Client, server: Server) -> None:
        assert client.post(url(server, "/digest"), content=body).text == digest
        assert client.get(url(server, f"/large?{LARGE}")).content == body

    with (
        serve() as server,
        httpx.Client(verify=authority.context(), timeout=60) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        list(pool.map(lambda _: exchange(client, server), range(3)))


@pytest.mark.parametrize("path", ["large", "file", "pieces"])
def test_a_client_that_reads_slowly_gets_all_of_it(authority: Authority, path: str) -> None:
    size = 4_000_000
    expected = block(1000) * 4_000 if path == "pieces" else block(size)
    with (
        Server("apps.secure:application", options=authority.options()) as server,
        secure_wire(server, authority.context(), receive_buffer=8192) as wire,
    ):
        wire.send(f"GET /{path}?{4_000 if path == 'pieces' else size} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        # Others are served meanwhile.
        with secure_wire(server, authority.context()) as other:
            assert other.ask("GET", "/").status == 200
        assert wire.answer().body == expected


def test_requests_that_come_together_are_answered_in_order(
    serve: Callable[..., Server], authority: Authority
) -> None:
    with serve() as server, secure_wire(server, authority.context()) as wire:
        wire.send(b"".join(b"GET /large?%d HTTP/1.1\r\nHost: a\r\n\r\n" % size for size in range(1, 40)))
        for size in range(1, 40):
            path_is_known = wire.answer().body
            assert path_is_known == block(size)


def test_a_request_in_many_small_records_is_one(serve: Callable[..., Server], authority: Authority) -> None:
    body = block(3000)
    with serve() as server, secure_wire(server, authority.context()) as wire:
        wire.send(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n")
        for start in range(0, 3000, 7):
            wire.send(body[start : start + 7])
        assert wire.answer().text == hashlib.sha256(body).hexdigest()


def test_an_application_is_told_by_the_variables_of_mod_ssl(authority: Authority) -> None:
    with Server("apps.secure:application", options=authority.options()) as server:
        for version, protocol in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
            context = authority.context()
            context.maximum_version = version
            with secure_wire(server, context) as wire:
                assert isinstance(wire.sock, ssl.SSLSocket)
                cipher = wire.sock.cipher()
                assert cipher is not None
                for _ in range(3):
                    environ = json.loads(wire.ask("GET", "/").body)
                    assert environ["HTTPS"] == "on"
                    assert environ["wsgi.url_scheme"] == "https"
                    assert environ["SSL_PROTOCOL"] == protocol
                    assert environ["SSL_CIPHER"] == cipher[0]
                    assert environ["SSL_TLS_SNI"] == "localhost"
                    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
                    assert not any(name.startswith("SSL_CLIENT_S") for name in environ)


def test_an_application_is_told_by_the_extension_of_asgi(authority: Authority) -> None:
    with (
        Server("apps.secure:asgi", options=authority.options()) as server,
        secure_wire(server, authority.context()) as wire,
    ):
        assert isinstance(wire.sock, ssl.SSLSocket)
        shown = wire.sock.getpeercert(binary_form=True)
        assert shown is not None
        for _ in range(3):
            told = json.loads(wire.ask("GET", "/").body)
            assert told["scheme"] == "https"
            tls = told["tls"]
            assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == shown
            assert (tls["tls_version"], tls["client_cert_name"]) == (0x0304, None)
            assert tls["client_cert_chain"] == []
            assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)


def test_plain_text_has_nothing_of_tls(authority: Authority) -> None:
    binds = ["https://127.0.0.1:0", "http://127.0.0.1:0"]
    with Server("apps.secure:application", options=authority.options(), binds=binds) as server:
        with server.connect(1) as wire:
            environ = json.loads(wire.ask("GET", "/").body)
        assert environ["wsgi.url_scheme"] == "http"
        assert not any(name.startswith("SSL_") or name == "HTTPS" for name in environ)
        with secure_wire(server, authority.context()) as wire:
            assert json.loads(wire.ask("GET", "/").body)["wsgi.url_scheme"] == "https"


def test_a_request_in_plain_text_is_told_to_use_https(authority: Authority) -> None:
    with Server("apps.secure:application", options=authority.options()) as server:
        with server.connect() as wire:
            answer = wire.ask("GET", "/")
        assert answer.status == 400
        assert "https://" in answer.text


def test_a_client_that_speaks_tls_to_plain_text_is_refused() -> None:
    with Server("apps.secure:application") as server, pytest.raises((ssl.SSLError, ConnectionError)):
        secure_wire(server, ssl.create_default_context())


def test_messages_of_websockets_pass(authority: Authority) -> None:
    from websockets.sync.client import connect

    with (
        Server("apps.secure:asgi", options=authority.options()) as server,
        connect(f"wss://localhost:{server.port}/", ssl=authority.context()) as peer,
    ):
        scheme, tls = json.loads(peer.recv())
        assert (scheme, tls["tls_version"]) == ("wss", 0x0304)
        for size in (1, 1000, 70_000, 900_000):
            message = block(size)
            peer.send(message)
            assert peer.recv() == message


def test_a_response_that_is_cut_does_not_look_whole(authority: Authority) -> None:
    """HTTP/1.0 has no other end than the connection's: close_notify would vouch for what is not all there."""
    context = authority.context()
    with Server("apps.secure:application", options=authority.options()) as server:
        with secure_wire(server, context) as wire:
            wire.send(b"GET /pieces?3 HTTP/1.0\r\n\r\n")
            assert wire.rest().endswith(block(1000) * 3)
        with secure_wire(server, context) as wire:
            assert isinstance(wire.sock, ssl.SSLSocket)
            # An end without close_notify is an error then.
            wire.sock.suppress_ragged_eofs = False
            wire.send(b"GET /cut HTTP/1.0\r\n\r\n")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                while wire.sock.recv(65536):
                    pass


def test_an_idle_connection_is_closed_with_close_notify(authority: Authority) -> None:
    options = [*authority.options(), "--keep-alive-timeout", "200ms"]
    with (
        Server("apps.secure:application", options=options) as server,
        secure_wire(server, authority.context()) as wire,
    ):
        assert wire.ask("GET", "/").status == 200
        assert isinstance(wire.sock, ssl.SSLSocket)
        wire.sock.suppress_ragged_eofs = False
        assert wire.sock.recv(1) == b""


def test_a_client_that_says_goodbye_and_waits_is_answered(authority: Authority) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")

    def pump(sock: socket.socket, step: Callable[[], bytes | None]) -> bytes | None:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
            finally:
                if outgoing.pending:
                    sock.sendall(outgoing.read())

    with (
        Server("apps.secure:application", options=authority.options()) as server,
        server.addresses[0].connect(10) as sock,
    ):
        pump(sock, tls.do_handshake)  # type: ignore[func-returns-value, arg-type]
        tls.write(b"GET /large?5 HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += pump(sock, lambda: tls.read(65536)) or b""
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("client", ["curl", "urllib"])
def test_other_clients_are_served(authority: Authority, client: str) -> None:
    with Server("apps.secure:application", options=authority.options()) as server:
        if client == "urllib":
            with urllib.request.urlopen(url(server, "/large?100"), context=authority.context()) as response:
                assert response.read() == block(100)
        else:
            curl = shutil.which("curl")
            assert curl is not None
            command = [curl, "-sS", "--cacert", str(authority.file), url(server, "/large?100000")]
            assert subprocess.run(command, check=True, capture_output=True).stdout == block(100_000)


def test_a_unix_socket_can_speak_tls(authority: Authority) -> None:
    path = authority.directory / "s.sock"
    with Server(
        "apps.secure:application", options=authority.options(), binds=[f"https://unix:{path}"]
    ) as server:
        transport = httpx.HTTPTransport(uds=str(path), verify=authority.context())
        with httpx.Client(transport=transport) as client:
            assert client.get("https://localhost/").json()["HTTPS"] == "on"
        server.stop()


SCRIPT = """
import sys, tidegate
from apps.secure import application
tidegate.serve(application, bind="127.0.0.1:0", certfile=sys.argv[1], keyfile=sys.argv[2],
               on_ready=lambda addresses: print(addresses[0][1], flush=True))
"""


def test_a_server_that_python_starts_speaks_tls_too(authority: Authority) -> None:
    files = [str(file) for file in authority.issue()]
    command = [sys.executable, "-c", SCRIPT, *files]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with httpx.Client(verify=authority.context()) as client:
                assert client.get(f"https://localhost:{port}/").json()["HTTPS"] == "on"
        finally:
            process.terminate()
    assert process.returncode == 0
