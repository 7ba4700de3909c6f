"""Run the Autobahn test suite for WebSocket servers, and print or write down how it went.

The suite runs on Python 2.7 alone: a virtual environment of its own is made for it the first time. The server
is tidegate with an application that sends back what it gets, or any other command; `{port}` in it becomes a
free port. With `--over h2c` or `--over h2` the same cases go over HTTP/2, in plain text or with TLS: the
suite knows HTTP/1.1 alone, so tools/websocket_bridge.py stands between. The exit status is 0 if every case
passed, 1 if not, 2 if the suite could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import suites
from suites import ROOT, CannotRun, free_port, started, wait_until_ready

# Both are ignored by git and removed by `make clean`.
ENVIRONMENT = ROOT / ".venv-autobahn"
REPORTS = ROOT / "target" / "autobahn"
BRIDGE = ROOT / "tools" / "websocket_bridge.py"

PYTHON2 = "2.7.18"
SUITE = "autobahntestsuite==25.10.1"
# The last that makes environments of Python 2.7.
VIRTUALENV = "virtualenv==20.21.1"

SERVER = ".venv/bin/tidegate --bind 127.0.0.1:{port} --chdir tests/apps"


@dataclass(frozen=True)
class Way:
    """How the WebSockets go: what the server is given besides, and where the results stand."""

    heading: str
    words: str
    options: str = ""
    # What the bridge is told, where there is one.
    bridge: tuple[str, ...] | None = None

    @property
    def command(self) -> str:
        """Tidegate's, for this way."""
        return f"{SERVER}{self.options} autobahn_echo:app"


BRIDGED = " (RFC 8441), through a bridge that translates the handshake and carries bytes"
WAYS = {
    "http1": Way("## WebSocket: the Autobahn test suite", "over HTTP/1.1"),
    "h2c": Way(
        "## WebSocket over HTTP/2: the Autobahn test suite",
        f"over HTTP/2 with prior knowledge{BRIDGED}",
        " --http h2c",
        bridge=(),
    ),
    "h2": Way(
        "## WebSocket over HTTP/2 with TLS: the Autobahn test suite",
        f"over HTTP/2 with TLS and ALPN{BRIDGED}",
        " --certfile {certificate} --keyfile {key}",
        bridge=("tls",),
    ),
}

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

# The whole suite takes a quarter of an hour, most of it in the suite itself.
RUN_S = 3600.0


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
        suites.run_or_fail(command)
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
        suites.run_or_fail(command)
    return program


def run(program: Path, way: Way, command: Sequence[str], cases: Sequence[str]) -> list[Verdict]:
    """Run cases against a server and return their verdicts."""
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    port = free_port()
    files = {"port": str(port), "certificate": "", "key": ""}
    if "{certificate}" in " ".join(command):
        certificate, key = suites.certificate(REPORTS, "localhost")
        files |= {"certificate": str(certificate), "key": str(key)}
    server_log = REPORTS / "server.log"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(started([part.format(**files) for part in command], server_log))
        wait_until_ready(server, port, server_log)
        if way.bridge is not None:
            server_port, port = port, free_port()
            bridge = [sys.executable, str(BRIDGE), str(port), str(server_port), *way.bridge]
            log = REPORTS / "bridge.log"
            wait_until_ready(stack.enter_context(started(bridge, log)), port, log)
        ask(program, port, cases)
        if server.poll() is not None:
            raise CannotRun(f"the server has ended with {server.returncode}; see {server_log}")
    found = json.loads((REPORTS / "index.json").read_text(encoding="utf-8"))["server"]
    verdicts = [Verdict(case, one["behavior"], one["behaviorClose"]) for case, one in found.items()]
    return sorted(verdicts, key=lambda verdict: [int(part) for part in verdict.case.split(".")])


def ask(program: Path, port: int, cases: Sequence[str]) -> None:
    """Let the suite put its cases to whoever listens on the port, and write its reports."""
    specification = {
        "outdir": str(REPORTS),
        "servers": [{"agent": "server", "url": f"ws://127.0.0.1:{port}"}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (REPORTS / "specification.json").write_text(json.dumps(specification, indent=1), encoding="utf-8")
    suite = [str(program), "--mode", "fuzzingclient", "--spec", str(REPORTS / "specification.json")]
    log = REPORTS / "wstest.log"
    with started(suite, log) as client:
        try:
            client.wait(RUN_S)
        except subprocess.TimeoutExpired as problem:
            raise CannotRun(f"the suite has not ended after {RUN_S:.0f} s") from problem
    if client.returncode != 0 or not (REPORTS / "index.json").exists():
        raise CannotRun(f"the suite has ended with {client.returncode}; see {log}")


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the number of cases by section and verdict as a Markdown table."""
    marks = [*PASSED, "failed"]
    head = ["section", "cases", *marks, *(f"close: {mark}" for mark in ("OK", "INFORMATIONAL", "failed"))]
    lines = []
    sections = list(dict.fromkeys(verdict.section for verdict in verdicts))
    for section in [*sections, None]:
        chosen = [verdict for verdict in verdicts if section in (verdict.section, None)]
        behavior = Counter(one.behavior if one.behavior in PASSED else "failed" for one in chosen)
        close = Counter(one.close if one.close in PASSED else "failed" for one in chosen)
        name = f"{section} {SECTIONS.get(section, '')}".strip() if section else "all"
        counts = [len(chosen), *(behavior[mark] for mark in marks)]
        counts += [close["OK"], close["NON-STRICT"] + close["INFORMATIONAL"], close["failed"]]
        lines.append([name, *map(str, counts)])
    return suites.table(head, lines)


def remarks(verdicts: Sequence[Verdict]) -> str:
    """Return what was not simply OK, a line for each kind."""
    kinds: dict[str, list[str]] = {}
    for verdict in verdicts:
        for kind in {verdict.behavior, f"close {verdict.close}"} - {"OK", "close OK"}:
            kinds.setdefault(kind, []).append(verdict.case)
    return "".join(f"- {kind}: {', '.join(cases)}\n" for kind, cases in sorted(kinds.items()))


def section_of_document(verdicts: Sequence[Verdict], way: Way, command: Sequence[str]) -> str:
    """Return the section of docs/conformance.md."""
    shown = shlex.join(command).replace("'", "")
    return f"""\
{way.heading}

[Autobahn|Testsuite](https://github.com/crossbario/autobahn-testsuite) ({SUITE.replace("==", " ")}) puts
{len(verdicts)} cases to a server that sends back what it gets, none of them left out: RFC 6455, and RFC 7692
in sections 12 and 13; {way.words}.
`make test-autobahn` runs it on this build; it needs Python 2.7, on PATH or from pyenv.
NON-STRICT is right, though not as early as could be; INFORMATIONAL is where the specification leaves a
choice; all else counts as failed. `close` is how the connection was closed after the case.

`{shown}`, measured {date.today().isoformat()}:

{table(verdicts)}
{remarks(verdicts) or "Every case is OK."}"""


def main() -> int:
    """Run the suite and report; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "command", nargs="*", metavar="COMMAND", help=f"the server; by default {WAYS['http1'].command}"
    )
    parser.add_argument("--over", choices=WAYS, default="http1", help="(default: %(default)s)")
    parser.add_argument(
        "--cases", nargs="+", default=["*"], metavar="PATTERN", help="such as 9.*; all by default"
    )
    parser.add_argument("--write", action="store_true", help="write the section of docs/conformance.md")
    options = parser.parse_args()
    way = WAYS[options.over]
    command = options.command or shlex.split(way.command)
    every = options.cases == ["*"]
    if options.write and not every:
        parser.error("--write is for all cases")
    try:
        verdicts = run(install(), way, command, options.cases)
        if every and len(verdicts) != CASES:
            raise CannotRun(f"{len(verdicts)} cases were run of {CASES}")
    except CannotRun as problem:
        print(problem, file=sys.stderr)
        return 2
    print(table(verdicts), remarks(verdicts), sep="\n", end="")
    if options.write:
        suites.write_section(way.heading, section_of_document(verdicts, way, command))
    failed = sum(not verdict.passed for verdict in verdicts)
    print(f"{len(verdicts) - failed} passed, {failed} failed; reports in {REPORTS.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
