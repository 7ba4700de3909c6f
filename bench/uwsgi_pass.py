"""The uwsgi protocol behind nginx, beside uWSGI: `python bench/uwsgi_pass.py [--rounds N] [--seconds N]`.

hello of WSGI, by wrk through nginx: the same nginx each time, but for the line that names the server behind
it, on unix sockets and on TCP. uWSGI has one process and, in turn, no threads, two and four; tidegate is held
against the best of these, for requests and for CPU time. nginx shares the server's core, as both do on a
site's machine, so that requests a second show what the server takes; the CPU time is without nginx's. Exit
status 1 unless tidegate answers at least as many requests a second, with at most 0.75 of the CPU time each.
proxy_pass, with connections to the server that are kept, is there to compare.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import edges
import peers
from edges import Contender
from processes import Server, free_port, running

RATE_MIN = 1.0
CPU_MAX = 0.75
UWSGI_THREADS = (0, 2, 4)
# What is judged; with threads, and by proxy_pass, it is there to compare.
TIDEGATE = "tidegate"

NGINX = """
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    uwsgi_temp_path {folder}/uwsgi;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    upstream application {{ server {server}; {keep} }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ {passes} }}
    }}
}}
"""
UWSGI_PASS = "include /etc/nginx/uwsgi_params; uwsgi_pass application;"
PROXY_PASS = (
    'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
    " proxy_pass http://application;"
)


@dataclass(frozen=True)
class Behind:
    """A server behind nginx: its command, by the address it listens on, and how nginx passes on to it."""

    name: str
    command: Callable[[str], list[str]]
    passes: str = UWSGI_PASS
    keep: str = ""


def uwsgi(threads: int) -> Callable[[str], list[str]]:
    """As run.py has it, but for its own protocol, which is what it is best at."""
    command = [
        str(peers.BIN / "uwsgi"),
        "--processes",
        "1",
        "--disable-logging",
        "--need-app",
        "--die-on-term",
    ]
    command += [
        "--listen",
        "1024",
        "--virtualenv",
        str(peers.VENV),
        "--module",
        "apps",
        "--callable",
        "hello",
    ]
    command += ["--threads", str(threads)] if threads else []
    return lambda address: [*command, "--socket", address]


def tidegate(scheme: str, *options: str) -> Callable[[str], list[str]]:
    """One process, as the other measurements have it."""
    command = [str(peers.TIDEGATE), "--no-supervisor", *peers.BACKLOG, *options, "apps:hello"]

    def with_address(address: str) -> list[str]:
        where = f"unix:{address}" if address.startswith("/") else address
        return [*command, "--bind", f"{scheme}{where}"]

    return with_address


BEHIND = (
    *(Behind(f"uwsgi, {threads or 'no'} threads", uwsgi(threads)) for threads in UWSGI_THREADS),
    Behind(TIDEGATE, tidegate("uwsgi://", "--threads", "1")),
    Behind("tidegate, 200 threads", tidegate("uwsgi://")),
    Behind("tidegate, proxy_pass", tidegate("", "--threads", "1"), PROXY_PASS, "keepalive 64;"),
)


def contender(behind: Behind, kind: str) -> Contender:
    """Return one that starts the server on a unix socket or on TCP, and nginx in front of it."""

    @contextlib.contextmanager
    def start() -> Iterator[Server]:
        with tempfile.TemporaryDirectory(prefix="tidegate-uwsgi-") as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            # Its worker is another user, who has to come in.
            folder.chmod(0o755)
            inner, outer = free_port(), free_port()
            path = folder / "socket" if kind == "unix" else None
            address = str(path or f"127.0.0.1:{inner}")
            server = stack.enter_context(
                running(behind.command(address), inner, peers.environ(), peers.BENCH, path=path)
            )
            if path:
                path.chmod(0o666)
            configuration = folder / "nginx.conf"
            configuration.write_text(
                NGINX.format(
                    folder=folder,
                    port=outer,
                    server=f"unix:{path}" if path else address,
                    passes=behind.passes,
                    keep=behind.keep,
                )
            )
            nginx = ["nginx", "-c", str(configuration), "-e", str(folder / "error.log")]
            stack.enter_context(running(nginx, outer, peers.environ(), folder))
            edges.verify(f"http://127.0.0.1:{outer}/")
            # What is asked is nginx; what is measured, the server.
            server.port = outer
            yield server

    return Contender(behind.name, start)


def judge(results: edges.Results, load: str) -> bool:
    """Print how tidegate is to the best of uWSGI's settings."""
    known = [behind.name for behind in BEHIND if behind.name.startswith("uwsgi")]
    rate = max(results.rate(load, name) for name in known)
    cpu_us = min((results.cpu_us(load, name) for name in known if results.cpu_us(load, name)), default=0.0)
    rates = results.rate(load, TIDEGATE) / rate if rate else 0.0
    costs = results.cpu_us(load, TIDEGATE) / cpu_us if cpu_us else 0.0
    fast = edges.verdict(f"{load}: requests/s, of uWSGI's best", rates, at_least=RATE_MIN)
    cheap = edges.verdict(f"{load}: CPU time a request, of uWSGI's lowest", costs, at_most=CPU_MAX)
    return fast and cheap


def main() -> int:
    """Measure, print, and judge."""
    parser = edges.parser(__doc__)
    parser.add_argument("--sockets", default="unix,tcp", help="(default: %(default)s)")
    arguments = parser.parse_args()
    edges.require(nginx="nginx-light", wrk="wrk", curl="curl")
    peers.install([peers.BY_NAME["uwsgi"]])
    results, loads = edges.Results(), [f"uwsgi {kind}" for kind in arguments.sockets.split(",")]
    for load in loads:
        chosen = [contender(behind, load.split()[1]) for behind in BEHIND]
        edges.measure(results, load, chosen, edges.wrk("http://127.0.0.1:{port}/"), arguments)
        print(f"\n{results.table(load, TIDEGATE)}\n", flush=True)
    for what, why in results.left_out.items():
        print(f"left out: {what}: {why}")
    verdicts = [judge(results, load) for load in loads]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
