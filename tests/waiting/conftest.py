"""What the tests of waiting share: each runs on both hosts."""

from __future__ import annotations

import pytest

from support.backend import Backend
from support.hosts import HOSTS


@pytest.fixture(scope="module", params=HOSTS, ids=str)
def host(request):
    return request.param


@pytest.fixture(scope="module")
def backend():
    with Backend() as backend:
        yield backend
