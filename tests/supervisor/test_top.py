"""`tidegate top`, in a real terminal: what it shows, what keys do, and how it leaves the terminal."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.command import one_line, run
from support.server import Server
from support.terminal import Terminal
from support.wire import Wire

APP = "apps.watched:application"
TOP = (sys.executable, "-m", "tidegate", "top")
DOWN, UP, ENTER, ESCAPE = "\x1b[B", "\x1b[A", "\r", "\x1b"


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    return str(tmp_path / "control")


@pytest.fixture
def server(socket_path: str) -> Iterator[Server]:
    with Server(APP, options=("--control-socket", socket_path), supervised=True) as server:
        yield server


@pytest.fixture
def held(server: Server) -> Iterator[list[Wire]]:
    """Connections with a request in flight each, to /held/0, /held/1 and so on, which come in this order."""
    wires = []
    for number in range(3):
        wire = server.connect()
        wire.send(f"GET /held/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wires.append(wire)
        while len(state(server)["requests"]) <= number:
            pass
    yield wires
    for wire in wires:
        wire.close()


def control(server: Server) -> str:
    return server.options[server.options.index("--control-socket") + 1]


def state(server: Server) -> dict[str, Any]:
    result = run("ctl", "state", "--control-socket", control(server))
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def once(server: Server) -> str:
    result = run("top", "--once", "--control-socket", control(server))
    assert result.returncode == 0, result.stderr
    return result.stdout


def top(socket_path: str, **how: object) -> Terminal:
    return Terminal([*TOP, "--control-socket", socket_path], **how)  # type: ignore[arg-type]


@pytest.mark.usefixtures("held")
def test_it_shows_the_server_its_workers_and_its_requests(server: Server, socket_path: str) -> None:
    with top(socket_path) as terminal:
        terminal.wait_for(r"Requests +[0-9.]+/s")
        terminal.wait_for(r"GET /held/0 +application +[0-9]")
        assert re.match(r"tidegate \S+ · serving for \d", terminal.lines[0])
        assert re.search(r"#1 +serving .*MiB", terminal.text)
        assert re.search(r"IN FLIGHT \(3\)", terminal.text)
        assert len(terminal.lines) == 24 and "q quit" in terminal.lines[-1]


@pytest.mark.usefixtures("held")
def test_keys_choose_a_request_and_lead_to_its_stack_and_back(socket_path: str) -> None:
    with top(socket_path) as terminal:
        terminal.wait_for(r"/held/2")
        terminal.press(DOWN + DOWN)
        terminal.wait_for(r"▸ GET /held/1")
        terminal.press(UP)
        terminal.wait_for(r"▸ GET /held/0")
        terminal.press("s")
        terminal.wait_for(r"sort \(by path\)")
        assert "▸ GET /held/0" in terminal.text
        terminal.press(ENTER)
        terminal.wait_for(r"Esc back")
        assert terminal.lines[0] == "GET /held/0"
        terminal.press(ESCAPE)
        terminal.wait_for(r"▸ GET /held/0")
        terminal.press("q")
        assert terminal.wait() == 0


def test_a_request_that_ends_leaves_the_list(socket_path: str, held: list[Wire]) -> None:
    with top(socket_path) as terminal:
        terminal.wait_for(r"/held/2")
        for wire in held:
            wire.close()
        terminal.wait_for(r"Calm water")


@pytest.mark.parametrize("how", ["q", "\x03", signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=str)
def test_the_terminal_is_as_it_was_however_it_ends(
    server: Server, socket_path: str, how: str | signal.Signals
) -> None:
    with top(socket_path) as terminal:
        before = terminal.mode
        terminal.wait_for("q quit")
        assert terminal.mode != before
        if isinstance(how, str):
            terminal.press(how)
            assert terminal.wait() == 0
        else:
            terminal.process.send_signal(how)
            assert terminal.wait() == 128 + how
        assert terminal.mode == before
        # The cursor is there, and the screen that was there before.
        assert terminal.written.endswith(b"\x1b[?25h\x1b[?1049l")


# As a shell with job control does: its jobs have process groups of their own, and it sees them stop.
SHELL = """
import os, signal, subprocess, sys
job = subprocess.Popen(sys.argv[1:], preexec_fn=os.setpgrp)
os.waitpid(job.pid, os.WUNTRACED)
print("it has stopped", flush=True)
input()
os.kill(job.pid, signal.SIGCONT)
sys.exit(job.wait())
"""


@pytest.mark.usefixtures("server")
def test_the_terminal_is_as_it_was_while_it_is_stopped(socket_path: str) -> None:
    with Terminal([sys.executable, "-c", SHELL, *TOP, "--control-socket", socket_path]) as terminal:
        before = terminal.mode
        terminal.wait_for("q quit")
        terminal.press("\x1a")
        terminal.wait_for("it has stopped")
        assert terminal.mode == before
        terminal.press("\n")
        terminal.wait_for(r"(?s)\A(?!.*it has stopped).*q quit")
        assert terminal.mode != before
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.mode == before


def test_a_server_that_ends_is_told_of_and_its_successor_is_found(server: Server, socket_path: str) -> None:
    with top(socket_path) as terminal:
        terminal.wait_for("serving for")
        server.kill()
        terminal.wait_for(r"(no server is there|the server has ended) \(\d+ s\)")
        with Server(APP, options=("--control-socket", socket_path), supervised=True) as successor:
            # A process that was killed has left its socket file, and the next one takes its place.
            terminal.wait_for("q quit")
            assert once(successor)
        terminal.press("q")
        assert terminal.wait() == 0


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (200, 50), (1, 1)], ids=str)
def test_it_fits_into_any_terminal(socket_path: str, size: tuple[int, int]) -> None:
    with top(socket_path) as terminal:
        terminal.wait_for("q quit")
        terminal.resize(*size)
        terminal.wait_for(r"(?s)\A.{0,200}t")
        terminal.resize(100, 30)
        terminal.wait_for(r"(?s)tidegate.*/held/0.*q quit")
        terminal.press("q")
        assert terminal.wait() == 0


def test_without_colours_there_are_none_and_without_unicode_there_is_none(
    server: Server, socket_path: str
) -> None:
    with top(socket_path, env={"NO_COLOR": "1", "LC_ALL": "C"}) as terminal:
        terminal.wait_for("q quit")
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7][0-9;]*m", terminal.written)
        assert terminal.written.isascii()


@pytest.mark.usefixtures("held")
def test_once_prints_a_frame_as_plain_text(server: Server) -> None:
    text = once(server)
    assert "\x1b" not in text
    assert re.search(r"tidegate \S+ . serving", text) and text.count("/held/") == 3


def test_what_cannot_be_shown_is_said_in_a_line(server: Server, socket_path: str, tmp_path: Path) -> None:
    assert "top needs a terminal; --once" in one_line(run("top", "--control-socket", socket_path), 1)
    nobody = str(tmp_path / "nobody")
    for arguments in (["top"], ["top", "--once"]):
        line = one_line(run(*arguments, "--control-socket", nobody), 1)
        assert line == f"tidegate: {nobody}: no server is there"
    assert "top: no control-socket is set" in one_line(run("top", "--once"))


@pytest.mark.usefixtures("server")
def test_a_terminal_that_can_do_nothing_is_sent_nothing(socket_path: str) -> None:
    with Terminal([*TOP, "--control-socket", socket_path], env={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 1
        assert b"\x1b" not in terminal.written and b"--once" in terminal.written
