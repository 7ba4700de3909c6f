"""Every wrong setting, from each source: one line, exit status 2, and nothing started or left behind."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tidegate
from support.command import one_line, run
from support.server import Server

HELLO = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"

SOURCES = ["flag", "variable", "tidegate.toml", "pyproject.toml", "environment"]

TABLES = {
    "tidegate.toml": ("tidegate.toml", ""),
    "pyproject.toml": ("pyproject.toml", "[tool.tidegate]\n"),
    "environment": ("tidegate.toml", "[env.production]\n"),
}

# What each mode would leave behind, were it to start before it looks.
FILES = {"supervised": ["--pid-file", "own.pid", "--control-socket", "own.control"], "alone": []}
SOCKET = ["--bind", "unix:own.sock"]


class Project:
    """A directory with an application, and a command in it that is to fail."""

    def __init__(self, path: Path, mode: str, source: str) -> None:
        self.path = path
        self.mode = mode
        self.source = source
        self.arguments: list[str] = []
        self.variables = {"TIDEGATE_NO_SUPERVISOR": str(mode == "alone").lower()}
        (path / "service.py").write_text(HELLO)

    def give(self, name: str, value: object) -> str:
        """Give a setting by the source; returns how a line names it, with the value and the source."""
        typed = ",".join(value) if isinstance(value, list) else str(value)
        shown = value if isinstance(value, list) else typed
        if self.source == "flag":
            for each in value if isinstance(value, list) else [typed]:
                self.arguments += [f"--{name}", each]
            return f"--{name} {toml(shown)} (from the command line)"
        if self.source == "variable":
            variable = f"TIDEGATE_{name.replace('-', '_').upper()}"
            self.variables[variable] = typed
            return f"{name} {toml(shown)} (from the variable {variable})"
        return f"{name} {toml(value)} ({self.write(f'{name} = {toml(value)}')})"

    def write(self, line: str) -> str:
        """A line of the source, which is a table of a file; returns how a line names it."""
        file, table = TABLES[self.source]
        (self.path / file).write_text(f"{table}{line}\n")
        if self.source == "environment":
            self.arguments += ["--env", "production"]
        header = {"tidegate.toml": "", "pyproject.toml": "[tool.tidegate] in "}
        return f"from {header.get(self.source, '[env.production] in ')}{self.path / file}"

    def line(self, *arguments: str) -> str:
        """What the command says, which must leave the directory as it is."""
        before = self.names()
        arguments = (*FILES[self.mode], *self.arguments, *arguments, "service")
        # Returns when nobody has its standard error any more: no process is left.
        line = one_line(run(*arguments, cwd=self.path, **self.variables))
        assert self.names() == before
        return line.removeprefix("tidegate: ")

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir() if path.name != "__pycache__")


def toml(value: object) -> str:
    return json.dumps(value)


@pytest.fixture(params=["supervised", "alone"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SOURCES)
def project(tmp_path: Path, mode: str, request: pytest.FixtureRequest) -> Project:
    return Project(tmp_path, mode, request.param)


@pytest.fixture
def by_flag(tmp_path: Path, mode: str) -> Project:
    return Project(tmp_path, mode, "flag")


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("threads", "many", "not a whole number; accepted: 1 to 10000"),
        ("threads", 1.5, "not a whole number; accepted: 1 to 10000"),
        ("threads", 0, "must be at least 1; accepted: 1 to 10000"),
        ("threads", 10_001, "must be at most 10000; accepted: 1 to 10000"),
        ("workers", -1, "not a whole number; accepted: 1 to 1024, or auto"),
        ("head-timeout", "soon", "not a duration; accepted: 1ms to 1h (seconds, or with ms, s, m, h)"),
        ("head-timeout", "2h", "must be at most 1h; accepted: 1ms to 1h (seconds, or with ms, s, m, h)"),
        ("head-size-max", "1MB", "not a size; accepted: 256 to 16MiB (bytes, or with KiB, MiB, GiB)"),
        ("log-level", "loud", "no such choice; accepted: error, warning, info, debug"),
        ("unix-socket-mode", "rw", "not a mode in octal digits; accepted: 000 to 777 in octal digits"),
        ("forwarded", "both", "no such choice; accepted: x-forwarded, forwarded, off"),
        ("forwarded-facts", "by", 'there is no "by"; accepted: for, proto, host, port, prefix'),
        ("untrusted-forwarded", "pass", "no such choice; accepted: auto, drop, keep"),
        ("compress", "deflate", 'no such coding: "deflate"; accepted: gzip, br, zstd, or several'),
        ("compress-types", "html", 'not a type: "html"; accepted: TYPE/SUBTYPE, with at most one *'),
        ("compress-size-max", "2GiB", "must be at most 1GiB; accepted: 1KiB to 1GiB"),
        ("mount", "live", "an equals sign must follow the prefix; accepted: /PREFIX=MODULE[:ATTR]"),
        (
            "otlp-endpoint",
            "https://collector:4318",
            "only http is spoken: what encrypts on the way further is a",
        ),
        ("otlp-sample", 1.5, "out of range; accepted: 0 to 1"),
        ("otlp-service-name", "", "the text is empty; accepted: 1 to 255 characters"),
        ("static", "static=.", 'prefix "static": must begin with a slash; accepted: [[static]] tables'),
        ("static", "/=.", 'prefix "/": only with fallthrough, or nothing is left for the application'),
        ("static", ["/a=.", "/a=/"], "/a=. and /a=/ have the same prefix; accepted: [[static]] tables"),
        ("sendfile-header", "on", "no such choice; accepted: off, x-sendfile, x-accel-redirect"),
        ("limits", "/a timeout=soon", 'table 1, timeout "soon": not a duration; accepted: [[limits]] tables'),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range(project, name, value, fault):
    shown = project.give(name, value)
    assert project.line(*SOCKET).startswith(f"{shown}: {fault}")


def test_a_value_that_is_no_truth_value(project):
    if project.source == "flag":
        # A switch takes its value with an equals sign; else it would swallow the application.
        project.arguments = ["--factory=perhaps"]
        shown = '--factory "perhaps" (from the command line)'
    else:
        shown = project.give("factory", "perhaps")
    assert project.line(*SOCKET) == f"{shown}: not a truth value; accepted: true, false"


def test_an_unknown_name_suggests_the_near_one(project):
    where = project.give("thread", 3).partition(" (")[2]
    what, typed, near = "setting", "thread", "threads"
    if project.source == "flag":
        what, typed, near = "option", "--thread", "--threads"
    if project.source == "variable":
        where, typed, near = "from the environment)", "TIDEGATE_THREAD", "TIDEGATE_THREADS"
    said = project.line(*SOCKET)
    assert said == f'"{typed}" ({where}: no such {what}; did you mean {near}?'


def test_an_unknown_keyword_suggests_the_near_one_and_a_bad_value_says_what_is_accepted():
    def application(environ, start_response):
        raise AssertionError("never called")

    for keyword, value, said in [
        ("thread", 3, '"thread" (from tidegate.serve()): no such setting; did you mean threads?'),
        ("threads", 0, "threads 0 (from tidegate.serve()): must be at least 1; accepted: 1 to 10000"),
        ("bind", [], "bind [] (from tidegate.serve()): at least one address is needed; accepted: HOST:PORT"),
    ]:
        with pytest.raises(ValueError) as raised:
            tidegate.serve(application, **{keyword: value})
        assert str(raised.value).startswith(said)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", SOURCES)
def test_settings_that_exclude_one_another(tmp_path, source):
    project = Project(tmp_path, "alone", source)
    shown = project.give("workers", "2")
    assert project.line(*SOCKET) == f"{shown}: not with no-supervisor"


@pytest.mark.parametrize("source", SOURCES)
def test_an_address_to_which_nobody_could_connect(tmp_path, source):
    project = Project(tmp_path, "alone", source)
    shown = project.give("bind", "proxy+http://127.0.0.1:0")
    assert project.line() == f"{shown}: proxy+ only with trusted-proxies, or nobody could connect"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("name", "value", "others", "fault"),
    [
        ("static", "/a=.", ["--mount", "/a/b=service"], "mount /a/b=service lies below it, and would never"),
        ("static", "/a=. internal=on", [], "internal: only with sendfile-header x-accel-redirect"),
        ("sendfile-header", "x-sendfile", [], "only with a sendfile-root that its paths are below"),
        ("sendfile-header", "x-accel-redirect", [], "only with a directory of static that is internal"),
        ("sendfile-root", ".", [], "only with sendfile-header x-sendfile"),
        ("static", "/a=nowhere", [], "there is no such directory"),
    ],
)
def test_directories_that_cannot_be_served_so(tmp_path, source, name, value, others, fault):
    project = Project(tmp_path, "supervised", source)
    where = project.give(name, value if name == "sendfile-header" else [value]).partition(" (")[2]
    said = project.line(*SOCKET, *others)
    assert said.startswith(name if source != "flag" else f"--{name}")
    assert f"({where}: {fault}" in said


def test_settings_that_do_not_go_with_the_application(project):
    shown = project.give("concurrency", "threads")
    (project.path / "service.py").write_text("async def application(scope, receive, send):\n    pass\n")
    said = project.line(*SOCKET)
    assert said == f"{shown}: service is an ASGI application; accepted: auto, asyncio"


def test_a_port_that_is_taken(project, taken):
    where = project.give("bind", ["unix:own.sock", taken]).partition(" (")[2]
    name = "--bind" if project.source == "flag" else "bind"
    said = project.line()
    assert said == f'{name} "{taken}" ({where}: the address is in use by another process'


@pytest.mark.parametrize("setting", ["bind", "control-socket"])
def test_a_socket_path_of_a_live_server_which_is_left_alone(by_flag, setting):
    if (by_flag.mode, setting) == ("alone", "control-socket"):
        pytest.skip("the control socket is the supervisor's")
    path = by_flag.path / "live.sock"
    if setting == "bind":
        binds, others, value = (f"unix:{path}",), [], f"unix:{path}"
        fault = "the address is in use by another process"
    else:
        binds, others, value = ("127.0.0.1:0",), ["--control-socket", str(path)], str(path)
        fault = "another server uses it"
    with Server("service", cwd=by_flag.path, binds=binds, options=others, supervised=True) as server:
        said = by_flag.line(*SOCKET, f"--{setting}", value)
        assert said == f'--{setting} "{value}" (from the command line): {fault}'
        with server.connect() as wire:
            assert wire.ask("GET", "/").body == b"hello"
        assert path.is_socket()
        assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("setting", ["bind", "control-socket"])
def test_a_path_of_a_file_that_is_no_socket_which_is_left_alone(by_flag, setting):
    if (by_flag.mode, setting) == ("alone", "control-socket"):
        pytest.skip("the control socket is the supervisor's")
    (by_flag.path / "precious").write_text("data")
    value = "unix:precious" if setting == "bind" else "precious"
    said = by_flag.line(*SOCKET, f"--{setting}", value)
    assert said == f'--{setting} "{value}" (from the command line): the path exists and is not a socket'
    assert (by_flag.path / "precious").read_text() == "data"


def test_stale_sockets_are_replaced_and_work(tmp_path, mode):
    (tmp_path / "service.py").write_text(HELLO)
    control = tmp_path / "control"
    path = tmp_path / "socket"
    for stale in (path, control):
        with socket.socket(socket.AF_UNIX) as former:
            former.bind(str(stale))
            former.listen()
    options = ["--control-socket", str(control)] if mode == "supervised" else []
    binds = (f"unix:{path}",)
    with Server("service", cwd=tmp_path, binds=binds, options=options, supervised=bool(options)) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/").body == b"hello"
        if mode == "supervised":
            status = run("ctl", "status", "--control-socket", str(control), TIDEGATE_NO_SUPERVISOR="false")
            assert (status.returncode, status.stderr) == (0, "")
        assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        ("directory", "cannot be read: Is a directory"),
        (b"\xff\xfe", "cannot be read: stream did not contain valid UTF-8"),
        (b"#" * (1 << 20) + b"#", "cannot be read: too large for a settings file"),
    ],
    ids=["missing", "directory", "binary", "huge"],
)
@pytest.mark.parametrize("source", ["flag", "variable"])
def test_a_named_file_that_cannot_be_read(tmp_path, mode, source, content, fault):
    project = Project(tmp_path, mode, source)
    fill(tmp_path / "settings.toml", content)
    shown = project.give("config", "settings.toml")
    assert project.line(*SOCKET).startswith(f"{shown}: {fault}")


@pytest.mark.parametrize("name", ["tidegate.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("directory", ": cannot be read: Is a directory"),
        (b"\xff\xfe", ": cannot be read: stream did not contain valid UTF-8"),
        (b"\n[tool\n", ", line 2: "),
        (b"[tool]\nx = 1\nx = 2\n", ", line 3: "),
    ],
    ids=["directory", "binary", "no-toml", "twice"],
)
def test_a_file_that_is_found_but_cannot_be_read(by_flag, name, content, fault):
    fill(by_flag.path / name, content)
    assert by_flag.line(*SOCKET).startswith(f"{by_flag.path / name}{fault}")


def fill(path: Path, content: str | bytes | None) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()


ADDRESSES = (
    "HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after "
    "http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://"
)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("fd://77", "no such descriptor is open"),
        ("fd://1", "the descriptor is not a socket"),
        ("127.0.0.1:65536", f"port must be 0 to 65535; accepted: {ADDRESSES}"),
        ("192.0.2.1:0", "this machine has no such address"),
        ("unix:nowhere/socket", 'there is no directory "nowhere"'),
    ],
)
def test_an_address_that_is_none_or_that_the_system_does_not_have(project, value, fault):
    shown = project.give("bind", value)
    assert project.line() == f"{shown}: {fault}"


def test_a_directory_that_is_not_there(by_flag):
    shown = by_flag.give("chdir", "nowhere")
    assert by_flag.line() == f"{shown}: no such directory; accepted: a directory"


def test_a_log_that_cannot_be_opened(project):
    shown = project.give("access-log", "/proc/version/log")
    assert project.line(*SOCKET) == f'{shown}: there is no directory "/proc/version"'


def test_a_closed_standard_error_keeps_the_status(tmp_path):
    command = ["sh", "-c", 'exec 2>&-; exec "$0" "$@"', sys.executable, "-m", "tidegate", "--threads", "0"]
    assert subprocess.run(command, cwd=tmp_path, timeout=60, check=False).returncode == 2
