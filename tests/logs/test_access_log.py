"""The access log: its formats, its filters, where it goes, and what cannot be forged or held up by it."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.command import one_line, run
from support.gunicorn import Gunicorn
from support.server import PATIENCE_S, TESTS, Server, clean_environment
from support.wire import Wire

APP = "apps.logged:application"
GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


def basic(credentials: bytes) -> str:
    return f"Authorization: Basic {base64.b64encode(credentials).decode()}"


REQUESTS = [
    ("GET", "/", ()),
    ("GET", "/caf%C3%A9/a%20b?x=1&y=%22", ("Referer: http://a/?b", "User-Agent: curl/8")),
    ("GET", "/?", ("User-Agent:", 'Referer: a "quoted" word')),
    ("POST", "/status/404", (basic(b"mary:secret:x"), "Content-Type: text/plain")),
    ("PUT", "/status/204", (basic(b"no colon"),)),
    ("DELETE", "/status/500", ("Authorization: Basic !!!",)),
    ("GET", "/fields", ("X-Request-Id: one", "X-Request-Id: two", "X-Forwarded-For: 10.0.0.1, 10.0.0.2")),
    ("OPTIONS", "/fields?" + "q" * 100, ("X-Empty:", "Authorization: Bearer abc")),
]


@contextmanager
def logged(path: Path, *options: str, app: str = APP) -> Iterator[Server]:
    """A server with an access log in a file, whole once the server has been left."""
    with Server(app, options=["--access-log", str(path), *options]) as server:
        yield server
        assert server.stop() == 0


def lines_of(
    path: Path, *options: str, requests: list[tuple[str, str, tuple[str, ...]]] = REQUESTS
) -> list[str]:
    with logged(path, *options) as server, server.connect() as wire:
        for method, target, fields in requests:
            wire.ask(method, target, *fields)
    return path.read_text().splitlines()


def lines_of_gunicorn(path: Path, form: str) -> list[str]:
    gunicorn = Gunicorn(APP, "--access-logfile", str(path), "--access-logformat", form)
    try:
        with gunicorn.connect() as wire:
            for method, target, fields in REQUESTS:
                wire.ask(method, target, *fields)
    finally:
        gunicorn.stop()
    return path.read_text().splitlines()


def without_times(lines: list[str]) -> list[str]:
    """What differs from one run to the next becomes its form."""
    time = r"\[\d\d/[A-Z][a-z]{2}/\d{4}(:\d\d){3} [+-]\d{4}\]"
    text = re.sub(time, "[TIME]", "\n".join(lines))
    text = re.sub(r"<\d+>", "<PID>", text)
    text = re.sub(r"T=\d+ M=\d+ D=\d+ L=\d+\.\d{6}", "T=S M=MS D=US L=S.US", text)
    return text.splitlines()


@pytest.mark.parametrize(
    "form",
    [
        GUNICORN,
        "%(h)s|%(l)s|%(u)s|%(t)s|%(r)s|%(m)s|%(q)s|%(H)s|%(s)s|%(B)s|%(b)s|%(f)s|%(a)s|%(p)s",
        "T=%(T)s M=%(M)s D=%(D)s L=%(L)s 100%%",
        "%({X-Request-Id}i)s %({x-forwarded-for}i)s %({X-Empty}i)s. %({X-Missing}i)s %({host}i)s",
        "%({X-Seen}o)s %({content-length}o)s %({Content-Type}o)s %({x-none}o)s %({Date}o)s %({Server}o)s",
        "%({HTTP_REFERER}e)s %({REQUEST_METHOD}e)s %({raw_uri}e)s %({QUERY_STRING}e)s %({SERVER_PROTOCOL}e)s "
        "%({REMOTE_ADDR}e)s %({CONTENT_TYPE}e)s %({HTTP_X_NONE}e)s",
        "%(s)5s|%(s)-5s|%(m).2s|%(m)6.2s|%(B)06d|%(B)-6d|%(B)i|%(l)3s|%(m).s|",
    ],
)
def test_a_format_string_gives_the_bytes_that_gunicorn_gives(tmp_path: Path, form: str) -> None:
    theirs = lines_of_gunicorn(tmp_path / "theirs", form)
    ours = lines_of(tmp_path / "ours", "--access-log-format", form)
    assert len(theirs) == len(REQUESTS)
    assert without_times(ours) == without_times(theirs)


def test_a_decoded_path_is_gunicorns_but_for_what_is_not_ascii(tmp_path: Path) -> None:
    theirs = lines_of_gunicorn(tmp_path / "theirs", "%(U)s %({path_info}e)s")
    ours = lines_of(tmp_path / "ours", "--access-log-format", "%(U)s %({path_info}e)s")
    assert ours[1] == r"/caf\xc3\xa9/a b /caf\xc3\xa9/a b"
    assert ours[:1] + ours[2:] == theirs[:1] + theirs[2:]


def test_a_line_of_json_says_what_there_is_to_say(tmp_path: Path) -> None:
    with logged(tmp_path / "log", "--access-log-format", "json") as server, server.connect() as wire:
        wire.ask("GET", "/a%20b?c=d", "User-Agent: me", host="site.example")
        wire.ask("POST", "/status/404", "Referer: http://a/")
        pid = server.pid
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.pop("time"))
    assert 0 <= first.pop("duration_us") < 30_000_000
    assert first == {
        "client": "127.0.0.1",
        "method": "GET",
        "host": "site.example",
        "path": "/a%20b",
        "query": "c=d",
        "protocol": "HTTP/1.1",
        "status": 200,
        "shed": None,
        "cut": None,
        "bytes": 6,
        "referer": None,
        "user_agent": "me",
        "pid": pid,
        "request_id": None,
        "trace_id": None,
        "span_id": None,
        "front_queue_us": None,
    }
    assert (second["status"], second["referer"], second["query"]) == (404, "http://a/", "")


# All that a field's value may hold (RFC 9110 section 5.5), and a terminal would obey among it: C1 controls,
# alone and as UTF-8, and what turns the direction of writing.
BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)]) + "\x9b31m\u202e\U0001f600é".encode() + b"\\"


@pytest.mark.parametrize(
    "form", ["combined", "json", GUNICORN + " %({x}i)s %({x}i).9s", "%(U)s %({x-seen}o)s"]
)
def test_no_byte_that_a_client_may_send_ends_a_line_a_field_or_reaches_a_terminal(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "log"
    target = b"/" + "".join(f"%{byte:02x}" for byte in range(256)).encode()
    with logged(path, "--access-log-format", form) as server, server.connect() as wire:
        user = base64.b64encode(bytes(range(256)).replace(b":", b""))
        wire.send(b"GET %s HTTP/1.1\r\nHost: a\r\nUser-Agent: %s\r\nReferer: %s\r\n" % (target, BYTES, BYTES))
        wire.send(b"X: %s\r\nAuthorization: Basic %s\r\n\r\n" % (BYTES, user))
        assert wire.answer().status == 200
    written = path.read_bytes()
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E for byte in written[:-1])
    if form == "json":
        line = json.loads(written)
        assert line["user_agent"] == BYTES.strip().decode(errors="replace")
    elif form != "%(U)s %({x-seen}o)s":
        # What is not the format's own is escaped, and nothing before a quote of the format's escapes that.
        own = re.sub(rb'\\(["\\]|x[0-9a-f]{2})', b"", written)
        assert own.count(b'"') == 6
        assert b"\\" not in own


def test_what_could_not_be_read_has_a_line_too(tmp_path: Path) -> None:
    for form, expected in [
        ("common", r'127\.0\.0\.1 - - \[[^]]+\] "-" 400 \d+'),
        ("%(m)s %(U)s %(q)s %(u)s %({x}i)s %({x}o)s %(s)s %(D)s", "- - - - - - 400 0"),
        ("json", r'\{.*"method":null,"host":null,"path":null,.*"status":400,.*\}'),
    ]:
        path = tmp_path / "log"
        path.unlink(missing_ok=True)
        with logged(path, "--access-log-format", form) as server:
            server.raw(b"\x16\x03\x01\r\n\r\n")
        assert re.fullmatch(expected, path.read_text().strip())


def test_filters_let_through_what_is_slow_or_failed(tmp_path: Path) -> None:
    requests: list[tuple[str, str, tuple[str, ...]]] = [
        ("GET", f"/{name}", ())
        for name in ["", "slow", "status/404", "status/500", "health", "status/health"]
    ]

    def paths(*options: str) -> list[str]:
        (tmp_path / "log").unlink(missing_ok=True)
        return lines_of(
            tmp_path / "log", "--access-log-format", "%({raw_uri}e)s", *options, requests=requests
        )

    assert paths("--access-log-slower-than", "200ms") == ["/slow"]
    assert paths("--access-log-status-min", "500") == ["/status/500"]
    both = ["--access-log-status-min", "400", "--access-log-slower-than", "200ms"]
    assert paths(*both) == ["/slow", "/status/404", "/status/500"]
    excluded = ["--access-log-exclude", "/health", "--access-log-exclude", "/s*"]
    assert paths(*excluded) == ["/", "/status/404", "/status/500"]


def test_a_response_that_was_cut_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    options = ["--access-log-status-min", "500", "--access-log-exclude", "/*", "--access-log-format", "json"]
    with logged(path, *options) as server, server.connect() as wire:
        wire.send(b"POST /unanswered HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345")
        server.wait_for_log("waiting")
        wire.reset()
    assert json.loads(path.read_text())["status"] is None


def test_a_line_says_why_a_response_was_cut_after_its_head(tmp_path: Path) -> None:
    path = tmp_path / "log"
    options = ["--access-log-format", "%(U)s %(s)s %(cut)s", "--access-log-exclude", "/*"]
    with logged(path, *options) as server:
        for target in ("/", "/breaks", "/short"):
            with server.connect() as wire:
                wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                assert wire.rest().startswith(b"HTTP/1.1 200 ")
        for target in ("/endless", "/unanswered"):
            with server.connect() as wire:
                wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                server.wait_for_log("waiting" if target == "/unanswered" else "endless")
                wire.reset()
    # Who leaves a stream makes no error of it.
    assert path.read_text().splitlines() == [
        "/breaks 200 application",
        "/short 200 application",
        "/unanswered 000 client",
    ]


# Targets


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE_S)
        receiver.bind(str(tmp_path / "collector"))
        yield receiver


def ask(server: Server, path: str = "/") -> None:
    with server.connect() as wire:
        assert wire.ask("GET", path).status == 200


STAMP = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"


def test_syslog_on_this_machine_has_a_datagram_for_each_line(
    tmp_path: Path, collector: socket.socket
) -> None:
    target = f"syslog:{tmp_path / 'collector'},facility=local3,tag=site"
    with Server(APP, options=["--access-log", target]) as server:
        for path in ["/one", "/two"]:
            ask(server, path)
            text = collector.recv(65536).decode()
            # local3 is 19, informational 6.
            assert re.fullmatch(
                rf'<158>{STAMP} site\[{server.pid}\]: 127\.0.* "GET {path} HTTP/1.1" 200 6', text
            )
        assert server.stop() == 0


def test_syslog_on_another_machine_is_told_the_host() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE_S)
        receiver.bind(("127.0.0.1", 0))
        target = f"syslog://127.0.0.1:{receiver.getsockname()[1]}"
        with Server(APP, options=["--access-log", target, "--access-log-format", "%(m)s"]) as server:
            ask(server)
            text = receiver.recv(65536).decode()
            assert re.fullmatch(
                rf"<30>{STAMP} {re.escape(os.uname().nodename)} tidegate\[{server.pid}\]: GET", text
            )
            assert server.stop() == 0


def test_the_journal_has_its_fields(tmp_path: Path, collector: socket.socket) -> None:
    target = f"journald:{tmp_path / 'collector'},tag=site"
    with Server(APP, options=["--access-log", target, "--access-log-format", "%(m)s %(s)s"]) as server:
        ask(server)
        assert collector.recv(65536).decode().splitlines() == [
            "MESSAGE=GET 200",
            "PRIORITY=6",
            "SYSLOG_FACILITY=3",
            "SYSLOG_IDENTIFIER=site",
            f"SYSLOG_PID={server.pid}",
        ]
        assert server.stop() == 0


def test_a_long_line_is_cut_for_a_collector(tmp_path: Path, collector: socket.socket) -> None:
    options = ["--access-log", f"journald:{tmp_path / 'collector'}", "--access-log-format", "%({x}i)s"]
    with Server(APP, options=options) as server, server.connect() as wire:
        wire.ask("GET", "/", "X: " + "x" * 7000, "Y: y")
        assert len(collector.recv(65536).splitlines()[0]) == len("MESSAGE=") + 7000
        wire.ask("GET", "/", "X: " + "\xe9" * 7000)
        assert len(collector.recv(65536).splitlines()[0]) == len("MESSAGE=") + 8192


def test_a_collector_that_is_started_anew_has_the_next_line(tmp_path: Path, collector: socket.socket) -> None:
    path = tmp_path / "collector"
    with Server(APP, options=["--access-log", f"syslog:{path}"]) as server:
        ask(server, "/one")
        assert b"/one" in collector.recv(65536)
        collector.close()
        ask(server, "/two")
        server.wait_for_log("tidegate error: the access log cannot be written: ")
        path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another:
            another.settimeout(PATIENCE_S)
            another.bind(str(path))
            ask(server, "/three")
            assert b"/three" in another.recv(65536)
        server.wait_for_log("tidegate error: lines that the access log has lost: 1")


def test_a_worker_takes_the_place_of_another_while_the_collector_is_away(
    tmp_path: Path, collector: socket.socket
) -> None:
    path = tmp_path / "collector"
    with Server(APP, options=["--access-log", f"syslog:{path}"], supervised=True) as server:
        serves = r"a worker serves \(.*pid (\d+)\)"
        worker = int(server.wait_for_log(serves)[1])
        collector.close()
        path.unlink()
        since = len(server.log)
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log(serves, since=since)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another:
            another.settimeout(PATIENCE_S)
            another.bind(str(path))
            ask(server, "/after")
            assert b"/after" in another.recv(65536)
        assert server.stop() == 0


def test_a_worker_takes_the_place_of_another_while_its_log_file_cannot_be_opened(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    options = ["--access-log", str(logs / "access")]
    with Server(APP, options=options, supervised=True) as server:
        serves = r"a worker serves \(.*pid (\d+)\)"
        worker = int(server.wait_for_log(serves)[1])
        logs.rename(tmp_path / "away")
        since = len(server.log)
        os.kill(worker, signal.SIGKILL)
        server.wait_for_log(serves, since=since)
        for _ in range(3):
            ask(server, "/lost")
            server.wait_for_log("the access log cannot be written: No such file or directory")
        logs.mkdir()
        ask(server, "/after")
        lost = server.wait_for_log(r"lines that the access log has lost: (\d+)")[1]
        assert server.stop() == 0
        assert server.log.count("cannot be written") == 1
    paths = [line.split()[6] for line in (logs / "access").read_text().splitlines()]
    # The writer may have had the last of them after the directory was made.
    assert paths == ["/lost"] * (3 - int(lost)) + ["/after"]


def test_a_collector_elsewhere_that_does_not_listen_is_told_of_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        target = f"syslog://127.0.0.1:{unused.getsockname()[1]}"
    with Server(APP, options=["--access-log", target]) as server:
        # A refusal is known with the datagram after.
        while "cannot be written" not in server.log:
            ask(server)
        for _ in range(20):
            ask(server)
        assert server.stop() == 0
        assert server.log.count("cannot be written: Connection refused") == 1
        assert server.log.count("lines that the access log has lost: ") == 1


def test_the_access_log_goes_to_standard_error() -> None:
    with Server(APP, options=["--access-log", "stderr"]) as server:
        ask(server)
        server.wait_for_log('"GET / HTTP/1.1" 200 6')


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("{}/none/log", "there is no directory"),
        ("{}", "this is a directory"),
        ("/dev/full/x", "there is no directory"),
        ("syslog:{}/none", "No such file or directory"),
        ("journald:{}", "Connection refused"),
        ("syslog://host.invalid", ""),
    ],
)
def test_a_target_that_cannot_be_opened_is_one_line(
    tmp_path: Path, target: str, reason: str, supervised: bool
) -> None:
    target = target.format(tmp_path)
    options = ["--bind", "127.0.0.1:0", "--access-log", target]
    line = one_line(run(*options, APP, TIDEGATE_NO_SUPERVISOR=str(not supervised).lower()))
    assert line.startswith(f'tidegate: --access-log "{target}')
    assert reason in line


def test_a_format_with_an_atom_that_cannot_be_names_it_and_says_what_can_be() -> None:
    line = one_line(run("--access-log-format", "%(h)s %(Z)s", APP))
    assert (
        '--access-log-format "%(h)s %(Z)s" (from the command line): %(Z)s: no such atom; accepted: ' in line
    )
    assert "%({FIELD}i)s" in line
    line = one_line(run("--access-log-format", "%({wsgi.url_scheme}e)s", APP))
    assert "%({wsgi.url_scheme}e)s cannot be had: the log knows of the environ HTTP_*, CONTENT_TYPE" in line


# What does not keep up


class Unread:
    """A server whose standard output, its access log, nobody reads until it is asked for."""

    def __init__(self, *options: str, supervised: bool = False, stdout: int = subprocess.PIPE) -> None:
        command = [
            sys.executable,
            "-m",
            "tidegate",
            "--bind",
            "127.0.0.1:0",
            "--access-log",
            "-",
            *options,
            APP,
        ]
        self.process = subprocess.Popen(
            command,
            cwd=TESTS,
            env=clean_environment() | {"TIDEGATE_NO_SUPERVISOR": str(not supervised).lower()},
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        log = ""
        while (match := re.search(r"http://127\.0\.0\.1:(\d+)", log)) is None:
            line = self.process.stderr.readline().decode()
            assert line, log
            log += line
        self.port = int(match[1])

    def __enter__(self) -> Unread:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, count: int) -> None:
        """So many requests, whose lines have some 25,000 bytes each."""
        with Wire(socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)) as wire:
            for _ in range(count):
                assert wire.ask("GET", "/", "User-Agent: " + "\xe9" * 6000).status == 200


# More than a pipe and the queue hold.
MANY = 400


def test_a_log_that_nobody_reads_holds_up_no_request_and_what_is_lost_is_counted() -> None:
    with Unread("--access-log-format", "combined") as server:
        server.ask(MANY)
        server.process.send_signal(signal.SIGTERM)
        output, log = server.process.communicate(timeout=PATIENCE_S)
        assert server.process.returncode == 0
    match = re.search(r"tidegate error: lines that the access log has lost: (\d+)", log.decode())
    assert match, log
    assert int(match[1]) > 0
    assert output.count(b"\n") + int(match[1]) == MANY


def test_a_log_that_nobody_reads_does_not_keep_the_server_from_ending() -> None:
    with Unread("--access-log-format", "combined") as server:
        server.ask(MANY)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        assert server.process.stderr is not None
        assert b"the access log's last lines are lost" in server.process.stderr.read()


def test_lines_of_several_workers_are_not_mixed_in_a_pipe() -> None:
    with Unread("--access-log-format", "json", "--workers", "3", supervised=True) as server:
        output = bytearray()

        def read() -> None:
            assert server.process.stdout is not None
            # Little at a time, so that the pipe is full mostly.
            while block := os.read(server.process.stdout.fileno(), 3000):
                output.extend(block)
                time.sleep(0.0005)

        def load() -> None:
            for _ in range(10):
                with Wire(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)) as wire:
                    for _ in range(20):
                        wire.ask("GET", "/" + "x" * 900)

        threads = [threading.Thread(target=work) for work in [read, *[load] * 8]]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        server.process.send_signal(signal.SIGTERM)
        threads[0].join()
    lines = [json.loads(line) for line in output.splitlines()]
    assert len(lines) == 1600


def test_a_pipe_that_does_not_block_has_every_line() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with Unread("--access-log-format", "combined", stdout=writer) as server, open(reader, "rb") as output:
        os.close(writer)
        server.ask(10)
        for _ in range(10):
            assert len(output.readline()) > 24_000


def test_a_line_that_a_full_disk_has_cut_is_not_continued_by_another(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Server(APP, options=["--access-log", str(path), "--access-log-format", "json"]) as server:
        ask(server, "/one")
        whole = server.wait_until(lambda: path.stat().st_size or None)
        unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (whole + 20, unlimited[1]))
        ask(server, "/two")
        server.wait_for_log("the access log cannot be written: File too large")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
        ask(server, "/three")
        assert server.stop() == 0
        assert "lines that the access log has lost: 1" in server.log
    one, two, three = path.read_text().splitlines()
    assert (json.loads(one)["path"], json.loads(three)["path"]) == ("/one", "/three")
    assert len(two) == 20


def test_a_full_disk_is_told_once_and_what_is_lost_at_the_end() -> None:
    with Server(APP, options=["--access-log", "/dev/full"]) as server:
        for _ in range(3):
            ask(server)
            server.wait_for_log("the access log cannot be written: No space left on device")
        assert server.stop() == 0
        assert server.log.count("cannot be written") == 1
        assert "tidegate error: lines that the access log has lost: 3" in server.log
