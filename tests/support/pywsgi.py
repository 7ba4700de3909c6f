"""`python -m support.pywsgi HOST:PORT MODULE:ATTR`: gevent's own server, with the banner that tests wait for.

It is also a second opinion on the tests of greenlets themselves:

    TIDEGATE_TEST_COMMAND='python -m support.pywsgi {bind} {app}' pytest tests/waiting -k greenlets
"""

from __future__ import annotations

import signal
import sys

# Before anything else is imported that could hold on to what is patched, as `--concurrency greenlets` does.
from gevent import monkey

monkey.patch_all()

from importlib import import_module  # noqa: E402

import gevent  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402


def main(bind: str, app: str) -> None:
    host, _, port = bind.rpartition(":")
    module, _, name = app.partition(":")
    server = WSGIServer((host, int(port)), getattr(import_module(module), name), log=None)
    server.start()
    print(f"pywsgi listening on http://{host}:{server.server_port}", file=sys.stderr, flush=True)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
