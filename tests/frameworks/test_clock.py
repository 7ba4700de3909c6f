"""The clock of `examples/clock.py`, asked by every client at hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import datetime, timezone

import httpx
import pytest
import requests
import urllib3

from support.server import EXAMPLES, PATIENCE_S, Server


@pytest.fixture(scope="module", params=["clock", "apps.validated_clock"])
def clock(request):
    with Server(f"{request.param}:application", cwd=EXAMPLES) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def assert_tells_the_time(body):
    told = json.loads(body)
    assert set(told) == {"time", "unix", "timezone"}
    assert abs(told["unix"] - time.time()) < PATIENCE_S
    moment = datetime.fromisoformat(told["time"])
    assert moment.tzinfo == timezone.utc
    assert moment.timestamp() == pytest.approx(told["unix"], abs=0.001)


def test_http_client_is_told_the_time_again_and_again_on_one_connection(clock):
    connection = clock.http()
    moments = []
    for _ in range(5):
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        body = response.read()
        assert_tells_the_time(body)
        moments.append(json.loads(body)["unix"])
    connection.close()
    assert moments == sorted(moments)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_is_told_the_time(clock):
    run = subprocess.run(["curl", "-sS", clock.url("/")], capture_output=True, timeout=PATIENCE_S, check=True)
    assert_tells_the_time(run.stdout)


def test_requests_is_told_the_time(clock):
    with requests.Session() as session:
        assert_tells_the_time(session.get(clock.url("/"), timeout=PATIENCE_S).content)


def test_httpx_is_told_the_time(clock):
    with httpx.Client(trust_env=False) as client:
        assert_tells_the_time(client.get(clock.url("/")).content)


def test_urllib3_is_told_the_time(clock):
    with urllib3.PoolManager() as pool:
        assert_tells_the_time(pool.request("GET", clock.url("/"), timeout=PATIENCE_S).data)


def test_head_gives_the_length_and_no_body(clock):
    with clock.connect() as wire:
        answer = wire.ask("HEAD", "/")
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 50
        assert wire.ask("GET", "/").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_time_cannot_be_set(clock, method):
    with clock.connect() as wire:
        answer = wire.ask(method, "/", body=b"{}")
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"
        assert wire.ask("GET", "/").status == 200


def test_there_is_no_other_page(clock):
    with clock.connect() as wire:
        assert wire.ask("GET", "/later").status == 404
        assert wire.ask("POST", "/later").status == 404
