"""The id of the request that is being answered, for logs and for whoever asks (``--request-id``).

The server sets it for each request once this module is imported.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from tidegate._tidegate import set_request_ids_in

if TYPE_CHECKING:
    # Not before gevent has patched what is under it.
    import logging

__all__ = ["Filter", "current"]

#: The id of the request that this code runs for; None outside of one, and without ``--request-id``.
current: ContextVar[str | None] = ContextVar("tidegate.request_ids.current", default=None)
set_request_ids_in(current)


class Filter:
    """A filter for `logging` that lets everything pass and gives each record a ``request_id``.

    It is that of the request in whose thread, greenlet or task the record is made, or ``-``. Put it on a
    handler: filters of a logger do not see what comes from the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set ``record.request_id``; return True."""
        record.request_id = current.get() or "-"
        return True
