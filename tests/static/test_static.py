"""Files that the server answers with by itself, under every host: RFC 9110's rules, and no way out."""

from __future__ import annotations

import email
import email.utils
import os
import random
import subprocess
import time

import pytest

from static.conftest import SECRET, SIZES, STYLE, populate, serve

MULTIPART = "multipart/byteranges; boundary="


@pytest.fixture(scope="module")
def server(host, site):
    options = [
        *("--static", f"/static={site.public}"),
        *("--static", f"/hashed={site.public} immutable=hashed max-age=1h"),
        *("--static", f"/plain={site.public} index=off precompressed=off max-age=off"),
        *("--static", f"/first={site.public} fallthrough=on max-age=0"),
        *("--static", f"/first/own={site.public / 'sub'}"),
    ]
    with serve(host, *options) as server:
        yield server


def ask(server, path, *fields, method="GET"):
    with server.connect() as wire:
        return wire.ask(method, path, *fields)


def of_application(answer):
    return answer.headers["X-Path"] is not None


@pytest.mark.parametrize("name", [*SIZES, "style.css", "app.5f2a9c3b.js", "inside", "sub/deep/leaf.json"])
def test_a_file_comes_as_it_is_with_all_that_is_said_of_it(server, site, name):
    answer = ask(server, f"/static/{name}")
    content = site.read(name)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    modified = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
    assert modified == int((site.public / name).stat().st_mtime)
    head = ask(server, f"/static/{name}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    of_head, of_get = (dict(each.headers.items()) for each in (head, answer))
    del of_head["Date"], of_get["Date"]
    assert of_head == of_get


def test_many_requests_go_over_one_connection(server, site):
    names = list(SIZES) * 3
    with server.connect() as wire:
        lines = "".join(f"GET /static/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n" for name in names)
        wire.send(lines.encode())
        assert [wire.answer().body for _ in names] == [site.read(name) for name in names]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/app.5f2a9c3b.js", "text/javascript; charset=utf-8"),
        ("/static/sub/", "text/html; charset=utf-8"),
        ("/static/sub/deep/leaf.json", "application/json"),
        ("/static/one.bin", "application/octet-stream"),
        ("/static/inside", "application/octet-stream"),
        ("/static/.well-known/security.txt", "text/plain; charset=utf-8"),
        ("/static/a%20b+%C3%A9.txt", "text/plain; charset=utf-8"),
    ],
)
def test_a_file_has_the_type_of_its_name(server, path, content_type):
    answer = ask(server, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)


def test_an_index_stands_for_its_directory(server):
    assert ask(server, "/static/sub/").text == "<p>the index</p>\n"
    answer = ask(server, "/static/sub?a=b")
    assert (answer.status, answer.headers["Location"]) == (301, "./sub/?a=b")
    assert ask(server, "/first/own/").text == "<p>the index</p>\n"
    assert ask(server, "/first/own").headers["Location"] == "./own/"
    for path in ("/static", "/static/", "/static/sub/deep", "/static/sub/deep/", "/plain/sub", "/plain/sub/"):
        assert ask(server, path).status == 404, path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_methods_are_not_allowed(server, method):
    answer = ask(server, "/static/style.css", method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert of_application(ask(server, "/first/style.css", method=method))


def test_what_is_not_found_is_the_applications_where_that_is_wanted(server):
    assert ask(server, "/static/none").status == 404
    for path in ("/first/none", "/first/", "/first/.env", "/first/../x", "/firstX", "/"):
        assert of_application(ask(server, path)), path
    assert ask(server, "/first/style.css").body == STYLE
    assert ask(server, "/first/own/none").status == 404


@pytest.mark.parametrize(
    ("path", "cache_control"),
    [
        ("/hashed/app.5f2a9c3b.js", "public, max-age=31536000, immutable"),
        ("/hashed/style.css", "public, max-age=3600"),
        ("/plain/style.css", None),
        ("/first/style.css", "no-cache"),
    ],
)
def test_caches_are_told_what_the_settings_say(server, path, cache_control):
    assert ask(server, path).headers["Cache-Control"] == cache_control


HOSTILE = [
    "/static/../secret", "/static/..", "/static/../x", "/static/%2e%2e/", "/static/%2e%2e/secret",
    "/static/%2E%2e/secret", "/static/.%2e/secret", "/static/..%2fsecret", "/static/%2e%2e%2fsecret",
    "/static//etc", "/static//etc/passwd", "/static/%2fetc/passwd", "/static///etc",
    "/static/./style.css",
    "/static/sub/../style.css", "/static/sub/../../secret", "/static/%00", "/static/style.css%00",
    "/static/style.css%00.png", "/static/..\\secret", "/static/..%5csecret", "/static/sub\\index.html",
    "/static/%252e%252e/secret", "/static/..%252fsecret", "/static/%c0%ae%c0%ae/secret",
    "/static/out", "/static/absolute", "/static/up/secret", "/static/up/publicX/x", "/static/fifo",
    "/static/.git/config", "/static/.env", "/static/%2egit/config", "/static/.", "/static/style.css/",
    "/static/style.css/x", "/static/sub//index.html", "/static/" + "a" * 5000, "/static/" + "a/" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path[:40])
def test_no_path_leads_out_of_the_directory_or_to_what_is_hidden(server, path):
    answer = ask(server, path)
    assert answer.status == 404
    assert SECRET not in answer.body


def test_a_longer_name_is_not_below_the_prefix(server):
    assert of_application(ask(server, "/staticX/x"))
    assert of_application(ask(server, "/staticX"))
    assert of_application(ask(server, "//static/style.css"))
    assert of_application(ask(server, "/x/../static/style.css"))
    assert ask(server, "/%73tatic/style.css").body == STYLE


def test_no_mixture_of_hostile_pieces_leads_out(server):
    pieces = ["..", "%2e%2e", ".", "/", "//", "%2f", "\\", "%5c", "%00", "up", "secret", "sub", "out", "%"]
    pieces += ["absolute", "%25", "%252e", ";", "etc/passwd", "style.css", "~", "%c0%ae", "%e0%80%af"]
    choose = random.Random(7)
    with server.connect() as wire:
        for _ in range(400):
            path = "/static/" + "".join(choose.choices(pieces, k=choose.randint(1, 7)))
            answer = wire.ask("GET", path)
            assert answer.status in (200, 301, 404), path
            assert SECRET not in answer.body and b"root:" not in answer.body, path


@pytest.mark.parametrize(
    ("accepts", "encoding", "body"),
    [
        (None, None, STYLE),
        ("gzip", "gzip", None),
        ("gzip, deflate, br, zstd", "br", b"as if by brotli"),
        ("gzip;q=0.5, zstd", "zstd", b"as if by zstd"),
        ("br;q=0, *", "zstd", b"as if by zstd"),
        ("identity, gzip;q=0", None, STYLE),
        ("deflate", None, STYLE),
    ],
)
def test_the_encoding_is_sent_that_the_client_likes_best(server, site, accepts, encoding, body):
    fields = [f"Accept-Encoding: {accepts}"] if accepts else []
    answer = ask(server, "/static/style.css", *fields)
    assert answer.body == (site.read("style.css.gz") if body is None else body)
    assert answer.headers["Content-Encoding"] == encoding
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert answer.headers["Vary"] == "Accept-Encoding"
    plain = ask(server, "/static/style.css").headers["ETag"]
    assert (answer.headers["ETag"] == plain) == (encoding is None)
    again = ask(server, "/static/style.css", *fields, f"If-None-Match: {answer.headers['ETag']}")
    assert (again.status, again.body, again.headers["Vary"]) == (304, b"", "Accept-Encoding")


def test_encodings_are_looked_for_only_inside_and_only_where_wanted(server):
    for path in ("/static/out.css", "/plain/style.css"):
        answer = ask(server, path, "Accept-Encoding: gzip")
        assert (answer.body, answer.headers["Content-Encoding"]) == (STYLE, None), path
    assert ask(server, "/plain/style.css").headers["Vary"] is None


def test_curl_undoes_an_encoding(server, tmp_path):
    command = ["curl", "-sS", "--fail", "-H", "Accept-Encoding: gzip", "--compressed"]
    fetched = subprocess.run([*command, server.url("/static/style.css")], capture_output=True, check=True)
    assert fetched.stdout == STYLE


# Of small.bin, which has 4096 bytes, and of large.bin with its 300000.
RANGES = [
    ("bytes=0-0", [(0, 1)]),
    ("bytes=100-199", [(100, 200)]),
    ("bytes=-1", [(-1, None)]),
    ("bytes=1-", [(1, None)]),
    ("bytes=0-999999999999999999999", [(0, None)]),
    ("bytes=0-0,-1", [(0, 1), (-1, None)]),
    ("bytes=1000-1999, 0-9, 9999999-", [(1000, 2000), (0, 10)]),
    ("bytes=9999999-", None),
    ("bytes=-0", None),
    ("bytes=5-4", []),
    ("bytes=0-5,5-9", []),
    ("bytes=x", []),
    ("items=0-1", []),
    ("bytes=" + ",".join(f"{2 * number}-{2 * number}" for number in range(17)), []),
]


@pytest.mark.parametrize("name", ["small.bin", "large.bin"])
@pytest.mark.parametrize(("value", "slices"), RANGES, ids=lambda value: str(value)[:24])
def test_parts_of_a_file(server, site, name, value, slices):
    content = site.read(name)
    size = len(content)
    answer = ask(server, f"/static/{name}", f"Range: {value}")
    if slices is None:
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
        return
    if not slices:
        assert (answer.status, answer.body, answer.headers["Content-Range"]) == (200, content, None)
        return
    spans = [slice(*each).indices(size)[:2] for each in slices]
    expected = [(f"bytes {start}-{end - 1}/{size}", content[start:end]) for start, end in spans]
    assert answer.status == 206
    if len(expected) == 1:
        assert [(answer.headers["Content-Range"], answer.body)] == expected
        assert answer.headers["Content-Type"] == "application/octet-stream"
        return
    content_type = answer.headers["Content-Type"]
    assert content_type.startswith(MULTIPART)
    message = email.message_from_bytes(f"Content-Type: {content_type}\n\n".encode() + answer.body)
    boundary = content_type.removeprefix(MULTIPART).encode()
    raw = answer.body.split(b"\r\n--" + boundary)[1:-1]
    assert [part.split(b"\r\n\r\n", 1)[1] for part in raw] == [data for _, data in expected]
    parts = message.get_payload()
    assert [part["Content-Range"] for part in parts] == [said for said, _ in expected]


def test_ranges_are_for_get_and_for_files_that_have_bytes(server):
    assert ask(server, "/static/small.bin", "Range: bytes=0-0", method="HEAD").status == 200
    assert ask(server, "/static/empty.bin", "Range: bytes=0-0").status == 200


OLD, NEW = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 2033 08:49:37 GMT"
RANGE = "Range: bytes=0-0"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["If-None-Match: {etag}"], 304),
        (["If-None-Match: W/{etag}"], 304),
        (["If-None-Match: *"], 304),
        (['If-None-Match: "x", {etag}'], 304),
        (['If-None-Match: "x"', "If-None-Match: {etag}"], 304),
        (['If-None-Match: "x"'], 200),
        (["If-None-Match: x"], 200),
        (["If-Modified-Since: {modified}"], 304),
        ([f"If-Modified-Since: {NEW}"], 304),
        ([f"If-Modified-Since: {OLD}"], 200),
        (["If-Modified-Since: never"], 200),
        (['If-None-Match: "x"', f"If-Modified-Since: {NEW}"], 200),
        (["If-None-Match: {etag}", f"If-Modified-Since: {OLD}"], 304),
        (["If-Match: {etag}"], 200),
        (["If-Match: *"], 200),
        (["If-Match: W/{etag}"], 412),
        (['If-Match: "x"'], 412),
        (["If-Unmodified-Since: {modified}"], 200),
        ([f"If-Unmodified-Since: {OLD}"], 412),
        (["If-Match: {etag}", f"If-Unmodified-Since: {OLD}"], 200),
        (['If-Match: "x"', "If-None-Match: {etag}"], 412),
        ([RANGE], 206),
        ([RANGE, "If-Range: {etag}"], 206),
        ([RANGE, "If-Range: W/{etag}"], 200),
        ([RANGE, 'If-Range: "x"'], 200),
        ([RANGE, "If-Range: {modified}"], 206),
        ([RANGE, f"If-Range: {NEW}"], 200),
        ([RANGE, "If-None-Match: {etag}"], 304),
        ([RANGE, 'If-Match: "x"'], 412),
        (["Range: bytes=9999-", 'If-Range: "x"'], 200),
        (["Range: bytes=9999-", "If-Range: {etag}"], 416),
    ],
)
def test_conditions(server, site, fields, status):
    long_ago = time.time() - 3600
    os.utime(site.public / "small.bin", (long_ago, long_ago))
    seen = ask(server, "/static/small.bin").headers
    named = [field.format(etag=seen["ETag"], modified=seen["Last-Modified"]) for field in fields]
    answer = ask(server, "/static/small.bin", *named)
    assert answer.status == status
    if status == 304:
        for name in ("ETag", "Last-Modified", "Cache-Control"):
            assert answer.headers[name] == seen[name]
        assert answer.headers["Content-Length"] is None
    if status == 200:
        assert answer.body == site.read("small.bin")


def test_ten_mebibytes_come_as_they_are(host, tmp_path):
    content = random.Random(10).randbytes(10 * 1024 * 1024)
    (tmp_path / "huge.bin").write_bytes(content)
    with serve(host, "--static", f"/static={tmp_path}") as server:
        assert ask(server, "/static/huge.bin").body == content
        fetched = subprocess.run(
            ["curl", "-sS", "-C", "7000000", server.url("/static/huge.bin")], capture_output=True, check=True
        )
        assert fetched.stdout == content[7_000_000:]


def test_a_slow_reader_holds_up_nobody_else(host, tmp_path):
    content = random.Random(3).randbytes(30 * 1024 * 1024)
    (tmp_path / "huge.bin").write_bytes(content)
    with serve(host, "--static", f"/static={tmp_path}") as server, server.connect() as slow:
        slow.send(b"GET /static/huge.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        slow.line()
        for _ in range(20):
            assert of_application(ask(server, "/"))
            assert ask(server, "/static/huge.bin", "Range: bytes=5-9").body == content[5:10]
        while slow.line() != b"\r\n":
            pass
        assert slow.receive(len(content)) == content


def test_a_file_that_shrinks_while_it_is_sent_cuts_its_connection(host, tmp_path):
    huge = tmp_path / "huge.bin"
    huge.write_bytes(bytes(30 * 1024 * 1024))
    with serve(host, "--static", f"/static={tmp_path}") as server, server.connect() as wire:
        wire.send(b"GET /static/huge.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.line()
        os.truncate(huge, 1024)
        assert len(wire.rest()) < 30 * 1024 * 1024
        server.wait_for_log("a file became shorter while it was being sent")
        assert of_application(ask(server, "/"))


def test_files_that_change_and_directories_that_are_replaced_are_seen(host, tmp_path):
    public = tmp_path / "public"
    public.mkdir()
    page = public / "page.txt"
    page.write_text("one")
    with serve(host, "--static", f"/static={public}") as server:
        first = ask(server, "/static/page.txt")
        page.write_text("another")
        second = ask(server, "/static/page.txt", f"If-None-Match: {first.headers['ETag']}")
        assert (first.text, second.text) == ("one", "another")
        public.rename(tmp_path / "former")
        public.mkdir()
        page.write_text("a third")
        server.wait_until(lambda: ask(server, "/static/page.txt").text == "a third" or None)


def test_requests_are_logged_and_counted_and_run_with_workers(host, tmp_path):
    site = populate(tmp_path)
    options = ["--static", f"/static={site.public}", "--access-log", "-", "--workers", "2"]
    with serve(host, *options, supervised=True) as server:
        for _ in range(10):
            assert ask(server, "/static/one.bin").status == 200
        assert ask(server, "/static/none").status == 404
        line = '"GET /static/one.bin HTTP/1.1" 200 1'
        server.wait_until(lambda: server.output.count(line) == 10 or None)
        server.wait_until(lambda: '"GET /static/none HTTP/1.1" 404' in server.output or None)
