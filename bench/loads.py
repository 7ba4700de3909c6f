"""What is asked of a server: each load's request, its right answer, and how it is repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from peers import Interface, Work
from processes import LOAD_CPU, SERVER_CPU

# "hello" is for nearly every server; "work" for those measured by the cost of a request; "wait" for those
# that can have many requests at once; "overload" for those that can be told how many.
Kind = Literal["hello", "work", "wait", "overload", "websocket"]

# "wrk" counts requests of many connections; "latency" times each request of one; "crowd" has mixes and rates,
# and leaves out the time in which thousands of connections are made; "socketeer" has WebSockets.
Client = Literal["wrk", "latency", "crowd", "socketeer"]

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
    kind: Kind = "work"
    connections: int = 64
    # Of which servers; those that run applications of their own take part in both.
    interface: Interface = "wsgi"
    client: Client = "wrk"
    # The core that the client runs on.
    core: int = LOAD_CPU
    fields: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: bytes = b""
    answer: bytes = b"Hello, World!"
    framework: bool = False
    path: str = "/"
    # For "crowd": paths and their weights; the percentiles are of the first one's answers.
    mix: tuple[tuple[str, int], ...] = ()
    # For "crowd": arrivals a second, each for the length of the window. Without: as answers come, or, with
    # `once`, one request from each connection.
    rates: tuple[int, ...] = ()
    once: bool = False
    # For "socketeer": the size of a message, and whether it is text. With `once` the connections rest.
    message_size: int = 32
    text: bool = True
    # How many requests the server has at once; a peer says how many make sense.
    at_once: int = 64
    threads: int = 1000
    # Whether the application asks the backend.
    backend: bool = False

    def request(self) -> bytes:
        """Return one request as `wrk` sends it, but for the order of fields."""
        fields = {"Host": "127.0.0.1", **self.fields}
        if self.body:
            fields["Content-Length"] = str(len(self.body))
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def work(self) -> Work:
        """Return what the server is to run for this load."""
        request_size = len(self.request()) if self.body else None
        return Work(
            self.app,
            body_size=len(self.answer),
            request_size=request_size,
            connections=self.connections,
            threads=200 if self.kind in ("hello", "work") else self.threads,
            limited=self.kind == "overload",
            websocket=self.kind == "websocket",
        )


def sleepers(connections: int) -> Load:
    """Every connection is answered after 100 ms, again and again; they all come at once."""
    title = f"100 ms sleepers, {connections:,} connections"
    name = f"sleep-{connections}"
    return Load(name, title, "apps:sleep", "wait", connections, path="/100", at_once=connections)


def steady(connections: int) -> Load:
    """The same, without the seconds in which the connections come and are accepted."""
    return Load(
        f"steady-{connections}",
        f"100 ms sleepers, {connections:,} connections, once all are served",
        "apps:sleep",
        "wait",
        connections,
        client="crowd",
        path="/100",
        mix=(("/100", 1),),
        at_once=connections,
    )


def held(connections: int) -> Load:
    """Every connection has one request that waits, long enough that all of them wait at once."""
    return Load(
        f"held-{connections}",
        f"{connections:,} requests that wait, once",
        "apps:sleep",
        "wait",
        connections,
        client="crowd",
        path="/0",
        mix=((f"/{HELD_MS}", 1),),
        once=True,
        at_once=connections,
    )


def asgi(name: str, title: str, app: str, connections: int = 64, **more: Any) -> Load:
    """A load for the asynchronous half; the same clients, other servers."""
    return Load(name, title, app, connections=connections, interface="asgi", **more)


def sockets(size: str, connections: int, message_size: int, *, text: bool) -> Load:
    """On each WebSocket a message goes out when the echo of the one before has come."""
    what = f"{message_size // 1024} KiB" if message_size >= 1024 else f"{message_size} bytes"
    return asgi(
        f"ws-echo-{size}-{connections}",
        f"echo of {what}, {connections:,} WebSockets",
        "app_asgi:echo",
        connections,
        kind="websocket",
        client="socketeer",
        at_once=connections,
        message_size=message_size,
        text=text,
    )


# The slowest server has to take all of them before it may answer the first.
HELD_MS = 5000

# The overload: so many may run at once, each for this long; how many that makes in a second.
SLOTS = 100
SERVICE_MS = 50
CAPACITY = SLOTS * 1000 // SERVICE_MS


# What a shop's program might send: a list of objects, values of each kind, and a kibibyte in all.
JSON_BODY = json.dumps(
    {
        "order": 2041,
        "paid": True,
        "coupon": None,
        "note": "Please leave it with the neighbours when nobody is in, and ring the bell once again.",
        "items": [
            {
                "id": number,
                "name": f"Lamp, model {number}",
                "price_cents": 1990 + number,
                "tags": ["lamp", "new"],
            }
            for number in range(12)
        ],
    },
    separators=(",", ":"),
).encode()

LOADS = (
    Load("hello", "hello, 64 connections", "apps:hello", "hello"),
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
        answer=b"1048576",
    ),
    *(sleepers(connections) for connections in (100, 1000, 4000, 8000)),
    *(steady(connections) for connections in (1000, 8000)),
    Load(
        "backend",
        "backend call of 50 ms, 100 connections",
        "app_backend:call",
        "wait",
        100,
        client="crowd",
        path="/50",
        mix=(("/50", 1),),
        at_once=100,
        backend=True,
    ),
    # At this rate twenty of the slow ones run at any time, and every peer can follow.
    Load(
        "mix",
        "2,000/s, 99% fast, 1% of one second: the fast",
        "apps:sleep",
        "wait",
        4000,
        client="crowd",
        path="/0",
        mix=(("/0", 99), ("/1000", 1)),
        rates=(2000,),
    ),
    *(held(connections) for connections in (1000, 8000)),
    Load(
        "overload",
        "twice what can be served",
        "apps:sleep",
        "overload",
        15_000,
        client="crowd",
        path=f"/{SERVICE_MS}",
        mix=((f"/{SERVICE_MS}", 1),),
        rates=(CAPACITY // 2, CAPACITY, 2 * CAPACITY, CAPACITY // 2),
        threads=SLOTS,
        at_once=SLOTS,
    ),
    asgi("asgi-hello-64", "ASGI hello, 64 connections", "app_asgi:hello"),
    asgi("asgi-hello-1000", "ASGI hello, 1,000 connections", "app_asgi:hello", 1000),
    asgi("asgi-hello-1", "ASGI hello, 1 connection, two cores", "app_asgi:hello", 1, client="latency"),
    asgi(
        "asgi-hello-1-core",
        "ASGI hello, 1 connection, one core",
        "app_asgi:hello",
        1,
        client="latency",
        core=SERVER_CPU,
    ),
    asgi(
        "asgi-echo-json",
        "1 KiB of JSON, parsed and answered, 64 connections",
        "app_asgi:echo_json",
        method="POST",
        fields={"Content-Type": "application/json"},
        body=JSON_BODY,
        answer=JSON_BODY,
    ),
    asgi("starlette-hello", "Starlette hello, 64 connections", "app_starlette:app", framework=True),
    asgi("fastapi-hello", "FastAPI hello, 64 connections", "app_fastapi:app", framework=True),
    asgi(
        "asgi-sleep",
        "100 ms sleepers, asynchronous, 8,000 connections",
        "app_asgi:sleep",
        8000,
        kind="wait",
        client="crowd",
        path="/100",
        mix=(("/100", 1),),
        at_once=8000,
    ),
    *(sockets("small", connections, 32, text=True) for connections in (64, 1000)),
    *(sockets("large", connections, 64 * 1024, text=False) for connections in (64, 1000)),
    asgi(
        "ws-idle",
        "10,000 WebSockets at rest",
        "app_asgi:echo",
        10_000,
        kind="websocket",
        client="socketeer",
        once=True,
        at_once=10_000,
    ),
)
BY_NAME = {load.name: load for load in LOADS}
