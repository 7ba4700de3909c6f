"""Tidegate: an application server for Python, written in Rust.

From a shell, ``tidegate MODULE:ATTR``. From Python, :func:`serve`.
"""

from tidegate._tidegate import FileWrapper, __version__, serve

__all__ = ["FileWrapper", "__version__", "serve"]
