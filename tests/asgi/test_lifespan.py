"""The lifespan: start-up before the first request, shutdown after the last, and every way to fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from support import command as commands
from support.server import TESTS, Server


def run(attribute: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is to end by itself."""
    application = f"apps.lifespans:{attribute}"
    return commands.run("--bind", "127.0.0.1:0", *options, application, TIDEGATE_NO_SUPERVISOR="false")


def state(server, path="/"):
    with server.connect() as wire:
        return json.loads(wire.ask("GET", path).body)


def lines(server, *words):
    """The probe's own lines, in order, that begin with one of these."""
    own = [line.partition("probe: ")[2] for line in server.log.splitlines() if "probe: " in line]
    return [line for line in own if line.startswith(words)]


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_start_up_comes_first_and_shutdown_last(loop, mode):
    options = ["--loop", loop, "--lifespan", mode]
    with Server("apps.lifespans:complete", options=options) as server:
        assert state(server)["tide"] == "high"
        assert server.stop() == 0
        expected = ["asked with ['asgi', 'state', 'type'], ['spec_version', 'version'], 3.0"]
        expected += ["starts", "called /", "shuts down", "is shut down"]
        assert lines(server, "asked", "starts", "called", "shuts", "is shut") == expected
        assert server.complaints() == []


def test_nothing_is_asked_when_it_is_off():
    with Server("apps.lifespans:complete", options=["--lifespan", "off"]) as server:
        assert state(server) is None
        assert server.stop() == 0
        assert lines(server, "asked", "starts", "shuts") == []


def test_each_request_has_a_shallow_copy_of_the_state():
    with Server("apps.lifespans:complete") as server:
        assert state(server, "/one") == {"tide": "high", "shared": []}
        # What the first put into its own copy is gone; what it put into the shared list is there.
        assert state(server, "/two") == {"tide": "high", "shared": ["/one"]}
        assert state(server, "/three") == {"tide": "high", "shared": ["/one", "/two"]}


def test_a_task_of_the_lifespan_runs_beside_the_requests():
    with Server("apps.lifespans:keeps_a_task") as server:
        first = len(state(server)["beats"])
        server.wait_for_log("called")
        while len(state(server)["beats"]) <= first:
            pass
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.mark.parametrize("attribute", ["unsupported", "unsupported_after_a_look"])
def test_an_application_without_a_lifespan_is_served_all_the_same(attribute):
    with Server(f"apps.lifespans:{attribute}") as server:
        assert state(server) in (None, {})
        assert server.stop() == 0
        assert server.complaints() == []


def test_one_that_returns_without_a_word_is_served_too():
    with Server("apps.lifespans:silent") as server:
        assert state(server) in (None, {})
        assert server.stop() == 0
        assert server.complaints() == []


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(("attribute", "words"), [("fails", "the sluice"), ("fails_without_a_word", "fail")])
def test_a_failed_start_up_ends_the_server_with_the_applications_words(mode, attribute, words):
    ended = run(attribute, "--lifespan", mode)
    assert ended.returncode not in (0, 2)
    assert words in ended.stderr and "start-up" in ended.stderr
    assert "listening" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_exception_at_the_start_ends_the_server_when_a_lifespan_is_wanted():
    ended = run("unsupported", "--lifespan", "on")
    assert ended.returncode not in (0, 2)
    assert "lifespan" in ended.stderr
    # Whoever wrote the start-up must see where it broke.
    assert "NotImplementedError: probe: there is no lifespan" in ended.stderr
    assert "in unsupported" in ended.stderr
    assert "listening" not in ended.stderr


def test_a_start_up_that_hangs_ends_at_its_deadline():
    ended = run("hangs", "--lifespan-timeout", "0.5s")
    assert ended.returncode not in (0, 2)
    assert "probe: hangs" in ended.stderr
    [line] = [line for line in ended.stderr.splitlines() if "--lifespan-timeout" in line]
    assert "0.5" in line and "start-up" in line
    assert "listening" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_start_up_that_hangs_is_ended_by_a_signal():
    command = [sys.executable, "-m", "tidegate", "--bind", "127.0.0.1:0", "apps.lifespans:hangs"]
    with subprocess.Popen(command, cwd=TESTS, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "hangs" in line:
                break
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()


def test_a_shutdown_that_hangs_ends_at_its_deadline():
    with Server("apps.lifespans:hangs_at_the_end", options=["--lifespan-timeout", "0.5s"]) as server:
        assert state(server) == {}
        assert server.stop() != 0
        [line] = [line for line in server.log.splitlines() if "--lifespan-timeout" in line]
        assert "0.5" in line and "shutdown" in line
        assert server.complaints() == []


def test_a_second_signal_ends_a_shutdown_that_hangs():
    with Server("apps.lifespans:hangs_at_the_end") as server:
        server.signal(signal.SIGTERM)
        server.wait_for_log("probe: hangs")
        server.signal(signal.SIGTERM)
        server.wait()


@pytest.mark.parametrize(
    ("attribute", "words"),
    [("fails_at_the_end", "the sluice stays open"), ("raises_at_the_end", "failed at the shutdown")],
)
def test_a_failed_shutdown_is_told_and_the_server_ends(attribute, words):
    with Server(f"apps.lifespans:{attribute}") as server:
        assert state(server) == {}
        assert server.stop() != 0
        assert f"probe: {words}" in server.log


def test_one_that_raises_after_its_start_up_serves_on_and_is_told():
    with Server("apps.lifespans:raises_later") as server:
        server.wait_for_log("RuntimeError: probe: failed after the start-up")
        assert state(server) == {}
        server.stop()


def test_one_that_returns_after_its_start_up_serves_on():
    with Server("apps.lifespans:returns_later") as server:
        assert state(server) == {}
        assert server.stop() == 0
        assert server.complaints() == []


def test_one_that_waits_for_more_than_the_shutdown_does_not_hold_up_the_end():
    with Server("apps.lifespans:asks_again", options=["--lifespan-timeout", "2s"]) as server:
        assert server.stop() == 0
        assert "received more" not in server.log


def test_what_breaks_a_rule_raises_and_says_which():
    with Server("apps.lifespans:offends") as server:
        assert state(server) == {}
        told = lines(server, "raised", "took")
        assert len(told) == 5 and all(line.startswith("raised") for line in told), told
        expected = ["http.response.start", "lifespan.shutdown.complete", "lifespan.started", "type"]
        for line, word in zip(told, [*expected, "lifespan.startup.complete"], strict=True):
            assert word in line
        assert server.stop() == 0


def test_a_request_in_flight_ends_before_the_shutdown_comes():
    with Server("apps.lifespans:complete") as server, server.connect() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        server.signal(signal.SIGTERM)
        assert wire.answer().status == 200
        assert server.wait() == 0
        assert lines(server, "slow", "shuts") == ["slow is through", "shuts down"]


def test_an_application_made_by_a_factory_has_its_lifespan():
    options = ["--factory", "--interface", "asgi"]
    with Server("apps.lifespans:factory", options=options, env={"LIFESPAN": "complete"}) as server:
        assert state(server)["tide"] == "high"
        assert server.stop() == 0
        assert "shuts down" in server.log
