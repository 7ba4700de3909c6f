"""`apps.soak` for the bridge: its calls wait for asynchronous code, so that they let others run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import parse_qs

from apps import soak
from tidegate import await_

# A loop holds its tasks weakly.
going_on: set[asyncio.Task[None]] = set()


async def in_halves(seconds: float) -> None:
    """Several tasks, and a timeout that never comes."""
    await asyncio.gather(asyncio.sleep(seconds / 2), asyncio.sleep(seconds / 3))
    await asyncio.wait_for(asyncio.sleep(seconds / 2), 60)


async def other_tasks() -> int:
    return len(asyncio.all_tasks()) - 1


async def begin(seconds: float) -> None:
    task = asyncio.create_task(asyncio.sleep(seconds))
    going_on.add(task)
    task.add_done_callback(going_on.discard)


soak.sleep = lambda seconds: await_(in_halves(seconds))
soak.count_tasks = lambda: await_(other_tasks())


def application(environ: soak.Environ, start_response: soak.StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/background":
        # Goes on when the response is complete.
        await_(begin(float(parse_qs(environ["QUERY_STRING"])["seconds"][0])))
    return soak.application(environ, start_response)
