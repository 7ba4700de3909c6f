"""Certificates: in which files they may be, whom each is shown to, and how they are replaced."""

from __future__ import annotations

import datetime
import json
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp

from support.command import one_line, run
from support.server import PATIENCE_S, Server
from support.tls import Authority, secure_wire

APP = "apps.secure:application"


def number_shown(server: Server, authority: Authority, name: str | None = "localhost") -> str:
    """The serial number of the certificate that a client is shown."""
    context = authority.context()
    context.check_hostname = False
    with secure_wire(server, context, name) as wire:
        assert isinstance(wire.sock, ssl.SSLSocket)
        shown = wire.sock.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def number_of(certfile: Path) -> str:
    number = x509.load_pem_x509_certificate(certfile.read_bytes()).serial_number
    return f"{number:X}".zfill(len(f"{number:X}") + len(f"{number:X}") % 2)


def rewrite(keyfile: Path, form: PrivateFormat, encryption: object = None) -> None:
    key = load_pem_private_key(keyfile.read_bytes(), None)
    keyfile.write_bytes(key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [trustme.KeyType.RSA, trustme.KeyType.ECDSA])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_may_be_in_each_of_the_usual_forms(
    authority: Authority, kind: trustme.KeyType, form: PrivateFormat
) -> None:
    certfile, keyfile = authority.issue(key_type=kind)
    rewrite(keyfile, form)
    with Server(APP, options=["--certfile", str(certfile), "--keyfile", str(keyfile)]) as server:
        assert number_shown(server, authority) == number_of(certfile)


@pytest.mark.parametrize("is_first", [True, False])
def test_key_and_certificate_may_be_in_one_file(authority: Authority, is_first: bool) -> None:
    certfile, keyfile = authority.issue()
    parts = [keyfile.read_text(), certfile.read_text()]
    both = authority.directory / "both.pem"
    both.touch(0o600)
    both.write_text("".join(parts if is_first else reversed(parts)))
    with Server(APP, options=["--certfile", str(both)]) as server:
        assert number_shown(server, authority) == number_of(certfile)
        assert "anybody" not in server.log


def test_a_chain_is_shown_whole(authority: Authority) -> None:
    intermediate = authority.ca.create_child_ca()
    issued = intermediate.issue_cert("localhost")
    file = authority.directory / "chain.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(file)
    with (
        Server(APP, options=["--certfile", str(file)]) as server,
        # Whose context knows the root alone.
        secure_wire(server, authority.context()) as wire,
    ):
        assert wire.ask("GET", "/").status == 200


def test_each_name_is_shown_its_own_certificate_and_others_the_first(authority: Authority) -> None:
    first = authority.issue("localhost", file="first")
    second = authority.issue("a.example", "b.example", file="second")
    wild = authority.issue("*.wild.example", file="wild")
    named = authority.issue("whatever.example", file="named")
    config = authority.directory / "tidegate.toml"
    table = '[[certificates]]\ncertfile = "{}"\nkeyfile = "{}"\n'
    config.write_text(
        f'certfile = "{first[0]}"\nkeyfile = "{first[1]}"\n'
        + table.format(*second)
        + table.format(*wild)
        + table.format(*named)
        + 'names = ["Own.example", "*.own.example"]\n'
    )
    with Server(APP, options=["--config", str(config)]) as server:
        for name, (certfile, _) in {
            "localhost": first,
            "a.example": second,
            "B.EXAMPLE": second,
            "c.wild.example": wild,
            "d.c.wild.example": first,
            "wild.example": first,
            "own.example": named,
            "x.own.example": named,
            "whatever.example": first,
            "unknown.example": first,
            None: first,
        }.items():
            assert number_shown(server, authority, name) == number_of(certfile), name


def test_an_answer_of_ocsp_is_stapled(authority: Authority) -> None:
    certfile, keyfile = authority.issue()
    now = datetime.datetime.now(datetime.timezone.utc)
    own = x509.load_pem_x509_certificate(certfile.read_bytes())
    issuer = x509.load_pem_x509_certificate(authority.file.read_bytes())
    key = load_pem_private_key(authority.ca.private_key_pem.bytes(), None)
    builder = ocsp.OCSPResponseBuilder().add_response(
        own, issuer, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, now, None, None, None
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer)
    answer = authority.directory / "ocsp.der"
    answer.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))  # type: ignore[arg-type]
    options = ["--certfile", str(certfile), "--keyfile", str(keyfile), "--ocsp-file", str(answer)]
    with Server(APP, options=options) as server:
        command = ["openssl", "s_client", "-status", "-connect", f"127.0.0.1:{server.port}"]
        told = subprocess.run(command, input=b"", capture_output=True, timeout=PATIENCE_S).stdout
        assert b"OCSP Response Status: successful" in told
        assert b"Cert Status: good" in told


def test_a_key_that_anybody_may_read_is_warned_of(authority: Authority) -> None:
    certfile, keyfile = authority.issue()
    keyfile.chmod(0o644)
    with Server(APP, options=["--certfile", str(certfile), "--keyfile", str(keyfile)]) as server:
        assert f"{keyfile}: anybody on this machine may read this key" in server.log


def swap(server: Server, authority: Authority) -> str:
    """A new certificate in the place of the old one; returns its number."""
    certfile, _ = authority.issue()
    return number_of(certfile)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_new_certificate_is_shown_soon_after_it_is_in_its_place(authority: Authority, workers: int) -> None:
    options = authority.options() + (["--workers", str(workers)] if workers else [])
    with Server(APP, options=options, supervised=bool(workers)) as server:
        with secure_wire(server, authority.context()) as old:
            number = swap(server, authority)
            wait_for(lambda: number_shown(server, authority) == number)
            wait_for(lambda: all(number_shown(server, authority) == number for _ in range(10)))
            assert old.ask("GET", "/").status == 200
        assert server.log.count("were read anew") == 1


def test_a_reload_shows_the_new_certificate_and_loses_no_request(authority: Authority) -> None:
    context = authority.context()
    failures: list[BaseException] = []
    done = threading.Event()

    with Server(APP, options=[*authority.options(), "--workers", "2"], supervised=True) as server:

        def ask() -> None:
            while not done.is_set():
                try:
                    with secure_wire(server, context) as wire:
                        for _ in range(5):
                            answer = wire.ask("GET", "/")
                            assert answer.status == 200
                            if answer.headers["Connection"] == "close":
                                break
                except BaseException as error:
                    failures.append(error)
                    return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        for _ in range(2):
            number = swap(server, authority)
            mark = len(server.log)
            server.signal(signal.SIGHUP)
            server.wait_for_log("reload", since=mark)
            wait_for(lambda number=number: number_shown(server, authority) == number)  # type: ignore[misc]
        done.set()
        for client in clients:
            client.join()
        assert not failures


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_pair_keeps_the_old_one_and_is_told_of_once(authority: Authority, workers: int) -> None:
    options = authority.options() + (["--workers", str(workers)] if workers else [])
    with Server(APP, options=options, supervised=bool(workers)) as server:
        certfile, keyfile = authority.directory / "server.crt", authority.directory / "server.key"
        number = number_of(certfile)
        good = certfile.read_bytes()
        other, _ = authority.issue(file="other")
        certfile.write_bytes(other.read_bytes())
        server.wait_until(
            lambda: number_shown(server, authority) == number and "not the key of" in server.log or None
        )
        if workers:
            server.signal(signal.SIGHUP)
            server.wait_for_log(r"reload")
        for _ in range(5):
            assert number_shown(server, authority) == number
            time.sleep(0.3)
        assert server.log.count(f"{keyfile}: not the key of {certfile}") == 1
        certfile.write_bytes(good)
        new = swap(server, authority)
        wait_for(lambda: number_shown(server, authority) == new)


def test_files_may_be_links_that_are_set_anew(authority: Authority) -> None:
    """As certbot leaves them, and Kubernetes."""
    live = authority.directory / "live"
    versions = []
    for number in range(2):
        certfile, keyfile = authority.issue(file=f"version-{number}")
        directory = authority.directory / f"version-{number}.d"
        directory.mkdir()
        certfile.rename(directory / "tls.crt")
        keyfile.rename(directory / "tls.key")
        versions.append(directory)
    live.symlink_to(versions[0])
    with Server(
        APP, options=["--certfile", str(live / "tls.crt"), "--keyfile", str(live / "tls.key")]
    ) as server:
        assert number_shown(server, authority) == number_of(versions[0] / "tls.crt")
        new = authority.directory / "new"
        new.symlink_to(versions[1])
        os.replace(new, live)
        wait_for(lambda: number_shown(server, authority) == number_of(versions[1] / "tls.crt"))


def test_one_flag_makes_a_certificate_for_development_and_keeps_it(authority: Authority) -> None:
    env = {"XDG_CACHE_HOME": str(authority.directory / "cache")}
    file = authority.directory / "cache" / "tidegate" / "development.pem"
    numbers = set()
    for _ in range(2):
        with Server(APP, options=["--dev-cert"], env=env) as server:
            assert f"{file} (localhost, 127.0.0.1, ::1" in server.log
            assert "listening on https://" in server.log
            context = ssl.create_default_context(cafile=str(file))
            for name in ("localhost", "127.0.0.1"):
                with secure_wire(server, context, name) as wire:
                    assert json.loads(wire.ask("GET", "/").body)["HTTPS"] == "on"
        numbers.add(number_of(file))
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
    assert len(numbers) == 1


BAD = {
    "no certificate": lambda a: (["--bind", "https://:0"], "https needs a certificate"),
    "nobody shows it": lambda a: ([*a.options(), "--bind", "http://:0"], "no address of bind speaks https"),
    "no file": lambda a: (["--certfile", "missing.pem"], "missing.pem: No such file"),
    "no certificate in it": lambda a: (
        ["--certfile", str(a.issue()[1])],
        "there is no certificate in PEM in it",
    ),
    "no key in it": lambda a: (["--certfile", str(a.issue()[0])], "there is no private key in PEM in it"),
    "another's key": lambda a: (
        ["--certfile", str(a.issue()[0]), "--keyfile", str(a.issue(file="other")[1])],
        "not the key of",
    ),
    "a key alone": lambda a: (["--keyfile", str(a.issue()[1])], "only with certfile"),
    "two sources": lambda a: ([*a.options(), "--dev-cert"], "not with another certificate"),
    "no authority": lambda a: ([*a.options(), "--client-auth", "optional"], "only with client-ca"),
    "a list without an authority": lambda a: ([*a.options(), "--client-crl", "x"], "only with client-ca"),
    "an authority that is none": lambda a: (
        [*a.options(), "--client-ca", str(a.issue()[1])],
        "there is no certificate in PEM in it",
    ),
    "a list that is none": lambda a: (
        [*a.options(), "--client-ca", str(a.file), "--client-crl", str(a.file)],
        "there is no list of revoked certificates",
    ),
    "an answer that is none": lambda a: (
        [*a.options(), "--ocsp-file", str(a.file)],
        "not the answer of an OCSP",
    ),
    "a version too old": lambda a: ([*a.options(), "--tls-min-version", "1.1"], "accepted: 1.2, 1.3"),
    "an unsafe suite": lambda a: (
        [*a.options(), "--tls-ciphers", "TLS_RSA_WITH_RC4_128_MD5"],
        "no such suite",
    ),
    "no suite of the version": lambda a: (
        [*a.options(), "--tls-min-version", "1.3", "--tls-ciphers", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        "--tls-ciphers",
    ),
    "a time that is none": lambda a: ([*a.options(), "--hsts", "for ever"], "not a number of seconds"),
    "a table without a file": lambda a: (["--certificates", "names=a.example"], "certfile: it is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_settings_is_said_in_one_line(authority: Authority, case: str) -> None:
    arguments, reason = BAD[case](authority)
    line = one_line(run(*arguments, APP, cwd=authority.directory))
    assert reason in line
    assert one_line(run("config", "check", *arguments, APP, cwd=authority.directory)) == line


def test_a_key_that_is_encrypted_is_said_to_be(authority: Authority) -> None:
    certfile, keyfile = authority.issue()
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        key = serialization.load_pem_private_key(keyfile.read_bytes(), None)
        text = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
        encrypted = authority.directory / "encrypted.key"
        encrypted.write_bytes(text)
        arguments = ["--certfile", str(certfile), "--keyfile", str(encrypted)]
        assert "the key is encrypted" in one_line(run(*arguments, APP, cwd=authority.directory))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.skipif(
    not all(part.stat().st_mode & 0o001 for part in (Path(os.__file__), *Path(os.__file__).parents)),
    reason="other users cannot read this interpreter",
)
def test_a_key_that_only_root_may_read_is_read_before_privileges_are_given_up(authority: Authority) -> None:
    authority.directory.chmod(0o700)
    options = [*authority.options(), "--user", "nobody", "--workers", "1"]
    with Server(APP, options=options, supervised=True) as server:
        number = number_shown(server, authority)
        swap(server, authority)
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"Permission denied.*; what was read before stays in force")
        assert number_shown(server, authority) == number
