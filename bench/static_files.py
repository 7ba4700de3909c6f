"""Static files beside nginx's: `python bench/static_files.py`.

One worker each, sendfile, no log of requests, the same files on the same disk, by wrk over kept connections.
Interleaved rounds; of each file the median of requests per second and of the server's CPU time per request.
Exit status 1 when small files are served at less than 0.6 of nginx's rate, or the large one at less than 0.8.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import peers
from processes import LOAD_CPU, Server, free_port, on_core, running

# What nginx calls its own; Debian has it where ordinary users do not look.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# Bytes, connections, and the least part of nginx's rate that is to be reached.
FILES = {"1k.bin": (1024, 64, 0.6), "4k.bin": (4096, 64, 0.6), "10m.bin": (10 * 1024 * 1024, 8, 0.8)}

NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000; default_type application/octet-stream;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{ listen 127.0.0.1:{port}; location /static/ {{ alias {folder}/files/; }} }}
}}
"""


def nginx(port: int, folder: Path) -> list[str]:
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX_CONF.format(port=port, folder=folder))
    return [NGINX or "nginx", "-c", str(configuration), "-e", str(folder / "error.log")]


def tidegate(port: int, folder: Path) -> list[str]:
    options = ["--no-supervisor", "--threads", "1", "--bind", f"127.0.0.1:{port}"]
    return [str(peers.TIDEGATE), *options, "--static", f"/static={folder / 'files'}", "apps:hello"]


def requests_of(server: Server, name: str, connections: int, seconds: int) -> tuple[float, float]:
    """Ask for one file for a while; return requests per second and CPU microseconds per request."""
    url = f"http://127.0.0.1:{server.port}/static/{name}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url]
    before = server.cpu_seconds()
    with on_core(LOAD_CPU):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = server.cpu_seconds() - before
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"static_files: {name}: {text}")
    count = int(found[1])
    elapsed = float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    return count / elapsed, used * 1e6 / count


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="(default: %(default)s)")
    add("--seconds", type=int, default=4, help="of each window (default: %(default)s)")
    arguments = parser.parse_args()
    if NGINX is None or shutil.which("wrk") is None:
        print("static_files: nginx and wrk are needed (Debian: apt-get install nginx wrk)", file=sys.stderr)
        return 2
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    costs: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # Who nginx runs as, when it was started by root, is to read the files.
        folder.chmod(0o755)
        (folder / "files").mkdir()
        for name, (size, _, _) in FILES.items():
            (folder / "files" / name).write_bytes(os.urandom(size))
        ports = {"nginx": free_port(), "tidegate": free_port()}
        environ = peers.environ()
        with (
            running(nginx(ports["nginx"], folder), ports["nginx"], environ, peers.BENCH) as theirs,
            running(tidegate(ports["tidegate"], folder), ports["tidegate"], environ, peers.BENCH) as ours,
        ):
            for _ in range(arguments.rounds):
                for name, (_, connections, _) in FILES.items():
                    for who, server in (("nginx", theirs), ("tidegate", ours)):
                        rate, cost = requests_of(server, name, connections, arguments.seconds)
                        rates[who, name].append(rate)
                        costs[who, name].append(cost)
    print("| file | nginx | tidegate | ratio | at least | CPU per request | ratio | |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    passed = True
    for name, (size, _, least) in FILES.items():
        theirs_s, ours_s = (statistics.median(rates[who, name]) for who in ("nginx", "tidegate"))
        theirs_us, ours_us = (statistics.median(costs[who, name]) for who in ("nginx", "tidegate"))
        good = ours_s >= least * theirs_s
        passed = passed and good
        shown = [
            f"{each:,.0f}/s" if size < 2**20 else f"{each * size / 2**20:,.0f} MiB/s"
            for each in (theirs_s, ours_s)
        ]
        print(
            f"| {name} | {shown[0]} | {shown[1]} | {ours_s / theirs_s:.2f} | {least} "
            f"| {theirs_us:.1f} us / {ours_us:.1f} us | {ours_us / theirs_us:.2f} "
            f"| {'pass' if good else 'FAIL'} |",
            flush=True,
        )
    print(f"\n{'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
