"""The Bottle application's tests, through each front."""

from __future__ import annotations

import pytest

from frameworks.test_bottle import *  # noqa: F403
from support.clients import Client
from support.fronts import Fronted, fronts


@pytest.fixture(scope="module", params=fronts())
def server(request, files):
    with Fronted(request.param, "apps.bottle_app:application", env={"BOTTLE_FILES": str(files)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client(server):
    with Client() as client:
        client.verify = server.front.certificate or True
        yield client
