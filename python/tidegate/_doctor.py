"""What ``tidegate doctor`` looks at in Python: the interpreter, what requests run on, and common mistakes.

All of it happens in a process of its own, in which the application has been loaded as the server does it.
What is said of an application is read from what it has made, not guessed from its source.
"""

from __future__ import annotations

import sys
import warnings

# Before gevent patches, nothing more may be imported.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date
    from types import FrameType
    from typing import Any, NoReturn, TypedDict

    class Facts(TypedDict):
        """What the settings say."""

        # main-thread, threads, greenlets, asyncio or bridge
        runs_on: str
        # auto, wsgi or asgi
        interface: str
        loop: str
        # The module that is named.
        module: str | None
        workers: int
        # Requests that run at once in a worker.
        running: int
        preload: bool
        reload: bool
        # Others than this machine can connect without a proxy.
        public: bool

    # A name, a verdict, what was found and what to do.
    Finding = tuple[str, str, str, str]

# When CPython's versions are given up, at the end of the month: https://devguide.python.org/versions/
_ENDS = {
    (3, 10): (2026, 10),
    (3, 11): (2027, 10),
    (3, 12): (2028, 10),
    (3, 13): (2029, 10),
    (3, 14): (2030, 10),
    (3, 15): (2031, 10),
}

# So many months before, it is near.
_NEAR_MONTHS = 6

# Calls that serve until the process ends: the module and the function.
_SERVERS = {
    ("aiohttp.web", "run_app"),
    ("bottle", "run"),
    ("flask.app", "run"),
    ("gevent.baseserver", "serve_forever"),
    ("hypercorn.run", "run"),
    ("quart.app", "run"),
    ("uvicorn.main", "run"),
    ("waitress", "serve"),
    ("werkzeug.serving", "run_simple"),
}

# Database drivers in C, which gevent cannot make wait.
_DRIVERS_IN_C = {"MySQLdb": "PyMySQL", "pymssql": "python-tds", "pyodbc": "a driver in Python"}

# What waits for a network, and knows no event loop.
_BLOCKING = ("requests", "psycopg2", "pymysql", "MySQLdb", "pyodbc", "pymssql")

# PostgreSQL takes so many connections unless it is told otherwise (max_connections).
_CONNECTIONS_USUAL = 100

# Of psycopg_pool, where Django's OPTIONS["pool"] says nothing.
_POOL_SIZE_USUAL = 4

_warnings: list[tuple[type[Warning], str]] = []


def _ok(name: str, found: str) -> Finding:
    return (name, "ok", found, "")


def _advice(name: str, found: str, remedy: str) -> Finding:
    return (name, "advice", found, remedy)


def _wrong(name: str, found: str, remedy: str) -> Finding:
    return (name, "wrong", found, remedy)


class _Serves(BaseException):
    """An application would serve by itself while it is imported."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


def watch() -> None:
    """Note what is warned of from now on, and keep an application from serving when it is imported."""
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *rest: Any, **others: Any) -> None:
        _warnings.append((category, str(message)))
        show(message, category, *rest, **others)

    warnings.showwarning = note
    import tidegate

    tidegate.serve = _refuse
    sys.addaudithook(_on_event)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise _Serves(_place(sys._getframe(1)))


def _on_event(event: str, _: object) -> None:
    if event != "socket.bind":
        return
    caller = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in _SERVERS:
            caller = frame.f_back
        # Only while a module is executed: a listener for metrics with a thread of its own holds up nobody.
        if frame.f_code.co_name == "<module>" and caller is not None:
            raise _Serves(_place(caller))
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def look(
    facts: Facts, loaded: list[tuple[str, object, str]], failure: tuple[str, BaseException | None] | None
) -> list[Finding]:
    """Give what is found once the applications have been loaded, or could not be.

    :param loaded: names, applications, and how they are called.
    :param failure: why there are none, in a line, and what was raised.
    """
    from datetime import date

    findings = [python(sys.version_info[:2], date.today()), *_interpreter()]
    if failure is not None:
        findings.append(_failed(*failure))
    findings += _host(facts)
    for name, application, kind in loaded:
        findings += _interface(facts, name, application, kind)
    if facts["preload"]:
        findings += _forked()
    findings += [*_frameworks(facts), *_django(facts), *_pools(facts)]
    # What is well is worth a line once, whatever was looked at.
    if loaded and not any(finding[0] == "application" for finding in findings):
        findings.append(_ok("application", ", ".join(f"{name} is {kind}" for name, _, kind in loaded)))
    return findings


def python(version: tuple[int, int], today: date) -> Finding:
    """Tell whether this version of Python is looked after, and for how long."""
    name = f"Python {version[0]}.{version[1]}"
    if version not in _ENDS:
        return _ok("python", f"it is {name}")
    year, month = _ENDS[version]
    left = (year - today.year) * 12 + month - today.month
    ends = f"{year}-{month:02}"
    if left < 0:
        return _advice(
            "python",
            f"{name} has had no security fixes since {ends}",
            "take a newer one",
        )
    if left <= _NEAR_MONTHS:
        return _advice(
            "python",
            f"{name} gets security fixes until {ends}, which is near",
            "plan for a newer one",
        )
    return _ok("python", f"{name} gets security fixes until {ends}")


def _interpreter() -> Iterator[Finding]:
    import codecs
    import locale
    import re
    import sysconfig

    encodings = {sys.getfilesystemencoding(), locale.getpreferredencoding(False)}
    others = sorted(name for name in encodings if codecs.lookup(name).name != "utf-8")
    if others:
        yield _advice(
            "encoding",
            f"files and their names are read as {others[0]}: what is not ASCII fails, or is garbled",
            "LANG=C.UTF-8 or PYTHONUTF8=1 in the server's environment",
        )
    else:
        yield _ok("encoding", "text is UTF-8")
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return
    pattern = re.compile(r"\(GIL\) has been enabled to load module '([^']+)'")
    culprits = [match[1] for _, text in _warnings if (match := pattern.search(text))]
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        yield _ok("gil", "this is a free-threaded Python, and the GIL is off")
    elif culprits:
        yield _advice(
            "gil",
            f"this is a free-threaded Python, but {', '.join(culprits)} has turned the GIL on",
            "take a version that supports free threading, or PYTHON_GIL=0 if you have seen that it does",
        )
    else:
        yield _advice(
            "gil",
            "this is a free-threaded Python, but the GIL was turned on",
            "leave PYTHON_GIL=1 and -X gil=1 out",
        )


def _failed(line: str, cause: BaseException | None) -> Finding:
    if isinstance(cause, _Serves):
        return _wrong(
            "application",
            f"{cause.place} starts another server when the module is imported",
            'put it below `if __name__ == "__main__":`',
        )
    if cause is None:
        return _wrong("application", line, "mend that: the server would end with this line")
    told = str(cause).strip().split("\n")[0]
    why = f"{type(cause).__name__}: {told}" if told else type(cause).__name__
    return _wrong("application", f"{line}: {why}", "see the traceback on standard error")


def _host(facts: Facts) -> Iterator[Finding]:
    """Look at what requests run on."""
    runs_on = facts["runs_on"]
    if runs_on == "greenlets":
        yield from _gevent()
    if runs_on in ("greenlets", "bridge"):
        yield from _greenlet()
    if runs_on in ("asyncio", "bridge"):
        if facts["loop"] != "asyncio":
            yield _uvloop(facts["loop"])
        if runs_on == "bridge" and (blocking := [name for name in _BLOCKING if name in sys.modules]):
            yield _advice(
                "blocking-calls",
                f"{', '.join(blocking)} is imported: who waits in it holds up the whole loop",
                "tidegate.await_ with an asynchronous client, or --concurrency threads or greenlets",
            )


def _gevent() -> Iterator[Finding]:
    import gevent
    import gevent.monkey

    late = [text for category, text in _warnings if category is gevent.monkey.MonkeyPatchWarning]
    resolver = gevent.config.resolver
    if not gevent.monkey.is_module_patched("socket"):
        yield _wrong("gevent", "the standard library is not patched", "leave gevent.monkey alone")
    elif late:
        yield _advice(
            "gevent",
            f"gevent came too late for a part of the library: {late[0].splitlines()[0]}",
            "import nothing before: see sitecustomize, .pth files and what starts the server",
        )
    elif getattr(resolver, "__module__", "") == "gevent.resolver.blocking":
        yield _wrong(
            "gevent",
            "GEVENT_RESOLVER=block: whoever looks a name up holds up all others",
            "leave GEVENT_RESOLVER out: threads then look names up",
        )
    else:
        yield _ok("gevent", f"gevent {gevent.__version__} has patched the standard library")
    extensions = sys.modules.get("psycopg2.extensions")
    if extensions is not None and extensions.get_wait_callback() is None:
        yield _wrong(
            "drivers",
            "psycopg2 waits in C: each query holds up all other requests of its worker",
            "psycogreen.gevent.patch_psycopg() before the first query (pip install psycogreen), or psycopg 3",
        )
    for driver, instead in _DRIVERS_IN_C.items():
        if driver in sys.modules:
            yield _wrong(
                "drivers",
                f"{driver} waits in C: each query holds up all other requests of its worker",
                f"{instead} instead, or --concurrency threads",
            )


def _greenlet() -> Iterator[Finding]:
    try:
        import greenlet
    except ImportError:
        # Where it is needed, that was said.
        return
    version = greenlet.__version__
    if int(version.split(".")[0]) < 3:
        remedy = "pip install --upgrade greenlet"
        yield _wrong(
            "greenlet",
            f"greenlet {version} is older than 3, which is needed",
            remedy,
        )
    else:
        yield _ok("greenlet", f"greenlet {version}")


def _uvloop(loop: str) -> Finding:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        if loop == "uvloop":
            return _wrong(
                "uvloop",
                "--loop uvloop, and it is not installed",
                "pip install 'tidegate[uvloop]'",
            )
        return _ok("uvloop", "uvloop is not installed, and asyncio's own loop is taken")
    return _ok("uvloop", "uvloop is installed")


def _interface(facts: Facts, name: str, application: object, kind: str) -> Iterator[Finding]:
    from importlib.util import find_spec

    from tidegate._interface import tell

    told = tell(application).interface
    if facts["interface"] == kind and told is not None and told != kind:
        yield _wrong(
            "application",
            f"--interface {kind}, but {name} is called as {told.upper()}: every request would fail",
            f"leave --interface out, or name the {kind.upper()} application",
        )
        return
    module = facts["module"] or ""
    package, _, last = module.rpartition(".")
    beside = f"{package}.asgi"
    try:
        has_both = last == "wsgi" and package != "" and find_spec(beside) is not None
    except ImportError:
        has_both = False
    if facts["runs_on"] == "bridge" and has_both:
        yield _advice(
            "application",
            f"{module} is WSGI, and runs in greenlets on the loop; {beside} is there too",
            f"name {beside} if asynchronous views and WebSockets are meant",
        )


def _forked() -> Iterator[Finding]:
    """Look for what does not survive the fork that comes after --preload."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    main = threading.main_thread()
    names = [thread.name for thread in threading.enumerate() if thread is not main]
    if names:
        yield _wrong(
            "preload",
            f"--preload, and importing the application has started threads ({', '.join(names)}):"
            " no worker will have them",
            "start them in os.register_at_fork(after_in_child=...) or on first use; or leave --preload out",
        )


def _frameworks(facts: Facts) -> Iterator[Finding]:
    kinds = {
        "Flask": ("flask", "Flask"),
        "Quart": ("quart", "Quart"),
        "Starlette": ("starlette.applications", "Starlette"),
        "Litestar": ("litestar", "Litestar"),
    }
    for name, where in kinds.items():
        if not facts["reload"] and any(application.debug for application in _instances(*where)):
            yield _wrong(
                "debug",
                f"a {name} application has debug on: errors show code and variables to whoever causes them",
                "turn it off, in code and in the environment; --reload is for development, and expects it",
            )
    if any(application.evalex for application in _instances("werkzeug.debug", "DebuggedApplication")):
        yield _wrong(
            "debug",
            "werkzeug's debugger is around an application: it runs code for whoever guesses its PIN",
            "leave DebuggedApplication out",
        )


def _instances(module: str, name: str) -> list[Any]:
    """Find objects of a class and of those made of it, if the module was imported."""
    import gc

    cls = getattr(sys.modules.get(module), name, None)
    if not isinstance(cls, type):
        return []
    gc.unfreeze()
    # By type and not by isinstance, which asks what proxies stand for.
    return [found for found in gc.get_objects() if issubclass(type(found), cls)]


def _django(facts: Facts) -> Iterator[Finding]:
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return
    settings = conf.settings
    if settings.DEBUG and not facts["reload"]:
        yield _wrong(
            "debug",
            "Django has DEBUG = True: errors show code and settings, and every query stays in memory",
            "DEBUG = False; --reload is for development, and expects it",
        )
    hosts = settings.ALLOWED_HOSTS
    if not hosts and not settings.DEBUG:
        yield _wrong(
            "django-hosts",
            "Django has no ALLOWED_HOSTS: every request is answered with 400",
            "name the site's hosts there",
        )
    elif "*" in hosts:
        yield _advice(
            "django-hosts",
            "Django has '*' in ALLOWED_HOSTS: links in mails and caches can be made to lead elsewhere",
            "name the site's hosts there, unless a proxy lets no other through",
        )
    if settings.SECURE_PROXY_SSL_HEADER and facts["public"]:
        yield _advice(
            "django-proxy",
            "Django believes SECURE_PROXY_SSL_HEADER, and others than a proxy may connect and send it",
            "--bind an address that only the proxy reaches, or a unix socket",
        )
    for alias, database in settings.DATABASES.items():
        yield from _django_database(facts, alias, database)


def _django_database(facts: Facts, alias: str, database: Mapping[str, Any]) -> Iterator[Finding]:
    name = "database" if alias == "default" else f"database {alias}"
    options = database.get("OPTIONS") or {}
    running, workers = facts["running"], facts["workers"]
    at_once = running * workers
    if str(database.get("ENGINE", "")).endswith("sqlite3"):
        path = str(database.get("NAME", ""))
        if (":memory:" in path or "mode=memory" in path) and at_once > 1:
            yield _wrong(
                name,
                "SQLite in memory: each thread and each worker has a database of its own",
                "name a file, or take a server",
            )
        elif at_once > 1 and options.get("transaction_mode") != "IMMEDIATE":
            yield _advice(
                name,
                f"SQLite has one writer at a time, and up to {at_once} requests run: some find it locked",
                'OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20} has them wait; or take a server',
            )
        return
    kept = database.get("CONN_MAX_AGE", 0) != 0
    if kept and facts["runs_on"] in ("greenlets", "asyncio", "bridge"):
        yield _wrong(
            name,
            "CONN_MAX_AGE keeps a connection for each greenlet or task, that is, request: none is used again",
            'CONN_MAX_AGE = 0, with OPTIONS = {"pool": ...} or a pooler such as PgBouncer',
        )
    elif kept and at_once >= _CONNECTIONS_USUAL:
        yield _advice(
            name,
            f"CONN_MAX_AGE keeps a connection for each thread, and there may be {at_once}",
            "see that the database takes so many (max_connections), lower --threads, or take a pool",
        )
    pool = options.get("pool")
    if pool and facts["runs_on"] == "threads":
        sizes = pool if isinstance(pool, dict) else {}
        size = sizes.get("max_size") or sizes.get("min_size") or _POOL_SIZE_USUAL
        if size < running:
            yield _too_small(name, size, running)


def _pools(facts: Facts) -> Iterator[Finding]:
    """Look at pools that there are, for requests on threads: each may want a connection."""
    if facts["runs_on"] != "threads":
        return
    sizes = []
    for pool in _instances("sqlalchemy.pool", "QueuePool"):
        overflow = getattr(pool, "_max_overflow", 0)
        if overflow >= 0 and pool.size() > 0:
            sizes.append(pool.size() + overflow)
    sizes += [pool.max_size for pool in _instances("psycopg_pool", "ConnectionPool")]
    if sizes and min(sizes) < facts["running"]:
        yield _too_small("database-pool", min(sizes), facts["running"])


def _too_small(name: str, size: int, running: int) -> Finding:
    return _advice(
        name,
        f"its pool has {size} connections, and up to {running} requests run: some wait for one, and may fail",
        "a larger pool, or --threads that are not many more",
    )
