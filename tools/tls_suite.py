"""Run sslyze, a scanner of TLS servers, and print or write down what it found.

The scanner is installed into an environment of its own the first time. The server is tidegate as it is with a
certificate and nothing else set, once with a key of ECDSA and once of RSA, or any other command; `{port}`,
`{certificate}` and `{key}` in it are replaced. Each line of the table is something that a server is to do or
not to do, and what Mozilla's "intermediate" configuration asks for is compared by the scanner itself. The
exit status is 0 if all is as it should be, 1 if not, 2 if the scanner could not run.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import suites
from suites import ROOT, CannotRun, free_port

SCANNER = "sslyze==6.3.1"
# Both are ignored by git and removed by `make clean`.
ENVIRONMENT = ROOT / ".venv-sslyze"
FOLDER = ROOT / "target" / "sslyze"
HEADING = "## TLS: sslyze"

COMMAND = (
    ".venv/bin/tidegate --bind 127.0.0.1:{port} --certfile {certificate} --keyfile {key}"
    " --chdir tests/apps attentive:wsgi"
)
KEYS: dict[str, tuple[str, ...]] = {
    "ECDSA, P-256": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "RSA, 2048 bits": ("-newkey", "rsa:2048"),
}
SCANS = (
    *("certinfo", "sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "compression", "early_data"),
    *("openssl_ccs", "fallback", "heartbleed", "robot", "reneg", "elliptic_curves", "ems"),
)
# The scanner's own test of resumption asks as a client does that knows no extended master secret.
RESUMED = {
    "sessions are resumed (TLS 1.2)": ssl.TLSVersion.TLSv1_2,
    "sessions are resumed (TLS 1.3)": ssl.TLSVersion.TLSv1_3,
}
PATIENCE_S = 10.0
# What makes a cipher suite of TLS 1.2 one that is safe: a key of its own for each session, and authenticated
# encryption.
SAFE_SUITE = re.compile(r"TLS_ECDHE_(ECDSA|RSA)_WITH_(AES_(128|256)_GCM|CHACHA20_POLY1305)_\w+")

Scan = dict[str, Any]
# What is asked, and from the scan's results: what was found, and whether it is as it should be.
Check = tuple[str, Callable[[Scan], tuple[str, bool]]]


def refused(version: str) -> Callable[[Scan], tuple[str, bool]]:
    """A version that is too old is not spoken."""

    def check(scan: Scan) -> tuple[str, bool]:
        spoken = scan[version]["is_tls_version_supported"]
        return ("spoken" if spoken else "refused"), not spoken

    return check


def suites_of(version: str, safe: re.Pattern[str]) -> Callable[[Scan], tuple[str, bool]]:
    """A version is spoken, with safe cipher suites only."""

    def check(scan: Scan) -> tuple[str, bool]:
        names = [one["cipher_suite"]["name"] for one in scan[version]["accepted_cipher_suites"]]
        unsafe = [name for name in names if not safe.fullmatch(name)]
        return ", ".join(unsafe) or f"{len(names)} cipher suites, all safe", bool(names) and not unsafe

    return check


def flag(
    scan_name: str, field: str, wanted: bool, words: Sequence[str]
) -> Callable[[Scan], tuple[str, bool]]:
    """One yes or no; the words for no and for yes."""

    def check(scan: Scan) -> tuple[str, bool]:
        found = bool(scan[scan_name][field])
        return words[found], found == wanted

    return check


def robot(scan: Scan) -> tuple[str, bool]:
    found = scan["robot"]["robot_result"]
    right = found.startswith("NOT_VULNERABLE")
    return "no" if right else found.lower().replace("_", " "), right


def curves(scan: Scan) -> tuple[str, bool]:
    names = [one["name"] for one in scan["elliptic_curves"]["supported_curves"]]
    return ", ".join(names), "X25519" in names


NO_YES = ("no", "yes")
CHECKS: tuple[Check, ...] = (
    ("SSL 2.0", refused("ssl_2_0_cipher_suites")),
    ("SSL 3.0", refused("ssl_3_0_cipher_suites")),
    ("TLS 1.0", refused("tls_1_0_cipher_suites")),
    ("TLS 1.1", refused("tls_1_1_cipher_suites")),
    ("TLS 1.2", suites_of("tls_1_2_cipher_suites", SAFE_SUITE)),
    ("TLS 1.3", suites_of("tls_1_3_cipher_suites", re.compile(r"TLS_\w+"))),
    ("groups for key exchange", curves),
    ("compression (CRIME)", flag("tls_compression", "supports_compression", False, NO_YES)),
    ("early data, which can be replayed", flag("tls_1_3_early_data", "supports_early_data", False, NO_YES)),
    ("fallback signal (RFC 7507)", flag("tls_fallback_scsv", "supports_fallback_scsv", True, NO_YES)),
    ("CCS injection", flag("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", False, NO_YES)),
    ("Heartbleed", flag("heartbleed", "is_vulnerable_to_heartbleed", False, NO_YES)),
    ("ROBOT", robot),
    (
        "renegotiation is secure (RFC 5746)",
        flag("session_renegotiation", "supports_secure_renegotiation", True, NO_YES),
    ),
    (
        "a client may renegotiate again and again",
        flag("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", False, NO_YES),
    ),
    (
        "extended master secret (RFC 7627)",
        flag("tls_extended_master_secret", "supports_ems_extension", True, NO_YES),
    ),
)

Result = list[tuple[str, str, bool]]


def install() -> str:
    """Return the scanner's program, installed the first time."""
    program = ENVIRONMENT / "bin" / "sslyze"
    if not program.exists():
        print(f"installing {SCANNER}", file=sys.stderr)
        suites.run_or_fail([sys.executable, "-m", "venv", str(ENVIRONMENT)])
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        suites.run_or_fail([*pip, "--disable-pip-version-check", SCANNER])
    return str(program)


def scan(program: str, command: str, key_kind: str) -> Result:
    """Start a server with a key of this kind, scan it, and judge what was found."""
    port = free_port()
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", key_kind.lower())
    certificate, key = suites.certificate(FOLDER, name, *KEYS[key_kind])
    log, found = FOLDER / f"{name}.log", FOLDER / f"{name}.json"
    parts = [part.format(port=port, certificate=certificate, key=key) for part in shlex.split(command)]
    with suites.started(parts, log) as server:
        suites.wait_until_ready(server, port, log)
        options = [f"--{one}" for one in SCANS]
        asked = [program, *options, "--mozilla_config", "intermediate", "--json_out", str(found)]
        # Its status says whether the configuration is Mozilla's; so does what it prints.
        words = suites.run_to_end([*asked, f"localhost:{port}"])
        sessions = [(name, *resumed(port, version)) for name, version in RESUMED.items()]
        if server.poll() is not None:
            raise CannotRun(f"the server has ended with {server.returncode}; see {log}")
    if not found.exists():
        raise CannotRun(f"the scanner has found nothing:\n{words}")
    return [*judge(json.loads(found.read_text(encoding="utf-8"))), *sessions, mozilla(words)]


def resumed(port: int, version: ssl.TLSVersion) -> tuple[str, bool]:
    """Connect twice, the second time with the session of the first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            # The ticket comes with the response.
            while client.recv(65536):
                pass
            session, again = client.session, bool(client.session_reused)
    return NO_YES[again], again


def judge(report: Scan) -> Result:
    """Put each check to what the scanner found."""
    (server,) = report["server_scan_results"]
    if server["scan_status"] != "COMPLETED":
        raise CannotRun(f"the scanner could not scan: {server['connectivity_error_trace']}")
    scan = {name: one["result"] for name, one in server["scan_result"].items()}
    return [(name, *check(scan)) for name, check in CHECKS]


def mozilla(words: str) -> tuple[str, str, bool]:
    """Return what Mozilla's configuration asks for and is not so; certificates are the operator's."""
    if "COMPLIANCE AGAINST" not in words:
        raise CannotRun(f"the scanner has compared nothing:\n{words}")
    _, _, compared = words.partition("COMPLIANCE AGAINST")
    issues = [one for one in re.findall(r"^ +\* (.+)$", compared, re.MULTILINE) if "certificate" not in one]
    return 'as Mozilla\'s "intermediate"', "; ".join(issues) or "yes", not issues


def table(results: dict[str, Result]) -> str:
    """Return what was found, a column for each key."""
    lines = []
    for rows in zip(*results.values(), strict=True):
        cells = [found if right else f"**{found}**" for _, found, right in rows]
        lines.append([rows[0][0], *cells])
    return suites.table(["", *results], lines, texts=1 + len(results))


def section_of_document(results: dict[str, Result]) -> str:
    """Return the section of docs/conformance.md."""
    return f"""\
{HEADING}

[sslyze](https://github.com/nabla-c0d3/sslyze) ({SCANNER.partition("==")[2]}) scans a server that has a
certificate and nothing else set; sessions are resumed with Python's `ssl`. `make conformance-edges` runs it
on this build. What is not as it should be stands in bold.

`{COMMAND}`, measured {date.today().isoformat()}:

{table(results)}"""


def main() -> int:
    """Scan and report; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="*", metavar="COMMAND", help=f"the server; by default {COMMAND}")
    parser.add_argument("--write", action="store_true", help="write the section of docs/conformance.md")
    options = parser.parse_args()
    if options.write and options.command:
        parser.error("--write is for tidegate")
    command = shlex.join(options.command) or COMMAND
    try:
        program = install()
        results = {kind: scan(program, command, kind) for kind in KEYS}
    except CannotRun as problem:
        print(problem, file=sys.stderr)
        return 2
    print(table(results), end="")
    if options.write:
        suites.write_section(HEADING, section_of_document(results))
    wrong = sum(not right for result in results.values() for _, _, right in result)
    print(f"{wrong} not as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
