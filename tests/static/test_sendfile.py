"""Files that applications name, sent in their stead: X-Sendfile and X-Accel-Redirect."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from static.conftest import SECRET, serve
from support.server import Server

CSV = b"hour,height\n" + b"".join(b"%d,%d\n" % (hour, hour % 12) for hour in range(5000))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    around = tmp_path_factory.mktemp("sendfile")
    inside = around / "files"
    (inside / "sub").mkdir(parents=True)
    (around / "secret").write_bytes(SECRET)
    (inside / "report.csv").write_bytes(CSV)
    (inside / "small.txt").write_bytes(b"small")
    (inside / "sub" / "a b.txt").write_bytes(b"spaced")
    (inside / "out").symlink_to("../secret")
    return inside


@pytest.fixture(scope="module")
def by_path(host, files):
    with serve(host, "--sendfile-header", "x-sendfile", "--sendfile-root", str(files)) as server:
        yield server


@pytest.fixture(scope="module")
def by_redirect(host, files):
    options = ["--sendfile-header", "x-accel-redirect", "--static", f"/internal={files} internal=on"]
    with serve(host, *options) as server:
        yield server


def ask(server, name, value, *fields, method="GET", status="200 OK", given=(), wish=""):
    query = [("status", status), ("wish", wish), ("field", f"{name}:{value}")]
    query += (("field", each) for each in given)
    with server.connect() as wire:
        answer = wire.ask(method, f"/?{urlencode(query)}", *fields)
        # Nothing of the application's body is left on the connection.
        assert wire.ask("GET", "/").body == b"the application"
    return answer


@pytest.mark.parametrize("name", ["report.csv", "small.txt", "sub/a b.txt"])
def test_the_file_takes_the_place_of_the_body(by_path, files, name):
    answer = ask(by_path, "X-Sendfile", files / name)
    content = (files / name).read_bytes()
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["X-Sendfile"] is None
    assert answer.headers["X-Path"] == "/"
    head = ask(by_path, "X-Sendfile", files / name, method="HEAD")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(content)))


def test_what_else_the_application_says_is_kept(by_path, files):
    given = ["Content-Type:text/x-tides", "Set-Cookie:a=b", "Set-Cookie:c=d", "Cache-Control:private"]
    given += ["Content-Length:15", "ETag:W/own", 'ETag:"second"', "Content-Disposition:attachment"]
    answer = ask(by_path, "X-Sendfile", files / "small.txt", given=given)
    assert answer.body == b"small"
    assert answer.headers["Content-Type"] == "text/x-tides"
    assert answer.headers.get_all("Set-Cookie") == ["a=b", "c=d"]
    assert answer.headers["Cache-Control"] == "private"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers.get_all("ETag") == ["W/own"]
    assert answer.headers["Content-Length"] == "5"


def test_ranges_and_conditions_are_the_servers(by_path, files):
    path = files / "report.csv"
    part = ask(by_path, "X-Sendfile", path, "Range: bytes=5-9")
    assert (part.status, part.body) == (206, CSV[5:10])
    assert part.headers["Content-Range"] == f"bytes 5-9/{len(CSV)}"
    again = ask(by_path, "X-Sendfile", path, f"If-None-Match: {part.headers['ETag']}")
    assert (again.status, again.body, again.headers["X-Path"]) == (304, b"", "/")
    own = ask(by_path, "X-Sendfile", path, 'If-None-Match: "own"', given=['ETag:"own"'])
    assert own.status == 304
    posted = ask(by_path, "X-Sendfile", path, "If-None-Match: *", "Range: bytes=0-0", method="POST")
    assert (posted.status, posted.body) == (200, CSV)


@pytest.mark.parametrize(
    ("value", "status", "said"),
    [
        ("{files}/none", 404, "which there is not"),
        ("{files}/sub", 404, "which there is not"),
        ("{files}/out", 404, "which leads elsewhere"),
        ("{files}/../secret", 500, "which is below no --sendfile-root"),
        ("{files}", 500, "which is below no --sendfile-root"),
        ("{files}x", 500, "which is below no --sendfile-root"),
        ("/etc/passwd", 500, "which is below no --sendfile-root"),
        ("report.csv", 500, "which is below no --sendfile-root"),
        ("", 500, "which is below no --sendfile-root"),
    ],
)
def test_what_is_not_to_be_named_is_not_sent(by_path, files, value, status, said):
    since = len(by_path.log)
    answer = ask(by_path, "X-Sendfile", value.format(files=files), given=["Set-Cookie:a=b"])
    assert (answer.status, answer.headers["Set-Cookie"]) == (status, None)
    assert SECRET not in answer.body
    by_path.wait_for_log(said, since=since)


def test_an_application_that_fails_when_it_has_named_a_file_is_answered_for_as_any_other(by_path, files):
    since = len(by_path.log)
    answer = ask(by_path, "X-Sendfile", files / "report.csv", wish="fails", given=["Set-Cookie:a=b"])
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    assert answer.headers["Set-Cookie"] is None
    by_path.wait_for_log("the application failed on GET", since=since)


def test_a_response_begun_anew_names_a_file_or_none_by_its_own_head(files):
    with serve("threads", "--sendfile-header", "x-sendfile", "--sendfile-root", str(files)) as server:
        answer = ask(server, "X-Sendfile", files / "report.csv", wish="fails mends")
        assert (answer.status, answer.reason, answer.body) == (503, "Low Water", b"mended")
        assert answer.headers["X-Mended"] == "yes"
        # Where some of it was sent, the response is what it is, and cut.
        with server.connect() as wire:
            wire.send(b"GET /?wish=fails+mends HTTP/1.1\r\nHost: x\r\n\r\n")
            received = wire.rest()
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"mended" not in received


@pytest.mark.parametrize("status", ["404 Not Found", "302 Found", "304 Not Modified", "204 No Content"])
def test_other_statuses_have_no_file(by_path, files, status):
    answer = ask(by_path, "X-Sendfile", files / "small.txt", status=status)
    assert (answer.status, answer.headers["X-Sendfile"]) == (int(status[:3]), None)
    assert answer.body == (b"" if status[:3] in ("304", "204") else b"the application")


def test_a_status_without_a_file_keeps_its_name(files):
    with serve("threads") as server:
        answer = ask(server, "X-Sendfile", files / "small.txt", status="404 Nothing Like It")
        assert (answer.status, answer.reason) == (404, "Nothing Like It")


def test_an_internal_prefix_is_for_applications_alone(by_redirect):
    for target in ("/internal/report.csv", "/internal/report.csv?x=y", "/internal/%72eport.csv"):
        assert ask(by_redirect, "X-Accel-Redirect", target).body == CSV
    with by_redirect.connect() as wire:
        assert wire.ask("GET", "/internal/report.csv").status == 404
        assert wire.ask("POST", "/internal/report.csv").status == 404
    for target, status in [
        ("/internal/none", 404),
        ("/internal/out", 404),
        ("/internal/", 404),
        ("/internal/../secret", 500),
        ("/internal/%2e%2e/secret", 500),
        ("/other/report.csv", 500),
    ]:
        answer = ask(by_redirect, "X-Accel-Redirect", target)
        assert (answer.status, SECRET in answer.body) == (status, False), target


def test_without_the_setting_the_field_goes_on_to_a_front_server(host, files):
    with serve(host) as server:
        answer = ask(server, "X-Sendfile", files / "small.txt")
        assert (answer.body, answer.headers["X-Sendfile"]) == (b"the application", str(files / "small.txt"))


@pytest.mark.parametrize("threads", ["1", "8"])
def test_flasks_send_file(files, threads):
    options = ["--threads", threads, "--sendfile-header", "x-sendfile", "--sendfile-root", str(files)]
    with Server("apps.files_flask:app", options=options, env={"FILES": str(files)}) as server:
        with server.connect() as wire:
            answer = wire.ask("GET", "/download")
            assert (answer.status, answer.body) == (200, CSV)
            assert answer.headers["Content-Disposition"] == "attachment; filename=tides.csv"
            assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
            assert answer.headers["Set-Cookie"].startswith("fetched=yes")
            assert "max-age=30" in answer.headers["Cache-Control"]
            part = wire.ask("GET", "/download", "Range: bytes=100-199")
            assert (part.status, part.body) == (206, CSV[100:200])
            assert part.headers["Content-Range"] == f"bytes 100-199/{len(CSV)}"
            again = wire.ask("GET", "/download", f"If-None-Match: {answer.headers['ETag']}")
            assert (again.status, again.body) == (304, b"")
            assert wire.ask("HEAD", "/download").headers["Content-Length"] == str(len(CSV))
        assert server.complaints() == []


@pytest.mark.parametrize("name", ["application", "asynchronous"])
def test_djangos_responses(files, name):
    options = ["--sendfile-header", "x-accel-redirect", "--static", f"/internal={files} internal=on"]
    with Server(f"apps.files_django:{name}", options=options) as server:
        with server.connect() as wire:
            answer = wire.ask("GET", "/report?key=1")
            assert (answer.status, answer.body) == (200, CSV)
            assert answer.headers["Content-Type"] == "text/csv"
            assert answer.headers["Cache-Control"] == "private"
            assert answer.headers["Content-Disposition"] == 'attachment; filename="tides.csv"'
            assert wire.ask("GET", "/report").status == 403
            assert wire.ask("GET", "/report?key=1", "Range: bytes=-5").body == CSV[-5:]
        assert server.complaints() == []
