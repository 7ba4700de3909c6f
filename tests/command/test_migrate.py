"""`tidegate migrate`: every option of other servers is known, and what is made of their settings serves."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from support.command import one_line, run
from support.server import PATIENCE_S, TESTS, Server

UWSGI = shutil.which("uwsgi") or TESTS.parent / "conformance" / ".peers" / "bin" / "uwsgi"


def group(report: str, title: str) -> list[str]:
    """The lines of one group of the report."""
    found = re.search(rf"^{title} \(\d+\)\n((?:  .*\n)+)", report, re.MULTILINE)
    return found[1].splitlines() if found else []


def start(report: str) -> Server:
    """The server by the command that the report ends with."""
    words = shlex.split(report.rsplit("Start it by\n", 1)[1])
    program = words.index("tidegate")
    env = dict(word.split("=", 1) for word in words[:program])
    return Server("", binds=(), options=words[program + 1 :], env=env, cwd=Path("/"), supervised=True)


def ask(server: Server) -> int:
    """The status of the first page, by TCP: the settings name a unix socket too."""
    found = server.wait_for_log(r"listening on http://(127\.0\.0\.1:\d+)")
    return requests.get(f"http://{found[1]}/", timeout=PATIENCE_S).status_code


def test_every_setting_of_gunicorns_is_known_in_a_file(tmp_path):
    from gunicorn.config import KNOWN_SETTINGS

    lines = [f"{setting.name} = 'x'\n" for setting in KNOWN_SETTINGS]
    (tmp_path / "gunicorn.conf.py").write_text("".join(lines))
    report = run("migrate", "gunicorn", cwd=tmp_path).stdout
    assert group(report, "Unknown") == []
    told = [line for line in report.splitlines() if re.match(r"  \S+ = x \(line \d+\): ", line)]
    assert len(told) == len(lines)


def test_every_flag_of_gunicorns_is_known_with_what_it_takes(tmp_path):
    from gunicorn.config import Config

    arguments = []
    count = 0
    for action in Config().parser()._actions:
        for flag in action.option_strings:
            if action.dest not in ("help", "version", "config"):
                arguments += [flag] if action.nargs == 0 else [flag, "x"]
                count += 1
    report = run("migrate", "gunicorn", "--", *arguments, cwd=tmp_path).stdout
    assert group(report, "Unknown") == []
    # A flag that was taken for one without a value leaves its value behind, as an application.
    assert "APPLICATION" not in report
    assert report.count("(command line): ") == count


def test_every_flag_of_granians_is_known_with_what_it_takes(tmp_path):
    from click import Option
    from granian.cli import cli

    arguments = []
    count = 0
    for option in cli.params:
        if isinstance(option, Option):
            for flag in [*option.opts, *option.secondary_opts]:
                arguments += [flag] if option.is_flag else [flag, "x"]
                count += 1
    report = run("migrate", "granian", "--", *arguments, cwd=tmp_path).stdout
    assert group(report, "Unknown") == []
    assert "APPLICATION" not in report
    assert report.count("(command line): ") == count


@pytest.mark.skipif(not Path(UWSGI).exists(), reason="uWSGI is not installed")
def test_every_option_of_uwsgis_is_known(tmp_path):
    text = subprocess.run([UWSGI, "--help"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^ +(?:-\w\|)?--([\w-]+)", text, re.MULTILINE)
    assert len(names) > 800
    # What is evaluated while the file is read is no option of the server.
    logic = re.compile(r"if|end|for(-|$)|ini$|include$|inherit$|set(-|$)")
    names = [name for name in names if not logic.match(name)]
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\n" + "".join(f"{name} = x\n" for name in names))
    report = run("migrate", "uwsgi", "uwsgi.ini", cwd=tmp_path).stdout
    assert group(report, "Unknown") == []
    assert len(re.findall(r"^  [\w-]+ = x \(line \d+\): ", report, re.MULTILINE)) == len(names)


def test_a_flask_application_is_moved_over_from_gunicorn(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(
        f"""\
import multiprocessing
import os

wsgi_app = "apps.flask_app:app"
chdir = {str(TESTS)!r}
bind = ["127.0.0.1:0", "unix:{tmp_path}/flask.sock"]
workers = min(multiprocessing.cpu_count() * 2 + 1, 3)
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 20
keepalive = 65
max_requests = 1000
max_requests_jitter = 100
accesslog = os.path.join({str(tmp_path)!r}, "access.log")
access_log_format = '%(h)s "%(r)s" %(s)s'
loglevel = "info"
raw_env = ["TIDE=spring and neap"]
pidfile = {str(tmp_path / "flask.pid")!r}


def post_fork(server, worker):
    server.log.info("forked")
"""
    )
    result = run("migrate", "gunicorn", "--output", "flask.toml", "--", "--workers", "2", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert [line.split(" (")[0] for line in group(result.stdout, "Cannot be done")] == [
        "  post_fork = a function"
    ]
    with start(result.stdout) as server:
        assert ask(server) == 200
        assert int((tmp_path / "flask.pid").read_text()) == server.pid
        assert (tmp_path / "flask.sock").is_socket()
        environment = Path(f"/proc/{server.pid}/environ").read_bytes()
        assert b"TIDE=spring and neap" in environment.split(b"\0")
        assert server.stop() == 0
    assert (tmp_path / "access.log").read_text() == '127.0.0.1 "GET / HTTP/1.1" 200\n'


def test_a_django_site_is_moved_over_from_uwsgi(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    env = os.environ | {"DJANGO_SITE_DIR": str(folder), "PYTHONPATH": str(TESTS)}
    env["DJANGO_SETTINGS_MODULE"] = "apps.django_site.settings"
    command = [sys.executable, "-m", "django", "prepare"]
    subprocess.run(command, env=env, check=True, timeout=2 * PATIENCE_S)
    (tmp_path / "site.ini").write_text(
        f"""\
[uwsgi]
base = {TESTS}
project = apps.django_site
data = {folder}
chdir = %(base)
module = %(project).wsgi:application
env = DJANGO_SETTINGS_MODULE=%(project).settings
env = DJANGO_SITE_DIR=%(data)
master = true
processes = 2
threads = 4
enable-threads = true
need-app = true
lazy-apps = true
die-on-term = true
thunder-lock = true
vacuum = true
socket = {tmp_path}/%n.sock
chmod-socket = 660
buffer-size = 32768
max-requests = 5000
reload-on-rss = 512
worker-reload-mercy = 20
limit-post = 10485760
pidfile = {tmp_path}/%n.pid
disable-logging = true
plugins = python3
if-env = SITE_HTTP
http-socket = %(_)
endif =
"""
    )
    result = run("migrate", "uwsgi", "site.ini", cwd=tmp_path, SITE_HTTP="127.0.0.1:0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f'"uwsgi://unix:{tmp_path}/site.sock"' in (tmp_path / "tidegate.toml").read_text()
    with start(result.stdout) as server:
        assert ask(server) == 200
        assert int((tmp_path / "site.pid").read_text()) == server.pid
        assert (tmp_path / "site.sock").stat().st_mode & 0o777 == 0o660
        assert server.stop() == 0
    assert not (tmp_path / "site.sock").exists()


def test_what_is_written_is_what_is_in_force(tmp_path):
    (tmp_path / "site.py").write_text("app = print\n")
    run("migrate", "mod_wsgi", "--", "site.py", "--processes", "3", "--callable-object", "app", cwd=tmp_path)
    shown = run("config", "show", cwd=tmp_path).stdout
    from_file = {line.split(" = ")[0] for line in shown.splitlines() if line.endswith("/tidegate.toml")}
    assert from_file == {"app", "workers", "threads", "bind"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import nothing_of_that_name\n",
            "line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("\nworkers = 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("workers = (\n", "SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    ],
)
def test_a_file_of_gunicorns_that_fails_is_one_line(tmp_path, text, said):
    (tmp_path / "gunicorn.conf.py").write_text(text)
    line = one_line(run("migrate", "gunicorn", cwd=tmp_path))
    assert said in line
    assert list(tmp_path.glob("*.toml")) == []


def test_a_file_of_gunicorns_may_import_what_is_beside_it_and_name_a_module(tmp_path):
    (tmp_path / "numbers_of_ours.py").write_text("WORKERS = 3\n")
    text = "from numbers_of_ours import WORKERS\nwsgi_app = 'site'\nworkers = WORKERS\n"
    (tmp_path / "settings_of_ours.py").write_text(text)
    report = run("migrate", "gunicorn", "-o", "-", "python:settings_of_ours", cwd=tmp_path).stdout
    assert "\nworkers = 3 " in report
    report = run("migrate", "gunicorn", "-o", "-", "--", "-c", "settings_of_ours.py", cwd=tmp_path).stdout
    assert "\nworkers = 3 " in report
