"""What is asked of a server: each load's request, its right answer, and the client that repeats it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field

from peers import BENCH, Work
from processes import LOAD_CPU, SERVER_CPU, ServerFailed, on_core

WRK = shutil.which("wrk")

# What a browser sends for a page: with Host, twenty fields.
BROWSER_FIELDS = {
    "Connection": "keep-alive",
    "Cache-Control": "max-age=0",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "DNT": "1",
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-User": "?1",
    "Sec-Fetch-Dest": "document",
    "Referer": "http://shop.example/catalogue/lamps?page=2",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Cookie": "sessionid=q4v0c1m9x7z2k8s5d3f6g1h4; csrftoken=Zt8Yw2Rb6Nf4Lq9Xe3Ua; theme=dark",
    "If-None-Match": 'W/"5f1e-18c2b7d3a40"',
    "X-Forwarded-For": "203.0.113.7",
}


@dataclass(frozen=True)
class Load:
    """One kind of traffic."""

    name: str
    title: str
    app: str
    connections: int = 64
    # "wrk" counts requests of many connections; "latency" times each request of one.
    client: str = "wrk"
    # The core that the client runs on.
    core: int = LOAD_CPU
    fields: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: bytes = b""
    script: str = ""
    answer: bytes = b"Hello, World!"
    framework: bool = False

    def request(self) -> bytes:
        """Return one request as `wrk` sends it, but for the order of fields."""
        fields = {"Host": "127.0.0.1", **self.fields}
        if self.body:
            fields["Content-Length"] = str(len(self.body))
        lines = [f"{self.method} / HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def work(self) -> Work:
        """Return what the server is to run for this load."""
        request_size = len(self.request()) if self.body else None
        return Work(self.app, body_size=len(self.answer), request_size=request_size)


LOADS = (
    Load("hello", "hello, 64 connections", "apps:hello"),
    Load("hello-1", "hello, 1 connection, two cores", "apps:hello", connections=1, client="latency"),
    # On two cores most of the wait for one request is a sleeping core's waking up, the same for all servers
    # and, on a virtual machine, longer than the answer takes. On one core it is the work of both programs.
    Load(
        "hello-1-core",
        "hello, 1 connection, one core",
        "apps:hello",
        connections=1,
        client="latency",
        core=SERVER_CPU,
    ),
    Load("fields", "20 header fields, 64 connections", "apps:hello", fields=BROWSER_FIELDS),
    Load("large", "64 KiB response, 64 connections", "apps:large", answer=b"x" * 65536),
    Load("list", "list of 10 blocks of 1 KiB, 64 connections", "apps:blocks", answer=b"x" * 10240),
    Load(
        "generator", "generator of 10 blocks of 1 KiB, 64 connections", "apps:generator", answer=b"x" * 10240
    ),
    Load("flask", "Flask hello, 64 connections", "app_flask:app", framework=True),
    Load("django", "Django hello, 64 connections", "app_django:app", framework=True),
    Load(
        "upload",
        "1 MiB upload, 16 connections",
        "apps:upload",
        connections=16,
        method="POST",
        body=b"x" * (1024 * 1024),
        script="upload.lua",
        answer=b"1048576",
    ),
)
BY_NAME = {load.name: load for load in LOADS}


@dataclass(frozen=True)
class Count:
    """What a client saw in one window."""

    requests: int
    seconds: float
    p50_us: float
    errors: int


def verify(load: Load, port: int, *, of_limit: bool) -> None:
    """Send one request and raise unless the answer is right; of the limit's, only the size matters."""
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


def run_client(load: Load, port: int, seconds: float) -> Count:
    """Put the load on a server for that long."""
    if load.client == "latency":
        command = [str(BENCH / "target" / "release" / "latency"), str(port), str(seconds)]
    else:
        # One thread: the load has one core, and more threads would only take turns on it.
        command = [WRK or "wrk", "-t1", f"-c{load.connections}", f"-d{seconds:.0f}s", "--timeout", "5s"]
        command.append("--latency")
        for name, value in load.fields.items():
            command += ["-H", f"{name}: {value}"]
        if load.script:
            command += ["-s", str(BENCH / load.script)]
        command.append(f"http://127.0.0.1:{port}/")
    with on_core(load.core):
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise ServerFailed(f"the load generator failed: {done.stderr.strip() or done.stdout.strip()}")
    return _count_of_latency(done.stdout) if load.client == "latency" else _count_of_wrk(done.stdout)


def _count_of_latency(text: str) -> Count:
    figures = json.loads(text)
    return Count(figures["requests"], figures["seconds"], figures["p50_ns"] / 1000, 0)


def _count_of_wrk(text: str) -> Count:
    counted = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
    if counted is None or median is None:
        raise ServerFailed(f"cannot read what wrk printed: {text!r}")
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad_statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Count(
        requests=int(counted[1]),
        seconds=float(counted[2]) * {"ms": 0.001, "s": 1, "m": 60}[counted[3]],
        p50_us=float(median[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[median[2]],
        errors=sum(
            int(figure) for found in (socket_errors, bad_statuses) if found for figure in found.groups()
        ),
    )
