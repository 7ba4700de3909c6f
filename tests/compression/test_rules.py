"""Which responses are compressed, for whom, and what their heads say."""

from __future__ import annotations

import pytest

from apps.compressed import text
from support.server import Server

PLAIN, CODED = "plain", "coded"


def encoding(response):
    return response.headers.get("Content-Encoding")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("deflate", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("gzip;q=0.5, br;q=0.9, zstd;q=0.8", "br"),
        ("gzip;q=0, *", "br"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0.2, identity;q=0.8", None),
        ("zstd;q=1.0", "zstd"),
    ],
)
def test_the_client_says_what_it_takes(site, accepted, coding):
    for path in ["/whole", "/stream"]:
        response = site.get(path, accepted)
        assert encoding(response) == coding
        assert response.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("query", "coded", "vary"),
    [
        ("type=text/html", True, "Accept-Encoding"),
        ("type=Application/JSON", True, "Accept-Encoding"),
        ("type=application/problem%2Bjson", True, "Accept-Encoding"),
        ("type=image/svg%2Bxml", True, "Accept-Encoding"),
        ("type=image/png", False, None),
        ("type=application/octet-stream", False, None),
        ("type=text/event-stream", False, None),
        ("type=", False, None),
        ("status=404", True, "Accept-Encoding"),
        ("status=500", True, "Accept-Encoding"),
        ("status=206&field=Content-Range:bytes 0-19999/30000", False, None),
        ("status=206", False, None),
        ("field=Content-Encoding:x-own", False, None),
        ("field=Cache-Control:no-transform", False, None),
        ("field=Content-Digest:sha-256=:AA==:", False, None),
        ("field=Vary:Cookie", True, "Cookie, Accept-Encoding"),
        ("field=Vary:Cookie&field=Vary:Origin", True, "Cookie, Origin, Accept-Encoding"),
        ("field=Vary:accept-encoding", True, "accept-encoding"),
        ("field=Vary:*", True, "*"),
        ("size=1023", False, "Accept-Encoding"),
        ("size=1048577", False, "Accept-Encoding"),
    ],
)
def test_the_response_says_whether_it_may_be(site, query, coded, vary):
    response = site.get(f"/whole?{query}")
    assert (encoding(response) == "gzip") == coded
    assert response.headers.get("Vary") == vary


def test_a_small_response_is_compressed_for_who_takes_nothing_else(site):
    response = site.get("/whole?size=500", "br, identity;q=0")
    assert encoding(response) == "br"


def test_a_tag_is_a_weak_one_where_the_response_is_compressed_and_ranges_are_not_offered(site):
    path = '/whole?field=ETag:"tide"&field=Accept-Ranges:bytes'
    for accepted, tag, ranges in [("gzip", 'W/"tide"', None), ("identity", '"tide"', "bytes")]:
        response = site.get(path, accepted)
        assert response.headers["ETag"] == tag
        assert response.headers.get("Accept-Ranges") == ranges


def test_what_was_compressed_is_confirmed_under_the_tag_that_the_client_has(site):
    path = '/whole?field=ETag:"tide"&condition=1'
    for accepted in ["gzip", "identity"]:
        tag = site.get(path, accepted).headers["ETag"]
        response = site.get(path, accepted, headers={"If-None-Match": tag})
        assert (response.status_code, response.raw_body) == (304, b"")
        assert response.headers["ETag"] == tag
        assert encoding(response) is None
        assert "Content-Length" not in response.headers


@pytest.mark.parametrize("path", ["/whole", "/stream", "/whole?size=500", "/whole?type=image/png"])
@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_head_is_answered_as_get(site, path, accepted):
    got = site.get(path, accepted).headers
    head = site.get(path, accepted, method="HEAD")
    assert head.raw_body == b""
    for name in ["Content-Encoding", "Vary", "Content-Type", "ETag"]:
        assert head.headers.get(name) == got.get(name)
    # Not known before it is compressed (RFC 9110 section 9.3.2).
    known = got.get("Content-Length") if encoding(head) is None else None
    assert head.headers.get("Content-Length") == known


def test_what_compressing_makes_larger_is_sent_as_it_is(tmp_path):
    (tmp_path / "app.py").write_text(
        "import os\nBODY = os.urandom(5000)\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [BODY]\n"
    )
    with (
        Server("app:application", options=["--compress", "gzip"], cwd=tmp_path) as server,
        server.connect() as wire,
    ):
        answer = wire.ask("GET", "/", "Accept-Encoding: gzip")
        assert len(answer.body) == 5000
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Vary"] == "Accept-Encoding"


def test_off_by_default():
    with Server("apps.compressed:wsgi") as server, server.connect() as wire:
        answer = wire.ask("GET", "/whole", "Accept-Encoding: gzip")
        assert answer.body == text(20_000)
        assert "Vary" not in answer.headers
        assert "Content-Encoding" not in answer.headers


def test_types_sizes_and_the_order_are_settings():
    options = ["--compress", "zstd", "--compress", "gzip", "--compress-types", "text/event-stream,image/*"]
    sizes = ["--compress-size-min", "10", "--compress-size-max", "30000"]
    with Server("apps.compressed:wsgi", options=[*options, *sizes]) as server, server.connect() as wire:
        for path, coding in [
            ("/whole?type=image/png", "zstd"),
            ("/whole?type=image/png&size=10", None),
            ("/whole?type=image/png&size=300", "zstd"),
            ("/whole?type=image/png&size=30001", None),
            ("/stream?type=image/png&size=30000&count=9", "zstd"),
            ("/stream?type=image/png&size=30001&count=9", None),
            ("/stream?type=text/event-stream", "zstd"),
            ("/whole?type=text/html", None),
        ]:
            answer = wire.ask("GET", path, "Accept-Encoding: gzip, zstd")
            assert answer.headers["Content-Encoding"] == coding, path


def test_only_so_many_compressors_are_kept(tmp_path):
    """What comes in blocks beyond that is sent as it is."""
    (tmp_path / "app.py").write_text(
        "import asyncio\n"
        "async def application(scope, receive, send):\n"
        "    fields = [(b'content-type', b'text/plain')]\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': fields})\n"
        "    await send({'type': 'http.response.body', 'body': b'tide ' * 500, 'more_body': True})\n"
        "    if scope['path'] == '/':\n"
        "        await receive()\n"
        "        await receive()\n"
    )
    request = b"GET %s HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
    with Server("app:application", options=["--compress", "gzip", "-i", "asgi"], cwd=tmp_path) as server:
        wires = []
        try:
            for _ in range(257):
                wires.append(server.connect())
                wires[-1].send(request % b"/")
            heads = [b"".join(iter(wire.line, b"\r\n")) for wire in wires]
        finally:
            for wire in wires:
                wire.close()
        assert sum(b"Content-Encoding: gzip" in head for head in heads) == 256
        assert all(b"Vary: Accept-Encoding" in head for head in heads)

        def is_compressed_again():
            return b"Content-Encoding: gzip" in server.raw(request % b"/cut")

        server.wait_until(is_compressed_again)
