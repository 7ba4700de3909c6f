"""docs/behind.md shows each configuration as it is tested, and each is tested."""

from __future__ import annotations

import pytest

from support.proxies import BEHIND, KINDS
from support.server import TESTS

PAGE = (TESTS.parent / "docs" / "behind.md").read_text()
EXAMPLES = sorted(path.name for path in BEHIND.iterdir())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_has_the_file(name: str) -> None:
    assert f"\n{(BEHIND / name).read_text()}```\n" in PAGE


def test_every_file_is_some_fronts() -> None:
    assert {kind.example for kind in KINDS} == set(EXAMPLES)
