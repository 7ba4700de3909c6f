"""Clients that show certificates of their own: who is let in, and what the application is told of them."""

from __future__ import annotations

import datetime
import json
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from support.server import PATIENCE_S, Server
from support.tls import Authority, secure_wire

NOW = datetime.datetime.now(datetime.timezone.utc)


def ask(server: Server, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> dict[str, str]:
    """What the application is told; TLS 1.3 tells a client that it is refused with its first answer."""
    with secure_wire(server, context, session=session) as wire:
        told: dict[str, str] = json.loads(wire.ask("GET", "/").body)
        return told


@pytest.fixture
def client(authority: Authority) -> tuple[Path, Path]:
    return authority.issue(
        "client@example.com", file="client", organization_name="Söme, Org", common_name="Ann"
    )


def options(authority: Authority, *more: str) -> list[str]:
    return [*authority.options(), "--client-ca", str(authority.file), *more]


REFUSED = (ssl.SSLError, ConnectionError)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_must_have_a_certificate_where_one_is_required(
    authority: Authority, client: tuple[Path, Path], version: ssl.TLSVersion, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("client@example.com", file="client")
    with Server("apps.secure:application", options=options(authority)) as server:
        for certificate in (None, stranger):
            context = authority.context(certificate=certificate)
            context.minimum_version = context.maximum_version = version
            with pytest.raises(REFUSED):
                ask(server, context)
        context = authority.context(certificate=client)
        context.minimum_version = context.maximum_version = version
        assert ask(server, context)["SSL_CLIENT_VERIFY"] == "SUCCESS"


def test_a_client_may_do_without_where_one_is_optional(
    authority: Authority, client: tuple[Path, Path]
) -> None:
    with Server("apps.secure:application", options=options(authority, "--client-auth", "optional")) as server:
        assert ask(server, authority.context())["SSL_CLIENT_VERIFY"] == "NONE"
        told = ask(server, authority.context(certificate=client))
    certificate = x509.load_pem_x509_certificate(client[0].read_bytes())
    assert told["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert x509.load_pem_x509_certificate(told["SSL_CLIENT_CERT"].encode()) == certificate
    assert told["SSL_CLIENT_S_DN"] == certificate.subject.rfc4514_string()
    assert told["SSL_CLIENT_I_DN"] == certificate.issuer.rfc4514_string()
    assert int(told["SSL_CLIENT_M_SERIAL"], 16) == certificate.serial_number
    ends = datetime.datetime.strptime(told["SSL_CLIENT_V_END"], "%b %d %H:%M:%S %Y GMT")
    assert ends.replace(tzinfo=datetime.timezone.utc) == certificate.not_valid_after_utc


def test_clients_are_not_asked_where_that_is_said(authority: Authority) -> None:
    with Server("apps.secure:application", options=options(authority, "--client-auth", "none")) as server:
        assert ask(server, authority.context())["SSL_CLIENT_VERIFY"] == "NONE"


def test_the_extension_of_asgi_has_the_client(authority: Authority, client: tuple[Path, Path]) -> None:
    with (
        Server("apps.secure:asgi", options=options(authority)) as server,
        secure_wire(server, authority.context(certificate=client)) as wire,
    ):
        tls = json.loads(wire.ask("GET", "/").body)["tls"]
    certificate = x509.load_pem_x509_certificate(client[0].read_bytes())
    # OpenSSL sends what it has of those that have signed it, too.
    assert x509.load_pem_x509_certificate(tls["client_cert_chain"][0].encode()) == certificate
    assert tls["client_cert_name"] == certificate.subject.rfc4514_string()
    assert tls["client_cert_error"] is None


def revoke(authority: Authority, *certificates: Path, ends: datetime.datetime | None = None) -> Path:
    """A list of revoked certificates, in the place of the former one."""
    issuer = x509.load_pem_x509_certificate(authority.file.read_bytes())
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(NOW - datetime.timedelta(days=2)).next_update(
        ends or NOW + datetime.timedelta(days=1)
    )
    for certfile in certificates:
        number = x509.load_pem_x509_certificate(certfile.read_bytes()).serial_number
        revoked = x509.RevokedCertificateBuilder(number, NOW - datetime.timedelta(days=1)).build()
        builder = builder.add_revoked_certificate(revoked)
    builder = builder.add_extension(x509.CRLNumber(1), False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
        False,
    )
    key = load_pem_private_key(authority.ca.private_key_pem.bytes(), None)
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    file = authority.directory / "revoked.crl"
    new = file.with_suffix(".new")
    new.write_bytes(signed.public_bytes(Encoding.PEM))
    new.rename(file)
    return file


def test_a_client_whose_certificate_was_revoked_is_refused(
    authority: Authority, client: tuple[Path, Path]
) -> None:
    other = authority.issue("other@example.com", file="other")
    crl = revoke(authority, other[0])
    with Server("apps.secure:application", options=options(authority, "--client-crl", str(crl))) as server:
        assert ask(server, authority.context(certificate=client))["SSL_CLIENT_VERIFY"] == "SUCCESS"
        with pytest.raises(REFUSED):
            ask(server, authority.context(certificate=other))


def test_a_list_that_is_out_of_date_refuses_everybody(
    authority: Authority, client: tuple[Path, Path]
) -> None:
    crl = revoke(authority, ends=NOW - datetime.timedelta(hours=1))
    with (
        Server("apps.secure:application", options=options(authority, "--client-crl", str(crl))) as server,
        pytest.raises(REFUSED),
    ):
        ask(server, authority.context(certificate=client))


def test_a_session_from_before_a_revocation_is_not_resumed(
    authority: Authority, client: tuple[Path, Path]
) -> None:
    crl = revoke(authority)
    with Server("apps.secure:application", options=options(authority, "--client-crl", str(crl))) as server:
        context = authority.context(certificate=client)
        with secure_wire(server, context) as wire:
            assert json.loads(wire.ask("GET", "/").body)["SSL_SESSION_RESUMED"] == "Initial"
            assert isinstance(wire.sock, ssl.SSLSocket)
            session = wire.sock.session
        resumed = ask(server, context, session)
        assert resumed["SSL_SESSION_RESUMED"] == "Resumed"
        assert resumed["SSL_CLIENT_S_DN"].startswith("CN=")
        revoke(authority, client[0])
        deadline = time.monotonic() + PATIENCE_S
        with pytest.raises(REFUSED):
            while time.monotonic() < deadline:
                ask(server, context, session)
                time.sleep(0.1)


def resumed_until_refused(server: Server, context: ssl.SSLContext, ends: datetime.datetime) -> None:
    """A client that comes again and again with its first session is let in until then, and no longer."""
    with secure_wire(server, context) as wire:
        assert json.loads(wire.ask("GET", "/").body)["SSL_SESSION_RESUMED"] == "Initial"
        assert isinstance(wire.sock, ssl.SSLSocket)
        session = wire.sock.session
    resumed = ask(server, context, session)
    assert (resumed["SSL_SESSION_RESUMED"], resumed["SSL_CLIENT_VERIFY"]) == ("Resumed", "SUCCESS")
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(REFUSED):
        while time.monotonic() < deadline:
            ask(server, context, session)
            time.sleep(0.1)
    assert datetime.datetime.now(datetime.timezone.utc) >= ends


def soon(seconds: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_not_resumed_once_the_certificate_of_its_client_has_expired(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    with Server("apps.secure:application", options=options(authority)) as server:
        ends = soon(4)
        certificate = authority.issue("client@example.com", file="client", not_after=ends)
        context = authority.context(certificate=certificate)
        context.minimum_version = context.maximum_version = version
        resumed_until_refused(server, context, ends.replace(microsecond=0))


def test_a_session_is_not_resumed_once_the_list_of_revoked_certificates_is_out_of_date(
    authority: Authority, client: tuple[Path, Path]
) -> None:
    ends = soon(8)
    crl = revoke(authority, ends=ends)
    with Server("apps.secure:application", options=options(authority, "--client-crl", str(crl))) as server:
        resumed_until_refused(server, authority.context(certificate=client), ends.replace(microsecond=0))
