"""The command behind `make soak`; see the package's first lines."""

from __future__ import annotations

import argparse
import secrets
import sys

from soak.daemon import FLEETS, soak_daemons
from soak.load import Length
from soak.run import HOSTS, Host, soak_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=60, help="how long each host is under load (default: %(default)s)")
    add("--seed", default=secrets.token_hex(4), help="repeat the visits of an earlier run (default: random)")
    add("--hosts", help=f"which, in order (default: {','.join(HOSTS)})")
    add("--daemon", action="store_true", help=f"soak supervised servers, side by side ({','.join(FLEETS)})")
    add("--workers", type=int, default=4, help="of each supervised server (default: %(default)s)")
    add("--options", help="soak one server with these flags instead")
    arguments = parser.parse_args()
    known = FLEETS if arguments.daemon else HOSTS
    names = arguments.hosts.split(",") if arguments.hosts else list(known)
    if arguments.options is not None:
        HOSTS["given"] = Host(tuple(arguments.options.split()))
        names = ["given"]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    if arguments.daemon:
        print(f"seed {arguments.seed}, {arguments.seconds:.0f} s\n", flush=True)
        return 0 if soak_daemons(names, arguments.seconds, arguments.workers, arguments.seed) else 1
    # Long enough for every scenario to have come several times, and every buffer to have been as large as it
    # gets.
    warm_up = Length(seconds=min(max(arguments.seconds / 10, 5), 30))
    print(f"seed {arguments.seed}, {arguments.seconds:.0f} s each\n", flush=True)
    return 0 if soak_all(names, arguments.seed, warm_up, Length(seconds=arguments.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
