"""The conformance suite through each front.

Its points of PEP 3333 and what applications may answer (OUT) are asked. The rows about requests as bytes (RL,
HD, CL, TE, CH, PL, EX) are not: the front reads those, and speaks for itself to the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.fronts import fronts
from support.proxies import KINDS, Kind

ROOT = Path(__file__).resolve().parents[2]
BEHIND = Path(__file__).with_name("behind.py")

# By what a front's name begins with, what it does its own way, and which checks ask for that.
OWN_WAYS = {
    "nginx": {
        "it collects responses (proxy_buffering)": {"PEP-12a", "PEP-12b", "PEP-12c", "PEP-13a", "PEP-13b"},
        "it says HTTP/1.1 for clients of HTTP/1.0 too": {"PEP-20b"},
        "it drops fields with characters beside letters, digits and dashes (ignore_invalid_headers)": {
            "PEP-23d"
        },
        "it answers 100 itself": {"PEP-25b", "PEP-25c"},
        "its own port is the connection's": {"PEP-21d"},
    },
    "apache": {
        "it says HTTP/1.1 for clients of HTTP/1.0 too": {"PEP-20b"},
        "it makes one slash of several at the beginning": {"PEP-22b"},
        "it joins Cookie fields by commas as it does others": {"PEP-23b"},
        "it answers 100 itself": {"PEP-25b", "PEP-25c"},
        "its own port is the connection's": {"PEP-21d"},
    },
    "nginx-uwsgi": {
        "the end of the connection is the end of the response": {"PEP-05c", "PEP-12d", "PEP-27a"},
        "PATH_INFO is the path as it understands it": {"PEP-22a", "PEP-22b", "PEP-22c"},
    },
    "nginx-scgi": {
        "the end of the connection is the end of the response": {"PEP-05c", "PEP-12d", "PEP-27a"},
        "PATH_INFO is the path as it understands it": {"PEP-22a", "PEP-22b", "PEP-22c"},
    },
    "apache-uwsgi": {
        "the end of the connection is the end of the response": {"PEP-05c", "PEP-27a", "OUT05"},
        "it has to know how long a body is": {"PEP-17a", "PEP-17b", "PEP-17c", "PEP-17d"},
        "PATH_INFO is the path as it understands it": {"PEP-22a", "PEP-22c", "PEP-22d"},
        "it makes underscores of all characters beside letters and digits": {"PEP-23d"},
    },
    "haproxy": {
        "it answers 100 itself": {"PEP-25b", "PEP-25c"},
        "its own port is the connection's": {"PEP-21d"},
    },
    "haproxy-h2": {
        "HTTP/2 has no reason phrases": {"PEP-05a", "PEP-19c"},
        "it says HTTP/2": {"PEP-20b"},
        "it sends chunks to clients of HTTP/1.0": {"PEP-14f"},
    },
}


# Its client speaks plain text; and what it asks for does not depend on the socket.
@pytest.mark.parametrize("kind", fronts(*(kind for kind in KINDS if not kind.tls and not kind.over_unix)))
def test_what_the_front_does_not_do_its_own_way_passes(kind: Kind, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "conformance", "--name", kind.name, "--only", "^(PEP|OUT)"]
    command += ["--json", str(results), "--", sys.executable, str(BEHIND), kind.name, "{port}", "{app}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    seen = run.stdout + run.stderr
    assert run.returncode in (0, 1), seen
    checks = json.loads(results.read_text())["results"]
    assert sum(check["verdict"] == "pass" for check in checks) > 100, seen
    failed = {check["id"] for check in checks if check["verdict"] == "fail"}
    excused = [
        checks for front, ways in OWN_WAYS.items() if kind.name.startswith(front) for checks in ways.values()
    ]
    assert failed <= set().union(*excused), seen
