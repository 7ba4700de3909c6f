"""The Starlette application's tests, through each front."""

from __future__ import annotations

import httpx
import pytest
from asgi.test_starlette import *  # noqa: F403
from asgi.test_starlette import BODY

from support.fronts import Fronted, fronts
from support.server import PATIENCE_S


@pytest.fixture(scope="module", params=fronts())
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("starlette")
    (folder / "tides.bin").write_bytes(BODY)
    variables = {"STARLETTE_FILE": str(folder / "tides.bin"), "STARLETTE_STATIC": str(folder)}
    with Fronted(request.param, "apps.starlette_app:app", env=variables) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client(server):
    with httpx.Client(
        base_url=server.url(""), trust_env=False, timeout=PATIENCE_S, verify=server.front.tls or True
    ) as client:
        yield client
