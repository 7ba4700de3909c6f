"""What the server makes of an application: WSGI, ASGI, or a line that says why neither."""

from __future__ import annotations

import functools
import inspect
import socket
import subprocess
import sys
from pathlib import Path

import bottle
import falcon
import falcon.asgi
import flask
import pytest
from asgiref.compatibility import guarantee_single_callable
from asgiref.sync import markcoroutinefunction
from asgiref.wsgi import WsgiToAsgi
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Request

import tidegate
from support.command import one_line, run
from support.server import Server
from tidegate._interface import is_coroutine_function, tell


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def wsgi_generator(environ, start_response):
    start_response("200 OK", [])
    yield b"hello"


async def asgi(scope, receive, send):
    pass


async def asgi_generator(scope, receive, send):
    yield


def hiding(function):
    """Wrap as decorators do that fit any function."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Wsgi:
    def __call__(self, environ, start_response):
        return wsgi(environ, start_response)

    def method(self, environ, start_response):
        return wsgi(environ, start_response)

    @hiding
    def decorated(self, environ, start_response):
        return wsgi(environ, start_response)

    @staticmethod
    def static(environ, start_response):
        return wsgi(environ, start_response)

    def configured(self, options, environ, start_response):
        return wsgi(environ, start_response)


class Asgi:
    async def __call__(self, scope, receive, send):
        pass

    async def method(self, scope, receive, send):
        pass

    @hiding
    async def decorated(self, scope, receive, send):
        pass

    @staticmethod
    async def static(scope, receive, send):
        pass

    @classmethod
    async def of_class(cls, scope, receive, send):
        pass

    def sync(self, scope, receive, send):
        return asgi(scope, receive, send)

    async def configured(self, options, scope, receive, send):
        pass


class WsgiResponse:
    """The class is the application, as in PEP 3333's second example."""

    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        self.start("200 OK", [])
        yield b"hello"


class AsgiResponse:
    """The class is the application, as Starlette's endpoints are."""

    def __init__(self, scope, receive, send):
        pass

    def __await__(self):
        yield


class ChoosesItsCall:
    """What is called is found on the type; here it is the instance's after all."""

    __slots__ = ("__call__",)

    def __init__(self, call):
        self.__call__ = call


class WithAnAttributeThatIsNotCalled(Wsgi):
    def __init__(self):
        self.__call__ = asgi


class Proxy:
    """Passes for what it wraps, as wrapt's do."""

    def __init__(self, wrapped):
        self.__wrapped__ = wrapped

    @property
    def __class__(self):
        return type(self.__wrapped__)

    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)

    def __call__(self, *args, **kwargs):
        return self.__wrapped__(*args, **kwargs)


class Nested:
    __call__ = Asgi()


@functools.wraps(asgi)
def adapted_to_wsgi(environ, start_response):
    return [b"hello"]


@functools.wraps(wsgi)
async def adapted_to_asgi(scope, receive, send):
    pass


@functools.wraps(asgi)
def adapted_in_other_words(request, respond):
    return [b"hello"]


def marked(scope, receive, send):
    return asgi(scope, receive, send)


def by_any_names(one, two, three):
    return asgi(one, two, three)


WSGI = {
    "function": wsgi,
    "generator function": wsgi_generator,
    "other names": lambda e, s: [],
    "more that need not be passed": lambda e, s, debug=False: [],
    "names tell where numbers do not": lambda environ=None, start_response=None, exc_info=None: [],
    "with keywords": lambda environ, start_response, **options: [],
    "instance": Wsgi(),
    "instance's attribute is not called": WithAnAttributeThatIsNotCalled(),
    "method": Wsgi().method,
    "decorated method": Wsgi().decorated,
    "static method": Wsgi.static,
    "partial": functools.partial(Wsgi().configured, {}),
    "nested partial": functools.partial(functools.partial(Wsgi.configured, Wsgi()), {}),
    "partial of an instance": functools.partial(Wsgi()),
    "class": WsgiResponse,
    "decorated": hiding(wsgi),
    "decorated twice": hiding(hiding(wsgi)),
    "made of ASGI": adapted_to_wsgi,
    "made of ASGI, in other words": adapted_in_other_words,
    "proxy": Proxy(wsgi),
    "Flask": flask.Flask("a"),
    "Bottle": bottle.Bottle(),
    "Falcon": falcon.App(),
    "werkzeug's dispatcher": DispatcherMiddleware(wsgi),
}

ASGI = {
    "function": asgi,
    "a function that gives what a coroutine function gives": marked,
    "other names": by_any_names,
    "names tell where numbers do not": lambda scope, receive=None, send=None: None,
    "names tell where both numbers fit": lambda scope, receive, send=None: None,
    "instance": Asgi(),
    "instance of an instance": Nested(),
    "instance that chooses": ChoosesItsCall(asgi),
    "method": Asgi().method,
    "method that is no coroutine function": Asgi().sync,
    "decorated method": Asgi().decorated,
    "static method": Asgi.static,
    "class method": Asgi.of_class,
    "partial": functools.partial(Asgi().configured, {}),
    "nested partial": functools.partial(functools.partial(Asgi.configured, Asgi()), {}),
    "partial of an instance": functools.partial(Asgi()),
    "class": AsgiResponse,
    "decorated": hiding(asgi),
    "made of WSGI": adapted_to_asgi,
    "proxy": Proxy(asgi),
    "marked": markcoroutinefunction(lambda *args: asgi(*args)),
    "Falcon": falcon.asgi.App(),
    "asgiref's adapter": WsgiToAsgi(wsgi),
    "asgiref's wrapper of ASGI 2": guarantee_single_callable(lambda scope: asgi),
}

UNTOLD = {
    "anything goes": lambda *args: [],
    "one and more": lambda first, *rest: [],
    "two or three, all with defaults": lambda a=None, b=None, c=None: [],
    "written in C": print,
    "decorated, and the decorator takes care of the arguments": Request.application(lambda request: None),
    "decorated without a note": lambda *args, **kwargs: wsgi(*args, **kwargs),
}


def takes_too_much(scope, receive, send, database):
    pass


async def takes_a_request(request):
    pass


class Unready:
    """An application whose instance is meant."""

    def __init__(self, configuration, database):
        pass

    async def __call__(self, scope, receive, send):
        pass


class UnreadyToo(Unready):
    def __init__(self, configuration, database, cache):
        pass


class Consumer:
    """ASGI 2, as Channels 2 had it."""

    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


NEITHER = {
    "async generator function": (asgi_generator, "async generator function"),
    "partial of one": (functools.partial(asgi_generator), "async generator function"),
    "factory": (lambda: wsgi, "like a function that makes"),
    "factory with an option": (lambda configuration=None: wsgi, "like a function that makes"),
    "too many": (takes_too_much, r"takes \(scope, receive, send, database\); WSGI passes"),
    "too few": (lambda request: None, r"takes \(request\); WSGI passes"),
    "coroutine function of something else": (takes_a_request, r"takes \(request\); ASGI passes"),
    "class of WSGI applications": (Unready, "cannot be iterated; is an instance of it meant"),
    "class of ASGI applications": (UnreadyToo, "cannot be awaited; is an instance of it meant"),
    "ASGI 2": (lambda scope: asgi, r"asgiref\.compatibility\.guarantee_single_callable"),
    "ASGI 2, a class": (Consumer, r"asgiref\.compatibility\.guarantee_single_callable"),
}


@pytest.mark.parametrize(
    ("application", "interface"),
    [
        pytest.param(application, interface, id=f"{interface or 'untold'}: {name}")
        for interface, applications in [("wsgi", WSGI), ("asgi", ASGI), (None, UNTOLD)]
        for name, application in applications.items()
    ],
)
def test_an_application_is_told_by_how_it_can_be_called(application, interface):
    assert tell(application) == (interface, None)


@pytest.mark.parametrize(("application", "reason"), NEITHER.values(), ids=NEITHER)
def test_what_can_be_no_application_is_told_why(application, reason):
    with pytest.raises(TypeError, match=reason):
        tidegate.serve(application)


@pytest.mark.parametrize("application", WSGI.values(), ids=WSGI)
def test_what_gives_a_response_is_no_coroutine_function(application):
    assert not is_coroutine_function(application)


def test_a_mark_makes_a_coroutine_function():
    function = markcoroutinefunction(lambda *args: asgi(*args))
    assert is_coroutine_function(function)
    assert is_coroutine_function(functools.partial(function))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction is new in Python 3.12")
def test_a_mark_of_pythons_own_makes_one_too():
    assert is_coroutine_function(inspect.markcoroutinefunction(lambda *args: asgi(*args)))


# From here on by the command. A bind that fails ends it once the application has been looked at.

SHAPES = """
def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def anything(*args):
    return wsgi(*args)

async def asgi(scope, receive, send):
    pass

def make_wsgi():
    return wsgi

def make_asgi():
    return asgi

async def make_later():
    return asgi

def make_coroutine():
    return make_later()

def double(scope):
    return asgi
"""

WSGI_ON_THREADS = "is a WSGI application (threads 200)"
ASGI_ON_ASYNCIO = "is an ASGI application (asyncio 10000)"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "service.py").write_text(SHAPES)
    return tmp_path


@pytest.fixture
def taken():
    """An address that cannot be bound."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def told(project: Path, taken: str, *arguments: str) -> list[str]:
    result = run("--log-level", "debug", "--bind", taken, *arguments, cwd=project)
    assert result.returncode == 2, result.stderr
    lines = [line.removeprefix("tidegate debug: ") for line in result.stderr.splitlines()]
    return [line for line in lines if " application (" in line]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["service:wsgi"], [f"service:wsgi {WSGI_ON_THREADS}"]),
        (["service:asgi"], [f"service:asgi {ASGI_ON_ASYNCIO}"]),
        (["service:asgi", "--threads", "1"], [f"service:asgi {ASGI_ON_ASYNCIO}"]),
        (["service:wsgi", "-c", "asyncio"], ["service:wsgi is a WSGI application (asyncio 10000)"]),
        (["service:anything"], [f"service:anything {WSGI_ON_THREADS}"]),
        (["service:anything", "-i", "wsgi"], [f"service:anything {WSGI_ON_THREADS}"]),
        (["service:anything", "-i", "asgi"], [f"service:anything {ASGI_ON_ASYNCIO}"]),
        (["service:wsgi", "-i", "asgi"], [f"service:wsgi {ASGI_ON_ASYNCIO}"]),
        (
            ["service:make_wsgi", "--factory"],
            [f"what the factory made of service:make_wsgi {WSGI_ON_THREADS}"],
        ),
        (
            ["service:make_asgi", "--factory"],
            [f"what the factory made of service:make_asgi {ASGI_ON_ASYNCIO}"],
        ),
        (
            ["service:wsgi", "--mount", "/a=service:wsgi", "--mount", "/b=service:asgi"],
            [
                f"service:wsgi {WSGI_ON_THREADS}",
                f"service:wsgi {WSGI_ON_THREADS}",
                f"service:asgi {ASGI_ON_ASYNCIO}",
            ],
        ),
    ],
)
def test_the_log_tells_the_interface_and_what_it_runs_on(project, taken, arguments, expected):
    assert told(project, taken, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["service:asgi", "-i", "wsgi"],
            "service:asgi is a coroutine function, and no WSGI application",
        ),
        (
            ["service:make_wsgi"],
            "service:make_wsgi can be called without arguments, "
            "like a function that makes the application (--factory)",
        ),
        (
            ["service:make_wsgi", "--factory", "--mount", "/a=service:make_asgi"],
            "service:make_asgi can be called without arguments, "
            "like a function that makes the application (--factory)",
        ),
        (
            ["service:make_later", "--factory"],
            "--factory: service:make_later is asynchronous; a factory must return the application",
        ),
        (
            ["service:make_coroutine", "--factory"],
            "--factory: service:make_coroutine is asynchronous; a factory must return the application",
        ),
        (
            ["service:double"],
            "service:double is an ASGI 2 application, which takes the scope alone, and "
            "ASGI 3 is spoken here: asgiref.compatibility.guarantee_single_callable makes one of it",
        ),
        (
            ["service:asgi", "-c", "threads"],
            '--concurrency "threads" (from the command line): service:asgi is an ASGI application; '
            "accepted: auto, asyncio",
        ),
        (
            ["service:asgi", "-c", "greenlets"],
            '--concurrency "greenlets" (from the command line): service:asgi is an ASGI application; '
            "accepted: auto, asyncio",
        ),
        (
            ["service:wsgi", "-c", "threads", "--mount", "/a=service:asgi"],
            '--concurrency "threads" (from the command line): service:asgi is an ASGI application; '
            "accepted: auto, asyncio",
        ),
        (
            ["service:wsgi", "--cancel-on-disconnect"],
            "--cancel-on-disconnect true (from the command line): "
            "only with concurrency greenlets or asyncio; threads look at environ['tidegate.cancelled']",
        ),
    ],
)
def test_what_cannot_be_served_is_one_line(project, taken, arguments, expected):
    assert one_line(run("--bind", taken, *arguments, cwd=project)) == f"tidegate: {expected}"


def test_a_setting_that_does_not_go_with_the_application_says_where_it_came_from(project):
    line = one_line(run("service:asgi", cwd=project, TIDEGATE_CONCURRENCY="threads"))
    assert line.startswith('tidegate: concurrency "threads" (from the variable TIDEGATE_CONCURRENCY): ')


@pytest.mark.parametrize(
    ("package", "options", "expected"),
    [
        ("gevent", ["-c", "greenlets"], '--concurrency "greenlets" (from the command line): needs gevent: '),
        (
            "uvloop",
            ["-c", "asyncio", "--loop=uvloop"],
            '--loop "uvloop" (from the command line): needs uvloop: ',
        ),
    ],
)
def test_a_package_that_is_missing_is_named_with_what_installs_it(project, taken, package, options, expected):
    (project / f"{package}.py").write_text("raise ModuleNotFoundError\n")
    line = one_line(run("service:wsgi", "--bind", taken, *options, cwd=project))
    assert line.startswith(f"tidegate: {expected}pip install 'tidegate[")


def test_uvloop_is_asked_for_only_where_a_loop_runs(project):
    options = ["--loop", "uvloop"]
    with Server("service:wsgi", cwd=project, options=options) as server, server.connect() as wire:
        assert wire.ask("GET", "/").body == b"hello"


@pytest.mark.parametrize(
    ("module", "expected"), [("wsgi", WSGI_ON_THREADS), ("asgi", ASGI_ON_ASYNCIO)], ids=["wsgi", "asgi"]
)
def test_a_django_project_needs_no_more_than_the_name_of_its_module(tmp_path, taken, module, expected):
    site = tmp_path / "site_of_django"
    site.mkdir()
    (site / "__init__.py").touch()
    (site / "settings.py").write_text("SECRET_KEY = 'x'\n")
    (site / f"{module}.py").write_text(
        f"import os\nfrom django.core.{module} import get_{module}_application\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_of_django.settings')\n"
        f"application = get_{module}_application()\n"
    )
    assert told(tmp_path, taken, f"site_of_django.{module}") == [f"site_of_django.{module} {expected}"]


@pytest.mark.parametrize(
    "validator", ["wsgiref.validate:validator", "werkzeug.middleware.lint:LintMiddleware"]
)
def test_what_a_validator_wraps_is_taken_for_wsgi(project, taken, validator):
    module, _, name = validator.partition(":")
    (project / "valid.py").write_text(
        f"from {module} import {name}\nfrom service import wsgi\napplication = {name}(wsgi)\n"
    )
    assert told(project, taken, "valid") == [f"valid {WSGI_ON_THREADS}"]


def test_a_python_call_is_told_in_its_own_words():
    with pytest.raises(
        ValueError, match=r'concurrency "threads" \(from tidegate.serve\(\)\): .* accepted: auto, asyncio'
    ):
        tidegate.serve(asgi, concurrency="threads")
    with pytest.raises(TypeError, match="is a coroutine function, and no WSGI application"):
        tidegate.serve(asgi, interface="wsgi")


def test_a_plain_function_that_is_marked_is_no_plain_function():
    marked = markcoroutinefunction(lambda environ, start_response: None)
    with pytest.raises(TypeError, match="is a coroutine function, and no WSGI application"):
        tidegate.serve(marked, interface="wsgi")


MODULES = """
import sys

def application(environ, start_response):
    start_response("200 OK", [])
    return [" ".join(sys.modules).encode()]
"""


def test_a_small_application_waits_for_no_import_of_the_servers(tmp_path):
    (tmp_path / "modules.py").write_text(MODULES)
    with Server("modules", cwd=tmp_path) as server, server.connect() as wire:
        served = set(wire.ask("GET", "/").text.split())
    code = "import sys, runpy, threading; print(*sys.modules)"
    python = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {"modules", "gc", "tidegate", "tidegate._tidegate"}
    assert served - set(python.stdout.split()) <= ours
