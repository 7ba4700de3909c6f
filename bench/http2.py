"""HTTP/2 beside the peers: `python bench/http2.py [--rounds N] [--seconds N] [--tls]`.

hello, by h2load: one connection with a hundred streams, and 64 with ten each. All servers speak HTTP/2 with
prior knowledge, or, with --tls, all by ALPN with the same certificate. Exit status 1 unless tidegate answers,
on 64 connections, at least 1.3 times the requests a second of the best of h2corn and Granian, for WSGI and
for ASGI.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import edges
import peers
from edges import Certificate, Contender

RATIO_MIN = 1.3
# Connections, and streams on each; the second is judged.
SHAPES = ((1, 100), (64, 10))
JUDGED = SHAPES[1]
# Of which the best is what tidegate is held against.
RIVALS = {"WSGI": ("granian",), "ASGI": ("granian-asgi", "h2corn")}

Command = Callable[[int], list[str]]


def tidegate(app: str, *options: str, secure: Certificate | None) -> Command:
    """Plain listeners speak HTTP/1.1 unless told, and those with TLS what ALPN says."""
    if secure:
        options = (*options, "--certfile", str(secure.certificate), "--keyfile", str(secure.key))
    else:
        options = (*options, "--http", "h2c")
    return lambda port: edges.tidegate(port, app, *options)


def granian(interface: str, *options: str, secure: Certificate | None) -> Command:
    """As run.py has it, but for HTTP/2 only."""
    app = "app_asgi:hello" if interface == "asgi" else "apps:hello"
    command = [str(peers.BIN / "granian"), "--interface", interface, "--host", "127.0.0.1", "--workers", "1"]
    command += ["--http", "2", "--no-ws", "--no-log", *options]
    if secure:
        command += ["--ssl-certificate", str(secure.certificate), "--ssl-keyfile", str(secure.key)]
    return lambda port: [*command, "--port", str(port), app]


def h2corn(secure: Certificate | None) -> Command:
    """With its two threads for I/O, which is its default: with one it is slower, even on one core."""
    command = [str(peers.BIN / "h2corn"), "--loop", "uvloop", "--no-access-log", *peers.BACKLOG]
    if secure:
        command += ["--certfile", str(secure.certificate), "--keyfile", str(secure.key)]
    return lambda port: [*command, "--bind", f"127.0.0.1:{port}", "app_asgi:hello"]


def hypercorn(secure: Certificate | None) -> Command:
    """It takes prior knowledge on any plain listener."""
    files = [str(secure.certificate), str(secure.key)] if secure else []
    launch = [str(peers.BIN / "python"), str(peers.BENCH / "launch.py"), "hypercorn"]
    return lambda port: [*launch, str(port), "app_asgi:hello", *files]


def gunicorn(worker: str, app: str, *options: str, secure: Certificate | None) -> Command:
    """HTTP/2 is off unless asked for, and in plain text once more."""
    command = [str(peers.BIN / "gunicorn"), "--workers", "1", "--worker-class", worker, *options]
    command += ["--http-protocols", "h2,h1", "--log-level", "critical"]
    if secure:
        command += ["--certfile", str(secure.certificate), "--keyfile", str(secure.key)]
    else:
        command += ["--http2-cleartext", "prior-knowledge"]
    return lambda port: [*command, "--bind", f"127.0.0.1:{port}", app]


def contenders(secure: Certificate | None) -> dict[str, list[Contender]]:
    """Return who is measured, by the interface of the application."""
    scheme = "https" if secure else "http"
    how = "--http2" if secure else "--http2-prior-knowledge"

    def one(name: str, command: Command) -> Contender:
        def check(port: int) -> None:
            edges.verify(f"{scheme}://127.0.0.1:{port}/", how)

        return edges.contender(name, command, check)

    wsgi, asgi = "apps:hello", "app_asgi:hello"
    threads = ("--threads", "16")
    asyncio = ("--concurrency", "asyncio", "--loop")
    return {
        "WSGI": [
            one("tidegate", tidegate(wsgi, "--threads", "1", secure=secure)),
            one("tidegate-threads", tidegate(wsgi, secure=secure)),
            one("granian", granian("wsgi", "--blocking-threads", "1", secure=secure)),
            one("gunicorn", gunicorn("gthread", wsgi, *threads, secure=secure)),
        ],
        "ASGI": [
            one("tidegate", tidegate(asgi, *asyncio, "uvloop", secure=secure)),
            one("tidegate-asyncio", tidegate(asgi, *asyncio, "asyncio", secure=secure)),
            one(
                "granian-asgi",
                granian("asgi", "--loop", "uvloop", *peers.BACKLOG, "--backpressure", "20000", secure=secure),
            ),
            one("h2corn", h2corn(secure)),
            one("hypercorn", hypercorn(secure)),
            one("gunicorn-asgi", gunicorn("asgi", asgi, secure=secure)),
        ],
    }


def judge(results: edges.Results, interface: str, load: str) -> bool:
    """Print how tidegate is to the best of its rivals."""
    rates = {name: results.rate(load, name) for name in RIVALS[interface]}
    best = max(rates, key=lambda name: rates[name])
    # Not held against all of them, it has reached nothing.
    ratio = results.rate(load, "tidegate") / rates[best] if all(rates.values()) else 0.0
    return edges.verdict(f"{load}: requests/s, of {best}'s", ratio, at_least=RATIO_MIN)


def main() -> int:
    """Measure, print, and judge."""
    parser = edges.parser(__doc__)
    parser.add_argument("--tls", action="store_true", help="by ALPN instead of in plain text")
    parser.add_argument("--only", help="of these names, separated by commas")
    arguments = parser.parse_args()
    edges.require(h2load="nghttp2-client", curl="curl", openssl="openssl")
    names = ("granian-asgi", "h2corn", "hypercorn", "gunicorn-gthread")
    peers.install([peers.BY_NAME[name] for name in names])
    with tempfile.TemporaryDirectory(prefix="tidegate-http2-") as folder:
        secure = edges.certificate(Path(folder)) if arguments.tls else None
        passed = [run(interface, chosen, arguments) for interface, chosen in contenders(secure).items()]
    return 0 if all(passed) else 1


def run(interface: str, chosen: list[Contender], arguments: argparse.Namespace) -> bool:
    """Measure the servers of one interface in both shapes; return whether the target is met."""
    if arguments.only:
        chosen = [contender for contender in chosen if contender.name in arguments.only.split(",")]
    scheme = "https" if arguments.tls else "http"
    results = edges.Results()
    for connections, streams in SHAPES:
        load = f"{interface} {connections}x{streams}"
        client = edges.h2load(f"{scheme}://127.0.0.1:{{port}}/", connections, streams)
        edges.measure(results, load, chosen, client, arguments)
        print(f"\n{results.table(load, 'tidegate')}\n", flush=True)
    for what, why in results.left_out.items():
        print(f"left out: {what}: {why}")
    return judge(results, interface, f"{interface} {JUDGED[0]}x{JUDGED[1]}")


if __name__ == "__main__":
    sys.exit(main())
