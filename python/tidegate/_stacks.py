"""What requests are at: their calls, the newest last, and the same as tracebacks have it.

None for what is over.
"""

from __future__ import annotations

import sys
import traceback
from types import FrameType
from typing import Any


def of_thread(ident: int) -> tuple[list[str], str] | None:
    """Return the stack of a running thread."""
    frame = sys._current_frames().get(ident)
    return None if frame is None else _told(traceback.extract_stack(frame))


def of_greenlet(greenlet: Any, thread: int) -> tuple[list[str], str] | None:
    """Return the stack of a greenlet: of the thread, where it runs just now."""
    if greenlet.gr_frame is not None:
        return _told(traceback.extract_stack(greenlet.gr_frame))
    return None if greenlet.dead else of_thread(thread)


def of_coroutine(coroutine: Any, thread: int) -> tuple[list[str], str] | None:
    """Return the stack of what a task awaits: of the thread, where it runs just now."""
    frames: list[tuple[FrameType, int]] = []
    awaited = coroutine
    while awaited is not None:
        if any(getattr(awaited, f"{kind}_running", False) for kind in ("cr", "gi", "ag")):
            return of_thread(thread)
        frame = _attribute(awaited, "frame")
        if frame is None:
            break
        frames.append((frame, frame.f_lineno))
        awaited = _attribute(awaited, "await") or getattr(awaited, "gi_yieldfrom", None)
    return _told(traceback.StackSummary.extract(iter(frames))) if frames else None


def _attribute(awaited: Any, name: str) -> Any:
    """Return what a coroutine, a generator or an asynchronous one has by that name."""
    for kind in ("cr", "gi", "ag"):
        value = getattr(awaited, f"{kind}_{name}", None)
        if value is not None:
            return value
    return None


def _told(stack: traceback.StackSummary) -> tuple[list[str], str]:
    calls = [f"{call.filename}:{call.lineno} in {call.name}" for call in stack]
    return calls, "".join(stack.format())
