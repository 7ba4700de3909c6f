"""A command line for a front and its server, as the conformance suite needs it: `KIND PORT APP OPTION...`"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.fronts import Fronted  # The path must be there first.
from support.proxies import KINDS


def main() -> None:
    name, port, app, *options = sys.argv[1:]
    kind = next(kind for kind in KINDS if kind.name == name)
    # As an exception, so that the server and the front end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Fronted(kind, app, options=options, port=int(port)) as server:
        try:
            signal.pause()
        finally:
            print(server.log, server.front.log, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
