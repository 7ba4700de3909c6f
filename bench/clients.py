"""The programs that put a load on a server, and what they saw."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from typing import Any

import overload
from loads import CAPACITY, HELD_MS, Load
from peers import BENCH
from processes import ServerFailed, on_core

WRK = shutil.which("wrk")

# The last part of an overload is long enough to see a server come back, however short the windows are.
RECOVERY_SECONDS = 3

# What `crowd` and `socketeer` wait for their last answers, and a few seconds to spare.
PATIENCE = 30

# Before WebSockets rest, so many have been there: what the first ones take for good is not charged to those.
WARMING_SOCKETS = 200


@dataclass(frozen=True)
class Count:
    """What a client saw in one window."""

    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    errors: int
    # What only this load has, by name; see report.py.
    figures: dict[str, float] = field(default_factory=dict)


def verify(load: Load, port: int, *, of_limit: bool) -> None:
    """Send one request and raise unless the answer is right; of the limit's, only the size matters."""
    if load.client == "socketeer":
        with Sockets(replace(load, connections=1), port, 0) as sockets:
            if sockets.exchange().requests != 1:
                raise ServerFailed("no echo came back")
        return
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        peer.sendall(load.request())
        response = http.client.HTTPResponse(peer, method=load.method)
        try:
            response.begin()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerFailed(f"no whole response: {error!r}") from error
    right = len(body) == len(load.answer) if of_limit else body == load.answer
    if response.status != 200 or not right:
        raise ServerFailed(f"wrong answer: status {response.status}, {len(body)} bytes, {body[:40]!r}")


def warm_up(load: Load, port: int) -> None:
    """Let a server reach its stride before the window; a closed loop of `crowd` does so by itself."""
    if load.kind == "overload":
        _run([*_crowd(load, port, 1)[:4], f"{CAPACITY // 2}:1", load.path], load.core, 1)
    elif load.client == "socketeer":
        some = min(load.connections, WARMING_SOCKETS) if load.once else load.connections
        with Sockets(replace(load, connections=some), port, 1) as sockets:
            sockets.exchange()
        # By this one's echo the server has seen the others go.
        verify(load, port, of_limit=False)
    elif load.rates or load.client != "crowd":
        run_client(load, port, 1)
        if load.kind == "wait":
            # What this client has left behind unanswered is to be over when the next one comes.
            verify(load, port, of_limit=False)


def run_client(load: Load, port: int, seconds: float) -> Count:
    """Put the load on a server for that long."""
    if load.client == "latency":
        command = [str(BENCH / "target" / "release" / "latency"), str(port), str(seconds)]
        return _count_of_latency(_run(command, load.core, seconds))
    if load.client == "crowd":
        return _count_of_crowd(load, json.loads(_run(_crowd(load, port, seconds), load.core, seconds)))
    # One thread: the load has one core, and more threads would only take turns on it.
    command = [WRK or "wrk", "-t1", f"-c{load.connections}", f"-d{seconds:.0f}s", "--timeout", "5s"]
    command.append("--latency")
    for name, value in load.fields.items():
        command += ["-H", f"{name}: {value}"]
    url = f"http://127.0.0.1:{port}{load.path}"
    if not load.body:
        return _count_of_wrk(_run([*command, url], load.core, seconds))
    with tempfile.NamedTemporaryFile(prefix="tidegate-bench-") as body:
        body.write(load.body)
        body.flush()
        command += ["-s", str(BENCH / "post.lua"), url, "--", body.name]
        return _count_of_wrk(_run(command, load.core, seconds))


def _run(command: list[str], core: int, seconds: float) -> str:
    with on_core(core):
        try:
            # An overload has several windows.
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=4 * seconds + PATIENCE
            )
        except subprocess.TimeoutExpired as error:
            raise ServerFailed("the load generator did not come to its end") from error
    if done.returncode != 0:
        raise ServerFailed(f"the load generator failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _crowd(load: Load, port: int, seconds: float) -> list[str]:
    command = [str(BENCH / "target" / "release" / "crowd"), str(port)]
    if load.rates:
        lengths = [seconds] * len(load.rates)
        if load.kind == "overload":
            lengths[-1] = max(seconds, RECOVERY_SECONDS)
        phases = ",".join(f"{rate}:{length}" for rate, length in zip(load.rates, lengths, strict=True))
        command += ["open", str(load.connections), phases]
    else:
        command += ["closed", str(load.connections), "0" if load.once else str(seconds)]
    return command + [f"{path}={weight}" for path, weight in load.mix]


def _count_of_latency(text: str) -> Count:
    seen = json.loads(text)
    return Count(
        seen["requests"], seen["requests"] / seen["seconds"], seen["p50_ns"] / 1e3, seen["p99_ns"] / 1e3, 0
    )


def _count_of_wrk(text: str) -> Count:
    counted = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    found = {percent: re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)", text) for percent in (50, 99)}
    if counted is None or found[50] is None or found[99] is None:
        raise ServerFailed(f"cannot read what wrk printed: {text!r}")
    waits_us = {
        percent: float(match[1]) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[match[2]]
        for percent, match in found.items()
        if match
    }
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad_statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Count(
        requests=int(counted[1]),
        requests_per_s=int(counted[1]) / (float(counted[2]) * {"ms": 0.001, "s": 1, "m": 60}[counted[3]]),
        p50_us=waits_us[50],
        p99_us=waits_us[99],
        errors=sum(
            int(figure) for found in (socket_errors, bad_statuses) if found for figure in found.groups()
        ),
    )


def _count_of_crowd(load: Load, seen: dict[str, Any]) -> Count:
    served = seen["paths"][load.mix[0][0]].get("200")
    if served is None:
        raise ServerFailed(f"no request was answered with 200: {seen['paths']}")
    figures = {}
    expected = {"200"}
    if load.kind == "overload":
        figures = overload.figures(seen)
        # Refusing is what is asked for here.
        expected = {"200", "503"}
    if load.once and served["max_us"] > 2000 * HELD_MS:
        raise ServerFailed(
            "the requests did not wait all at once: the last was answered after twice the time"
        )
    answers = [(status, answer) for path in seen["paths"].values() for status, answer in path.items()]
    return Count(
        requests=seen["requests"],
        requests_per_s=figures.get("goodput")
        or (seen["requests"] / seen["last_answer_s"] if load.once else seen["in_time"] / seen["seconds"]),
        p50_us=served["p50_us"],
        p99_us=served["p99_us"],
        errors=seen["unsent"]
        + seen["starved"]
        + sum(answer["count"] for status, answer in answers if status not in expected),
        figures=figures,
    )


class Sockets:
    """WebSockets that `socketeer` holds open while a with block lasts."""

    def __init__(self, load: Load, port: int, seconds: float) -> None:
        kind = "text" if load.text else "binary"
        figures = (port, load.connections, seconds, load.message_size)
        self._load = load
        self._seconds = seconds
        self._command = [str(BENCH / "target" / "release" / "socketeer"), *map(str, figures), kind]
        # How long it took until each had had its first echo.
        self.opening_s = 0.0
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Sockets:
        with on_core(self._load.core):
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdout is not None
        # It gives up by itself when a server does not open them.
        self.opening_s = _seen(self._process.stdout.readline())["opening_s"]
        return self

    def __exit__(self, *raised: object) -> None:
        # Its own end of a with block closes the pipes and waits.
        with self._process:
            self._process.kill()

    def exchange(self) -> Count:
        """Let messages go to and fro for the time that was given, or one on each, and close them."""
        try:
            # The end of its input is what it waits for.
            seen = _seen(self._process.communicate(timeout=self._seconds + PATIENCE)[0])
        except subprocess.TimeoutExpired as error:
            raise ServerFailed("the load generator did not come to its end") from error
        if seen["wrong"]:
            raise ServerFailed(f"{seen['wrong']} echoes were not what had been sent")
        return Count(
            requests=seen["messages"],
            requests_per_s=seen["in_time"] / seen["seconds"],
            p50_us=seen["p50_us"],
            p99_us=seen["p99_us"],
            errors=seen["refused"] + seen["gone"] + seen["unanswered"],
        )


def _seen(line: str) -> dict[str, Any]:
    if not line:
        raise ServerFailed("the load generator failed; what it said is above")
    found: dict[str, Any] = json.loads(line)
    return found
