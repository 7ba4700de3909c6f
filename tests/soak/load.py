"""Many clients at once, each of which makes one visit after the other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from random import Random

from soak.client import Wrong
from soak.scenarios import SCENARIOS, Tally, Visit
from support.server import Address

CLIENTS = 100
# A server that gets this much wrong has been found out.
MISTAKES_MAX = 20


@dataclass(frozen=True)
class Length:
    """How long a load lasts: by the clock, or by what each client does, which the seed then determines."""

    seconds: float = float("inf")
    visits: float = float("inf")


@dataclass
class Outcome:
    """What came of a load."""

    tally: Tally = field(default_factory=Tally)
    visits: dict[str, int] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def put(address: Address, seed: str, length: Length, *, sheds: bool = False) -> Outcome:
    """Put the load on a server and return when every client has finished its last visit."""
    return asyncio.run(_crowd(address, seed, length, sheds))


async def _crowd(address: Address, seed: str, length: Length, sheds: bool) -> Outcome:
    outcome = Outcome()
    lives = [_live(number, address, seed, length, sheds, outcome) for number in range(CLIENTS)]
    await asyncio.gather(*lives)
    return outcome


async def _live(
    number: int, address: Address, seed: str, length: Length, sheds: bool, outcome: Outcome
) -> None:
    deadline = time.monotonic() + length.seconds
    dice = Random(f"{seed}/{number}")
    made = 0
    while made < length.visits and time.monotonic() < deadline and len(outcome.mistakes) < MISTAKES_MAX:
        [scenario] = dice.choices(list(SCENARIOS), list(SCENARIOS.values()))
        # Dice of its own: what one visit draws does not depend on how far another came.
        visit = Visit(address, Random(dice.getrandbits(64)), outcome.tally, sheds)
        made += 1
        name = scenario.__name__
        outcome.visits[name] = outcome.visits.get(name, 0) + 1
        try:
            await scenario(visit)
        except (Wrong, OSError, asyncio.TimeoutError) as error:
            outcome.mistakes.append(f"client {number}, visit {made}, {name}: {error!r}")
