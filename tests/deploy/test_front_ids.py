"""What docs/request-ids.md has proxies say of requests, said by real ones."""

from __future__ import annotations

import json
import re
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.proxies import HAPROXY, NGINX, Kind
from support.server import TESTS, Address, Server

PAGE = (TESTS.parent / "docs" / "request-ids.md").read_text()


def documented(kind: Kind, name: str, behind: str) -> Kind:
    """The proxy as the example has it, and behind the line that sets X-Forwarded-For those of the page."""
    match = re.search(rf"```{kind.program}\n(.*?)```", PAGE, re.DOTALL)
    assert match

    def configure(folder: Path, listener: socket.socket, servers: Sequence[Address]) -> list[str]:
        command = kind.configure(folder, listener, servers)
        path = folder / name
        text = path.read_text()
        assert behind in text
        path.write_text(text.replace(behind, f"{behind}\n{match[1]}"))
        return command

    return Kind(kind.program, configure)


KINDS = [
    documented(NGINX, "site", "proxy_set_header X-Forwarded-For $remote_addr;"),
    documented(HAPROXY, "haproxy.cfg", "http-request set-header X-Forwarded-For %[src]"),
]


@pytest.mark.parametrize("kind", KINDS, ids=["nginx", "haproxy"])
def test_a_proxys_id_and_time_are_taken_and_a_clients_are_not(kind: Kind, tmp_path: Path) -> None:
    if reason := kind.missing():
        pytest.skip(reason)
    log = tmp_path / "log"
    options = ["--request-id", "--trusted-proxies", "127.0.0.1", "--access-log", str(log)]
    options += ["--access-log-format", "%(request_id)s %(front_queue_us)s"]
    with (
        Server("apps.identified:application", options=options) as server,
        kind.before(server.addresses) as proxy,
        proxy.connect() as wire,
    ):
        began = time.monotonic()
        answer = wire.ask("GET", "/told", "X-Request-ID: mine", "X-Request-Start: t=1")
        took_us = (time.monotonic() - began) * 1e6
        said = json.loads(answer.text)
        assert server.stop() == 0
    assert uuid.UUID(said["id"])
    assert answer.headers.get_all("X-Request-ID") == [said["id"]]
    # The proxy's clock is this one, and counts in milliseconds.
    assert 0 <= said["waited_us"] <= took_us + 2_000
    assert log.read_text().splitlines()[-1] == f"{said['id']} {said['waited_us']}"
