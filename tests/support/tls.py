"""Certificates for tests, made as they are needed, and clients that know who has signed them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trustme

from support.server import PATIENCE_S, Server
from support.wire import Wire

__all__ = ["Authority", "secure_wire"]


class Authority:
    """Signs certificates, and has them written to files."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.file = directory / f"{name}.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def issue(self, *names: str, file: str = "server", **options: Any) -> tuple[Path, Path]:
        """A certificate for these names, and its key: where they are."""
        issued = self.ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **options)
        certfile, keyfile = self.directory / f"{file}.crt", self.directory / f"{file}.key"
        # In the place of what is there, at once each: a server may be looking.
        for path, blobs in ((certfile, issued.cert_chain_pems), (keyfile, [issued.private_key_pem])):
            new = path.with_name(f"{path.name}.new")
            new.touch(mode=0o600)
            new.write_bytes(b"".join(blob.bytes() for blob in blobs))
            new.rename(path)
        return certfile, keyfile

    def options(self, *names: str, **options: Any) -> list[str]:
        """The flags of a server that has such a certificate."""
        certfile, keyfile = self.issue(*names, **options)
        return ["--certfile", str(certfile), "--keyfile", str(keyfile)]

    def context(
        self, *, protocols: Sequence[str] = (), certificate: tuple[Path, Path] | None = None
    ) -> ssl.SSLContext:
        """What a client takes that knows this authority alone."""
        context = ssl.create_default_context(cafile=str(self.file))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context


def secure_wire(
    server: Server,
    context: ssl.SSLContext,
    name: str | None = "localhost",
    *,
    index: int = 0,
    session: ssl.SSLSession | None = None,
    receive_buffer: int | None = None,
) -> Wire:
    """A connection to the server on which TLS is spoken."""
    address = server.addresses[index]
    if receive_buffer is None:
        sock = address.connect(PATIENCE_S)
    else:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_S)
        sock.connect((address.host, address.port))
    try:
        return Wire(context.wrap_socket(sock, server_hostname=name, session=session))
    except BaseException:
        sock.close()
        raise
