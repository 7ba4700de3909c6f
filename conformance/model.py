"""The nouns of the suite: a check, its steps, what a step may say, and the result."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.server import Live


class Level(enum.Enum):
    """How binding a rule is: the words of its source, or advice that no specification gives."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    ADVICE = "advice"


class Verdict(enum.Enum):
    """What came of a check."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class Variant(enum.Enum):
    """The ways in which one server may have to be started."""

    TCP = "tcp"
    UNIX = "unix"
    IPV6 = "ipv6"
    SINGLE = "single"
    MOUNTED = "mounted"
    LIMITED = "limited"


class Failed(Exception):
    """The server broke the rule; the message says in one line what was seen."""


class Closed(Failed):
    """The server closed the connection where a response was due, which in places is a legal answer."""


class Silent(Failed):
    """The server let its time pass without an answer."""


class Skipped(Exception):
    """The rule cannot be put to this server; the message says why."""


class UsageError(Exception):
    """The suite cannot run as it was asked to."""


# One probe of one rule. It returns when the rule holds, and raises Failed or Skipped otherwise.
Probe = Callable[["Live"], None]


@dataclass(frozen=True)
class Step:
    """One of the questions a check asks: a single one for most, one per variant of the input for a corpus
    row."""

    name: str
    probe: Probe


@dataclass(frozen=True)
class Check:
    """One rule, where it comes from, and how it is probed."""

    id: str
    rule: str
    source: str
    level: Level
    steps: tuple[Step, ...]
    variant: Variant = Variant.TCP
    # Whether the probing application may be wrapped in wsgiref.validate: it keeps PEP 3333 itself, and the
    # wrapper does not hide what is looked for.
    lawful: bool = True
    # Whether it takes over a minute and runs only when asked for.
    slow: bool = False

    @property
    def family(self) -> str:
        """The letters before the number: PEP, RL, HD, and so on."""
        return "".join(letter for letter in self.id.split("-")[0] if letter.isalpha())


@dataclass
class Result:
    """What came of one check on one server."""

    check: Check
    verdict: Verdict
    passed: int = 0
    total: int = 0
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Return the result as plain values, with the rule beside it so that a file of results explains
        itself."""
        return {
            "id": self.check.id,
            "family": self.check.family,
            "rule": self.check.rule,
            "source": self.check.source,
            "level": self.check.level.value,
            "verdict": self.verdict.value,
            "passed": self.passed,
            "total": self.total,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


class Registry:
    """The checks in the order in which the table shows them."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def check(
        self,
        identifier: str,
        rule: str,
        source: str,
        level: Level = Level.MUST,
        *,
        variant: Variant = Variant.TCP,
        lawful: bool = True,
        slow: bool = False,
    ) -> Callable[[Probe], Probe]:
        """Register the decorated function as the one step of a check."""

        def register(probe: Probe) -> Probe:
            steps = (Step(identifier, probe),)
            self.checks.append(Check(identifier, rule, source, level, steps, variant, lawful, slow))
            return probe

        return register


def expect(condition: object, seen: str) -> None:
    """Fail with what was seen unless the condition holds."""
    if not condition:
        raise Failed(seen)
