"""What the tests of ASGI share: the loops to run on, and names that tell the traces of tests apart."""

from __future__ import annotations

import itertools

import pytest

LOOPS = ["asyncio", "uvloop"]

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=LOOPS)
def loop(request):
    """Each loop in turn, for what depends on it."""
    return request.param


@pytest.fixture
def name():
    """A name of this test's own, under which an application reports."""
    return f"test-{next(_numbers)}"
