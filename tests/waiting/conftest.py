"""What the tests of waiting share: each runs on both hosts."""

from __future__ import annotations

import pytest

from support.backend import Backend
from support.hosts import HOSTS
from support.postgres import Cluster, missing


@pytest.fixture(scope="module", params=HOSTS, ids=str)
def host(request):
    return request.param


@pytest.fixture(scope="module")
def backend():
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="session")
def cluster():
    """One PostgreSQL for each process that runs tests."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster):
    with cluster.database() as database:
        yield database
