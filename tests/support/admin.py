"""The admin listener of a server under test, and its metrics as the parser of the ecosystem reads them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from support.server import PATIENCE_S, Address, Server

T = TypeVar("T")


class Answer(NamedTuple):
    status: int
    fields: http.client.HTTPMessage
    body: bytes


class Scrape:
    """One scrape, parsed. Any text that is no OpenMetrics fails here."""

    def __init__(self, text: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]

    @property
    def names(self) -> set[str]:
        """All that a query can ask for, whether or not there is a value yet."""
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_count", "_sum"),
            "info": ("_info",),
        }
        return {
            family.name + suffix for family in self.families for suffix in suffixes.get(family.type, ("",))
        }

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        samples = [sample for family in self.families for sample in family.samples if sample.name == name]
        assert samples, f"there is no {name}"
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


class Admin:
    """Where it is, as the log tells, and what it answers."""

    def __init__(self, server: Server) -> None:
        found = server.wait_for_log(r"the admin listener is on (?:http://([\d.]+):(\d+)|unix:(.+))\n")
        self.address = Address("", 0, found[3].strip()) if found[3] else Address(found[1], int(found[2]))

    def ask(self, path: str, *, method: str = "GET", host: str = "localhost") -> Answer:
        connection = http.client.HTTPConnection(host)
        connection.sock = self.address.connect(PATIENCE_S)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Answer(response.status, response.msg, response.read())
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        answer = self.ask("/state.json")
        assert answer.status == 200, answer
        state: dict[str, Any] = json.loads(answer.body)
        return state

    def scrape(self) -> Scrape:
        answer = self.ask("/metrics")
        assert answer.status == 200, answer
        return Scrape(answer.body.decode())

    def wait_for(self, look: Callable[[Admin], T | None]) -> T:
        """Wait until what is seen here is as wanted; return it."""
        deadline = time.monotonic() + PATIENCE_S
        while (seen := look(self)) is None:
            assert time.monotonic() < deadline, self.state()
            time.sleep(0.02)
        return seen

    def wait_for_value(self, value: float, name: str, **labels: str) -> Scrape:
        def look(admin: Admin) -> Scrape | None:
            scrape = admin.scrape()
            return scrape if scrape.value(name, **labels) == value else None

        return self.wait_for(look)
