"""The Django project's tests, through each front."""

from __future__ import annotations

import pytest

from frameworks.test_django import *  # noqa: F403
from support.clients import Client
from support.fronts import Fronted, fronts


@pytest.fixture(scope="module", params=fronts())
def server(request, site):
    with Fronted(request.param, "apps.django_site.wsgi:application", env=site) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def client(server):
    with Client() as client:
        client.verify = server.front.certificate or True
        # A form that is sent over TLS has to come from the site.
        client.headers["Referer"] = server.url("/")
        yield client
