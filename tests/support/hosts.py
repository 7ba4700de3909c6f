"""What an application's calls can run on, and gevent's own server as the measure of what greenlets do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from support.server import Server

# How many calls the tests of `tests/waiting` want at once: many more than anything hands out by default.
AT_ONCE = 50


@dataclass(frozen=True)
class Host:
    """One of the server's ways to wait, by the options that choose it."""

    name: str
    options: tuple[str, ...]

    def serve(self, app: str, *options: str, env: Mapping[str, str] | None = None) -> Server:
        return Server(app, options=[*self.options, *options], env=env)

    def __str__(self) -> str:
        return self.name


THREADS = Host("threads", ("--threads", str(AT_ONCE)))
GREENLETS = Host("greenlets", ("--concurrency", "greenlets"))
HOSTS = (THREADS, GREENLETS)


class Pywsgi(Server):
    """The same application under gevent.pywsgi."""

    def _start(self) -> None:
        self._spawn(self._own_command())
        self._read_banner()

    def _own_command(self) -> list[str]:
        return [sys.executable, "-m", "support.pywsgi", "127.0.0.1:0", self.app]
