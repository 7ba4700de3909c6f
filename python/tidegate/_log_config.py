"""Configure `logging` by a file. Imports `logging`: not before gevent has patched what is under it."""

from __future__ import annotations

import json
import logging.config
import os
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib


def configure(path: str) -> str | None:
    """Configure `logging` by the file; return what is wrong with it, in a line.

    `.ini` and `.conf` are for `logging.config.fileConfig`, with `here` and `__file__` as their defaults. What
    stands in `.json` and `.toml` is for `dictConfig`.
    """
    try:
        if path.endswith((".ini", ".conf")):
            _configure_by_ini(path)
        else:
            logging.config.dictConfig(_read(path))
    except Exception as error:  # A configuration calls what it names.
        reasons: list[str] = []
        cause: BaseException | None = error
        while cause is not None:
            reasons.append(f"{type(cause).__name__}: {cause}")
            cause = cause.__cause__
        return ": ".join(reasons)
    return None


def _configure_by_ini(path: str) -> None:
    full = os.path.abspath(path).replace("%", "%%")
    defaults = {"here": os.path.dirname(full), "__file__": full}
    # Opened here: up to Python 3.11, a file that is not there is taken for one without sections.
    with open(path, encoding="utf-8") as file:
        logging.config.fileConfig(file, defaults=defaults, disable_existing_loggers=False)


def _read(path: str) -> Any:
    with open(path, "rb") as file:
        if path.endswith(".json"):
            return json.load(file)
        if sys.version_info >= (3, 11):
            return tomllib.load(file)
        raise ValueError("TOML needs Python 3.11 or newer; .json holds the same")
