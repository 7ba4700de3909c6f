"""What is known about some servers: how they are told to listen elsewhere than on a TCP port of 127.0.0.1.

A server that is not here is tested all the same; the checks that need a unix socket, IPv6, one thread or a
mount point or a limit for bodies are skipped unless the command line gives `--unix`, `--ipv6`, `--single`,
`--mounted` or `--limited`.
"""

from __future__ import annotations

import os

from conformance.model import Variant
from conformance.server import Target

# The first word stands for the program, whatever the given command calls it. The mounted variants put the
# application at /mount, the limited ones refuse request bodies of more than ten bytes.
KNOWN: dict[str, dict[Variant, list[str]]] = {
    "tidegate": {
        Variant.UNIX: ["tidegate", "--bind", "unix:{path}", "{app}"],
        Variant.IPV6: ["tidegate", "--bind", "[::1]:{port}", "{app}"],
        Variant.SINGLE: ["tidegate", "--threads", "1", "--bind", "127.0.0.1:{port}", "{app}"],
        Variant.LIMITED: ["tidegate", "--body-size-max", "10", "--bind", "127.0.0.1:{port}", "{app}"],
    },
    "gunicorn-sync": {
        Variant.UNIX: ["gunicorn", "--bind", "unix:{path}", "{app}"],
        Variant.IPV6: ["gunicorn", "--bind", "[::1]:{port}", "{app}"],
        Variant.SINGLE: ["gunicorn", "--bind", "127.0.0.1:{port}", "{app}"],
        Variant.MOUNTED: ["gunicorn", "--env", "SCRIPT_NAME=/mount", "--bind", "127.0.0.1:{port}", "{app}"],
    },
    "gunicorn-gthread": {
        Variant.UNIX: ["gunicorn", "--threads", "8", "--bind", "unix:{path}", "{app}"],
        Variant.IPV6: ["gunicorn", "--threads", "8", "--bind", "[::1]:{port}", "{app}"],
        Variant.SINGLE: [
            "gunicorn",
            "-k",
            "gthread",
            "--threads",
            "1",
            "--bind",
            "127.0.0.1:{port}",
            "{app}",
        ],
    },
    "gunicorn-gevent": {
        Variant.UNIX: ["gunicorn", "--worker-class", "gevent", "--bind", "unix:{path}", "{app}"],
        Variant.IPV6: ["gunicorn", "--worker-class", "gevent", "--bind", "[::1]:{port}", "{app}"],
    },
    "waitress": {
        Variant.UNIX: ["waitress-serve", "--unix-socket={path}", "{app}"],
        Variant.IPV6: ["waitress-serve", "--listen=[::1]:{port}", "{app}"],
        Variant.SINGLE: ["waitress-serve", "--threads=1", "--listen=127.0.0.1:{port}", "{app}"],
        Variant.MOUNTED: ["waitress-serve", "--url-prefix=/mount", "--listen=127.0.0.1:{port}", "{app}"],
    },
    "uwsgi": {
        Variant.UNIX: [
            "uwsgi",
            "--http-socket",
            "{path}",
            "--need-app",
            "--die-on-term",
            "--module",
            "{app}",
        ],
        Variant.IPV6: [
            "uwsgi",
            "--http-socket",
            "[::1]:{port}",
            "--need-app",
            "--die-on-term",
            "--module",
            "{app}",
        ],
        Variant.SINGLE: [
            *(
                "uwsgi",
                "--http-socket",
                "127.0.0.1:{port}",
                "--need-app",
                "--die-on-term",
                "--module",
                "{app}",
            ),
        ],
        Variant.MOUNTED: [
            *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--need-app", "--die-on-term"),
            *("--mount", "/mount={app}", "--manage-script-name"),
        ],
    },
    "cheroot": {
        Variant.UNIX: ["cheroot", "--bind", "{path}", "{app}"],
        Variant.IPV6: ["cheroot", "--bind", "[::1]:{port}", "{app}"],
        Variant.SINGLE: ["cheroot", "--threads", "1", "--bind", "127.0.0.1:{port}", "{app}"],
    },
    "granian": {
        Variant.UNIX: ["granian", "--interface", "wsgi", "--uds", "{path}", "{app}"],
        Variant.IPV6: ["granian", "--interface", "wsgi", "--host", "::1", "--port", "{port}", "{app}"],
        Variant.SINGLE: [
            *("granian", "--interface", "wsgi", "--blocking-threads", "1"),
            *("--host", "127.0.0.1", "--port", "{port}", "{app}"),
        ],
        Variant.MOUNTED: [
            *("granian", "--interface", "wsgi", "--url-path-prefix", "/mount"),
            *("--host", "127.0.0.1", "--port", "{port}", "{app}"),
        ],
    },
}


def target_for(name: str, command: list[str], extra: dict[Variant, list[str]] | None = None) -> Target:
    """Return the server to test: its command, what is known under its name, and what was given beside it."""
    if command and os.sep in command[0]:
        # Servers start in a folder of their own.
        command = [os.path.abspath(command[0]), *command[1:]]
    commands = {Variant.TCP: command}
    for variant, known in KNOWN.get(name, {}).items():
        commands[variant] = [*command[:1], *known[1:]]
    return Target(name, {**commands, **(extra or {})})
