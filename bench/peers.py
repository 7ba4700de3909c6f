"""Who is measured: the limit, tidegate and its peers, how each is installed and with which settings it runs.

Every server gets one process that serves, its logging off, keep-alive where it has it, and the settings that
its own documentation recommends for speed. What a setting is for stands beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
# Which build of tidegate is measured, by the Makefile's name for it; all servers run on its interpreter.
TIDEGATE_BIN = ROOT / os.environ.get("VENV", ".venv") / "bin"
TIDEGATE_PYTHON = TIDEGATE_BIN / "python"
TIDEGATE = TIDEGATE_BIN / "tidegate"

# What a command is made from: the port, and what is to be served there.
Command = Callable[[int, "Work"], list[str]]
# What of it depends on the work.
Options = Callable[["Work"], tuple[str, ...]]

# Which applications a server runs; "own" is for those that are no application servers.
Interface = Literal["wsgi", "asgi", "own"]


@dataclass(frozen=True)
class Work:
    """What one server is asked to serve."""

    # MODULE:ATTR of a file in bench/.
    app: str
    # For the limit, which runs no application: the size of the response's body, and of a request when it is
    # larger than one read.
    body_size: int = 13
    request_size: int | None = None
    # The most connections that there will be.
    connections: int = 64
    # How many threads a pool may have.
    threads: int = 200
    # Whether no more requests than that may run, with threads or without; a few more may wait, and what is
    # over is to be refused at once.
    limited: bool = False
    # Whether clients open WebSockets.
    websocket: bool = False


# In a load that is limited: how many wait for each that runs, and how long they may.
QUEUED_PER_THREAD = 2
QUEUE_TIMEOUT_S = 1


@dataclass(frozen=True)
class Peer:
    """One row of the table."""

    name: str
    command: Command
    # What pip installs, pinned, so that a run can be repeated, and what npm does.
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    # A file that must exist once everything is installed.
    needs: Path | None = None
    # How to get it, when pip is not the way.
    remedy: str = ""
    interface: Interface = "wsgi"
    # The kinds of loads that it takes: `loads.Kind` says what each is.
    kinds: tuple[str, ...] = ("hello", "work")
    # With more requests at once than this it makes no sense.
    at_once_max: int = 10_000
    # Whether it has a queue of its own for what is more than that.
    queues: bool = False
    keeps_alive: bool = True
    note: str = ""


def python_version() -> str:
    """Return the version, as 3.11, of the Python that tidegate is built for, or else of this one."""
    python = TIDEGATE_PYTHON if TIDEGATE_PYTHON.exists() else Path(sys.executable)
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


VENV = BENCH / ".peers" / python_version()
BIN = VENV / "bin"
SITE = VENV / "lib" / f"python{python_version()}" / "site-packages"
NODE = shutil.which("node")
NODE_MODULES = BENCH / ".peers" / "node" / "node_modules"

FRAMEWORKS = ("flask==3.1.3", "django==5.2.19", "urllib3==2.8.0")
ASGI_FRAMEWORKS = ("starlette==1.10.0", "fastapi==0.165.0")


def _limit(port: int, work: Work) -> list[str]:
    figures = [work.body_size] + ([work.request_size] if work.request_size else [])
    return [str(BENCH / "target" / "release" / "limit"), str(port), *map(str, figures)]


def _launched(server: str) -> Command:
    return lambda port, work: [str(BIN / "python"), str(BENCH / "launch.py"), server, str(port), work.app]


# Thousands may connect at once.
BACKLOG = ("--backlog", "4096")


def _tidegate(*options: str) -> Command:
    return lambda port, work: [
        *(
            str(TIDEGATE),
            "--no-supervisor",
            "--bind",
            f"127.0.0.1:{port}",
            *BACKLOG,
            *options,
            work.app,
        ),
    ]


def _admission(work: Work) -> list[str]:
    if work.limited:
        queue = QUEUED_PER_THREAD * work.threads
        return [
            *("--max-concurrency", str(work.threads), "--queue-size", str(queue)),
            *("--queue-timeout", f"{QUEUE_TIMEOUT_S}s"),
        ]
    # More connections than threads are to wait, not to be refused.
    return ["--queue-size", "20000", "--queue-timeout", "60s"] if work.connections > work.threads else []


def _tidegate_threads(port: int, work: Work) -> list[str]:
    return _tidegate("--threads", str(work.threads), *_admission(work))(port, work)


def _tidegate_greenlets(port: int, work: Work) -> list[str]:
    return _tidegate("--concurrency", "greenlets", *(_admission(work) if work.limited else ()))(port, work)


def _tidegate_asyncio(loop: str) -> Command:
    return _tidegate("--concurrency", "asyncio", "--loop", loop)


def _gunicorn(*options: str) -> Command:
    # The access log is off by default; `--http-parser fast` is its C parser.
    return lambda port, work: [
        *(str(BIN / "gunicorn"), "--workers", "1", "--http-parser", "fast", "--log-level", "critical"),
        *("--bind", f"127.0.0.1:{port}", *options, work.app),
    ]


def _gunicorn_gevent(port: int, work: Work) -> list[str]:
    # It takes no more connections than this; those that it may not serve yet wait in the listening socket.
    connections = work.threads if work.limited else max(1000, work.connections)
    return _gunicorn("--worker-class", "gevent", "--worker-connections", str(connections), *BACKLOG)(
        port, work
    )


def _gunicorn_gthread(port: int, work: Work) -> list[str]:
    # Connections beyond the threads are what it may keep alive and let wait.
    connections = str(work.threads + work.connections)
    options = (
        "--worker-class",
        "gthread",
        "--threads",
        str(work.threads),
        "--worker-connections",
        connections,
    )
    return _gunicorn(*options, *BACKLOG)(port, work)


def _granian(interface: str, options: Options) -> Command:
    # HTTP/1 only, and no WebSockets where there are none, spare it the upgrade paths.
    return lambda port, work: [
        *(str(BIN / "granian"), "--interface", interface, "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--http", "1", "--ws" if work.websocket else "--no-ws", "--no-log"),
        *(*options(work), work.app),
    ]


def _waitress(options: Options) -> Command:
    return lambda port, work: [
        *(str(BIN / "waitress-serve"), f"--listen=127.0.0.1:{port}", *options(work), work.app)
    ]


def _waitress_threads(work: Work) -> tuple[str, ...]:
    # By default it takes a hundred connections, and with select() about a thousand at most.
    limits = (f"--connection-limit={work.connections + 100}", "--backlog=4096", "--asyncore-use-poll")
    return (f"--threads={work.threads}", *limits)


def _uwsgi(options: Options) -> Command:
    return lambda port, work: [
        *(str(BIN / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "--processes", "1", "--disable-logging"),
        *("--listen", "4096", "--need-app", "--die-on-term", "--virtualenv", str(VENV)),
        # It closes after each response without saying so; said, a client does not count it as an error.
        *("--add-header", "Connection: close", "--module", work.app.partition(":")[0]),
        *("--callable", work.app.partition(":")[2], *options(work)),
    ]


def _uwsgi_gevent(work: Work) -> tuple[str, ...]:
    # Each is prepared when it starts.
    greenlets = work.threads if work.limited else work.connections
    return ("--gevent", str(greenlets), "--gevent-monkey-patch")


def _uvicorn(port: int, work: Work) -> list[str]:
    # What it takes by itself when it is installed with its "standard" extra, said, so that none falls back.
    return [
        *(str(BIN / "uvicorn"), "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"),
        *("--http", "httptools", "--ws", "websockets-sansio", "--no-access-log", "--log-level", "critical"),
        *(*BACKLOG, work.app),
    ]


def _h2corn(port: int, work: Work) -> list[str]:
    return [
        *(str(BIN / "h2corn"), "--bind", f"127.0.0.1:{port}", "--loop", "uvloop", "--no-access-log"),
        *(*BACKLOG, work.app),
    ]


def _daphne(port: int, work: Work) -> list[str]:
    # An endpoint of Twisted's is the only way to tell it a backlog; its own is 50.
    endpoint = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
    return [str(BIN / "daphne"), "--endpoint", endpoint, "--verbosity", "0", work.app]


def _node(program: str) -> Command:
    return lambda port, work: [str(NODE), str(BENCH / program), str(port), work.app.partition(":")[2]]


def _asynchronous(program: str) -> Command:
    return lambda port, work: [
        *(str(BIN / "python"), str(BENCH / program), str(port), work.app.partition(":")[2])
    ]


GUNICORN = ("gunicorn==27.0.1", "gunicorn_h1c==0.6.10")
GEVENT = ("gevent==26.9.0",)
GRANIAN = ("granian==2.8.7",)
UVLOOP = ("uvloop==0.23.0",)
FASTPYSGI = ("fastpysgi==0.6",)
TWISTED = ("twisted==26.10.0",)

# A pool of threads is for loads that wait, and no more than as many threads as are reasonable.
POOL: Mapping[str, Any] = {"kinds": ("wait", "overload"), "at_once_max": 1000}

# Any number of requests and of WebSockets at once.
ASGI: Mapping[str, Any] = {"interface": "asgi", "kinds": ("work", "wait", "websocket")}

PEERS = (
    Peer(
        "limit",
        _limit,
        needs=BENCH / "target" / "release" / "limit",
        remedy="install Rust; the program is built from bench/limit",
        interface="own",
        note="epoll, one read, one write, no parsing, no Python",
    ),
    Peer(
        "tidegate",
        # One thread, which runs the application inline: what the other hosts are held against.
        # The upload of memory.py is larger than it takes by default.
        _tidegate("--threads", "1", "--body-size-max", "unlimited"),
        needs=TIDEGATE,
        remedy="make build",
    ),
    Peer(
        "tidegate-threads",
        _tidegate_threads,
        needs=TIDEGATE,
        remedy="make build",
        kinds=("hello", "wait", "overload"),
        at_once_max=1000,
        queues=True,
        note="200 threads for hello; 1,000 for loads that wait, where further requests queue",
    ),
    Peer(
        "tidegate-greenlets",
        _tidegate_greenlets,
        # Not in its own environment: that of the peers is on every server's path.
        requirements=GEVENT,
        needs=TIDEGATE,
        remedy="make build",
        kinds=("hello", "wait", "overload"),
    ),
    Peer(
        "tidegate-asyncio",
        _tidegate_asyncio("asyncio"),
        needs=TIDEGATE,
        remedy="make build",
        note="its ASGI gateway on the standard library's event loop",
        **ASGI,
    ),
    Peer(
        "tidegate-uvloop",
        _tidegate_asyncio("uvloop"),
        # In the peers' environment, as gevent is.
        requirements=UVLOOP,
        needs=TIDEGATE,
        remedy="make build",
        note="its ASGI gateway on uvloop, which the other ASGI servers have too, unless said otherwise",
        **ASGI,
    ),
    Peer(
        "bjoern",
        _launched("bjoern"),
        requirements=("bjoern==3.2.2",),
        needs=SITE / "bjoern.py",
        remedy="its build needs libev's headers (Debian: apt-get install libev-dev) and a C compiler",
    ),
    Peer("fastpysgi", _launched("fastpysgi"), requirements=FASTPYSGI, needs=SITE / "fastpysgi.py"),
    Peer(
        "fastwsgi",
        _launched("fastwsgi"),
        # It imports pkg_resources, which newer releases of setuptools no longer have.
        requirements=("fastwsgi==0.0.9", "setuptools==80.9.0"),
        needs=SITE / "fastwsgi.py",
    ),
    Peer(
        "granian",
        # One blocking thread is what its documentation advises for applications that do not wait.
        _granian("wsgi", lambda work: ("--blocking-threads", "1")),
        requirements=GRANIAN,
        needs=BIN / "granian",
    ),
    Peer(
        "granian-threads",
        _granian("wsgi", lambda work: ("--blocking-threads", str(work.threads), *BACKLOG)),
        requirements=GRANIAN,
        needs=BIN / "granian",
        **POOL,
    ),
    Peer(
        "uwsgi",
        _uwsgi(lambda work: ()),
        requirements=("uwsgi==2.0.31",),
        needs=BIN / "uwsgi",
        remedy="its build needs a C compiler and Python's headers",
        keeps_alive=False,
        note="closes after each response, because with --http11-socket one connection would hold its only"
        " worker; wrk counts a response of unsaid length, which ends with the connection, as an error",
    ),
    Peer(
        "uwsgi-threads",
        _uwsgi(lambda work: ("--threads", str(work.threads))),
        requirements=("uwsgi==2.0.31",),
        needs=BIN / "uwsgi",
        remedy="its build needs a C compiler and Python's headers",
        keeps_alive=False,
        **POOL,
    ),
    Peer(
        "uwsgi-gevent",
        _uwsgi(_uwsgi_gevent),
        requirements=("uwsgi==2.0.31", *GEVENT),
        needs=BIN / "uwsgi",
        remedy="its build needs a C compiler and Python's headers",
        keeps_alive=False,
        kinds=("wait", "overload"),
    ),
    Peer(
        "gunicorn-gevent",
        _gunicorn_gevent,
        requirements=(*GUNICORN, *GEVENT, "packaging==26.0"),
        needs=BIN / "gunicorn",
        kinds=("hello", "work", "wait", "overload"),
    ),
    Peer("gunicorn-gthread", _gunicorn_gthread, requirements=GUNICORN, needs=BIN / "gunicorn", **POOL),
    Peer(
        "gunicorn-sync",
        _gunicorn("--worker-class", "sync"),
        requirements=GUNICORN,
        needs=BIN / "gunicorn",
        keeps_alive=False,
        note="closes after each response: this worker has no keep-alive",
    ),
    Peer(
        "waitress",
        _waitress(lambda work: ("--threads=4",)),
        requirements=("waitress==3.0.2",),
        needs=BIN / "waitress-serve",
    ),
    Peer(
        "waitress-threads",
        _waitress(_waitress_threads),
        requirements=("waitress==3.0.2",),
        needs=BIN / "waitress-serve",
        **POOL,
    ),
    Peer(
        "cheroot",
        lambda port, work: [str(BIN / "cheroot"), "--bind", f"127.0.0.1:{port}", work.app],
        requirements=("cheroot==11.1.2",),
        needs=BIN / "cheroot",
    ),
    Peer(
        "uvicorn",
        _uvicorn,
        requirements=("uvicorn==0.54.0", "httptools==0.9.0", "websockets==17.4", *UVLOOP),
        needs=BIN / "uvicorn",
        **ASGI,
    ),
    Peer(
        "granian-asgi",
        # More requests at once than its backlog are held back unless told.
        _granian("asgi", lambda work: ("--loop", "uvloop", *BACKLOG, "--backpressure", "20000")),
        requirements=(*GRANIAN, *UVLOOP),
        needs=BIN / "granian",
        **ASGI,
    ),
    Peer("h2corn", _h2corn, requirements=("h2corn==2.0.0", *UVLOOP), needs=BIN / "h2corn", **ASGI),
    Peer(
        "hypercorn",
        _launched("hypercorn"),
        requirements=("hypercorn==0.18.0", "wsproto==1.3.2", *UVLOOP),
        needs=SITE / "hypercorn",
        **ASGI,
    ),
    Peer(
        "fastpysgi-asgi",
        _launched("fastpysgi"),
        requirements=FASTPYSGI,
        needs=SITE / "fastpysgi.py",
        interface="asgi",
        kinds=("work", "wait"),
        note="its own loop on libuv, beside one of asyncio's; it has no WebSockets",
    ),
    Peer(
        "daphne",
        _daphne,
        requirements=("daphne==4.2.3", *TWISTED),
        needs=BIN / "daphne",
        note="Twisted on asyncio's loop; it takes no other",
        **ASGI,
    ),
    Peer(
        "node",
        _node("hello.js"),
        needs=Path(NODE) if NODE else BENCH / "node-is-not-installed",
        remedy="install Node.js",
        interface="own",
        kinds=("hello", "work", "wait"),
        note="no Python: its own http module",
    ),
    Peer(
        "node-ws",
        _node("echo.js"),
        # The second does the masking in C, and is what the first one's documentation advises for speed.
        packages=("ws@8.23.0", "bufferutil@4.1.0"),
        needs=NODE_MODULES / "ws",
        remedy="install Node.js and npm",
        interface="own",
        kinds=("websocket",),
        note="no Python: the package ws with bufferutil",
    ),
    Peer(
        "tornado",
        _asynchronous("app_tornado.py"),
        requirements=("tornado==6.6.1",),
        needs=SITE / "tornado",
        interface="own",
        kinds=("wait", "websocket"),
        note="its own coroutines, on asyncio's loop; its own client, which has no keep-alive",
    ),
    Peer(
        "twisted",
        _asynchronous("app_twisted.py"),
        requirements=TWISTED,
        needs=SITE / "twisted",
        interface="own",
        kinds=("wait",),
        note="its own deferreds, its own client",
    ),
)
BY_NAME = {peer.name: peer for peer in PEERS}


def environ(**more: str) -> Mapping[str, str]:
    """Return the environment that every server runs in: our applications and the same frameworks for all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "PYTHON"))}
    return {
        **kept,
        "PYTHONPATH": f"{BENCH}{os.pathsep}{SITE}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "NODE_PATH": str(NODE_MODULES),
        **more,
    }


def versions() -> dict[str, str]:
    """Return what is installed of the peers and frameworks, by the names that pip knows."""
    if not (BIN / "python").exists():
        return {}
    listing = subprocess.run(
        [BIN / "python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(line.lower().split("==") for line in listing.splitlines() if "==" in line)
    if NODE:
        version = subprocess.run([NODE, "--version"], check=False, capture_output=True, text=True)
        found["node"] = version.stdout.strip().lstrip("v")
    return {**found, **_npm_versions()}


def _npm_versions() -> dict[str, str]:
    descriptions = [json.loads(path.read_text()) for path in NODE_MODULES.glob("*/package.json")]
    return {description["name"]: description["version"] for description in descriptions}


def build_programs(*packages: str) -> None:
    """Build the named programs of bench/; cargo says what is wrong when it cannot."""
    for package in packages:
        subprocess.run(
            ["cargo", "build", "--release", "--quiet", "--package", package], cwd=BENCH, check=True
        )


def install(chosen: list[Peer]) -> dict[str, str]:
    """Install what is missing of the chosen peers; return, for each that is not to be had, why."""
    if not (BIN / "python").exists():
        base = TIDEGATE_PYTHON if TIDEGATE_PYTHON.exists() else Path(sys.executable)
        subprocess.run([base, "-m", "venv", VENV], check=True)
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # One run for each peer, so that one that does not build leaves the others be.
    for requirements in (FRAMEWORKS, ASGI_FRAMEWORKS, *(peer.requirements for peer in chosen)):
        _install_missing(pip, requirements, "==")
    if npm := shutil.which("npm"):
        NODE_MODULES.parent.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(NODE_MODULES.parent), "--no-audit", "--no-fund"]
        for packages in (peer.packages for peer in chosen):
            _install_missing(command, packages, "@")
    return {
        peer.name: peer.remedy or f"pip could not install {' '.join(peer.requirements)}"
        for peer in chosen
        if peer.needs is not None and not peer.needs.exists()
    }


def _install_missing(command: list[str], pinned: tuple[str, ...], sign: str) -> None:
    """Run an installer with those of NAME SIGN VERSION that are not there."""
    installed = versions()
    wanted = [item.split(sign) for item in pinned]
    if missing := [sign.join((name, version)) for name, version in wanted if installed.get(name) != version]:
        print(f"installing {' '.join(missing)}", file=sys.stderr)
        subprocess.run(
            [*command, *missing], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
