"""`--reload`: files of the application change while it is served, as by editors and by version control."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import one_line, run
from support.server import Server
from support.wire import Wire

SOURCE = """
import time

VERSION = {version!r}


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/endless":
        return endless()
    return [VERSION.encode()]


def endless():
    while True:
        yield VERSION.encode()
        time.sleep(0.05)


async def asynchronous(scope, receive, send):
    while (await receive())["type"] != "websocket.disconnect":
        await send({{"type": "websocket.accept"}})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    write(project, "one")
    return project


def write(project: Path, version: str) -> None:
    (project / "harbour.py").write_text(SOURCE.format(version=version))


def served(project: Path, *options: str) -> Server:
    # Compiled code is kept, as it is where nobody has said anything of it.
    env = {"PYTHONDONTWRITEBYTECODE": ""}
    return Server(
        "harbour:application", options=("--reload", *options), cwd=project, env=env, supervised=True
    )


def ask(server: Server) -> str:
    client = server.http()
    try:
        client.request("GET", "/")
        return client.getresponse().read().decode()
    finally:
        client.close()


def wait_for(server: Server, version: str) -> None:
    server.wait_until(lambda: ask(server) == version or None)


def changes(server: Server, since: int = 0) -> str:
    """What the server has said of changes, once it has said something, or something more."""
    return server.wait_for_log(r"changed: (.*)\n", since=since)[1]


def until(wire: Wire, word: bytes) -> None:
    seen = b""
    while word not in seen:
        block = wire.receive_some()
        assert block, f"it has ended with {seen!r}"
        seen += block


def replace(path: Path, text: str) -> None:
    """As many editors save: so that there is a whole file at any time."""
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(text)
    beside.replace(path)


def set_aside(path: Path, text: str) -> None:
    """As others do: so that there is a copy."""
    path.rename(path.with_name(f"{path.name}~"))
    path.write_text(text)


def make_anew(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def link_anew(path: Path, text: str) -> None:
    beside = path.with_name("beside")
    beside.write_text(text)
    path.unlink()
    path.hardlink_to(beside)


def write_in_pieces(path: Path, text: str) -> None:
    with path.open("w") as file:
        for line in text.splitlines(keepends=True):
            file.write(line)
            file.flush()


@pytest.mark.parametrize("save", [Path.write_text, replace, set_aside, make_anew, link_anew, write_in_pieces])
def test_a_saved_file_is_served_however_it_is_saved(
    project: Path, save: Callable[[Path, str], object]
) -> None:
    with served(project) as server:
        assert ask(server) == "one"
        save(project / "harbour.py", SOURCE.format(version="two"))
        wait_for(server, "two")
        assert "changed: harbour.py\n" in server.log


def test_saves_of_the_same_size_within_a_second_are_all_served(project: Path) -> None:
    with served(project, "--reload-delay", "0") as server:
        for version in ("two", "six", "ten", "two", "one"):
            write(project, version)
            wait_for(server, version)


def test_a_file_that_is_half_written_is_not_looked_at(project: Path) -> None:
    with served(project, "--reload-delay", "10ms") as server, (project / "harbour.py").open("w") as file:
        file.write("def (")
        file.flush()
        time.sleep(0.2)
        file.seek(0)
        file.write(SOURCE.format(version="two"))
        file.close()
        wait_for(server, "two")
        assert "the reload has failed" not in server.log


def test_a_mistake_is_shown_and_the_former_code_goes_on_until_it_is_mended(project: Path) -> None:
    with served(project) as server:
        (project / "harbour.py").write_text("def (")
        server.wait_for_log("the reload has failed")
        assert "SyntaxError" in server.log
        assert ask(server) == "one"
        write(project, "two")
        wait_for(server, "two")


class Mended(Server):
    """One whose application cannot start until this is done."""

    mend: Callable[[], object]

    def _read_banner(self) -> None:
        self.wait_for_log("it is started again when a file changes")
        self.mend()
        super()._read_banner()


def test_an_application_that_cannot_start_is_waited_for(project: Path) -> None:
    (project / "harbour.py").write_text("def (")
    server = Mended("harbour:application", options=["--reload"], cwd=project, supervised=True)
    server.mend = lambda: write(project, "two")
    with server:
        assert "SyntaxError" in server.log
        assert ask(server) == "two"


def test_what_no_file_can_mend_ends_the_server(project: Path) -> None:
    command = ["--reload", "--bind", "127.0.0.1:0", "--concurrency", "threads", "harbour:asynchronous"]
    assert "is an ASGI application" in one_line(run(*command, cwd=project, TIDEGATE_NO_SUPERVISOR="false"))


def test_many_changes_are_one_reload(project: Path) -> None:
    with served(project, "--reload-delay", "1s") as server:
        for index in range(300):
            (project / f"pier{index}.py").write_text("")
        write(project, "two")
        wait_for(server, "two")
        assert server.log.count("changed: ") == 1
        assert "changed: harbour.py, pier0.py, pier1.py and 298 more" in server.log


def test_changes_without_end_are_served_too(project: Path) -> None:
    over = threading.Event()

    def write_all_the_time() -> None:
        while not over.is_set():
            (project / "pier.py").write_text("")

    with served(project, "--reload-delay", "200ms") as server:
        writer = threading.Thread(target=write_all_the_time)
        writer.start()
        try:
            write(project, "two")
            wait_for(server, "two")
        finally:
            over.set()
            writer.join()


def test_only_what_is_included_and_not_excluded_is_watched(project: Path) -> None:
    (project / "venv").mkdir()
    (project / "venv" / "pyvenv.cfg").write_text("")
    others = (
        "__pycache__",
        "node_modules",
        ".git",
        "venv/lib",
        "made",
        "made/deep",
        "site/drafts",
        "other/drafts",
    )
    for directory in others[:4]:
        (project / directory).mkdir()
    options = ("--reload-include", "*.html", "--reload-include", "site/*.css", "--reload-delay", "500ms")
    excluded = (
        "--reload-exclude",
        "made/",
        "--reload-exclude",
        "./site/drafts/*.py",
        "--reload-exclude",
        "*_old.py",
    )
    with served(project, *options, *excluded) as server:
        for directory in others:
            (project / directory).mkdir(exist_ok=True, parents=True)
            (project / directory / "pier.py").write_text("")
        for name in ("notes.txt", "pier.pyc", ".pier.py", "pier_old.py", "loose.css"):
            (project / name).write_text("")
        for name in ("page.html", "site/page.css"):
            (project / name).write_text("")
        assert changes(server) == "other/drafts/pier.py, page.html, site/page.css"


def test_new_directories_are_watched_with_what_is_in_them(project: Path) -> None:
    with served(project) as server:
        (project / "piers" / "deep").mkdir(parents=True)
        (project / "piers" / "deep" / "one.py").write_text("")
        assert changes(server) == "piers/deep/one.py"
        since = len(server.log)
        (project / "piers" / "deep" / "one.py").write_text("")
        assert changes(server, since) == "piers/deep/one.py"


def test_directories_may_move(project: Path, tmp_path: Path) -> None:
    (project / "piers").mkdir()
    (project / "piers" / "one.py").write_text("")
    with served(project, "--reload-delay", "200ms") as server:
        (project / "piers").rename(project / "quays")
        assert changes(server) == "piers, quays/one.py"
        since = len(server.log)
        (project / "quays" / "one.py").write_text("")
        assert changes(server, since) == "quays/one.py"
        since = len(server.log)
        (project / "quays").rename(tmp_path / "quays")
        assert changes(server, since) == "quays"
        since = len(server.log)
        (tmp_path / "quays" / "one.py").write_text("")
        (tmp_path / "quays").rename(project / "piers")
        assert changes(server, since) == "piers/one.py"
        since = len(server.log)
        shutil.rmtree(project / "piers")
        assert changes(server, since) == "piers/one.py"


def test_symbolic_links_are_followed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "one.py").write_text("")
    (tmp_path / "far.py").write_text("")
    (project / "library").symlink_to(tmp_path / "library")
    (project / "near.py").symlink_to(tmp_path / "far.py")
    # Neither what leads around in a circle, nor what leads to where all lies.
    (tmp_path / "library" / "circle").symlink_to(project / "library")
    (project / "all").symlink_to(tmp_path)
    with served(project, "--reload-delay", "200ms") as server:
        for path in (tmp_path / "library" / "one.py", project / "near.py", tmp_path / "far.py"):
            since = len(server.log)
            path.write_text("")
            assert changes(server, since) in ("library/one.py", "near.py")
        for _ in range(2):
            since = len(server.log)
            replace(tmp_path / "far.py", "")
            assert changes(server, since) == "near.py"
        since = len(server.log)
        (tmp_path / "beside.py").write_text("")
        (project / "near.py").unlink()
        assert changes(server, since) == "near.py"
        since = len(server.log)
        (tmp_path / "far.py").write_text("")
        (project / "new").symlink_to(tmp_path / "library")
        write(project, "two")
        assert changes(server, since) == "harbour.py"


def test_a_watched_directory_that_is_gone_is_watched_when_it_is_back(project: Path) -> None:
    (project / "site").mkdir()
    with served(project, "--reload-dir", "site", "--reload-dir", ".") as server:
        (project / "site").rename(project / "former")
        assert "site" in changes(server)
        since = len(server.log)
        (project / "site").mkdir()
        (project / "site" / "one.py").write_text("")
        assert "site/one.py" in changes(server, since)


def test_other_directories_than_the_working_directory_may_be_watched(project: Path, tmp_path: Path) -> None:
    for name in ("library", ".hidden"):
        (tmp_path / name).mkdir()
    options = ("--reload-dir", "../library", "--reload-dir", str(tmp_path / ".hidden"))
    with served(project, *options) as server:
        (project / "harbour.py").write_text(SOURCE.format(version="two"))
        (tmp_path / "library" / "one.py").write_text("")
        assert changes(server) == "../library/one.py"
        wait_for(server, "two")
        since = len(server.log)
        (tmp_path / ".hidden" / "one.py").write_text("")
        assert changes(server, since) == f"{tmp_path}/.hidden/one.py"


def test_what_goes_on_holds_up_neither_new_code_nor_the_end(project: Path) -> None:
    with served(project, "--graceful-timeout", "1h") as server, server.connect() as endless:
        endless.send(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        until(endless, b"one")
        write(project, "two")
        wait_for(server, "two")
        # The one that was replaced is at work still.
        until(endless, b"one")
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0


def test_a_kept_connection_is_closed_so_that_the_next_request_has_the_new_code(project: Path) -> None:
    with served(project) as server, server.connect() as kept:
        kept.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(kept, b"one")
        write(project, "two")
        kept.rest()
        assert ask(server) == "two"


def test_workers_have_nothing_of_the_watcher(project: Path) -> None:
    with served(project) as server:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        opened = [os.readlink(path) for pid in children for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert opened
        assert "anon_inode:inotify" not in opened


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--reload-dir", "nowhere"], '--reload-dir "nowhere" (from the command line): No such file'),
        (
            ["--reload-dir", "harbour.py"],
            '--reload-dir "harbour.py" (from the command line): Not a directory',
        ),
        (["--reload", "--preload"], "--reload true (from the command line): not with preload"),
        (["--reload", "--no-supervisor"], "--reload true (from the command line): not with no-supervisor"),
        (["--reload-include", "a**"], '--reload-include "a**" (from the command line): '),
        (["--reload-exclude", "/etc"], "paths begin at a watched directory; accepted: a pattern"),
        (["--reload-delay", "1h"], '--reload-delay "1h" (from the command line): must be at most 10s'),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(project: Path, options: list[str], told: str) -> None:
    for command in ([], ["config", "check"]):
        arguments = [*command, "--bind", "127.0.0.1:0", *options, "harbour:application"]
        result = run(*arguments, cwd=project, TIDEGATE_NO_SUPERVISOR="false")
        assert result.returncode == 2
        assert told in one_line(result)


def limited(watches: int) -> list[str]:
    """What has the system allow so many watches, for a command and nobody else."""
    script = f'echo {watches} > /proc/sys/user/max_inotify_watches && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]


def can_be_limited() -> bool:
    try:
        return subprocess.run([*limited(1), "true"], capture_output=True, timeout=30).returncode == 0
    except FileNotFoundError:
        return False


class Limited(Server):
    def _own_command(self) -> list[str]:
        return [*limited(2), *super()._own_command()]


@pytest.mark.skipif(not can_be_limited(), reason="the system lets no limit be set for one command")
def test_a_limit_of_the_system_is_told(project: Path) -> None:
    (project / "piers").mkdir()
    server = Limited("harbour:application", options=["--reload"], cwd=project, supervised=True)
    with server:
        (project / "quays").mkdir()
        server.wait_for_log(r"quays is not watched, nor is more: the system's limit is reached \(fs.inotify")
        write(project, "two")
        wait_for(server, "two")
        command = server._own_command()
        assert server.stop() == 0
    result = subprocess.run(command, cwd=project, env=server.env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "cannot be watched: the system's limit is reached (fs.inotify.max_user_watches)" in result.stderr


def test_what_a_link_led_to_is_watched_when_the_link_is_gone(project: Path) -> None:
    real = project / "real"
    real.mkdir()
    (real / "part.py").write_text("A = 1\n")
    with served(project) as server:

        def has_been_seen(step: str) -> None:
            """What happens is seen in its order."""
            since = len(server.log)
            (project / f"{step}.py").write_text("")
            server.wait_for_log(f"changed: .*{step}", since=since)

        (project / "link").symlink_to(real)
        has_been_seen("linked")
        (project / "link").unlink()
        has_been_seen("unlinked")
        since = len(server.log)
        (real / "part.py").write_text("A = 2\n")
        assert changes(server, since) == "real/part.py"
