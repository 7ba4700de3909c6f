"""The command `tidegate` as an operator meets it: banner, errors, exit statuses."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import one_line, run
from support.server import Server

HELLO = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "service.py").write_text(HELLO)
    return tmp_path


def test_the_console_script_and_the_module_are_the_same_command():
    script = Path(sys.executable).with_name("tidegate")
    said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == run("--version").stdout
    assert said.startswith("tidegate 0.")


def test_help_names_every_main_option():
    text = run("--help").stdout
    for option in [
        "--bind",
        "--interface",
        "--concurrency",
        "--workers",
        "--threads",
        "--chdir",
        "--factory",
    ]:
        assert option in text


def test_no_application_is_a_usage_line():
    assert "MODULE" in one_line(run())


def test_a_module_that_is_not_found_names_the_path_that_was_searched(project):
    line = one_line(run("nowhere:app", cwd=project))
    assert 'no module named "nowhere"' in line
    assert str(project) in line


def test_a_module_that_imports_something_missing_shows_the_traceback(project):
    (project / "service.py").write_text("import not_there_at_all\n")
    result = run("service", cwd=project)
    assert result.returncode == 1
    assert result.stderr.startswith('tidegate: importing "service" failed\n')
    assert "ModuleNotFoundError: No module named 'not_there_at_all'" in result.stderr


def test_a_missing_attribute_names_the_near_ones(project):
    line = one_line(run("service:aplication", cwd=project))
    assert 'no attribute "aplication"' in line
    assert "near: application" in line


def test_an_attribute_that_is_not_callable(project):
    (project / "service.py").write_text("application = 5\n")
    assert "service:application is not callable: it is of type int" in one_line(
        run("service:application", cwd=project)
    )


def test_a_module_without_the_usual_names(project):
    (project / "service.py").write_text("wsgi = print\n")
    assert 'neither "application" nor "app"' in one_line(run("service", cwd=project))


@pytest.mark.parametrize("name", ["application", "app"])
def test_a_module_alone_finds_application_then_app(project, name):
    (project / "service.py").write_text(HELLO.replace("application", name))
    with Server("service", cwd=project) as server, server.connect() as wire:
        assert wire.ask("GET", "/").body == b"hello"


def test_a_dotted_attribute_and_a_factory(project):
    (project / "service.py").write_text(
        HELLO + "class holder:\n    make = staticmethod(lambda: application)\n"
    )
    with (
        Server("service:holder.make", cwd=project, options=["--factory"]) as server,
        server.connect() as wire,
    ):
        assert wire.ask("GET", "/").body == b"hello"


def test_a_factory_that_fails_shows_its_traceback(project):
    (project / "service.py").write_text("def make():\n    raise RuntimeError('no database')\n")
    result = run("--factory", "service:make", cwd=project)
    assert result.returncode == 1
    assert "tidegate: the factory service:make failed" in result.stderr
    assert "RuntimeError: no database" in result.stderr


def test_chdir_comes_before_the_import(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with (
        Server("service", cwd=elsewhere, options=["--chdir", str(project)]) as server,
        server.connect() as wire,
    ):
        assert wire.ask("GET", "/").body == b"hello"


def test_a_chdir_that_does_not_exist(tmp_path):
    assert "--chdir" in one_line(run("--chdir", str(tmp_path / "missing"), "service"))


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = one_line(run("--bind", f"127.0.0.1:{port}", "apps.engine_probe"))
    address = f'--bind "127.0.0.1:{port}" (from the command line)'
    assert line == f"tidegate: {address}: the address is in use by another process"


@pytest.mark.parametrize("bind", ["127.0.0.1:99999", "127.0.0.1:http", "unix:", "fd://x", "[::1:80"])
def test_a_bad_address_names_the_setting_the_value_its_source_and_what_is_accepted(bind):
    line = one_line(run("--bind", bind, "apps.engine_probe"))
    for part in ["--bind", bind, "command line", "accepted:"]:
        assert part in line


def test_an_unknown_flag_suggests_the_near_one():
    assert "--threads" in one_line(run("--thread", "1", "apps.engine_probe"))


def test_a_bad_variable_is_named():
    line = one_line(run("apps.engine_probe", TIDEGATE_HEAD_TIMEOUT="soon"))
    assert "TIDEGATE_HEAD_TIMEOUT" in line
    assert "soon" in line


def test_a_settings_file_is_read_and_a_flag_overrides_it(project):
    (project / "tidegate.toml").write_text('server-header = "from-the-file"\n')
    with Server("service", cwd=project) as server, server.connect() as wire:
        assert wire.ask("GET", "/").headers["Server"] == "from-the-file"
    options = ["--server-header", "from-the-flag"]
    with Server("service", cwd=project, options=options) as server, server.connect() as wire:
        assert wire.ask("GET", "/").headers["Server"] == "from-the-flag"


def test_the_banner_says_version_address_interface_host_and_pid():
    with Server("apps.engine_probe:application") as server:
        line = server.log.splitlines()[0]
        assert line == (
            f"tidegate 0.1.0 listening on http://127.0.0.1:{server.port}"
            f" (wsgi, threads 200, pid {server.pid})"
        )


@pytest.mark.parametrize(
    ("module", "options", "seen"),
    [
        ("import gc", [], (10_000, True)),
        ("import gc", ["--gc-threshold", "0"], (None, False)),
        ("import gc; gc.set_threshold(123)", [], (123, False)),
        ("import gc; gc.disable()", [], (None, False)),
    ],
)
def test_the_garbage_collector_is_relaxed_unless_the_application_has_a_say(tmp_path, module, options, seen):
    # Python 3.12 freezes a few hundred objects itself.
    (tmp_path / "collected.py").write_text(
        f"{module}\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [f'{gc.get_threshold()[0]} {gc.get_freeze_count() > 2000}'.encode()]\n"
    )
    threshold, frozen = seen
    with Server("collected", options=options, cwd=tmp_path) as server, server.connect() as wire:
        assert wire.ask("GET", "/").text == f"{threshold or gc.get_threshold()[0]} {frozen}"


def test_the_access_log_has_a_line_for_each_request(tmp_path):
    path = tmp_path / "access.log"
    options = ["--access-log", str(path), "--access-log-format", "combined"]
    with Server("apps.engine_probe:application", options=options) as server:
        with server.connect() as wire:
            wire.ask("GET", "/x?y=%1b", 'User-Agent: te"st\\', "Referer: http://a/")
            wire.send(b"BROKEN\r\n\r\n")
            wire.rest()
        assert server.stop() == 0
    first, second = path.read_text().splitlines()
    assert first.startswith("127.0.0.1 - - [")
    assert first.endswith('] "GET /x?y=%1b HTTP/1.1" 200 5 "http://a/" "te\\"st\\\\"')
    assert '] "-" 400 ' in second


def test_the_access_log_goes_to_standard_output():
    with Server("apps.engine_probe:application", options=["--access-log", "-"]) as server:
        with server.connect() as wire:
            wire.ask("GET", "/")
        assert server.stop() == 0
        assert '"GET / HTTP/1.1" 200 5' in server.output


def test_an_application_that_raises_is_logged_with_its_traceback_and_answered_with_500():
    with Server("apps.engine_probe:application") as server, server.connect() as wire:
        assert wire.ask("GET", "/fail").status == 500
        server.wait_for_log("RuntimeError: as asked")
        assert "Traceback" in server.log
        assert wire.ask("GET", "/").status == 200


def test_the_error_log_is_pythons_logging(project):
    (project / "service.py").write_text(
        "import logging, sys\n"
        "logging.basicConfig(format='MINE %(name)s %(levelname)s %(message)s', stream=sys.stderr)\n"
        "def application(environ, start_response):\n    raise ValueError('x')\n"
    )
    with Server("service", cwd=project) as server, server.connect() as wire:
        assert wire.ask("GET", "/").status == 500
        server.wait_for_log("MINE tidegate.error ERROR the application failed on GET")


def test_a_connection_lost_in_the_middle_of_a_response_is_one_line_at_debug_level():
    options = ["--log-level", "debug"]
    with Server("apps.engine_probe:application", options=options) as server:
        with server.connect() as wire:
            wire.send(b"GET /stream?count=200&size=1000&pause=0.02 HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.receive(1500)
            wire.reset()
        server.wait_for_log("stream closed")
        server.wait_for_log("tidegate debug: .*the client left")
        assert not server.complaints()


def test_limits_are_settings():
    options = ["--head-size-max", "1KiB", "--body-size-max", "10", "--field-count-max", "3"]
    with Server("apps.engine_probe:application", options=options) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/", "A: " + "x" * 2000).status == 431
        with server.connect() as wire:
            assert wire.ask("GET", "/", "A: 1", "B: 2", "C: 3").status == 431
        with server.connect() as wire:
            assert wire.ask("POST", "/read", body=b"x" * 11).status == 413
        with server.connect() as wire:
            assert wire.ask("POST", "/read", body=b"x" * 10).body == b"10"


def test_script_name_is_taken_off_the_path_on_a_segment_boundary():
    options = ["--script-name", "/app"]
    with Server("apps.engine_probe:application", options=options) as server, server.connect() as wire:
        for path in ["/app/environ", "/environ"]:
            body = wire.ask("GET", path).body
            assert b'"SCRIPT_NAME": "/app"' in body
            assert b'"PATH_INFO": "/environ"' in body
        # Not below the mount point, although it begins alike.
        assert wire.ask("GET", "/apple").body == b"hello"
        server.wait_for_log("called /apple")
