"""`tidegate config check` and `config show`, environments in settings files, and `tidegate completions`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.command import one_line, run
from support.server import EXAMPLES, Server

HELLO = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"

SETTINGS = """
app = "service"
server-header = "plain"
[env.production]
server-header = "production"
[env.staging]
app = "nowhere"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(HELLO)
    (tmp_path / "tidegate.toml").write_text(SETTINGS)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "variables", "header"),
    [
        ([], {}, "plain"),
        (["--env", "production"], {}, "production"),
        ([], {"TIDEGATE_ENV": "production"}, "production"),
        (["--env", "production", "--server-header", "flag"], {"TIDEGATE_ENV": "staging"}, "flag"),
    ],
)
def test_the_chosen_environment_is_served(project, options, variables, header):
    with Server("", cwd=project, options=options, env=variables) as server, server.connect() as wire:
        assert wire.ask("GET", "/").headers["Server"] == header


def test_a_module_that_is_not_there_is_named_with_its_environment(project):
    line = one_line(run("--env", "staging", cwd=project))
    place = f"[env.staging] in {project / 'tidegate.toml'}"
    assert line.startswith(f'tidegate: app "nowhere" (from {place}): no module named "nowhere"; searched ')


def test_a_check_says_ok_and_what_was_read_and_imports_nothing(project):
    (project / "service.py").write_text("raise SystemExit(9)")
    arguments = ["config", "check", "--env", "production", "-w", "2"]
    checked = run(*arguments, cwd=project, TIDEGATE_NO_SUPERVISOR="no")
    path = project / "tidegate.toml"
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.splitlines() == [
        "ok",
        "  from the command line",
        "  from the variable TIDEGATE_NO_SUPERVISOR",
        f"  from [env.production] in {path}",
        f"  from {path}",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--user", "nobody-of-that-name"], "there is no such user"),
        (["--group", "nobody-of-that-name"], "there is no such group"),
        (["--unix-socket-owner", "nobody-of-that-name"], "there is no such user"),
        (["--unix-socket-owner", "0:nobody-of-that-name"], "there is no such group"),
        (["--pid-file", "nowhere/pid"], 'there is no directory "nowhere"'),
        (["--control-socket", "nowhere/control"], 'there is no directory "nowhere"'),
        (["--access-log", "nowhere/log"], 'there is no directory "nowhere"'),
        (["--bind", "unix:nowhere/socket"], 'there is no directory "nowhere"'),
        (["--pid-file", "."], "this is a directory"),
        (["--bind", "unix:service.py"], "the path exists and is not a socket"),
        (["--control-socket", "."], "the path exists and is not a socket"),
    ],
)
@pytest.mark.parametrize("command", [["config", "check"], []], ids=["check", "serve"])
def test_what_the_system_does_not_have_is_found(project, command, arguments, expected):
    line = one_line(run(*command, *arguments, cwd=project, TIDEGATE_NO_SUPERVISOR="no"))
    name, value = arguments
    assert line == f'tidegate: {name} "{value}" (from the command line): {expected}'


def test_what_a_check_finds_is_relative_to_chdir(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (project / "logs").mkdir()
    arguments = ["config", "check", "--chdir", str(project), "--access-log"]
    assert run(*arguments, "logs/access", cwd=elsewhere).stdout.startswith("ok\n")
    assert "there is no directory" in one_line(run(*arguments, "log/access", cwd=elsewhere))


def test_what_is_shown_can_be_used_and_read_by_programs(project):
    shown = run("config", "show", "--env", "production", cwd=project)
    (project / "shown.toml").write_text(shown.stdout)
    again = json.loads(run("config", "show", "--json", "--config", "shown.toml", cwd=project).stdout)
    origin = f"from {project / 'shown.toml'}"
    assert again["server-header"] == {"value": "production", "origin": origin}
    assert again["app"] == {"value": "service", "origin": origin}


def test_the_environments_of_the_documentation_are_as_it_says(tmp_path):
    page = (EXAMPLES.parent / "docs" / "configuration.md").read_text()
    (tmp_path / "tidegate.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])

    def shown(*arguments: str) -> list[object]:
        settings = json.loads(run("config", "show", "--json", *arguments, cwd=tmp_path).stdout)
        return [settings[name]["value"] for name in ("app", "bind", "workers", "control-socket")]

    control = "/run/site/control"
    assert shown() == ["shop.wsgi", ["127.0.0.1:8000"], "1", control]
    assert shown("--env", "production") == ["shop.wsgi", ["unix:/run/site/http"], "auto", control]
    assert shown("--env", "chat") == ["shop.chat:app", ["127.0.0.1:8001"], "1", "/run/site/chat-control"]


def test_a_mistake_in_a_subcommand_is_one_line():
    assert "usage: tidegate config check|show" in one_line(run("config"))
    assert "accepted: bash, zsh, fish" in one_line(run("completions", "tcsh"))


def completed(words: str, directory: Path) -> list[str]:
    """What bash offers for the last of these words."""
    (directory / "script").write_text(run("completions", "bash").stdout)
    program = (
        "source ./script\n"
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{words}'\n"
        'COMP_POINT=${#COMP_LINE}; function=$(complete -p tidegate | sed -E "s/.* -F ([^ ]+) .*/\\1/")\n'
        '"$function" tidegate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    command = ["bash", "--norc", "--noprofile", "-c", program]
    offered = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, timeout=60)
    assert offered.stderr == ""
    return offered.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tidegate --unix-socket-m", ["--unix-socket-mode"]),
        ("tidegate conf", ["config"]),
        ("tidegate config ch", ["check"]),
        ("tidegate config show --js", ["--json"]),
        ("tidegate config check --concurrency gr", ["greenlets"]),
        ("tidegate --lifespan o", ["on", "off"]),
        ("tidegate completions f", ["fish"]),
    ],
)
def test_bash_completes_options_their_values_and_subcommands(tmp_path, words, expected):
    assert completed(words, tmp_path) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tidegate --unix-socket-m", "--unix-socket-mode"),
        ("tidegate conf", "config"),
        ("tidegate config check --concurrency gr", "greenlets"),
    ],
)
def test_fish_completes_them_too(tmp_path, words, expected):
    (tmp_path / "script").write_text(run("completions", "fish").stdout)
    program = f"source script; complete -C '{words}'"
    command = ["fish", "--no-config", "-c", program]
    variables = {**os.environ, "HOME": str(tmp_path)}
    offered = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
    assert [line.split("\t")[0] for line in offered.stdout.splitlines()] == [expected]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_can_read_its_script_which_names_options_and_values(tmp_path):
    script = run("completions", "zsh").stdout
    assert script.startswith("#compdef tidegate") and "unix-socket-mode" in script and "greenlets" in script
    (tmp_path / "script").write_text(script)
    subprocess.run(["zsh", "-n", str(tmp_path / "script")], check=True, timeout=60)
