"""What those share who run a conformance suite of others: processes, certificates, and sections of a page."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# conformance/document.py keeps what stands from the first of these sections on when it writes the page anew.
DOCUMENT = ROOT / "docs" / "conformance.md"

START_S = 30.0
STOP_S = 10.0


class CannotRun(Exception):
    """Why a suite could not run, in one line."""


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return


@contextlib.contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, its output in a file, and end it."""
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        except OSError as problem:
            raise CannotRun(f"{shlex.join(command)}: {problem}") from problem
    try:
        yield process
    finally:
        end(process)


def wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server takes connections; raise CannotRun, with its last words, when it does not."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    words = log.read_text(errors="replace").strip().splitlines()[-8:]
    raise CannotRun("the server does not start: " + (" / ".join(words) or "it says nothing"))


def run_or_fail(command: Sequence[str]) -> None:
    """Run a command to its end; raise CannotRun, with what it printed, when it fails."""
    finished = _run(command)
    if finished.returncode != 0:
        raise CannotRun(f"{shlex.join(command)} failed:\n{finished.stdout}")


def run_to_end(command: Sequence[str]) -> str:
    """Run a command to its end, however it ends, and return what it printed."""
    return _run(command).stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as problem:
        raise CannotRun(f"{shlex.join(command)}: {problem}") from problem


def certificate(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """Make a certificate for localhost, signed by itself; return it and its key, by default of P-256."""
    crt, key = folder / f"{name}.crt", folder / f"{name}.key"
    options = options or ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    command = ["openssl", "req", "-x509", "-nodes", "-days", "90", *options, "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    run_or_fail([*command, *names, "-keyout", str(key), "-out", str(crt)])
    return crt, key


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """Return a Markdown table: the first columns are texts, the others figures."""
    align = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, align, *lines])


def write_section(heading: str, text: str) -> None:
    """Put a section, its heading first, into docs/conformance.md: for an earlier one, or at the end."""
    page = DOCUMENT.read_text(encoding="utf-8").rstrip("\n")
    section = f"{text.rstrip()}\n"
    earlier = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if earlier.search(page):
        page = earlier.sub(lambda _: f"{section}\n", f"{page}\n").rstrip("\n")
    else:
        page = f"{page}\n\n{section}".rstrip("\n")
    DOCUMENT.write_text(f"{page}\n", encoding="utf-8")
    print(f"wrote {heading.lstrip('# ')} to {DOCUMENT.relative_to(ROOT)}", file=sys.stderr)
