"""The FastAPI application's tests, through each front."""

from __future__ import annotations

import httpx
import pytest
from asgi.test_fastapi import *  # noqa: F403

from support.fronts import Fronted, fronts
from support.server import PATIENCE_S


@pytest.fixture(scope="module", params=fronts())
def server(request):
    with Fronted(request.param, "apps.fastapi_app:app") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client(server):
    with httpx.Client(
        base_url=server.url(""), trust_env=False, timeout=PATIENCE_S, verify=server.front.tls or True
    ) as client:
        yield client
