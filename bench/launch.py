"""Start a server whose settings no command line reaches: `launch.py SERVER PORT MODULE:ATTR [CERT KEY]`.

All of these but Hypercorn leave Nagle's algorithm on unless told, which makes a response of several writes
wait 40 ms for the client's delayed acknowledgement; the servers they are compared with turn it off.
"""

from __future__ import annotations

import importlib
import socket
import sys


def main() -> None:
    """Run the named server in the foreground until it is killed."""
    server, port, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if server == "hypercorn":
        run_hypercorn(port, target, *sys.argv[4:])
        return
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    if server == "bjoern":
        bjoern = importlib.import_module(server)
        listener = bjoern.bind_and_listen("127.0.0.1", port)
        # An accepted socket inherits this.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bjoern.server_run(listener, app)
    elif server in ("fastwsgi", "fastpysgi"):
        instance = importlib.import_module(server).server
        instance.tcp_nodelay = 1
        instance.init(app, "127.0.0.1", port, loglevel=0)
        instance.run()
    else:
        sys.exit(f"launch.py: no server called {server}")


def run_hypercorn(port: int, target: str, certificate: str | None = None, key: str | None = None) -> None:
    """Run Hypercorn, whose worker imports the application itself, with TLS where there is a certificate."""
    config = importlib.import_module("hypercorn.config").Config()
    config.application_path = target
    config.bind = [f"127.0.0.1:{port}"]
    config.worker_class = "uvloop"
    config.certfile, config.keyfile = certificate, key
    config.backlog = 4096
    config.loglevel = "CRITICAL"
    # By default it closes a connection after a thousand requests.
    config.keep_alive_max_requests = sys.maxsize
    importlib.import_module("hypercorn.run").run(config)


if __name__ == "__main__":
    main()
