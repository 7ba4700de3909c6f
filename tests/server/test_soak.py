"""A short soak: the same visits for a given seed, whatever time they take. `make soak` is the long one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soak.load import Length
from soak.run import HOSTS, soak


@pytest.mark.parametrize("name", HOSTS)
def test_a_random_load_is_answered_rightly_and_leaves_nothing_behind(name):
    said: list[str] = []
    wrong = soak(HOSTS[name], "a tide", Length(visits=3), Length(visits=6), said.append)
    assert not wrong, "\n".join([*said, *wrong])


def test_a_server_that_keeps_what_it_was_given_is_found_out():
    length = Length(visits=3)
    keeping = replace(HOSTS["threads"], app="apps.soak:keeping")
    wrong = soak(keeping, "a tide", length, length, [].append, rest_within_s=0)
    assert any("descriptors" in line for line in wrong)


def test_a_server_whose_tasks_go_on_is_found_out():
    length = Length(visits=3)
    keeping = replace(HOSTS["asgi-asyncio"], app="apps.soak_asgi:keeping")
    wrong = soak(keeping, "a tide", length, length, [].append, rest_within_s=0)
    assert any("tasks" in line for line in wrong)
