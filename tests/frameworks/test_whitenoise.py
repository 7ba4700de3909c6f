"""WhiteNoise over a plain application: each file leaves through the server's `wsgi.file_wrapper`."""

from __future__ import annotations

import gzip
import os

import brotli
import pytest

from support.server import Server

BODY = os.urandom(300_000)
TEXT = b"".join(b"high water at %d\n" % number for number in range(5000))


@pytest.fixture(scope="module", params=["application", "validated"])
def server(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("whitenoise")
    (root / "tides.bin").write_bytes(BODY)
    (root / "table.txt").write_bytes(TEXT)
    (root / "table.txt.gz").write_bytes(gzip.compress(TEXT))
    (root / "table.txt.br").write_bytes(brotli.compress(TEXT, quality=4))
    (root / "empty.txt").write_bytes(b"")
    with Server(f"apps.whitenoise_app:{request.param}", env={"WHITENOISE_ROOT": str(root)}) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.fixture
def unvalidated(server):
    """WhiteNoise's own errors lack the Content-Type that the validator asks for."""
    if server.app.endswith(":validated"):
        pytest.skip("WhiteNoise's response does not satisfy the validator")
    return server


@pytest.fixture
def wire(server):
    with server.connect() as wire:
        yield wire


def test_files_are_sent_whole_again_and_again(wire):
    for _ in range(3):
        answer = wire.ask("GET", "/files/tides.bin")
        assert answer.body == BODY
        assert answer.headers["Content-Length"] == "300000"
        assert answer.headers["Cache-Control"] == "max-age=3600, public"
        assert wire.ask("GET", "/files/empty.txt").body == b""


def test_head_tells_the_length(wire):
    assert wire.ask("HEAD", "/files/tides.bin").headers["Content-Length"] == "300000"
    assert wire.ask("GET", "/files/table.txt").body == TEXT


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-1", 0, 2),
        ("10-19", 10, 20),
        ("299990-", 299_990, 300_000),
        ("-5", 299_995, 300_000),
        ("0-", 0, 300_000),
    ],
)
def test_a_range_is_sent_and_no_more(wire, asked, start, end):
    for _ in range(2):
        answer = wire.ask("GET", "/files/tides.bin", f"Range: bytes={asked}")
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/300000"
        assert answer.body == BODY[start:end]


def test_a_range_beyond_the_end_is_refused(unvalidated):
    with unvalidated.connect() as wire:
        answer = wire.ask("GET", "/files/tides.bin", "Range: bytes=300000-")
        assert answer.status == 416
        assert answer.headers["Content-Range"] == "bytes */300000"
        assert wire.ask("GET", "/files/tides.bin").body == BODY


def test_what_the_client_has_is_not_sent_again(wire):
    first = wire.ask("GET", "/files/table.txt")
    for field in (
        f"If-None-Match: {first.headers['ETag']}",
        f"If-Modified-Since: {first.headers['Last-Modified']}",
    ):
        again = wire.ask("GET", "/files/table.txt", field)
        assert (again.status, again.body) == (304, b"")
        assert "Transfer-Encoding" not in again.headers


def test_a_compressed_variant_is_chosen_by_what_the_client_accepts(wire):
    unpack = {"gzip": gzip.decompress, "br": brotli.decompress}
    for accepted, chosen in (("gzip", "gzip"), ("gzip, br", "br"), ("identity", None)):
        answer = wire.ask("GET", "/files/table.txt", f"Accept-Encoding: {accepted}")
        assert answer.headers["Content-Encoding"] == chosen
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert unpack.get(chosen, bytes)(answer.body) == TEXT


def test_what_is_no_file_goes_to_the_application(wire):
    assert wire.ask("GET", "/files/../secret").status == 404
    assert wire.ask("GET", "/other").body == b"no file at /other\n"


def test_a_file_cannot_be_written(unvalidated):
    with unvalidated.connect() as wire:
        assert wire.ask("POST", "/files/table.txt", body=b"x").status == 405
        assert wire.ask("GET", "/files/table.txt").body == TEXT
