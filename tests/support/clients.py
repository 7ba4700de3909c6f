"""Clients as the tests use them: `requests`, and a crowd of plain ones."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

import requests

from support.server import PATIENCE_S, Server
from support.wire import Answer, Wire

if TYPE_CHECKING:
    from typing_extensions import Self


class Client(requests.Session):
    """A session that keeps connections and cookies, gives up in the end, and heeds no proxy settings."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def request(self, *args: Any, **options: Any) -> requests.Response:
        options.setdefault("timeout", PATIENCE_S)
        return super().request(*args, **options)


class Crowd:
    """Clients that ask at once, each on a connection of its own: `with Crowd(server, targets) as crowd: ...`.

    Everyone has asked once it is entered. `answers()` are in the order of the targets.
    """

    def __init__(self, server: Server, targets: Iterable[str]) -> None:
        self.server = server
        self.targets = list(targets)
        self._wires: list[Wire] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for target in self.targets:
                wire = stack.enter_context(self.server.connect())
                wire.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                self._wires.append(wire)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def answers(self) -> list[Answer]:
        return [wire.answer() for wire in self._wires]


def texts(server: Server, targets: Iterable[str]) -> list[str]:
    """What comes back when all of these are asked at once; each must be a 200."""
    with Crowd(server, targets) as crowd:
        answers = crowd.answers()
    failed = [f"{answer.status}: {answer.text}" for answer in answers if answer.status != 200]
    assert failed == []
    return [answer.text for answer in answers]
