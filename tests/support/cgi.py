"""CGI variables over uwsgi, SCGI and FastCGI: requests as front servers send them, and front servers.

`with CgiFront("nginx", "uwsgi", server.addresses[0]) as front` is nginx, whose `uwsgi_pass` is the server.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from support.fronting import FrontProcess, found
from support.server import PATIENCE_S, Address
from support.wire import Wire

if TYPE_CHECKING:
    pass

MODULES = Path("/usr/lib/apache2/modules")
HOST = "127.0.0.1"
PROGRAMS = {"nginx": "nginx", "apache": "apache2"}

NGINX_CONF = """\
{user}daemon off;
pid {folder}/pid;
error_log {folder}/log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream tidegate {{ server {address}; {keepalive} }}
    server {{
        listen {host}:{port};
        client_max_body_size 0;
        include /etc/nginx/{protocol}_params;
        {protocol}_param HARBOUR "low water";
        {protocol}_param UWSGI_FILE /etc/passwd;
        {protocol}_param wsgi.multithread never;
        fastcgi_keep_conn on;
        {own}
        location / {{ {protocol}_pass tidegate; }}
        location /private/ {{ internal; alias {folder}/; }}
    }}
}}
"""

APACHE_CONF = """\
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/log
User #{user}
Group #{group}
StartServers 1
{modules}
Listen {host}:{port}
SetEnv HARBOUR "low water"
{own}
ProxyPass / {url}
"""
APACHE_MODULES = (
    "mpm_event",
    "authz_core",
    "unixd",
    "env",
    "proxy",
    "proxy_uwsgi",
    "proxy_scgi",
    "proxy_fcgi",
)
NOBODY = 65534


class FrontFailed(Exception):
    """It did not start; the message holds its log."""


def missing(program: str) -> str | None:
    """Why this front server cannot be run here; None when it can."""
    if found(PROGRAMS[program]) is None:
        return f"{program} is neither installed nor could tools/test-services install it"
    return None


class CgiFront(FrontProcess):
    """nginx or Apache before one server, with a protocol of CGI variables between them."""

    def __init__(self, program: str, protocol: str, server: Address, *, own: str = "") -> None:
        super().__init__()
        self.program = program
        self.protocol = protocol
        self.server = server
        self.own = own
        self.port = 0

    @property
    def folder(self) -> Path:
        """Where it keeps what it has; nginx serves it to `X-Accel-Redirect` as /private/."""
        return self._folder

    def http(self) -> http.client.HTTPConnection:
        """A standard client's connection."""
        return http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)

    def connect(self) -> Wire:
        """A connection of the client's own making."""
        return Wire(Address(HOST, self.port).connect(PATIENCE_S))

    def _start(self) -> None:
        # Nobody is given a port that is bound, and who asks for this one by its number gets it.
        with socket.socket() as holder, (self._folder / "log").open("ab") as log:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((HOST, 0))
            self.port = holder.getsockname()[1]
            command = self._nginx() if self.program == "nginx" else self._apache()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        assert self._process is not None
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                Address(HOST, self.port).connect(PATIENCE_S).close()
                return
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise FrontFailed(f"{self.program}:\n{self.log}") from None
                time.sleep(0.02)

    def _nginx(self) -> list[str]:
        server = self.server
        text = NGINX_CONF.format(
            # As root it would change to a user who may not read what is here.
            user="user root;\n" if os.geteuid() == 0 else "",
            folder=self._folder,
            address=f"unix:{server.path}" if server.path else f"{server.host}:{server.port}",
            keepalive="keepalive 4;" if self.protocol == "fastcgi" else "",
            host=HOST,
            port=self.port,
            protocol=self.protocol,
            own=self.own,
        )
        (self._folder / "nginx.conf").write_text(text)
        program = found("nginx") or "nginx"
        return [program, "-c", str(self._folder / "nginx.conf"), "-e", str(self._folder / "log")]

    def _apache(self) -> list[str]:
        server, scheme = self.server, {"fastcgi": "fcgi"}.get(self.protocol, self.protocol)
        url = f"{scheme}://{server.host}:{server.port}/"
        if server.path:
            url = f"unix:{server.path}|{scheme}://localhost/"
        text = APACHE_CONF.format(
            folder=self._folder,
            # It refuses to serve as root.
            user=os.geteuid() or NOBODY,
            group=os.getegid() or NOBODY,
            # Some may be built in.
            modules="\n".join(
                f"LoadModule {name}_module {path}"
                for name in APACHE_MODULES
                if (path := MODULES / f"mod_{name}.so").exists()
            ),
            host=HOST,
            port=self.port,
            own=self.own,
            url=url,
        )
        (self._folder / "apache.conf").write_text(text)
        program = found("apache2") or "apache2"
        return [program, "-f", str(self._folder / "apache.conf"), "-D", "FOREGROUND"]


Variables = Mapping[str, str] | list[tuple[str, str]]

USUAL = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "harbour",
    "SERVER_PORT": "80",
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_PORT": "4711",
    "HTTP_HOST": "harbour.example",
}


def pairs(variables: Variables) -> list[tuple[bytes, bytes]]:
    """Names and values as bytes."""
    items = variables.items() if isinstance(variables, Mapping) else variables
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in items]


def uwsgi(variables: Variables, body: bytes = b"", modifier: int = 0) -> bytes:
    """A request in uWSGI's protocol."""
    block = b"".join(len(part).to_bytes(2, "little") + part for pair in pairs(variables) for part in pair)
    return bytes([modifier]) + len(block).to_bytes(2, "little") + b"\0" + block + body


def scgi(variables: Variables, body: bytes = b"") -> bytes:
    """A request in SCGI."""
    first = [(b"CONTENT_LENGTH", str(len(body)).encode()), (b"SCGI", b"1")]
    block = b"".join(name + b"\0" + value + b"\0" for name, value in [*first, *pairs(variables)])
    return b"%d:%s," % (len(block), block) + body


def record(kind: int, content: bytes, *, request: int = 1, padding: int = 0) -> bytes:
    """A record of FastCGI."""
    size = len(content).to_bytes(2, "big")
    return (
        bytes([1, kind]) + request.to_bytes(2, "big") + size + bytes([padding, 0]) + content + b"\0" * padding
    )


def _size(part: bytes) -> bytes:
    return bytes([len(part)]) if len(part) < 128 else (len(part) | 1 << 31).to_bytes(4, "big")


def fastcgi(variables: Variables, body: bytes = b"", *, keep: bool = False, piece: int = 60_000) -> bytes:
    """A request in FastCGI."""
    block = b"".join(_size(name) + _size(value) + name + value for name, value in pairs(variables))
    records = [record(1, bytes([0, 1, keep, 0, 0, 0, 0, 0]))]
    records += [record(4, block[at : at + piece], padding=at % 7) for at in range(0, len(block), piece)]
    records.append(record(4, b""))
    records += [record(5, body[at : at + piece]) for at in range(0, len(body), piece)]
    return b"".join([*records, record(5, b"")])


def unwrapped(answer: bytes) -> tuple[bytes, bool, bytes]:
    """What FastCGI's records hold, whether there is an end of the request, and what comes after it."""
    content = b""
    while answer:
        kind, size = answer[1], int.from_bytes(answer[4:6], "big")
        part, answer = answer[8 : 8 + size], answer[8 + size + answer[6] :]
        if kind == 3:
            assert part == bytes(8)
            return content, True, answer
        assert kind == 6
        content += part
    return content, False, b""
