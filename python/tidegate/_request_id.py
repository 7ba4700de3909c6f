"""The id of the request that is being answered, for logs and for whoever asks."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not before gevent has patched what is under it.
    import logging

#: The id of the request that this code runs for; None outside of one, and without ``--request-id``.
request_id: ContextVar[str | None] = ContextVar("tidegate.request_id", default=None)


class RequestIdFilter:
    """A filter for `logging` that lets everything pass and gives each record a ``request_id``.

    It is that of the request in whose thread, greenlet or task the record is made, or ``-``. Put it on a
    handler: filters of a logger do not see what comes from the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set ``record.request_id``; return True."""
        record.request_id = request_id.get() or "-"
        return True
