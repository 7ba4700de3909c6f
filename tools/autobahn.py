"""Run the Autobahn test suite for WebSocket servers, and print or write down how it went.

The suite runs on Python 2.7 alone: a virtual environment of its own is made for it the first time. The server
is tidegate with an application that sends back what it gets, or any other command; `{port}` in it becomes a
free port. The exit status is 0 if every case passed, 1 if not, 2 if the suite could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Both are ignored by git and removed by `make clean`.
ENVIRONMENT = ROOT / ".venv-autobahn"
REPORTS = ROOT / "target" / "autobahn"
DOCUMENT = ROOT / "docs" / "conformance.md"
# conformance/document.py keeps what stands from this line on when it writes the page anew.
HEADING = "## WebSocket: the Autobahn test suite"

PYTHON2 = "2.7.18"
SUITE = "autobahntestsuite==25.10.1"
# The last that makes environments of Python 2.7.
VIRTUALENV = "virtualenv==20.21.1"

COMMAND = ".venv/bin/tidegate --bind 127.0.0.1:{port} --chdir tests/apps autobahn_echo:app"

# All that there are: a suite that ran fewer has left some out.
CASES = 517
SECTIONS = {
    "1": "framing",
    "2": "Ping and Pong",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "sizes up to 16 MiB, and many messages",
    "10": "fragments chosen by the sender",
    "12": "compression: payloads",
    "13": "compression: parameters",
}
# NON-STRICT is right, but not as early as could be; INFORMATIONAL is where the specification leaves a choice.
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")

START_S = 30.0
STOP_S = 10.0
# The whole suite takes a quarter of an hour, most of it in the suite itself.
RUN_S = 3600.0


class CannotRun(Exception):
    """Why the suite could not run, in one line."""


@dataclass(frozen=True)
class Verdict:
    """How a server behaved in one case, and how it closed the connection."""

    case: str
    behavior: str
    close: str

    @property
    def section(self) -> str:
        """The number before the first dot."""
        return self.case.partition(".")[0]

    @property
    def passed(self) -> bool:
        """Whether both are among what passes."""
        return self.behavior in PASSED and self.close in PASSED


def python2() -> str:
    """Return a Python 2.7 that runs, from pyenv if need be; raise CannotRun if there is none."""
    if found := _found_python2():
        return found
    if pyenv := shutil.which("pyenv"):
        print(f"installing Python {PYTHON2} with pyenv", file=sys.stderr)
        command = [pyenv, "install", "--skip-existing", PYTHON2]
        finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if finished.returncode != 0:
            raise CannotRun(f"{shlex.join(command)} failed:\n{finished.stdout}")
        if found := _found_python2():
            return found
    raise CannotRun(
        "the Autobahn test suite needs Python 2.7: there is none on PATH, and no pyenv to install it"
    )


def _found_python2() -> str | None:
    candidates = [found] if (found := shutil.which("python2.7")) else []
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates += [str(path) for path in sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True)]
    for candidate in candidates:
        # What pyenv puts on PATH for a version that is not chosen is there and does not run.
        check = [candidate, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"]
        with contextlib.suppress(OSError):
            if subprocess.run(check, capture_output=True).returncode == 0:
                return candidate
    return None


def install() -> Path:
    """Return the suite's program, installed the first time."""
    program = ENVIRONMENT / "python2" / "bin" / "wstest"
    if program.exists():
        return program
    print(f"installing {SUITE}", file=sys.stderr)
    interpreter = python2()
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    maker, suite = ENVIRONMENT / "python3", ENVIRONMENT / "python2"
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(maker)],
        [str(maker / "bin" / "python"), *pip, VIRTUALENV],
        [str(maker / "bin" / "virtualenv"), "--quiet", "--python", interpreter, str(suite)],
        [str(suite / "bin" / "python"), *pip, SUITE],
    ):
        finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if finished.returncode != 0:
            raise CannotRun(f"{shlex.join(command)} failed:\n{finished.stdout}")
    return program


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


def run(program: Path, command: Sequence[str], cases: Sequence[str]) -> list[Verdict]:
    """Run cases against a server and return their verdicts."""
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    port = free_port()
    specification = {
        "outdir": str(REPORTS),
        "servers": [{"agent": "server", "url": f"ws://127.0.0.1:{port}"}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (REPORTS / "specification.json").write_text(json.dumps(specification, indent=1), encoding="utf-8")
    suite = [str(program), "--mode", "fuzzingclient", "--spec", str(REPORTS / "specification.json")]
    server_log, suite_log = REPORTS / "server.log", REPORTS / "wstest.log"
    with started([part.format(port=port) for part in command], server_log) as server:
        wait_until_ready(server, port, server_log)
        with started(suite, suite_log) as client:
            try:
                client.wait(RUN_S)
            except subprocess.TimeoutExpired as problem:
                raise CannotRun(f"the suite has not ended after {RUN_S:.0f} s") from problem
        if server.poll() is not None:
            raise CannotRun(f"the server has ended with {server.returncode}; see {server_log}")
    index = REPORTS / "index.json"
    if client.returncode != 0 or not index.exists():
        raise CannotRun(f"the suite has ended with {client.returncode}; see {suite_log}")
    found = json.loads(index.read_text(encoding="utf-8"))["server"]
    verdicts = [Verdict(case, one["behavior"], one["behaviorClose"]) for case, one in found.items()]
    return sorted(verdicts, key=lambda verdict: [int(part) for part in verdict.case.split(".")])


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the number of cases by section and verdict as a Markdown table."""
    marks = [*PASSED, "failed"]
    head = ["section", "cases", *marks, *(f"close: {mark}" for mark in ("OK", "INFORMATIONAL", "failed"))]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    sections = list(dict.fromkeys(verdict.section for verdict in verdicts))
    for section in [*sections, None]:
        chosen = [verdict for verdict in verdicts if section in (verdict.section, None)]
        behavior = Counter(one.behavior if one.behavior in PASSED else "failed" for one in chosen)
        close = Counter(one.close if one.close in PASSED else "failed" for one in chosen)
        name = f"{section} {SECTIONS.get(section, '')}".strip() if section else "all"
        counts = [len(chosen), *(behavior[mark] for mark in marks)]
        counts += [close["OK"], close["NON-STRICT"] + close["INFORMATIONAL"], close["failed"]]
        lines.append([name, *map(str, counts)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def remarks(verdicts: Sequence[Verdict]) -> str:
    """Return what was not simply OK, a line for each kind."""
    kinds: dict[str, list[str]] = {}
    for verdict in verdicts:
        for kind in {verdict.behavior, f"close {verdict.close}"} - {"OK", "close OK"}:
            kinds.setdefault(kind, []).append(verdict.case)
    return "".join(f"- {kind}: {', '.join(cases)}\n" for kind, cases in sorted(kinds.items()))


def section_of_document(verdicts: Sequence[Verdict], command: Sequence[str]) -> str:
    """Return the section of docs/conformance.md."""
    shown = shlex.join(command).replace("'", "")
    return f"""\
{HEADING}

[Autobahn|Testsuite](https://github.com/crossbario/autobahn-testsuite) ({SUITE.replace("==", " ")}) puts
{len(verdicts)} cases to a server that sends back what it gets, none of them left out: RFC 6455, and RFC 7692
in sections 12 and 13. `make test-autobahn` runs it on this build; it needs Python 2.7, on PATH or from pyenv.
NON-STRICT is right, though not as early as could be; INFORMATIONAL is where the specification leaves a
choice; all else counts as failed. `close` is how the connection was closed after the case.

`{shown}`, measured {date.today().isoformat()}:

{table(verdicts)}
{remarks(verdicts) or "Every case is OK."}"""


def write(verdicts: Sequence[Verdict], command: Sequence[str]) -> None:
    """Put the section at the end of docs/conformance.md, in place of an earlier one."""
    page = DOCUMENT.read_text(encoding="utf-8")
    before = re.split(f"^{re.escape(HEADING)}$", page, maxsplit=1, flags=re.MULTILINE)[0].rstrip("\n")
    text = f"{before}\n\n{section_of_document(verdicts, command).rstrip()}\n"
    DOCUMENT.write_text(text, encoding="utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)}", file=sys.stderr)


def main() -> int:
    """Run the suite and report; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help=f"the server; by default {COMMAND}")
    parser.add_argument(
        "--cases", nargs="+", default=["*"], metavar="PATTERN", help="such as 9.*; all by default"
    )
    parser.add_argument("--write", action="store_true", help="write the section of docs/conformance.md")
    options = parser.parse_args()
    command = options.command or shlex.split(COMMAND)
    every = options.cases == ["*"]
    if options.write and not every:
        parser.error("--write is for all cases")
    try:
        verdicts = run(install(), command, options.cases)
        if every and len(verdicts) != CASES:
            raise CannotRun(f"{len(verdicts)} cases were run of {CASES}")
    except CannotRun as problem:
        print(problem, file=sys.stderr)
        return 2
    print(table(verdicts), remarks(verdicts), sep="\n", end="")
    if options.write:
        write(verdicts, command)
    failed = sum(not verdict.passed for verdict in verdicts)
    print(f"{len(verdicts) - failed} passed, {failed} failed; reports in {REPORTS.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
