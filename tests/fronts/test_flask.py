"""The Flask application's tests, through each front."""

from __future__ import annotations

import pytest

from frameworks.test_flask import *  # noqa: F403
from frameworks.test_flask import BODY
from support.clients import Client
from support.fronts import Fronted, fronts


@pytest.fixture(scope="module", params=fronts())
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flask")
    (folder / "tides.bin").write_bytes(BODY)
    with Fronted(request.param, "apps.flask_app:app", env={"FLASK_FILES": str(folder)}) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client(server):
    with Client() as client:
        client.verify = server.front.certificate or True
        yield client
