"""What clients get from a server that compresses is what the application gave."""

from __future__ import annotations

import http.client
import os
import select
import subprocess

import pytest

from apps.compressed import text
from compression.conftest import HOSTS
from support.codings import CODINGS, decoded, decoder
from support.looks import descriptors, most_resident_kib
from support.server import PATIENCE_S, Server


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1024, 20_000, 300_000])
def test_a_whole_body(site, coding, size):
    response = site.get(f"/whole?size={size}", coding)
    assert response.headers["Content-Encoding"] == coding
    assert response.headers["Content-Length"] == str(len(response.raw_body))
    assert len(response.raw_body) < size
    assert decoded(coding, response.raw_body) == text(size)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [10, 3000, 200_000])
def test_a_body_in_blocks(site, coding, size):
    response = site.get(f"/stream?count=5&size={size}", coding)
    assert response.headers["Content-Encoding"] == coding
    assert "Content-Length" not in response.headers
    assert decoded(coding, response.raw_body) == text(size) * 5


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_in_blocks_whose_length_was_announced(site, coding):
    response = site.get("/stream?count=5&size=3000&field=Content-Length:15000", coding)
    assert response.headers["Content-Encoding"] == coding
    assert "Content-Length" not in response.headers
    assert decoded(coding, response.raw_body) == text(3000) * 5


@pytest.mark.parametrize("coding", CODINGS)
def test_a_file(site, coding):
    (site.folder / "small.txt").write_bytes(text(200_000))
    response = site.get("/file?name=small.txt", coding)
    assert response.headers["Content-Encoding"] == coding
    assert decoded(coding, response.raw_body) == text(200_000)


def test_a_file_that_is_too_large_is_sent_as_it_is(site):
    (site.folder / "large.txt").write_bytes(text(1_048_577))
    response = site.get("/file?name=large.txt")
    assert "Content-Encoding" not in response.headers
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.raw_body == text(1_048_577)


@pytest.fixture(params=["threads", "greenlets", "asyncio"])
def parts(request, options, tmp_path):
    """A server that sends a file after a block, and both of them. Compressing makes nothing less of it."""
    kind, own = HOSTS[request.param]
    noise = os.urandom(48 << 20)
    (tmp_path / "noise").write_bytes(noise)
    with Server(
        f"apps.compressed:{kind}_with_parts",
        options=[*own, *options],
        env={"COMPRESSED_FOLDER": str(tmp_path)},
    ) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/whole", "Accept-Encoding: gzip").status == 200
        yield server, text(3000) + noise + (noise[:1000] if kind == "asgi" else b"")


def ask_for_parts(wire):
    wire.send(b"GET /part?noise HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
    assert select.select([wire.sock], [], [], PATIENCE_S)[0]


def test_a_large_file_after_a_block_is_compressed_as_its_client_takes_it(parts):
    """Or it would be in memory as a whole."""
    server, sent = parts
    before = most_resident_kib(server.pid)
    with server.connect() as wire, server.connect() as other:
        ask_for_parts(wire)
        # Others are served while this one takes nothing.
        assert other.ask("GET", "/whole").status == 200
        assert decoded("gzip", wire.answer().body) == sent
    assert most_resident_kib(server.pid) - before < 16 << 10


def test_a_client_that_leaves_in_the_middle_of_such_a_file_ends_it(parts):
    server, _ = parts
    before = descriptors(server.pid)
    with server.connect() as wire:
        ask_for_parts(wire)
        wire.reset()
    server.wait_until(lambda: descriptors(server.pid) == before or None)
    with server.connect() as wire:
        assert wire.ask("GET", "/whole").status == 200


def test_clients_that_accept_what_they_can_read(site):
    for path, body in [("/whole?size=50000", text(50_000)), ("/stream?count=3&size=9", text(9) * 3)]:
        # httpx accepts gzip, deflate, br and zstd.
        response = site.client.get(path)
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.content == body
        curl = ["curl", "-sS", "--max-time", str(PATIENCE_S), "--noproxy", "*", "--compressed"]
        assert subprocess.check_output([*curl, site.server.url(path)]) == body


def test_an_http_1_0_client(site):
    request = b"GET /stream?count=3 HTTP/1.0\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n"
    head, _, body = site.server.raw(request).partition(b"\r\n\r\n")
    assert b"Content-Encoding: br" in head
    assert decoded("br", body) == text(3000) * 3


def test_requests_on_one_connection_do_not_disturb_one_another(site):
    with site.server.connect() as wire:
        for coding in [*CODINGS, "identity", *CODINGS]:
            for path, body in [("/whole", text(20_000)), ("/stream", text(3000) * 2)]:
                answer = wire.ask("GET", path, f"Accept-Encoding: {coding}")
                assert (decoded(coding, answer.body) if coding in CODINGS else answer.body) == body
            answer = wire.ask("HEAD", "/whole", f"Accept-Encoding: {coding}")
            assert answer.body == b""


def test_trailers_are_kept(site):
    if site.kind != "asgi":
        pytest.skip("WSGI has no trailers")
    request = b"GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nAccept-Encoding: gzip\r\n%s\r\n"
    answer = site.server.raw(request % b"Connection: close\r\n")
    assert b"Content-Encoding: gzip" in answer
    assert answer.endswith(b"0\r\nx-end: there\r\n\r\n")


@pytest.mark.parametrize("coding", CODINGS)
def test_a_block_can_be_read_before_the_next_is_made(site, coding, pipe):
    inside = decoder(coding)
    with site.client.stream(
        "GET", f"/stream?pipe={pipe.name}", headers={"Accept-Encoding": coding}
    ) as response:
        raw = response.iter_raw()
        plain = b""
        while len(plain) < 3000:
            plain += inside.take(next(raw))
        assert plain == text(3000)
        pipe.write_bytes(b"go")
        for block in raw:
            plain += inside.take(block)
    assert plain == text(3000) * 2
    assert inside.is_complete


@pytest.mark.parametrize("coding", CODINGS)
def test_an_application_that_fails_in_the_middle_is_seen_to(site, coding):
    request = f"GET /stream?fail=1 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"
    before = len(site.server.log)
    with site.server.connect() as wire:
        wire.send(request.encode())
        received = wire.rest()
    head, _, chunks = received.partition(b"\r\n\r\n")
    assert f"Content-Encoding: {coding}".encode() in head
    assert not chunks.endswith(b"0\r\n\r\n")
    size, _, rest = chunks.partition(b"\r\n")
    inside = decoder(coding)
    assert inside.take(rest[: int(size, 16)]) == text(3000)
    assert not inside.is_complete
    site.server.wait_for_log("fails in the middle", since=before)


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_less_than_the_announced_length_is_told_and_cut(site, coding):
    before = len(site.server.log)
    fields = f"Host: a\r\nAccept-Encoding: {coding}"
    with site.server.connect() as wire:
        wire.send(f"GET /stream?count=2&field=Content-Length:7000 HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        received = wire.rest()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not received.endswith(b"0\r\n\r\n")
    site.server.wait_for_log("1000 bytes short of its [Cc]ontent-[Ll]ength", since=before)


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_more_than_the_announced_length_is_told_and_left_out(site, coding):
    before = len(site.server.log)
    with site.server.connect() as wire:
        ask = ("GET", "/stream?count=2&field=Content-Length:5000", f"Accept-Encoding: {coding}")
        if (site.kind, coding) == ("asgi", "gzip"):
            # `send` raises, and so the application does not end its response.
            with pytest.raises(http.client.IncompleteRead):
                wire.ask(*ask)
        else:
            body = wire.ask(*ask).body
            assert (decoded(coding, body) if coding == "gzip" else body) == (text(3000) * 2)[:5000]
    site.server.wait_for_log("more bytes than (its|the) [Cc]ontent-[Ll]ength", since=before)


def test_the_access_log_has_the_bytes_that_were_sent(site):
    log = site.folder / "access.log"
    for path in ["/whole?size=40000", "/stream?count=3&size=40000"]:
        response = site.get(path)
        line = f"GET {path} HTTP/1.1 200 {len(response.raw_body)} gzip"
        site.server.wait_until(lambda line=line: line in log.read_text().splitlines())
