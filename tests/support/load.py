"""Clients that ask all the time, and what they have seen: `with Load(server) as load: ...`."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from support.server import PATIENCE_S

if TYPE_CHECKING:
    from typing_extensions import Self


class Connects(Protocol):
    """A server, or a proxy before one."""

    def http(self) -> http.client.HTTPConnection:
        """A standard client's connection."""


class Load:
    """Clients that ask as fast as they are answered: half of them keep their connections, half do not.

    The second word of an answer is counted: its version (`apps.generations`).
    """

    def __init__(self, server: Connects, count: int = 4, *, methods: tuple[str, ...] = ("GET",)) -> None:
        self.server = server
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(index % 2 == 0, methods[index // 2 % len(methods)]))
            for index in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, version: str, count: int = 20) -> None:
        """Wait for so many more answers of a version."""
        seen = self.versions[version]
        self.wait_until(lambda: self.versions[version] >= seen + count)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, while clients are served."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not seen; answers: {self.versions}, {self.failures[:5]}"
            time.sleep(0.01)

    def _run(self, keeps: bool, method: str) -> None:
        client = self.server.http()
        body = b"tide" if method == "POST" else None
        while not self._over.is_set():
            try:
                client.request(method, "/", body, {} if keeps else {"Connection": "close"})
                response = client.getresponse()
                text = response.read().decode()
                if response.status == 200:
                    self.versions[text.split()[1]] += 1
                else:
                    self.failures.append(f"{method}: {response.status} {response.reason}")
                # http.client connects anew by itself once the server has said that it closes.
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{method}, {'kept' if keeps else 'new'} connection: {error!r}")
                client.close()
        client.close()
