"""What docs/request-ids.md has proxies say of requests, said by real ones."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from support.fronts import fronts
from support.proxies import APACHE, HAPROXY, NGINX, Kind, Place
from support.server import TESTS, Address, Server

PAGE = (TESTS.parent / "docs" / "request-ids.md").read_text()


# The lines of the examples that those of the page come behind.
BEHIND = {
    "nginx": "proxy_set_header X-Forwarded-For $remote_addr;",
    "apache": "RequestHeader unset X-Forwarded-For",
    "haproxy": "http-request set-header X-Forwarded-For %[src]",
}


def documented(kind: Kind) -> Kind:
    """The front as the example has it, with the lines of the page."""
    match = re.search(rf"```{kind.name}\n(.*?)```", PAGE, re.DOTALL)
    assert match
    lines, behind = match[1], BEHIND[kind.name]

    def configure(kind: Kind, place: Place, servers: Sequence[Address]) -> list[str]:
        command = plain(kind, place, servers)
        path = place.folder / "site"
        text = path.read_text()
        assert behind in text
        path.write_text(text.replace(behind, f"{behind}\n{lines}"))
        return command

    plain = kind.configure
    return replace(kind, configure=configure)


@pytest.mark.parametrize("kind", fronts(NGINX, APACHE, HAPROXY))
def test_a_proxys_id_and_time_are_taken_and_a_clients_are_not(kind: Kind, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--request-id", "--trusted-proxies", "127.0.0.1", "--access-log", str(log)]
    options += ["--access-log-format", "%(request_id)s %(front_queue_us)s"]
    with (
        Server("apps.identified:application", options=options) as server,
        documented(kind).before(server.addresses) as proxy,
        proxy.connect() as wire,
    ):
        began = time.monotonic()
        answer = wire.ask("GET", "/told", "X-Request-ID: mine", "X-Request-Start: t=1")
        took_us = (time.monotonic() - began) * 1e6
        said = json.loads(answer.text)
        assert server.stop() == 0
    # mod_unique_id makes 27 characters, the others a UUID.
    assert said["id"] != "mine"
    assert len(said["id"]) == 27 if kind is APACHE else uuid.UUID(said["id"])
    assert answer.headers.get_all("X-Request-ID") == [said["id"]]
    # The proxy's clock is this one, counts in milliseconds, and may have been read some time before.
    assert 0 <= said["waited_us"] <= took_us + 100_000
    assert log.read_text().splitlines()[-1] == f"{said['id']} {said['waited_us']}"
