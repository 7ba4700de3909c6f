"""Runs the suite against known servers and writes docs/conformance.md: `python -m conformance.peers
[NAME...]`.

The servers are installed, at the versions named here, into a virtual environment in conformance/.peers.
Results are kept there as JSON, so that one server can be measured again without the others.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from conformance.document import Row, document
from conformance.model import UsageError, Variant
from conformance.report import summary, write_json
from conformance.runner import Options, run_suite, select_checks, show_progress
from conformance.targets import target_for

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
VENV = PACKAGE / ".peers"
BIN = VENV / "bin"
RESULTS = VENV / "results"
DOCUMENT = ROOT / "docs" / "conformance.md"
TIDEGATE = ROOT / ".venv" / "bin" / "tidegate"

# bjoern has no command line of its own.
BJOERN = (
    "import importlib, sys, bjoern; module, name = sys.argv[1].split(':');"
    " bjoern.run(getattr(importlib.import_module(module), name), sys.argv[2], *map(int, sys.argv[3:]))"
)


@dataclass(frozen=True)
class Peer:
    """One column of the table: a server, what pip installs for it, and its command line."""

    name: str
    package: str
    version: str
    command: tuple[str, ...]
    beside: tuple[str, ...] = ()
    note: str = ""


GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}")
PEERS = (
    Peer(
        "gunicorn-sync", "gunicorn", "27.0.1", (*GUNICORN, "{app}"), note="closes each connection by design"
    ),
    Peer("gunicorn-gthread", "gunicorn", "27.0.1", (*GUNICORN, "--threads", "8", "{app}")),
    Peer(
        "gunicorn-gevent",
        "gunicorn",
        "27.0.1",
        (*GUNICORN, "--worker-class", "gevent", "{app}"),
        # Its gevent worker imports packaging, which it does not ask for.
        ("gevent==26.9.0", "packaging==26.0"),
    ),
    Peer("waitress", "waitress", "3.0.2", ("waitress-serve", "--listen=127.0.0.1:{port}", "{app}")),
    Peer(
        "uwsgi",
        "uwsgi",
        "2.0.31",
        ("uwsgi", "--http-socket", "127.0.0.1:{port}", "--need-app", "--die-on-term", "--module", "{app}"),
        note="its HTTP socket closes each connection and is meant for proxies; no threads by default",
    ),
    Peer("cheroot", "cheroot", "11.1.2", ("cheroot", "--bind", "127.0.0.1:{port}", "{app}")),
    Peer(
        "granian",
        "granian",
        "2.8.7",
        ("granian", "--interface", "wsgi", "--http", "1", "--host", "127.0.0.1", "--port", "{port}", "{app}"),
    ),
    Peer(
        "bjoern",
        "bjoern",
        "3.2.2",
        ("python", "-c", BJOERN, "{app}", "127.0.0.1", "{port}"),
        note="needs libev's headers to build; started from a line of Python",
    ),
)
# werkzeug is the second validator of PEP-32; every server gets it.
VALIDATOR = "werkzeug==3.1.9"


def install(peers: Sequence[Peer]) -> None:
    """Install what is missing; a package that does not build leaves the others be."""
    if not (BIN / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    for requirements in ([VALIDATOR], *([f"{peer.package}=={peer.version}", *peer.beside] for peer in peers)):
        missing = [requirement for requirement in requirements if not installed(requirement)]
        if missing:
            print(f"installing {' '.join(missing)}", file=sys.stderr)
            subprocess.run(
                [
                    str(BIN / "python"),
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    *missing,
                ],
                check=False,
            )


def installed(requirement: str) -> bool:
    """Return whether exactly that version is there."""
    name, _, version = requirement.partition("==")
    return any(VENV.glob(f"lib/python3*/site-packages/{name}-{version}.dist-info"))


def measure(peer: Peer) -> None:
    """Run the suite against one server and keep the results."""
    program = TIDEGATE if peer.name == "tidegate" else BIN / peer.command[0]
    command = [str(program), *peer.command[1:]]
    extra = {}
    if peer.name == "bjoern":
        extra[Variant.UNIX] = [*command[:-2], "unix:{path}"]
    began = time.monotonic()
    print(f"{peer.name} {peer.version} ", end="", file=sys.stderr, flush=True)
    results = run_suite(target_for(peer.name, command, extra), Options(progress=show_progress))
    print(f"\n  {summary(results)}; {time.monotonic() - began:.0f} s", file=sys.stderr)
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{peer.name}.json", peer.name, peer.command, results)


def tidegate() -> Peer:
    """Return our own column, with the version that the command reports."""
    said = subprocess.run([str(TIDEGATE), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\d[\w.+-]*", said)
    return Peer(
        "tidegate",
        "tidegate",
        version[0] if version else "?",
        ("tidegate", "--interface", "wsgi", "--bind", "127.0.0.1:{port}", "{app}"),
        note="takes whole requests in before it runs the application, which the four it fails ask not to; all"
        " pass with `--request-buffering off`, with `--threads 1` and with greenlets",
    )


def rows(peers: Sequence[Peer]) -> list[Row]:
    """Return the kept results of every server that has some."""
    found = []
    for peer in peers:
        path = RESULTS / f"{peer.name}.json"
        if path.exists():
            kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
            measured = date.fromtimestamp(path.stat().st_mtime)
            results = {result["id"]: result for result in kept}
            # The table is for people: placeholders need no quotes, and bjoern's line of Python is long.
            command = shlex.join(peer.command).replace("'", "")
            shown = "bjoern.run(app, '127.0.0.1', port)" if peer.name == "bjoern" else command
            found.append(Row(peer.name, peer.version, shown, peer.note, measured, results))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the named servers, or all, and write the document; return the exit status."""
    everyone = [*([tidegate()] if TIDEGATE.exists() else []), *PEERS]
    parser = argparse.ArgumentParser(prog="python -m conformance.peers", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which to measure: {', '.join(p.name for p in everyone)}"
    )
    parser.add_argument(
        "--document-only", action="store_true", help="measure nothing; write the document from kept results"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {peer.name for peer in everyone}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if not options.document_only:
        chosen = [peer for peer in everyone if not options.names or peer.name in options.names]
        install([peer for peer in chosen if peer.name != "tidegate"])
        for peer in chosen:
            try:
                measure(peer)
            except UsageError as problem:
                print(f"\n  left out: {problem}", file=sys.stderr)
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document(rows(everyone), select_checks(None)), encoding="utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
