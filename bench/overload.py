"""What an overload did: goodput, waits and recovery, from what `crowd` has seen.

The load has four parts: half of what the server can serve, all of it, twice as much, and half again.
Goodput is the answers of 200 in a second.
"""

from __future__ import annotations

from typing import Any

# The part that is too much; the one after it is the recovery.
OVER = 2

# After the overload a server has recovered when nothing that arrives is refused, fails or waits for longer
# than this: four times the 50 ms that it is served for, more than a hiccup of the machine.
CALM_US = 200_000


def figures(seen: dict[str, Any]) -> dict[str, float]:
    """Return the figures by name; `refused_p99_ms` is missing where nothing was refused."""
    windows, width = seen["windows"], seen["window_s"]
    over, after = seen["phases"][OVER], seen["phases"][OVER + 1]
    begin, end = round(over["from_s"] / width), round(over["to_s"] / width)
    # Whole seconds, from any window on: 50 ms of service make steps that shorter times would show.
    second = round(1 / width)
    served = [window["served"] for window in windows]
    goodput = [sum(served[at : at + second]) for at in range(len(served) - second + 1)]
    during = goodput[begin : end - second + 1]
    answers = over["answers"]
    sent = sum(answer["count"] for answer in answers.values())
    found = {
        "goodput": sum(during) / len(during),
        "goodput_of_peak": min(during) / max(goodput),
        "refused_share": answers.get("503", {"count": 0})["count"] / sent,
        "recovery_s": _recovery_s(windows, width, end, round(after["to_s"] / width)),
    }
    if "200" in answers:
        found["served_p99_ms"] = answers["200"]["p99_us"] / 1000
    if "503" in answers:
        found["refused_p99_ms"] = answers["503"]["p99_us"] / 1000
    return found


def _recovery_s(windows: list[dict[str, int]], width: float, begin: int, end: int) -> float:
    """Return how long after the overload the last window was in which an arrival fared badly."""
    bad = [
        at + 1 - begin
        for at, window in enumerate(windows[begin:end], begin)
        if window["refused"] or window["failed"] or window["slowest_us"] > CALM_US
    ]
    return bad[-1] * width if bad else 0.0
