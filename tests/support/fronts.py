"""The matrix of front servers, and `Fronted`: a server that its clients reach only through one of them."""

from __future__ import annotations

import functools
import http.client
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.proxies import HOST, KINDS, Kind, Proxy
from support.server import PATIENCE_S, TESTS, Address, Server, clean_environment
from support.wire import Wire


class Fronted(Server):
    """A server behind a front: its addresses and its clients are the front's, all else is its own."""

    def __init__(
        self,
        kind: Kind,
        app: str,
        *,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        supervised: bool = False,
        port: int = 0,
    ) -> None:
        # A short path: a unix socket's name has room for a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="tides-"))
        self._folder.chmod(0o755)
        self._front_port = port
        self.kind = kind
        self.proxy: Proxy | None = None
        trusted = "unix" if kind.over_unix else HOST
        super().__init__(
            app,
            options=["--trusted-proxies", trusted, *kind.options, *options],
            binds=[kind.bind(self._folder)],
            env=env,
            supervised=supervised,
        )

    @property
    def front(self) -> Proxy:
        """The front, which runs."""
        assert self.proxy is not None
        return self.proxy

    def url(self, path: str = "/") -> str:
        return f"{'https' if self.kind.tls else 'http'}://{self.authority}{path}"

    def connect(self, index: int = 0, *, timeout_s: float = PATIENCE_S, client: str = "") -> Wire:
        return self.front.connect(timeout_s=timeout_s, client=client)

    def http(self) -> http.client.HTTPConnection:
        return self.front.http()

    def kill(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()
        super().kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        super()._start()
        self.proxy = self.kind.before(self.addresses, port=self._front_port)
        self.proxy.__enter__()
        self.addresses = [Address(HOST, self.proxy.port)]


@functools.cache
def unserved(kind: Kind) -> str | None:
    """Why such a front cannot be tested: it is not installed, or the server does not speak with it."""
    if reason := kind.missing():
        return reason
    if not kind.scheme and not kind.options:
        return None
    return _refusal("--bind", f"{kind.scheme}{HOST}:8000", "--trusted-proxies", HOST, *kind.options)


@functools.cache
def disbelieves() -> str | None:
    """Why no front is believed about the client and the scheme: the server has no such setting."""
    return _refusal("--forwarded", "x-forwarded")


def _refusal(*options: str) -> str | None:
    command = [sys.executable, "-m", "tidegate", "config", "check", *options, "apps.behind:application"]
    environment = clean_environment()
    checked = subprocess.run(
        command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    return checked.stderr.strip() if checked.returncode != 0 else None


def fronts(*kinds: Kind) -> list[Any]:
    """These kinds, or all, as parameters of tests; those that cannot be tested are skipped."""
    parameters = []
    for kind in kinds or KINDS:
        reason = unserved(kind)
        marks = [pytest.mark.skip(reason=reason)] if reason else []
        parameters.append(pytest.param(kind, marks=marks, id=kind.name))
    return parameters
