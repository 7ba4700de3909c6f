"""Run httpwg, a conformance suite for HTTP/2 (RFC 9113), and print or write down how it went.

Its program is built by cargo the first time. The server is tidegate with a WSGI and an ASGI application, in
plain text with prior knowledge and with TLS: the suite knows no TLS, so what it sends and gets goes through a
connection that this program encrypts. Any other command is run once, in plain text; `{port}` in it becomes a
free port. The exit status is 0 if no case failed, 1 if one did, 2 if the suite could not run.

A case passes as the suite asks. It is `other code` where the server refuses what it has to refuse and ends
the stream or connection, but gives another error code for it than RFC 9113 names; with `--strict` these count
as failed. All else has failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import suites
from suites import ROOT, CannotRun, free_port

VERSION = "0.2.5"
# Ignored by git and removed by `make clean`.
FOLDER = ROOT / "target" / "httpwg"
PROGRAM = FOLDER / "bin" / "httpwg"
HEADING = "## HTTP/2: httpwg"

# All that there are: a suite that ran fewer has left some out.
CASES = 107
# A frame that should come and does not is waited for this long; and the whole suite.
FRAME_MS = 1000
RUN_S = 600.0

SERVER = ".venv/bin/tidegate --bind 127.0.0.1:{port} --chdir tests/apps"
TLS = "--certfile {certificate} --keyfile {key}"
# By the names of the columns.
COMMANDS = {
    "WSGI, h2c": f"{SERVER} --http h2c attentive:wsgi",
    "WSGI, TLS": f"{SERVER} {TLS} attentive:wsgi",
    "ASGI, h2c": f"{SERVER} --http h2c attentive:asgi",
    "ASGI, TLS": f"{SERVER} {TLS} attentive:asgi",
}

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
BEGIN = re.compile(r"Running test: RFC 9113 :: (\d+)\. (.+) :: (.+)")
OTHER_CODE = re.compile(r"Expected GOAWAY\b.* with one of \S+\(0b\d+, (.+?)\), but got (\w+)")

# The server may do what the case does not allow, and why.
ALLOWED = {
    "sends goaway frame with unknown error code": "the client has said that it goes, and nothing is left to"
    " do: the connection is closed (RFC 9113, section 6.8)",
}


@dataclass(frozen=True)
class Verdict:
    """How a server did in one case: passed, other code, allowed or failed, and what the suite said."""

    section: str
    case: str
    mark: str
    words: str = ""


def install() -> None:
    """Build the suite's program the first time."""
    if PROGRAM.exists():
        return
    print(f"building httpwg-cli {VERSION}", file=sys.stderr)
    command = ["cargo", "install", "--quiet", "--locked", "--root", str(FOLDER), "--version", VERSION]
    suites.run_or_fail([*command, "httpwg-cli"])


class Encrypting:
    """A listener in plain text whose connections go on to the server's port over TLS, by ALPN as HTTP/2."""

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self._server_port = server_port
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None] | None] = set()

    def __enter__(self) -> Encrypting:
        self._thread.start()
        listening = asyncio.start_server(self._take, "127.0.0.1", self.port)
        asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        return self

    def __exit__(self, *raised: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            server = await asyncio.open_connection("127.0.0.1", self._server_port, ssl=self._context)
            upwards = asyncio.ensure_future(self._carry(reader, server[1]))
            await self._carry(server[0], writer)
            upwards.cancel()
            server[1].close()
        writer.close()
        self._tasks.discard(asyncio.current_task())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


@contextlib.contextmanager
def served(name: str, command: str) -> Iterator[int]:
    """Start a server, and what encrypts for the suite if it has TLS; give the port for the suite."""
    port, log = free_port(), FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.log"
    certificate, key = suites.certificate(FOLDER, "localhost")
    files = {"port": port, "certificate": certificate, "key": key}
    with contextlib.ExitStack() as stack:
        parts = [part.format(**files) for part in shlex.split(command)]
        server = stack.enter_context(suites.started(parts, log))
        suites.wait_until_ready(server, port, log)
        yield stack.enter_context(Encrypting(port)).port if "{certificate}" in command else port
        if server.poll() is not None:
            raise CannotRun(f"the server has ended with {server.returncode}; see {log}")


def ask(port: int) -> list[Verdict]:
    """Let the suite put its cases, one after the other, to whoever listens on the port."""
    command = [str(PROGRAM), "--verbose", "--address", f"127.0.0.1:{port}"]
    command += ["--frame-timeout", str(FRAME_MS), "--connect-timeout", "5000"]
    environ = {**os.environ, "SEQUENTIAL": "1", "RUST_LOG": "off", "RUST_BACKTRACE": "0"}
    try:
        finished = subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=RUN_S
        )
    except subprocess.TimeoutExpired as problem:
        raise CannotRun(f"the suite has not ended after {RUN_S:.0f} s") from problem
    return read(COLOURS.sub("", finished.stdout.decode(errors="replace")))


def read(text: str) -> list[Verdict]:
    """Read what the suite printed, a part for each case."""
    begins = list(BEGIN.finditer(text))
    ends = [begin.start() for begin in begins[1:]] + [len(text)]
    verdicts = []
    for begin, end in zip(begins, ends, strict=True):
        number, name, case = begin.groups()
        said = text[begin.end() : end]
        mark, words = judge(case, said)
        verdicts.append(Verdict(f"{number} {name}", case, mark, words))
    # Its order is another one each time.
    return sorted(verdicts, key=lambda verdict: (verdict.section, verdict.case))


def judge(case: str, said: str) -> tuple[str, str]:
    """Return the mark of a case and, unless it passed, the reason."""
    if "Test passed" in said:
        return "passed", ""
    # A case that breaks off prints what it had waited for.
    found = re.search(r"^ *0: (.+)$", said, re.MULTILINE) or re.search(
        r"^Message: +(.+)$", said, re.MULTILINE
    )
    words = found[1].strip() if found else "the suite says nothing"
    if code := OTHER_CODE.search(words):
        # A connection or stream that ends without an error says that nothing was wrong.
        mark = "failed" if code[2] == "NoError" else "other code"
        return mark, f"{code[2]}, and not {code[1].replace(' | ', ' or ')}"
    if case in ALLOWED and "peer hung up" in words:
        return "allowed", ALLOWED[case]
    return "failed", re.sub(r"BitFlags<\w+>\(0b\d+, (\w+(?: \| \w+)*)\)", r"\1", words)


def table(results: dict[str, list[Verdict]]) -> str:
    """Return the number of cases by section and server: those that passed, of all."""
    sections = sorted({verdict.section for verdicts in results.values() for verdict in verdicts})
    lines = []
    for section in [*sections, ""]:
        cells = []
        for verdicts in results.values():
            chosen = [verdict for verdict in verdicts if section in (verdict.section, "")]
            marks = Counter(verdict.mark for verdict in chosen)
            others = [f"{marks[mark]} {mark}" for mark in ("other code", "allowed", "failed") if marks[mark]]
            cells.append(f"{marks['passed']}/{len(chosen)}" + "".join(f", {other}" for other in others))
        lines.append([section or "all", *cells])
    return suites.table(["section of RFC 9113", *results], lines)


def remarks(results: dict[str, list[Verdict]]) -> str:
    """Return what did not pass, a line for each case, and for which servers if not for all."""
    seen: dict[Verdict, list[str]] = {}
    for name, verdicts in results.items():
        for verdict in verdicts:
            if verdict.mark != "passed":
                seen.setdefault(verdict, []).append(name)
    lines = []
    for verdict, names in sorted(
        seen.items(), key=lambda item: (item[0].mark, item[0].section, item[0].case)
    ):
        where = "" if len(names) == len(results) else f" ({'; '.join(names)})"
        lines.append(f"- {verdict.mark}{where}: {verdict.section}: {verdict.case}: {verdict.words}\n")
    return "".join(lines)


def section_of_document(results: dict[str, list[Verdict]]) -> str:
    """Return the section of docs/conformance.md."""
    return f"""\
{HEADING}

[httpwg](https://crates.io/crates/httpwg-cli) ({VERSION}) puts {CASES} cases of RFC 9113 to a server, each on
a connection of its own. `make conformance-edges` runs it on this build, for a WSGI and an ASGI application,
by prior knowledge and by ALPN over TLS. Where a case did not pass as the suite asks, its line below says how:
`other code` is a stream or connection that was ended as it has to be, with another error code than RFC 9113
names.

`{COMMANDS["WSGI, h2c"]}` and the like, measured {date.today().isoformat()}:

{table(results)}
{remarks(results) or "Every case has passed."}"""


def main() -> int:
    """Run the suite and report; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="another server")
    parser.add_argument("--only", choices=COMMANDS, help="one of tidegate's")
    parser.add_argument("--strict", action="store_true", help="another error code is a failure")
    parser.add_argument("--write", action="store_true", help="write the section of docs/conformance.md")
    options = parser.parse_args()
    commands = COMMANDS
    if options.command:
        commands = {"server": shlex.join(options.command)}
    elif options.only:
        commands = {options.only: COMMANDS[options.only]}
    if options.write and commands is not COMMANDS:
        parser.error("--write is for all of tidegate's")
    results = {}
    try:
        install()
        for name, command in commands.items():
            with served(name, command) as port:
                results[name] = ask(port)
            if len(results[name]) != CASES:
                raise CannotRun(f"{len(results[name])} cases were run of {CASES}")
    except CannotRun as problem:
        print(problem, file=sys.stderr)
        return 2
    print(table(results), remarks(results), sep="\n", end="")
    if options.write:
        suites.write_section(HEADING, section_of_document(results))
    marks = Counter(verdict.mark for verdicts in results.values() for verdict in verdicts)
    failed = marks["failed"] + (marks["other code"] if options.strict else 0)
    print(f"{marks['passed']} passed, {marks['other code']} other code, {marks['failed']} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
