"""Many clients at once, each of which makes one visit after the other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from soak.client import Wrong
from soak.scenarios import Scenario, Tally, Visit
from soak.websockets import TurnedAway
from support.server import Address

CLIENTS = 100
# A server that gets this much wrong has been found out.
MISTAKES_MAX = 20


@dataclass(frozen=True)
class Length:
    """How long a load lasts: by the clock, or by what each client does, which the seed then determines."""

    seconds: float = float("inf")
    visits: float = float("inf")


@dataclass(frozen=True)
class Site:
    """Where an application has its paths, and what clients do there: each scenario with its share."""

    prefix: str
    scenarios: Mapping[Scenario, int]


@dataclass
class Outcome:
    """What came of a load."""

    tally: Tally = field(default_factory=Tally)
    visits: dict[str, int] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def put(
    address: Address, sites: Sequence[Site], seed: str, length: Length, *, sheds: bool = False
) -> Outcome:
    """Put the load on a server and return when every client has finished its last visit."""
    return asyncio.run(_crowd(address, sites, seed, length, sheds))


async def _crowd(address: Address, sites: Sequence[Site], seed: str, length: Length, sheds: bool) -> Outcome:
    outcome = Outcome()
    lives = [_live(number, address, sites, seed, length, sheds, outcome) for number in range(CLIENTS)]
    await asyncio.gather(*lives)
    return outcome


async def _live(
    number: int,
    address: Address,
    sites: Sequence[Site],
    seed: str,
    length: Length,
    sheds: bool,
    outcome: Outcome,
) -> None:
    deadline = time.monotonic() + length.seconds
    dice = Random(f"{seed}/{number}")
    made = 0
    while made < length.visits and time.monotonic() < deadline and len(outcome.mistakes) < MISTAKES_MAX:
        site = dice.choice(sites)
        [scenario] = dice.choices(list(site.scenarios), list(site.scenarios.values()))
        # Dice of its own: what one visit draws does not depend on how far another came.
        visit = Visit(address, site.prefix, Random(dice.getrandbits(64)), outcome.tally, sheds)
        made += 1
        name = scenario.__name__
        outcome.visits[name] = outcome.visits.get(name, 0) + 1
        try:
            with contextlib.suppress(TurnedAway):
                await scenario(visit)
        except (Wrong, OSError, asyncio.TimeoutError) as error:
            outcome.mistakes.append(f"client {number}, visit {made}, {site.prefix} {name}: {error!r}")
