"""One server from its start to its judgement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from soak import load
from soak.holdings import REST_WITHIN_S, at_rest, look
from soak.load import Length, Outcome, Site
from soak.scenarios import FILES, HTTP, TASKS
from soak.websockets import WEBSOCKETS
from support.server import Server

WSGI = HTTP
BRIDGE = {**HTTP, **TASKS}
ASGI = {**HTTP, **TASKS, **FILES, **WEBSOCKETS}

# Memory that a server may take beyond what a warm-up has taken: fragments, the high-water marks of buffers.
# What leaks goes on growing and passes it: at 20 bytes for each request, within ten minutes.
GROWTH_MAX_KIB = 8 * 1024
# The same for the number of Python's objects.
BLOCKS_GROWTH_MAX = 5000


@dataclass(frozen=True)
class Host:
    """A way to run the server."""

    options: tuple[str, ...]
    app: str = "apps.soak:application"
    # What it serves; the last one says what the process holds.
    sites: tuple[Site, ...] = (Site("", WSGI),)
    # Whether it admits so little that some requests must get a 503.
    sheds: bool = False


# Threads that have nothing to do end after a second, so that one that stays shows. Nothing waits long enough
# for its turn to be turned away, but where a host is to shed.
BRIEF = ("--thread-idle-timeout", "1s")
PATIENT = ("--queue-timeout", "60s")
ADMIT_LITTLE = ("--max-concurrency", "10", "--queue-size", "30", "--queue-timeout", "300ms")
# One heap for all threads. By default glibc gives each thread an arena of its own, and what is free in one is
# of no use to another: a hundred MiB come and stay that nobody holds, among which a leak would not be seen.
ENVIRON = {"MALLOC_ARENA_MAX": "1"}
# Silence is soon noticed, and so are those that do not answer a close.
WATCHFUL = ("--websocket-ping-interval", "1s", "--websocket-close-timeout", "1s")
MOUNTED = ("--mount", "/asgi=apps.soak_asgi:app", *WATCHFUL)
ASYNCIO, UVLOOP = (("--concurrency", "asyncio", "--loop", loop) for loop in ("asyncio", "uvloop"))
CANCELLING = "--cancel-on-disconnect"


def bridge(*options: str, sheds: bool = False) -> Host:
    return Host(options, "apps.soak_bridge:application", (Site("", BRIDGE),), sheds)


def pool(*options: str, sheds: bool = False) -> Host:
    return Host((*MOUNTED, *options), sites=(Site("", WSGI), Site("/asgi", ASGI)), sheds=sheds)


def asgi(*options: str, sheds: bool = False) -> Host:
    return Host((*WATCHFUL, *options), "apps.soak_asgi:app", (Site("", ASGI),), sheds)


HOSTS = {
    "threads": Host(("--threads", "50", *BRIEF, *PATIENT)),
    "greenlets": Host(("--concurrency", "greenlets", *BRIEF, *PATIENT)),
    "bridge": bridge(*UVLOOP, *PATIENT),
    "pool": pool("--threads", "50", *BRIEF, *PATIENT),
    "asgi-asyncio": asgi(*ASYNCIO, *PATIENT),
    "asgi-uvloop": asgi(*UVLOOP, *PATIENT),
    "crowded-threads": Host(("--threads", "50", *BRIEF, *ADMIT_LITTLE), sheds=True),
    "crowded-greenlets": Host(("--concurrency", "greenlets", *BRIEF, *ADMIT_LITTLE), sheds=True),
    "crowded-bridge": bridge(*ASYNCIO, *ADMIT_LITTLE, CANCELLING, sheds=True),
    "crowded-pool": pool("--threads", "10", *BRIEF, *ADMIT_LITTLE, CANCELLING, sheds=True),
    "crowded-asgi": asgi(*ASYNCIO, *ADMIT_LITTLE, CANCELLING, sheds=True),
}


def soak(
    host: Host,
    seed: str,
    warm_up: Length,
    length: Length,
    say: Callable[[str], None],
    *,
    rest_within_s: float = REST_WITHIN_S,
) -> list[str]:
    """Run the load on a new server; return what was wrong, which should be nothing."""
    state = f"{host.sites[-1].prefix}/state"
    with Server(host.app, options=host.options, env=ENVIRON) as server:
        # The first request loads and starts what is loaded and started once.
        look(server, state)
        start = look(server, state)
        say(f"start:   {start}")
        warming = load.put(server.addresses[0], host.sites, f"{seed}/warm-up", warm_up, sheds=host.sheds)
        warm = at_rest(server, state, start, rest_within_s)
        say(f"warm:    {warm}")
        began = time.monotonic()
        outcome = load.put(server.addresses[0], host.sites, seed, length, sheds=host.sheds)
        took_s = time.monotonic() - began
        end = at_rest(server, state, start, rest_within_s)
        say(f"end:     {end}")
        say(f"load:    {described(outcome, took_s)}")
        wrong = [*warming.mistakes, *outcome.mistakes, *end.more_than(start)]
        for name, growth, most in (
            ("RSS in KiB", end.rss_kib - warm.rss_kib, GROWTH_MAX_KIB),
            ("Python's blocks", end.blocks - warm.blocks, BLOCKS_GROWTH_MAX),
        ):
            if growth > most:
                wrong.append(f"{name}: grew by {growth} since the warm-up, more than {most}")
        if host.sheds and not outcome.tally.shed:
            wrong.append("nothing was turned away, although little was admitted")
        if (status := server.stop()) != 0:
            wrong.append(f"exit status {status}")
        wrong += [f"in the log: {line}" for line in server.complaints()]
    return wrong


def described(outcome: Outcome, took_s: float) -> str:
    """A line or two on what the clients did."""
    tally = outcome.tally
    visits = ", ".join(f"{name} {count}" for name, count in sorted(outcome.visits.items()))
    return (
        f"{tally.answered} answered rightly, {tally.shed} turned away, {tally.failed} failed as they should, "
        f"{tally.given_up} given up in {took_s:.0f} s ({tally.answered / took_s:.0f} a second)\n"
        f"         {visits}"
    )


def soak_all(names: Sequence[str], seed: str, warm_up: Length, length: Length) -> bool:
    """Soak one host after the other, print what was wrong, and return whether nothing was."""
    clean = True
    for name in names:
        print(f"{name}: {' '.join(HOSTS[name].options)}", flush=True)
        wrong = soak(HOSTS[name], seed, warm_up, length, partial(print, flush=True))
        for line in wrong:
            print(f"WRONG:   {line}")
        print(f"{name}: {'nothing left behind' if not wrong else f'{len(wrong)} things wrong'}\n", flush=True)
        clean = clean and not wrong
    return clean
