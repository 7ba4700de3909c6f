"""The dashboard for Grafana asks for what a real server tells, and for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from admin.hosts import Kind
from support.admin import Admin
from support.server import EXAMPLES

DASHBOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "tidegate.json").read_text())

NAME = re.compile(r"\btidegate_\w+")
SELECTOR = re.compile(r"(tidegate_\w+)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPING = re.compile(r"\bby \(([^)]*)\)")


def queries() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    variables = [
        variable["query"]["query"]
        for variable in DASHBOARD["templating"]["list"]
        if variable["type"] == "query"
    ]
    return panels + variables


def test_every_name_and_label_in_a_query_is_one_of_a_real_scrape(tmp_path: Path) -> None:
    with Kind("threads", 1).serve(tmp_path) as server:
        scrape = Admin(server).scrape()
    labels: dict[str, set[str]] = {}
    for family in scrape.families:
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    asked = queries()
    assert len(asked) > 20
    for query in asked:
        names = NAME.findall(query)
        assert names, query
        assert set(names) <= scrape.names, query
        for name, selector in SELECTOR.findall(query):
            # Prometheus itself adds where it was scraped.
            assert set(LABEL.findall(selector)) <= labels[name] | {"instance"}, query
        for grouping in GROUPING.findall(query):
            of_names = set().union(*(labels[name] for name in names))
            assert {label.strip() for label in grouping.split(",")} <= of_names | {"instance"}, query
        # Brackets of every kind are closed in order.
        opened = []
        for sign in query:
            if sign in "([{":
                opened.append(sign)
            elif sign in ")]}":
                assert opened and opened.pop() + sign in ("()", "[]", "{}"), query
        assert not opened, query


def test_every_metric_is_on_the_dashboard_or_known_not_to_be(tmp_path: Path) -> None:
    with Kind("threads", 1).serve(tmp_path) as server:
        scrape = Admin(server).scrape()
    asked = {name for query in queries() for name in NAME.findall(query)}
    families = {
        family.name
        for family in scrape.families
        if not any(name == family.name or name.startswith(f"{family.name}_") for name in asked)
    }
    spans = {"tidegate_spans_sent", "tidegate_spans_dropped"}
    http2 = {"tidegate_http2_connections", "tidegate_http2_streams", "tidegate_http2_calmed"}
    others = {"tidegate_requests_queued_max", "tidegate_interpreter_waits", "tidegate_tls_handshakes"}
    assert families <= {*others, *spans, *http2}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
