"""The event loop of the asyncio host, and the lifespan of the application that it runs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Literal

from tidegate._tidegate import RequestTimeout as _RequestTimeout

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

#: Of the lifespan specification.
_SPEC_VERSION = "2.0"


class RequestTimeout(_RequestTimeout, asyncio.CancelledError):
    """What is raised in a task: a cancellation as well, for task groups to cancel their children and wait."""


class LifespanError(Exception):
    """Start-up or shutdown of the application failed: one line that says how."""


def new_event_loop(kind: Literal["auto", "asyncio", "uvloop"]) -> asyncio.AbstractEventLoop:
    """Make the loop of this kind and have it be this thread's; ``auto`` is uvloop where it is installed.

    :raises ImportError: when uvloop is asked for and not installed.
    """
    loop: asyncio.AbstractEventLoop | None = None
    if kind != "asyncio":
        try:
            import uvloop
        except ImportError:
            if kind == "uvloop":
                raise
        else:
            loop = uvloop.new_event_loop()
    if loop is None:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def close_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End what is left of the loop, as :func:`asyncio.run` does, and close it."""
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for task in left:
            if not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {
                        "message": "a task failed as it was cancelled",
                        "exception": task.exception(),
                        "task": task,
                    }
                )
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def was_raised_in_a_task(where: TracebackType | None) -> bool:
    """Whether an exception with this traceback comes from a coroutine that the loop was running."""
    return any(frame.f_code.co_flags & inspect.CO_COROUTINE for frame, _ in traceback.walk_tb(where))


class Lifespan:
    """One application's lifespan (ASGI, "Lifespan Protocol"), in a task of its own.

    :param mode: ``on``: an application without lifespan is an error; ``auto``: it is let be; ``off``: none is
        asked.
    :param timeout: seconds that start-up, and shutdown, may take.
    """

    def __init__(
        self,
        application: Application,
        mode: Literal["auto", "on", "off"],
        timeout: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        #: What the application has put there; ``None`` when it has no lifespan.
        self.state: dict[str, Any] | None = None
        self._application = application
        self._mode = mode
        self._timeout = timeout
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._messages: asyncio.Queue[Message] | None = None
        self._answer: asyncio.Future[Message] | None = None
        self._started = False
        self._stopping = False

    def start(self) -> None:
        """Have the application start up.

        :raises LifespanError: when it fails, takes too long, or has no lifespan although it must.
        """
        if self._mode != "off":
            self._loop.run_until_complete(self._start())

    def stop(self, timeout: float) -> None:
        """Have the application shut down, within ``timeout`` seconds at the longest.

        :raises LifespanError: when it fails or takes too long.
        """
        if self._started:
            self._loop.run_until_complete(self._stop(min(timeout, self._timeout)))

    async def _start(self) -> None:
        self._messages = asyncio.Queue()
        state: dict[str, Any] = {}
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": _SPEC_VERSION},
            "state": state,
        }
        self._task = asyncio.ensure_future(self._run(scope))
        answer = await self._ask("startup", self._timeout)
        if answer is None:
            self._task.cancel()
            raise LifespanError(
                f"the application's start-up took longer than {self._timeout:g} s (--lifespan-timeout)"
            )
        if answer["type"] == "lifespan.startup.failed":
            raise LifespanError(
                f"the application's start-up failed: {answer.get('message') or 'it does not say why'}"
            )
        if answer["type"] == "lifespan.startup.complete":
            self.state = state
            self._started = True
            self._task.add_done_callback(self._ended)
            return
        error = self._task.exception() if self._task.done() and not self._task.cancelled() else None
        if self._mode == "on":
            raise LifespanError("the application has no lifespan (--lifespan on)") from error
        logging.getLogger("tidegate.error").debug("the application has no lifespan: %r", error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Tell of a failure when it happens, which may be long before the server ends."""
        if self._stopping or task.cancelled() or (error := task.exception()) is None:
            return
        self._started = False
        logging.getLogger("tidegate.error").error(
            "the application's lifespan failed after its start-up", exc_info=error
        )

    async def _stop(self, timeout: float) -> None:
        self._stopping = True
        answer = await self._ask("shutdown", timeout)
        task = self._task
        if answer is None:
            if task is not None:
                task.cancel()
            raise LifespanError(
                f"the application's shutdown took longer than {timeout:g} s (--lifespan-timeout)"
            )
        if answer["type"] == "lifespan.shutdown.failed":
            raise LifespanError(
                f"the application's shutdown failed: {answer.get('message') or 'it does not say why'}"
            )
        if answer["type"] == "ended" and task is not None and not task.cancelled():
            error = task.exception()
            if error is not None:
                raise LifespanError("the application's lifespan failed") from error

    async def _ask(self, what: str, timeout: float) -> Message | None:
        """Send an event and wait for its answer or the application's end; ``None``: neither came."""
        assert self._messages is not None and self._task is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._messages.put_nowait({"type": f"lifespan.{what}"})
        either: set[asyncio.Future[Any]] = {self._answer, self._task}
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            return self._answer.result()
        return {"type": "ended"} if self._task.done() else None

    async def _run(self, scope: Message) -> None:
        await self._application(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        assert self._messages is not None
        return await self._messages.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        phase = "shutdown" if self._started else "startup"
        if kind not in (f"lifespan.{phase}.complete", f"lifespan.{phase}.failed"):
            raise ValueError(f"{kind!r} does not answer lifespan.{phase} [ASGI Lifespan]")
        if self._answer is None or self._answer.done():
            raise RuntimeError(
                f"{kind}: lifespan.{phase} was not asked, or is answered already [ASGI Lifespan]"
            )
        self._answer.set_result(message)
