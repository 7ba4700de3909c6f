"""A handler that waits a tenth of a second, as for a database, and answers. Run it with `tidegate waiting`.

`make demo-concurrency` puts 5,000 clients on this file, under each way to wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WAIT_S = 0.1
ANSWER = b"waited\n"


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(WAIT_S)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]
