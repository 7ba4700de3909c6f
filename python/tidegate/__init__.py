"""Tidegate: an application server for Python, written in Rust.

From a shell, ``tidegate MODULE:ATTR``. From Python, :func:`serve`.
"""

from tidegate._tidegate import (
    Cancelled,
    ClientDisconnected,
    ClientLeft,
    FileWrapper,
    RequestTimeout,
    __version__,
    await_,
    serve,
)

__all__ = [
    "Cancelled",
    "ClientDisconnected",
    "ClientLeft",
    "FileWrapper",
    "RequestTimeout",
    "__version__",
    "await_",
    "serve",
]
