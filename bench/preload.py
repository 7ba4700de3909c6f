"""What --preload saves of the memory of a Django project: `python bench/preload.py`.

The project is that of the tests, with the admin, the ORM on SQLite, sessions and templates: once alone, and
once with libraries that projects import besides. Four workers serve, first without and then with --preload,
until each has had so many requests, pages of the admin among them. Memory is PSS over all processes, the
supervisor's too: pages that processes share count once in all. Exit status 1 when the project with its
libraries saves less than 35%.

What a request touches is shared no more, as references to it are counted where it is; what a project imports
and its requests do not touch is. So the more there is of that, the more is saved.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import peers
from processes import free_port, running

SAVED_MIN = 0.35
PATIENCE_S = 60.0
TESTS = peers.ROOT / "tests"
# What is served: the project, after what else it imports.
APP = "site_and_libraries"
LIBRARIES = "requests,httpx,pydantic,jinja2"
PAGES = ("/", "/readings/", "/sessions/", "/admin/", "/admin/harbour/reading/", "/admin/auth/user/")
AT_ONCE = 8


def environ(folder: Path) -> dict[str, str]:
    """Where the project is and keeps what it writes."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "PYTHON"))},
        "PYTHONPATH": f"{folder}{os.pathsep}{TESTS}",
        "DJANGO_SITE_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "apps.django_site.settings",
    }


def log_in(port: int) -> str:
    """Log in to the admin; return the cookies."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    client.request("GET", "/admin/login/")
    answer = client.getresponse()
    page = answer.read().decode()
    cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    form = {"csrfmiddlewaretoken": found[1] if found else "", "username": "keeper", "password": "high water"}
    fields = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    client.request("POST", "/admin/login/?next=/admin/", urlencode(form), fields)
    answer = client.getresponse()
    answer.read()
    client.close()
    cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name == "Set-Cookie"]
    if answer.status != 302 or not cookies:
        raise SystemExit(f"the admin does not let in: {answer.status}")
    return "; ".join(cookies)


def ask(port: int, cookies: str) -> None:
    """Ask for all pages on many connections at once, so that no worker has them all."""
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S) for _ in range(AT_ONCE)]
    for client in clients:
        client.connect()
    for page in PAGES:
        for client in clients:
            client.request("GET", page, headers={"Cookie": cookies})
        for client in clients:
            answer = client.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{page}: status {answer.status}")
    for client in clients:
        client.close()


def status(control: Path) -> list[dict[str, Any]]:
    """Return what the server says of its workers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(control))
        client.sendall(b'{"verb": "status"}\n')
        with client.makefile() as said:
            workers: list[dict[str, Any]] = json.load(said)["workers"]
    return workers


def measure(folder: Path, workers: int, requests: int, options: list[str]) -> tuple[int, list[int]]:
    """Serve until each worker has had so many; return the memory of the supervisor and of each worker."""
    port = free_port()
    control = folder / "control"
    command = [
        *(
            str(peers.TIDEGATE),
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            str(workers),
            "--chdir",
            str(TESTS),
        ),
        *("--control-socket", str(control), *options, APP),
    ]
    with running(command, port, environ(folder), TESTS, core=None) as server:
        cookies = log_in(port)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ask(port, cookies)
            had = [worker["requests"] for worker in status(control) if worker["state"] == "serving"]
            if len(had) == workers and min(had) >= requests:
                break
            if time.monotonic() > deadline:
                raise SystemExit(f"not every worker gets requests: {had}")
        supervisor, *others = (pss(pid) for pid in server.tree())
    return supervisor, others


def measured(workers: int, requests: int, libraries: str, options: list[str]) -> tuple[int, float, int]:
    """Make a project and measure it; return what the supervisor, a worker on average, and all take."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        imports = "".join(f"import {library}\n" for library in filter(None, libraries.split(",")))
        (folder / f"{APP}.py").write_text(f"{imports}from apps.django_site.wsgi import application\n")
        prepare = [str(peers.TIDEGATE_PYTHON), "-m", "django", "prepare"]
        subprocess.run(prepare, env=environ(folder), check=True)
        supervisor, others = measure(folder, workers, requests, options)
    return supervisor, statistics.mean(others), supervisor + sum(others)


def pss(pid: int) -> int:
    """Return a process's share of memory in KiB."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workers", type=int, default=4, help="(default: %(default)s)")
    add("--requests", type=int, default=200, help="that each worker has had (default: %(default)s)")
    add("--rounds", type=int, default=3, help="of each (default: %(default)s)")
    add("--libraries", default=LIBRARIES, help="that the project imports (default: %(default)s)")
    add("options", nargs="*", help="further flags for tidegate, after --")
    arguments = parser.parse_args()
    if subprocess.run([peers.TIDEGATE_PYTHON, "-c", "import django, whitenoise"], check=False).returncode:
        raise SystemExit("Django is not there: make .venv/.tests-installed")
    print("| project | | supervisor MiB | a worker MiB | all MiB |\n|---|---|---:|---:|---:|")
    saved = {}
    for project, libraries in (("alone", ""), ("with libraries", arguments.libraries)):
        totals = []
        for name, flags in (("without", []), ("--preload", ["--preload"])):
            options = [*flags, *arguments.options]
            rounds = [
                measured(arguments.workers, arguments.requests, libraries, options)
                for _ in range(arguments.rounds)
            ]
            supervisor, worker, total = (
                statistics.median(figures) / 1024 for figures in zip(*rounds, strict=True)
            )
            totals.append(total)
            print(f"| {project} | {name} | {supervisor:.1f} | {worker:.1f} | {total:.1f} |", flush=True)
        saved[project] = 1 - totals[1] / totals[0]
    passed = saved["with libraries"] >= SAVED_MIN
    verdict = "pass" if passed else "FAIL"
    figures = ", ".join(f"{part:.0%} {project}" for project, part in saved.items())
    print(f"\n--preload saves {figures}; target: at least {SAVED_MIN:.0%}; {verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
