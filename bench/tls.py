"""What TLS costs: `python bench/tls.py [--rounds N] [--seconds N] [--parts kept,new] [--hosts NAMES]`.

kept: hello on connections that are kept, by wrk, on two servers side by side, one with TLS and one in plain
text; short windows go to one and the other in turn, and each pair gives a ratio of CPU time per request.
Exit status 1 when the median ratio is above 1.35.

new: a new connection for each request, a whole handshake on each, by a client that costs less than any
server, with a certificate of ECDSA (P-256) and of RSA (2048 bits). Exit status 1 unless tidegate does as many
a second as Granian. Handshakes that resume a session are there to compare.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import edges
import peers
from edges import Certificate, Contender, Count
from processes import Server, ServerFailed, free_port, running

KEPT_RATIO_MAX = 1.35
NEW_RATIO_MIN = 1.0
# So many windows of a part that compares pairs for each round of the other.
PAIRS = 4
PAIR_SECONDS = 1.0
# Connections that are being made at any time: enough that the server never waits for one.
AT_ONCE = 8
# The first of each has nothing to resume.
RESUMED_MIN = 0.9
KINDS = ("ecdsa", "rsa")
RIVAL = "granian"

# What tidegate serves by: the cheapest there is, where anything added shows most, its default, and ASGI.
HOSTS = {
    "inline": ("apps:hello", ("--threads", "1")),
    "threads": ("apps:hello", ()),
    "asyncio": ("app_asgi:hello", ("--loop", "uvloop")),
}

NGINX = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    ssl_session_cache shared:sessions:10m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    uwsgi_temp_path {folder}/uwsgi;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl backlog=1024;
        ssl_certificate {secure.certificate};
        ssl_certificate_key {secure.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ return 200 "Hello, World!"; }}
    }}
}}
"""


def with_files(secure: Certificate, certificate: str = "--certfile", key: str = "--keyfile") -> list[str]:
    """Return a certificate as options."""
    return [certificate, str(secure.certificate), key, str(secure.key)]


def pair(server: Server, client: Callable[[int, float], Count]) -> float:
    """CPU time of the server for each request of a short window."""
    before = server.cpu_seconds()
    count = client(server.port, PAIR_SECONDS)
    if count.errors:
        raise ServerFailed(f"{count.errors} errors")
    return (server.cpu_seconds() - before) / count.requests * 1e6


def compare(host: str, secure: Certificate, pairs: int) -> bool:
    """Measure plain text and TLS in turn; print the medians and the verdict."""
    app, options = HOSTS[host]
    more = {"http": [], "https": with_files(secure)}
    clients = {scheme: edges.wrk(f"{scheme}://127.0.0.1:{{port}}/") for scheme in more}
    with ExitStack() as stack:
        servers = {}
        for scheme, files in more.items():
            port = free_port()
            command = edges.tidegate(port, app, *options, *files)
            started = running(command, port, peers.environ(), peers.BENCH)
            servers[scheme] = stack.enter_context(started)
            edges.verify(f"{scheme}://127.0.0.1:{port}/", "--http1.1")
            clients[scheme](port, 1.0)
        took: dict[str, list[float]] = {scheme: [] for scheme in more}
        for number in range(pairs):
            # Who is first has caches that the other one left; so each is in turn.
            for scheme in list(more)[:: 1 if number % 2 == 0 else -1]:
                took[scheme].append(pair(servers[scheme], clients[scheme]))
    plain, encrypted = (statistics.median(took[scheme]) for scheme in more)
    ratio = statistics.median(over / under for under, over in zip(took["http"], took["https"], strict=True))
    print(f"kept, {host}: {plain:.2f} us a request in plain text, {encrypted:.2f} us with TLS")
    return edges.verdict(f"kept, {host}: CPU time, of plain text", ratio, at_most=KEPT_RATIO_MAX)


def kept(arguments: argparse.Namespace, folder: Path) -> bool:
    """What encrypting costs on connections that are kept."""
    secure = edges.certificate(folder)
    passed = []
    for host in arguments.hosts.split(","):
        try:
            passed.append(compare(host, secure, PAIRS * arguments.rounds))
        except ServerFailed as problem:
            print(f"FAIL: kept, {host}: {problem}")
            passed.append(False)
    return all(passed)


def handshakes(kind: str) -> Callable[[int, float], Count]:
    """Return the client that makes new connections; `full`, or `resumed` where the server lets it."""

    def client(port: int, seconds: float) -> Count:
        program = str(peers.BENCH / "target" / "release" / "handshakes")
        command = [program, str(port), str(seconds), str(AT_ONCE), kind]
        text, busy = edges.run_client(command, seconds)
        seen = json.loads(text)
        share = seen["resumed"] / seen["handshakes"]
        if kind == "resumed" and share < RESUMED_MIN:
            raise ServerFailed(f"of its sessions {share:.0%} are resumed")
        errors = 0 if kind == "resumed" else seen["resumed"]
        return Count(seen["handshakes"], seen["handshakes"] / seen["seconds"], errors, busy)

    return client


def contenders(folder: Path, secure: Certificate) -> list[Contender]:
    """Return who is measured with new connections."""
    granian = [str(peers.BIN / "granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--workers", "1"]
    granian += ["--http", "1", "--no-ws", "--no-log", "--blocking-threads", "1", "apps:hello"]
    granian += [*peers.BACKLOG, *with_files(secure, "--ssl-certificate", "--ssl-keyfile")]
    h2corn = [str(peers.BIN / "h2corn"), "--loop", "uvloop", "--no-access-log", *peers.BACKLOG]
    h2corn += ["app_asgi:hello", *with_files(secure)]
    gunicorn = [str(peers.BIN / "gunicorn"), "--workers", "1", "--worker-class", "gthread", "--threads", "16"]
    gunicorn += ["--log-level", "critical", "apps:hello", *with_files(secure)]

    def nginx(port: int) -> list[str]:
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port, secure=secure))
        return ["nginx", "-c", str(configuration), "-e", str(folder / "error.log")]

    def tidegate(host: str) -> Callable[[int], list[str]]:
        app, options = HOSTS[host]
        return lambda port: edges.tidegate(port, app, *options, *with_files(secure))

    def check(port: int) -> None:
        edges.verify(f"https://127.0.0.1:{port}/", "--http1.1")

    commands: dict[str, Callable[[int], list[str]]] = {
        "tidegate": tidegate("inline"),
        "tidegate-threads": tidegate("threads"),
        RIVAL: lambda port: [*granian, "--port", str(port)],
        "h2corn": lambda port: [*h2corn, "--bind", f"127.0.0.1:{port}"],
        "gunicorn": lambda port: [*gunicorn, "--bind", f"127.0.0.1:{port}"],
        "nginx, no Python": nginx,
    }
    return [edges.contender(name, command, check) for name, command in commands.items()]


def new(arguments: argparse.Namespace, folder: Path) -> bool:
    """What new connections cost, and how many there can be."""
    passed = []
    for kind in KINDS:
        chosen = contenders(folder, edges.certificate(folder, kind))
        results = edges.Results()
        for way in ("full", "resumed"):
            load = f"{kind}, {way}"
            edges.measure(results, load, chosen, handshakes(way), arguments)
            print(f"\n{results.table(load, 'tidegate', 'handshake')}\n", flush=True)
        for what, why in results.left_out.items():
            print(f"left out: {what}: {why}")
        load = f"{kind}, full"
        ours, theirs = results.rate(load, "tidegate"), results.rate(load, RIVAL)
        ratio = ours / theirs if theirs else 0.0
        passed.append(edges.verdict(f"{load}: handshakes/s, of {RIVAL}'s", ratio, at_least=NEW_RATIO_MIN))
    return all(passed)


def main() -> int:
    """Measure, print, and judge."""
    parser = edges.parser(__doc__)
    parser.add_argument("--parts", default="kept,new", help="(default: %(default)s)")
    parser.add_argument(
        "--hosts", default=",".join(HOSTS), help="for kept connections (default: %(default)s)"
    )
    arguments = parser.parse_args()
    edges.require(wrk="wrk", curl="curl", openssl="openssl", nginx="nginx-light")
    peers.install(
        [peers.BY_NAME[name] for name in ("granian", "h2corn", "gunicorn-gthread", "tidegate-uvloop")]
    )
    peers.build_programs("handshakes")
    parts = {"kept": kept, "new": new}
    with tempfile.TemporaryDirectory(prefix="tidegate-tls-") as name:
        folder = Path(name)
        # nginx's worker is another user.
        folder.chmod(0o755)
        passed = [parts[part](arguments, folder) for part in arguments.parts.split(",")]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
