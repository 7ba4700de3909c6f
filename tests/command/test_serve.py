"""`tidegate.serve()`: the server from Python."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

import tidegate


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_a_server_in_a_child_process_in_three_lines():
    context = multiprocessing.get_context("spawn")
    addresses = context.Queue()
    child = context.Process(
        target=tidegate.serve, args=(application,), kwargs={"bind": "127.0.0.1:0", "on_ready": addresses.put}
    )
    child.start()
    try:
        [(host, port)] = addresses.get(timeout=30)
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=30) as response:
            assert response.read() == b"hello"
    finally:
        child.terminate()
        child.join(30)
    assert child.exitcode == 0


def test_several_addresses_are_reported_in_order(tmp_path):
    path = tmp_path / "a.sock"
    seen = []

    def on_ready(addresses):
        seen.extend(addresses)
        os.kill(os.getpid(), signal.SIGTERM)

    tidegate.serve(application, bind=["127.0.0.1:0", f"unix:{path}"], on_ready=on_ready)
    assert seen[0][0] == "127.0.0.1"
    assert seen[0][1] > 0
    assert seen[1] == str(path)


def test_signal_handlers_are_as_before_when_it_ends():
    before = signal.getsignal(signal.SIGINT)
    tidegate.serve(application, bind="127.0.0.1:0", on_ready=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(10)


def test_it_can_be_called_again_in_the_same_process():
    for _ in range(3):
        tidegate.serve(
            application, bind="127.0.0.1:0", on_ready=lambda _: os.kill(os.getpid(), signal.SIGTERM)
        )


def test_an_exception_in_on_ready_ends_the_server_and_is_raised():
    def on_ready(addresses):
        raise LookupError("not today")

    with pytest.raises(LookupError, match="not today"):
        tidegate.serve(application, bind="127.0.0.1:0", on_ready=on_ready)


def test_an_unknown_setting_suggests_the_near_one():
    with pytest.raises(ValueError, match="head_timeout"):
        tidegate.serve(application, head_timout=3)


def test_a_bad_value_names_what_is_accepted():
    with pytest.raises(ValueError, match="accepted"):
        tidegate.serve(application, bind="127.0.0.1:99999")


def test_an_address_that_is_taken_is_an_oserror():
    def on_ready(addresses):
        [(host, port)] = addresses
        with pytest.raises(OSError, match="in use"):
            tidegate.serve(application, bind=f"{host}:{port}")
        os.kill(os.getpid(), signal.SIGTERM)

    tidegate.serve(application, bind="127.0.0.1:0", on_ready=on_ready)


def test_something_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="callable"):
        tidegate.serve(5)


def test_none_stands_for_the_default():
    tidegate.serve(
        application,
        bind="127.0.0.1:0",
        body_size_max=None,
        on_ready=lambda _: os.kill(os.getpid(), signal.SIGTERM),
    )


def test_the_file_wrapper_is_public_and_needs_a_block_size():
    with open(os.devnull, "rb") as file, pytest.raises(ValueError, match="block_size"):
        tidegate.FileWrapper(file, 0)


KEEPER = """
import os, signal, sys, threading, urllib.request
import tidegate

kept = []

def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    kept.extend([start_response, write])
    return [b"hello"]

class Late:
    def __init__(self, *kept):
        self.kept = kept

    def __del__(self):
        start_response, write = self.kept
        for call in (lambda: write(b"late"), lambda: start_response("200 OK", [], None), write):
            try:
                call()
            except Exception as error:
                os.write(1, type(error).__name__.encode() + b"\\n")

def ask(addresses):
    host, port = addresses[0]
    urllib.request.urlopen(f"http://{host}:{port}/").read()
    os.kill(os.getpid(), signal.SIGTERM)

def on_ready(addresses):
    threading.Thread(target=ask, args=[addresses]).start()

tidegate.serve(application, bind="127.0.0.1:0", on_ready=on_ready)
late = Late(*kept)
late.itself = late  # only the last collection, as the interpreter ends, lets go of it
"""


BESIDE = """
import os, signal, threading, time, urllib.error, urllib.request
import tidegate

async def application(scope, receive, send):
    if scope["type"] == "http":
        until = time.monotonic() + 1
        while time.monotonic() < until:
            sum(range(1000))
        os.kill(os.getpid(), signal.SIGTERM)

def ask(addresses):
    host, port = addresses[0]
    try:
        urllib.request.urlopen(f"http://{host}:{port}/")
    except urllib.error.HTTPError as error:
        print(error.code)

def on_ready(addresses):
    threading.Thread(target=ask, args=[addresses]).start()

def serve():
    tidegate.serve(application, bind="127.0.0.1:0", request_timeout=0.2, on_ready=on_ready)

server = threading.Thread(target=serve)
server.start()
while server.is_alive():
    sum(range(1000))
print("went on")
"""


def test_a_request_beside_the_main_thread_that_takes_too_long_does_not_interrupt_that():
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "504\nwent on\n"), done


def test_what_an_application_keeps_can_be_called_as_the_interpreter_ends():
    done = subprocess.run([sys.executable, "-c", KEEPER], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    assert done.stdout.split() == ["RuntimeError", "AssertionError", "TypeError"]
