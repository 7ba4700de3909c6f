"""Keep the compiled code of modules that are being worked on from outliving them.

Python takes compiled code for that of a source if it names its size and the second of its last change. Two
saves within one second, of the same size, are one to it: the second one would never run.
"""

from __future__ import annotations

import time
from importlib.machinery import SourceFileLoader
from typing import Any

# From here on a source cannot be changed within the same second any more.
_AGE_MIN_S = 2

# PEP 552: a magic number, flags (none: it is the time that counts), and the time.
_FLAGS = slice(4, 8)
_TIME = slice(8, 12)


def keep_none_of_young_sources() -> None:
    """Have the import system keep no compiled code of sources until they are two seconds old."""
    write = SourceFileLoader.set_data

    def set_data(self: SourceFileLoader, path: str, data: Any, **options: Any) -> None:
        changed = int.from_bytes(data[_TIME], "little")
        if any(data[_FLAGS]) or time.time() - changed >= _AGE_MIN_S:
            write(self, path, data, **options)

    SourceFileLoader.set_data = set_data  # type: ignore[method-assign]
