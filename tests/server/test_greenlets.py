"""What greenlets alone do: forks, forced stops, calls that compute."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from support.server import TESTS, Server
from support.wire import Wire

APP = "apps.greenlets:application"
GREENLETS = ["--concurrency", "greenlets"]


def ask(wire: Wire, target: str) -> None:
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def test_a_child_that_a_request_forks_serves_nobody():
    with Server(APP, options=GREENLETS) as server, server.connect() as kept:
        assert kept.ask("GET", "/").text == str(server.pid)
        with server.connect() as wire:
            assert wire.ask("GET", "/fork").text == str(server.pid)
        for _ in range(50):
            assert kept.ask("GET", "/").text == str(server.pid)
            with server.connect() as wire:
                assert wire.ask("GET", "/").text == str(server.pid)


def test_a_forced_stop_lets_greenlets_clean_up_and_says_nothing_of_them():
    with Server(APP, options=GREENLETS) as server, ExitStack() as stack:
        for _ in range(3):
            ask(stack.enter_context(server.connect()), "/sleep")
        server.wait_for_log(r"(?s)sleeping.*sleeping.*sleeping")
        server.signal(signal.SIGTERM)
        # It no longer listens when the drain has begun: two signals at once would be one.
        while True:
            try:
                server.connect().close()
            except OSError:
                break
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.log.count("cleaned up") == 3
        assert not server.complaints()


@pytest.mark.parametrize("host", [["--threads", "1"], GREENLETS])
def test_a_call_that_computes_is_interrupted_by_the_second_signal(host):
    with Server(APP, options=host) as server, server.connect() as wire:
        ask(wire, "/spin")
        server.wait_for_log("spinning")
        server.signal(signal.SIGTERM)
        # Nobody sees the drain begin, as the thread computes; but two signals at once would be one.
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


@pytest.mark.parametrize(
    "settings", ["threads=1", "threads=8", "concurrency='greenlets'", "concurrency='asyncio'"]
)
def test_a_server_that_ends_by_an_exception_gives_its_port_back(settings):
    script = f"""
import os, signal, socket, subprocess, threading
if "greenlets" in {settings!r}:
    from gevent import monkey; monkey.patch_all()
import tidegate

def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def end(*_):
    raise SystemExit(3)

signal.signal(signal.SIGUSR1, end)
bound = []

def ready(addresses):
    bound.extend(addresses)
    threading.Thread(target=visit).start()

def visit():
    global kept
    kept = socket.create_connection(bound[0])
    kept.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    assert kept.recv(1000).endswith(b"ok")
    # From outside: a handler runs in whatever runs, and this is not to be ended.
    subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -USR1 {{os.getpid()}}"])

try:
    tidegate.serve(application, bind="127.0.0.1:0", on_ready=ready, {settings})
except SystemExit:
    tidegate.serve(application, bind="%s:%s" % bound[0], on_ready=lambda _: os._exit(0), {settings})
os._exit(1)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=TESTS, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
