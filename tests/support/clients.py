"""The `requests` client as the tests use it."""

from __future__ import annotations

from typing import Any

import requests

from support.server import PATIENCE_S


class Client(requests.Session):
    """A session that keeps connections and cookies, gives up in the end, and heeds no proxy settings."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def request(self, *args: Any, **options: Any) -> requests.Response:
        options.setdefault("timeout", PATIENCE_S)
        return super().request(*args, **options)
