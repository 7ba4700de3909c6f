"""Small ASGI applications, one per path, that each probe one promise of ASGI 3 about HTTP.

What is offered to the server against the rules is in `apps.asgi_offences`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from typing import cast

import anyio
from asgiref.typing import HTTPScope, Scope

from apps.asgi_parts import (
    BINARY,
    BLOCK,
    PATIENCE_S,
    TEXT,
    Receive,
    Send,
    answer,
    beyond_types,
    gate,
    named,
    part,
    progress,
    query,
    request_part,
    start,
    tell,
    whole_body,
)

Probe = Callable[[HTTPScope, Receive, Send], Awaitable[None]]

TIDES = b"".join(b"%06d: the tide turns at the gate.\n" % number for number in range(5000))

probes: dict[str, Probe] = {}
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")


def probe(function: Probe) -> Probe:
    probes[f"/{function.__name__}"] = function
    return function


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        # How an application says that it has no part in the lifespan.
        raise NotImplementedError(scope["type"])
    await probes.get(scope["path"], nothing_here)(scope, receive, send)


async def nothing_here(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, "no such probe", status=404)


@probe
async def loop(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, type(asyncio.get_running_loop()).__module__.partition(".")[0])


@probe
async def open_gate(scope: HTTPScope, receive: Receive, send: Send) -> None:
    gate(named(scope)).set()
    await answer(send, "open")


@probe
async def how_far(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, str(progress.get(named(scope), 0)))


# Ways to read the request


@probe
async def messages(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Every message up to the end of the body: its keys, and how much it brings."""
    seen = []
    while True:
        message = await request_part(receive)
        body = message.get("body", b"")
        assert type(body) is bytes and type(message.get("more_body", False)) is bool
        seen.append({"keys": sorted(message), "size": len(body), "more": message.get("more_body", False)})
        if not message.get("more_body", False):
            break
    await answer(send, json.dumps(seen))


@probe
async def echo(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Sends each piece back as it comes, beginning before the first has come."""
    await start(send, BINARY)
    await part(send, b"ready\n")
    more = True
    while more:
        message = await request_part(receive)
        more = message.get("more_body", False)
        await part(send, message.get("body", b""))
    await part(send, b"", more=False)


@probe
async def whole(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, await whole_body(receive))


@probe
async def reads_slowly(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Takes nothing of the body until its gate opens."""
    tell(f"waits {named(scope)}")
    await gate(named(scope)).wait()
    size = 0
    while True:
        message = await request_part(receive)
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await answer(send, str(size))


@probe
async def ignores_body(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, "not read")


# Ways to respond


@probe
async def hello(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, "Hello, world!")


@probe
async def parts(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)
    for piece in (b"Hello", b"", b", ", b"world!"):
        await part(send, piece)
    await part(send, b"", more=False)


@probe
async def parts_with_length(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, [*TEXT, (b"content-length", b"13")])
    await part(send, b"Hello, ")
    await part(send, b"world!", more=False)


@probe
async def one_part(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)
    await part(send, b"Hello, world!", more=False)


@probe
async def bare(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Only what messages must have: everything else has a default."""
    await send(beyond_types({"type": "http.response.start", "status": 202}))
    await send(beyond_types({"type": "http.response.body"}))


@probe
async def status(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, status=int(query(scope)["is"]))
    await part(send, b"", more=False)


@probe
async def fields(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Fields in any iterable: a generator of lists here."""
    pairs = (
        (b"set-cookie", b"moon=full; Path=/"),
        (b"x-latin", "\u00e9t\u00e9".encode("latin-1")),
        (b"set-cookie", b"sun=down; Path=/"),
        (b"content-length", b"0"),
    )
    generated = (list(pair) for pair in pairs)
    await send(beyond_types({"type": "http.response.start", "status": 200, "headers": generated}))
    await part(send, b"", more=False)


@probe
async def upper_case(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """The specification wants names in lower case; servers let others pass, or say so."""
    try:
        await start(send, [*TEXT, (b"X-Tide", b"low")])
    except Exception as error:
        await answer(send, str(error))
        return
    await part(send, b"passed", more=False)


@probe
async def hop_by_hop(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Framing is the server's: what the application says of it must not reach the client twice."""
    pairs = [
        (b"connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"keep-alive", b"timeout=5"),
    ]
    with contextlib.suppress(Exception):
        await start(send, [*TEXT, *pairs])
        await part(send, b"framed once", more=False)
        return
    await answer(send, "framed once")


@probe
async def large(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """`size` bytes in one part, which is the last."""
    await start(send, BINARY)
    tell(f"{named(scope)} sends")
    await part(send, b"\xa5" * int(query(scope)["size"]), more=False)
    tell(f"{named(scope)} has sent")


@probe
async def endless(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Says what the first `send` after the client's departure raised."""
    name = named(scope)
    await start(send, BINARY)
    try:
        for count in itertools.count(1):
            await part(send, BLOCK)
            progress[name] = count
            # As far as the specification goes, `send` need not let others run.
            await asyncio.sleep(0)
    except Exception as error:
        tell(f"{name} ended by {type(error).__name__}, OSError {isinstance(error, OSError)}: {error}")


# Ends, good and bad


@probe
async def sends_nothing(scope: HTTPScope, receive: Receive, send: Send) -> None:
    return


@probe
async def only_starts(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)


@probe
async def raises(scope: HTTPScope, receive: Receive, send: Send) -> None:
    raise RuntimeError("probe: failed before the start")


@probe
async def raises_after_start(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)
    raise RuntimeError("probe: failed after the start")


@probe
async def raises_in_the_middle(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)
    await part(send, b"half")
    raise RuntimeError("probe: failed in the middle")


@probe
async def stops_in_the_middle(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)
    await part(send, b"half")


@probe
async def too_few_bytes(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, [*TEXT, (b"content-length", b"10")])
    await part(send, b"half", more=False)


@probe
async def too_many_bytes(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, [*TEXT, (b"content-length", b"4")])
    try:
        await part(send, b"right and more", more=False)
    except Exception as error:
        tell(f"{named(scope)} raised {type(error).__name__}: {error}")


@probe
async def raises_at_the_end(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await answer(send, "all there")
    raise RuntimeError("probe: failed at the end")


@probe
async def exits(scope: HTTPScope, receive: Receive, send: Send) -> None:
    raise SystemExit(3)


@probe
async def exits_in_a_task(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """As a view of Django's does, and one behind Starlette's middleware."""

    async def view() -> None:
        raise SystemExit(3)

    await asyncio.create_task(view())


@probe
async def interrupts(scope: HTTPScope, receive: Receive, send: Send) -> None:
    raise KeyboardInterrupt


@probe
async def works_on(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Waits after the response, inside the call, until its gate opens."""
    name = named(scope)
    await answer(send, "answered")
    await gate(name).wait()
    await asyncio.sleep(0.05)
    tell(f"{name} worked on")


@probe
async def leaves_a_task(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Waits after the response, in a task of its own."""
    name = named(scope)

    async def later() -> None:
        await gate(name).wait()
        tell(f"{name} worked on")

    tasks.add(task := asyncio.create_task(later()))
    task.add_done_callback(tasks.discard)
    await answer(send, "answered")


tasks: set[asyncio.Task[None]] = set()


@probe
async def after_the_end(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Once the response is out there is nothing to receive but its end, at once and again."""
    name = named(scope)
    await answer(send, "answered")
    seen = [(await asyncio.wait_for(receive(), PATIENCE_S))["type"] for _ in range(2)]
    tell(f"{name} received {seen}")


@probe
async def waits_for_departure(scope: HTTPScope, receive: Receive, send: Send) -> None:
    name = named(scope)
    await whole_body(receive)
    tell(f"{name} waits")
    kind = (await receive())["type"]
    tell(f"{name} received {kind}")
    try:
        await start(send, TEXT)
        await part(send, b"", more=False)
    except Exception as error:
        tell(f"{name} raised {type(error).__name__}, OSError {isinstance(error, OSError)}")
    else:
        tell(f"{name} raised nothing")


@probe
async def sleeps(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Ends when its gate opens, or is cancelled."""
    name = named(scope)
    tell(f"{name} sleeps")
    try:
        await gate(name).wait()
    except asyncio.CancelledError:
        tell(f"{name} cancelled")
        raise
    tell(f"{name} woke")
    with contextlib.suppress(OSError):
        await answer(send, "woke")


# Tasks


@probe
async def context(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Sets a variable, lets another request set it too, and looks at it again."""
    name, other = query(scope)["name"], query(scope)["other"]
    before = mark.get()
    mark.set(name)
    gate(f"context {name}").set()
    await gate(f"context {other}").wait()
    after = await asyncio.create_task(look_at_mark())
    await answer(send, f"{before}, {after}")


async def look_at_mark() -> str:
    return mark.get()


@probe
async def gives_up_often(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """How many more objects there are when a thousand waits have been given up, while another goes on."""
    await whole_body(receive)
    waiting = asyncio.ensure_future(receive())
    counts = []
    for _ in range(2):
        for _ in range(1000):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(receive(), 1e-6)
        gc.collect()
        counts.append(sys.getallocatedblocks())
    assert not waiting.done()
    await answer(send, str(counts[1] - counts[0]))


@probe
async def receive_in_a_task(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """The body comes while the application waits for it in another task."""
    reading = asyncio.ensure_future(receive())
    await start(send, TEXT)
    await part(send, b"ready\n")
    seen = [await reading]
    while seen[-1].get("more_body", False):
        done, waiting = await asyncio.wait({asyncio.ensure_future(receive())})
        assert not waiting
        seen += [future.result() for future in done]
    await part(send, b"".join(cast(bytes, message.get("body", b"")) for message in seen), more=False)


@probe
async def receive_in_time(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Gives up waiting again and again; what comes in the meantime is not lost."""
    await start(send, TEXT)
    await part(send, b"ready\n")
    body, more, given_up = b"", True, 0
    while more:
        try:
            # Alternately a wait that is too short for anything and one that may be met in the middle.
            message = await asyncio.wait_for(receive(), 0 if given_up % 2 else 0.01)
        except asyncio.TimeoutError:
            given_up += 1
            if given_up == 3:
                await part(send, b"impatient\n")
            await asyncio.sleep(0)
            continue
        assert message["type"] == "http.request"
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await part(send, body, more=False)


if sys.version_info >= (3, 11):

    @probe
    async def receive_within(scope: HTTPScope, receive: Receive, send: Send) -> None:
        first = await request_part(receive)
        try:
            async with asyncio.timeout(0.05):
                await receive()
        except TimeoutError:
            await answer(send, f"timed out after {len(first['body'])} bytes")


@probe
async def receive_twice_at_once(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Two tasks wait for messages: each message comes to one of them, and the end of the client to both."""
    await whole_body(receive)
    name = named(scope)
    waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
    await asyncio.sleep(0)
    tell(f"{name} waits")
    await asyncio.sleep(0)
    seen = [message["type"] for message in await asyncio.gather(*waiting)]
    tell(f"{name} received {seen}")


@probe
async def sends_from_tasks(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, TEXT)
    await asyncio.gather(*(asyncio.ensure_future(part(send, b"%d\n" % number)) for number in range(100)))
    await part(send, b"", more=False)


@probe
async def never_waits(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Sends what the system takes at once, and ends with whether another task had its turn meanwhile."""
    await start(send, BINARY)
    had_its_turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(had_its_turn.set)
    for _ in range(1000):
        await part(send, b".")
    await part(send, b"others went on" if had_its_turn.is_set() else b"others waited", more=False)


@probe
async def many_senders(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Several tasks whose blocks are large enough to have to wait; every block stays whole."""
    await start(send, BINARY)

    async def sender(letter: bytes) -> None:
        for _ in range(8):
            await part(send, letter * 200_000 + b"\n")

    await asyncio.gather(*(sender(letter) for letter in (b"a", b"b", b"c", b"d")))
    await part(send, b"", more=False)


@probe
async def task_group(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """As Starlette streams: one task listens for the end, another sends, the first to end ends both."""
    name = named(scope)
    await whole_body(receive)
    await start(send, TEXT)

    async def listen(group: anyio.abc.TaskGroup) -> None:
        kind = (await receive())["type"]
        tell(f"{name} heard {kind}")
        group.cancel_scope.cancel()

    async def speak() -> None:
        with anyio.move_on_after(float(query(scope).get("for", PATIENCE_S))):
            await part(send, b"speaking\n")
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(listen, group)
        await speak()
        group.cancel_scope.cancel()
    with contextlib.suppress(OSError):
        await part(send, b"done\n", more=False)
    tell(f"{name} is through")


@probe
async def hears_and_speaks(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """As Django streams: the task that hears of the departure cancels the one that sends."""
    name = named(scope)
    await whole_body(receive)
    await start(send, BINARY)

    async def speak() -> None:
        while True:
            await part(send, BLOCK)

    speaking = asyncio.create_task(speak())
    await receive()
    speaking.cancel()
    (outcome,) = await asyncio.gather(speaking, return_exceptions=True)
    tell(f"{name} ended by {type(outcome).__name__}")


@probe
async def cancels_its_send(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """A `send` that waits for the client is given up; the response goes on once there is room again."""
    name = named(scope)
    await start(send, BINARY)
    sent = 0
    while True:
        try:
            await asyncio.wait_for(part(send, BLOCK), 0.2)
        except asyncio.TimeoutError:
            break
        sent += len(BLOCK)
    tell(f"{name} gave up")
    # Whether the block that was given up goes out is for the server to say: all of it or nothing.
    await part(send, b"after", more=False)
    tell(f"{name} sent {sent} and {len(BLOCK)}")


# Extensions


@probe
async def trailers(scope: HTTPScope, receive: Receive, send: Send) -> None:
    offered = "http.response.trailers" in (scope["extensions"] or {})
    await start(send, [*TEXT, (b"trailer", b"x-tide, x-moon")], trailers=offered)
    await part(send, b"body", more=False)
    if offered:
        await send(
            {
                "type": "http.response.trailers",
                "headers": [(b"x-tide", b"high")],
                "more_trailers": True,
            }
        )
        await send(
            {
                "type": "http.response.trailers",
                "headers": [(b"x-moon", b"full")],
                "more_trailers": False,
            }
        )
    tell(f"trailers offered: {offered}")


@probe
async def early_hint(scope: HTTPScope, receive: Receive, send: Send) -> None:
    offered = "http.response.early_hint" in (scope["extensions"] or {})
    if offered:
        links = [b"</tide.css>; rel=preload; as=style", b"</moon.js>; rel=preload; as=script"]
        await send(beyond_types({"type": "http.response.early_hint", "links": links}))
    await answer(send, f"offered: {offered}")


@probe
async def pathsend(scope: HTTPScope, receive: Receive, send: Send) -> None:
    assert "http.response.pathsend" in (scope["extensions"] or {})
    with tempfile.NamedTemporaryFile() as file:
        file.write(TIDES)
        file.flush()
        await start(send, [*BINARY, (b"content-length", b"%d" % len(TIDES))])
        await send(beyond_types({"type": "http.response.pathsend", "path": file.name}))


@probe
async def pathsend_nowhere(scope: HTTPScope, receive: Receive, send: Send) -> None:
    await start(send, BINARY)
    await send(beyond_types({"type": "http.response.pathsend", "path": "/nowhere/at/all"}))


@probe
async def zerocopysend(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Parts of a file, before and between which there are bytes of the application's."""
    assert "http.response.zerocopysend" in (scope["extensions"] or {})
    with tempfile.TemporaryFile() as file:
        file.write(TIDES)
        file.flush()
        await start(send, BINARY)
        await part(send, b"from the middle\n")
        send_file = {"type": "http.response.zerocopysend", "file": file.fileno()}
        await send(beyond_types({**send_file, "offset": 1000, "count": 2000, "more_body": True}))
        await part(send, b"from the start\n")
        await send(beyond_types({**send_file, "offset": 0, "more_body": True}))
        await part(send, b"", more=False)
