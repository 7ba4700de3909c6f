"""What the application does wrong goes through Python's `logging`; `--log-config` says how that is set up."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from support.command import one_line, run
from support.server import Server

APP = "apps.logged:application"
FAILED = 'the application failed on GET "/fail"'

DICT = {
    "version": 1,
    "formatters": {"mine": {"format": "MINE %(name)s %(levelname)s %(message)s"}},
    "handlers": {"all": {"class": "logging.StreamHandler", "formatter": "mine"}},
    "root": {"handlers": ["all"], "level": "INFO"},
}
TOML = """
version = 1
formatters.mine.format = "MINE %(name)s %(levelname)s %(message)s"
handlers.all = { class = "logging.StreamHandler", formatter = "mine" }
root = { handlers = ["all"], level = "INFO" }
"""
INI = """
[loggers]
keys = root
[handlers]
keys = all
[formatters]
keys = mine
[logger_root]
handlers = all
level = INFO
[handler_all]
class = StreamHandler
formatter = mine
[formatter_mine]
format = MINE %(name)s %(levelname)s %(message)s
"""

needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")


def fail(server: Server) -> None:
    with server.connect() as wire:
        assert wire.ask("GET", "/fail").status == 500


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.json", json.dumps(DICT)),
        pytest.param("log.toml", TOML, marks=needs_toml),
        ("log.ini", INI),
        ("log.conf", INI),
    ],
)
@pytest.mark.parametrize("options", [[], ["--preload"]])
def test_errors_go_where_the_file_says(tmp_path: Path, name: str, text: str, options: list[str]) -> None:
    (tmp_path / name).write_text(text)
    options = ["--log-config", str(tmp_path / name), *options]
    with Server(APP, options=options, supervised=True) as server:
        fail(server)
        server.wait_for_log(f"MINE tidegate.error ERROR {FAILED}")


def test_the_file_is_read_before_the_application_is_imported_and_by_each_new_worker(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps(DICT))
    (tmp_path / "site_app.py").write_text(
        "import logging\n"
        "logging.getLogger('site').info('imported')\n"
        "def application(environ, start_response):\n    raise ValueError('x')\n"
    )
    options = ["--log-config", "log.json"]
    with Server("site_app", options=options, cwd=tmp_path, supervised=True) as server:
        server.wait_for_log("MINE site INFO imported")
        (tmp_path / "log.json").write_text(json.dumps(DICT).replace("MINE", "NEW"))
        server.signal(signal.SIGHUP)
        server.wait_for_log("NEW site INFO imported")


def test_gevent_has_patched_before_the_file_has_anything_imported(tmp_path: Path) -> None:
    (tmp_path / "handlers_of_mine.py").write_text(
        "import sys, gevent.monkey, logging\n"
        "assert gevent.monkey.is_module_patched('threading')\n"
        "class Handler(logging.StreamHandler):\n    pass\n"
    )
    config = DICT | {"handlers": {"all": {"class": "handlers_of_mine.Handler", "formatter": "mine"}}}
    (tmp_path / "log.json").write_text(json.dumps(config))
    options = ["--log-config", "log.json", "--concurrency", "greenlets"]
    with Server(APP, options=options, cwd=tmp_path) as server:
        fail(server)
        server.wait_for_log(f"MINE tidegate.error ERROR {FAILED}")
        assert "MonkeyPatchWarning" not in server.log


def test_without_any_configuration_errors_are_on_standard_error() -> None:
    with Server(APP) as server:
        fail(server)
        server.wait_for_log(f"(?m)^{FAILED}")
        server.wait_for_log("ValueError: as asked")


def test_a_configuration_that_comes_late_does_not_silence_errors(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "from logging.config import dictConfig\n"
        f"CONFIG = {DICT!r}\n"
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] != '/fail':\n        dictConfig(CONFIG)\n"
        "    raise ValueError('as asked')\n"
    )
    with Server("late", cwd=tmp_path) as server:
        fail(server)
        with server.connect() as wire:
            wire.ask("GET", "/")
            fail(server)
        server.wait_for_log(f"MINE tidegate.error ERROR {FAILED}")


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("log.json", None, "No such file or directory"),
        ("log.ini", None, "No such file or directory"),
        ("log.json", "{", "JSONDecodeError: "),
        ("log.json", "[]", "Error: "),
        ("log.json", "{}", "ValueError: dictionary doesn't specify a version"),
        (
            "log.json",
            '{"version": 1, "root": {"handlers": ["none"]}}',
            "ValueError: Unable to configure root logger: ",
        ),
        (
            "log.json",
            '{"version": 1, "handlers": {"a": {"class": "logging.FileHandler", "filename": "/none/log"}}}',
            "ValueError: Unable to configure handler 'a': FileNotFoundError: ",
        ),
        pytest.param("log.toml", "=", "TOMLDecodeError: ", marks=needs_toml),
        ("log.ini", "", "KeyError: 'formatters'"),
        ("log.ini", "x", "no section headers"),
        (
            "log.txt",
            "",
            "its name must say what it is; accepted: a file that ends in .json, .toml, .ini or .conf",
        ),
    ],
)
def test_a_file_that_does_not_do_is_one_line(
    tmp_path: Path, name: str, text: str | None, reason: str, supervised: bool
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    options = ["--bind", "127.0.0.1:0", "--log-config", str(path)]
    line = one_line(run(*options, APP, TIDEGATE_NO_SUPERVISOR=str(not supervised).lower()))
    assert f'--log-config "{path}" (from the command line): ' in line
    assert reason in line


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="from Python 3.11 on there is tomllib")
def test_python_310_says_that_it_does_not_know_toml(tmp_path: Path) -> None:
    (tmp_path / "log.toml").write_text(TOML)
    line = one_line(run("--bind", "127.0.0.1:0", "--log-config", str(tmp_path / "log.toml"), APP))
    assert "TOML needs Python 3.11 or newer" in line


def test_a_reload_that_fails_is_told_at_level_error(tmp_path: Path) -> None:
    site = tmp_path / "site_app.py"
    site.write_text("def application(environ, start_response):\n    raise ValueError('x')\n")
    with Server("site_app", options=["--log-level", "error"], cwd=tmp_path, supervised=True) as server:
        site.write_text("raise RuntimeError('broken')\n")
        server.signal(signal.SIGHUP)
        server.wait_for_log("tidegate error: the reload has failed: ")
        server.wait_for_log("RuntimeError: broken")
        assert "tidegate info" not in server.log
