"""The pictures in docs/images: the live page and `tidegate top` of a real server, idle, loaded, with a stack.

`make screenshots` takes them. The charts hold five minutes, so that long is the load (`--seconds`).
The server runs `tides.py`, on two workers with few threads, so that some requests wait and some are
turned away.

Stacks have the paths of files, which are to be nobody's: the server finds itself, its application and
Python's library in /srv/tides. That is a mount which it alone sees, and needs unshare(1) of util-linux.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import http.client
import itertools
import random
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SERVED_FROM = Path("/srv/tides")
UNSHARE = ["unshare", "--map-root-user", "--mount"]


# Its clients.

QUICK = ("/products/{}", "/search?q={}", "/account/{}", "/checkout")


class Load:
    """Clients that each ask again when they have their answer, until this is left."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.over = threading.Event()

    def __enter__(self) -> Load:
        for client in (
            [self.quick] * 8 + [self.reports] * 7 + [self.upload] * 2 + [self.slow_reader] * 2 + [self.bursts]
        ):
            threading.Thread(target=self._go_on, args=(client,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()

    def _go_on(self, client: Callable[[], None]) -> None:
        while not self.over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                client()

    def quick(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            while not self.over.is_set():
                connection.request("GET", random.choice(QUICK).format(random.randrange(9000)))
                connection.getresponse().read()
                # Like tides, it comes and goes.
                time.sleep(random.expovariate(60 + 40 * (1 + time.monotonic() // 40 % 3)))

    def reports(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 60) as client:
            client.sendall(
                f"GET /reports/{random.randrange(2020, 2027)} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            )
            client.recv(1000)
        self.over.wait(random.expovariate(0.3))

    def upload(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 60) as client:
            client.sendall(b"POST /uploads HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n")
            for _ in range(20):
                client.sendall(b"x" * 1000)
                self.over.wait(random.expovariate(2))
            client.recv(1000)

    def slow_reader(self) -> None:
        with socket.socket() as client:
            # What the system would take in for it, the server had not to wait for.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.settimeout(60)
            client.connect(("127.0.0.1", self.port))
            client.sendall(b"GET /export.csv HTTP/1.1\r\nHost: a\r\n\r\n")
            while client.recv(200_000) and not self.over.is_set():
                self.over.wait(0.3)

    def bursts(self) -> None:
        self.over.wait(random.uniform(25, 45))

        def one() -> None:
            with socket.create_connection(("127.0.0.1", self.port), 60) as client:
                client.sendall(b"GET /search?burst HTTP/1.1\r\nHost: a\r\n\r\n")
                client.recv(1000)

        for _ in range(4):
            crowd = [threading.Thread(target=one, daemon=True) for _ in range(60)]
            for client in crowd:
                client.start()
            self.over.wait(1)


# Where the server finds its files.


def lay_out(folder: Path) -> None:
    """Put what is to be SERVED_FROM into a folder that is to be mounted above it."""
    import tidegate

    root, library = folder / SERVED_FROM.name, Path(sysconfig.get_path("stdlib"))
    packages = root / library.relative_to(sys.base_prefix) / "site-packages"
    packages.mkdir(parents=True)
    for part in library.iterdir():
        if part.name != packages.name:
            (packages.parent / part.name).symlink_to(part)
    shutil.copytree(Path(tidegate.__file__).parent, packages / "tidegate")
    shutil.copy(ROOT / "tools" / "tides.py", root)


@contextlib.contextmanager
def serving(options: list[str]) -> Iterator[Any]:
    from support.server import Server

    class MountedServer(Server):
        def _own_command(self) -> list[str]:
            mount = f'mount --bind "$0" {SERVED_FROM.parent} && exec "$@"'
            return [*UNSHARE, "sh", "-c", mount, folder, *super()._own_command()]

    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        options = ["--chdir", str(SERVED_FROM), *options]
        env = {"PYTHONHOME": str(SERVED_FROM), "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
        with MountedServer("tides:application", options=options, env=env, supervised=True) as server:
            yield server


def check_paths(stack: str) -> None:
    strange = [path for path in re.findall(r"(/\S+):\d+", stack) if not path.startswith(f"{SERVED_FROM}/")]
    if strange or f"{SERVED_FROM}/tides.py" not in stack:
        sys.exit(f"a stack is to have paths in {SERVED_FROM}, and no others:\n{stack}")


# The pictures.


def take(seconds: float) -> None:
    if shutil.which(UNSHARE[0]) is None or subprocess.run([*UNSHARE, "true"]).returncode:
        sys.exit(f"the server cannot have {SERVED_FROM} for itself: {' '.join(UNSHARE)} fails")
    sys.path.insert(0, str(ROOT / "tests"))
    from support.browser import chromium

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        control = f"{folder}/control"
        options = ["--admin", "127.0.0.1:0", "--control-socket", control, "--workers", "2"]
        options += ["--threads", "6", "--queue-size", "12"]
        with serving(options) as server, chromium() as browser:
            address = server.wait_for_log(r"the admin listener is on (http://\S+)")[1]
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            with page_at(browser, address, "light") as idle:
                idle.wait_for_timeout(12_000)
                idle.screenshot(path=IMAGES / "page-idle.png", full_page=True)
            with (
                page_at(browser, address, "light") as light,
                page_at(browser, address, "dark") as dark,
                page_at(browser, address, "light", width=400) as narrow,
                Load(server.port),
            ):
                time.sleep(seconds)
                light.screenshot(path=IMAGES / "page-loaded.png", full_page=True)
                dark.screenshot(path=IMAGES / "page-dark.png")
                narrow.screenshot(path=IMAGES / "page-narrow.png")
                take_page_stack(light)
                take_top(page, control)


@contextlib.contextmanager
def page_at(browser: Any, address: str, colours: str, width: int = 1280) -> Iterator[Any]:
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours) as context:
        page = context.new_page()
        page.goto(address)
        yield page


def take_page_stack(page: Any) -> None:
    frames = page.locator("#frames")
    while True:
        rows = page.locator("#flight tbody tr", has_text="/reports/")
        rows.filter(has_text="application").first.click()
        page.wait_for_selector("#frames li, #frames p")
        if frames.locator("li").count():
            break
        # It has ended meanwhile.
        page.keyboard.press("Escape")
    check_paths(frames.inner_text())
    page.screenshot(path=IMAGES / "page-stack.png")


def take_top(page: Any, control: str) -> None:
    from support.terminal import Terminal

    command = [sys.executable, "-m", "tidegate", "top", "--control-socket", control]
    with Terminal(command, columns=110, rows=30) as terminal:
        terminal.watch(15)
        terminal.press("\x1b[B")
        terminal.wait_for("▸")
        page.set_content(drawn(terminal.cells))
        page.locator("pre").screenshot(path=IMAGES / "top.png")
        while True:
            # Home, and down from there.
            for key in itertools.cycle(["\x1b[H"] + ["\x1b[B"] * 12):
                terminal.press(key)
                terminal.watch(0.2)
                if re.search(r"▸ GET /reports/\d+ +application", terminal.text):
                    break
            terminal.press("\r")
            if terminal.wait_for(r"tides\.py:|is over|does not have")[0] == "tides.py:":
                break
            # It has ended meanwhile.
            terminal.press("\x1b")
            terminal.wait_for("IN FLIGHT")
        # So many rows as it takes.
        terminal.resize(110, 12)
        terminal.watch(1)
        check_paths(terminal.text)
        page.set_content(drawn(terminal.cells))
        page.locator("pre").screenshot(path=IMAGES / "top-stack.png")


# Of a terminal in the dark.
COLOURS = {
    "default": "#dfe9ed",
    "red": "#f0764a",
    "green": "#3fbf9f",
    "brown": "#e5a53a",
    "blue": "#58a6e0",
    "magenta": "#cf8fc8",
    "cyan": "#5cc4d6",
}
BACKGROUND = "#0d1519"


def drawn(rows: list[list[Any]]) -> str:
    """A terminal's cells as markup."""
    text = "\n".join("".join(cell_of(cell) for cell in row) for row in rows)
    style = "display:inline-block;margin:0;padding:16px;font:15px/1.25 'DejaVu Sans Mono',monospace"
    return f'<body style="margin:0"><pre style="{style};background:{BACKGROUND}">{text}</pre>'


def cell_of(cell: Any) -> str:
    ink, ground = COLOURS.get(cell.fg, COLOURS["default"]), BACKGROUND
    if cell.reverse:
        ink, ground = ground, ink
    weight = "bold" if cell.bold else "normal"
    return (
        f'<span style="color:{ink};background:{ground};font-weight:{weight}">{html.escape(cell.data)}</span>'
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long the load lasts")
    take(parser.parse_args().seconds)
