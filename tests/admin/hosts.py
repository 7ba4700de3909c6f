"""The servers that are looked into here: each host, alone and with one worker and several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from support.server import Server

HOSTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "main thread": ("apps.observed:application", ("--threads", "1")),
    "threads": ("apps.observed:application", ()),
    "greenlets": ("apps.observed:application", ("--concurrency", "greenlets")),
    "bridge": ("apps.observed:application", ("--concurrency", "asyncio")),
    "asyncio": ("apps.observed:asynchronous", ()),
}

# None: without a supervisor.
WORKERS = (None, 1, 3)


@dataclass(frozen=True)
class Kind:
    """What a server runs requests on, and with how many workers."""

    host: str
    workers: int | None

    def __str__(self) -> str:
        return f"{self.host}, {'alone' if self.workers is None else self.workers}"

    @property
    def app(self) -> str:
        return HOSTS[self.host][0]

    def serve(self, tmp_path: Path, *options: str) -> Server:
        options = (*HOSTS[self.host][1], "--admin", "127.0.0.1:0", *options)
        if self.workers is not None:
            options = ("--workers", str(self.workers), *options)
        env = {"LET_GO": str(tmp_path / "let go"), "STUCK": str(tmp_path / "stuck")}
        return Server(self.app, options=options, env=env, supervised=self.workers is not None)


KINDS = [Kind(host, workers) for host in HOSTS for workers in WORKERS]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
