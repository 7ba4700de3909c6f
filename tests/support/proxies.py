"""nginx, Apache and HAProxy as the examples have them: `with NGINX.before([address]) as proxy`.

What an example names that a test must choose itself, addresses, certificates and how often to check, is put
in its place.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from support.fronting import FrontProcess, found
from support.server import EXAMPLES, PATIENCE_S, Address
from support.wire import Wire

if TYPE_CHECKING:
    pass

BEHIND = EXAMPLES / "behind"
HOST = "127.0.0.1"

# What Debian's nginx.conf has around a site, without its folders.
NGINX_CONF = """\
{user}daemon off;
pid {folder}/pid;
error_log {folder}/log;
worker_processes 2;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site;
}}
"""

# What Debian's apache2.conf has around a site, with the modules that the examples name.
APACHE_CONF = """\
ServerName localhost
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/log
User #{user}
Group #{group}
StartServers 1
{modules}
Listen {host}:{port}
Include {folder}/site
"""
APACHE_MODULES = (
    "mpm_event",
    "authz_core",
    "proxy",
    "proxy_http",
    "proxy_uwsgi",
    "headers",
    "unixd",
    "unique_id",
)
NOBODY = 65534
APACHE_FOLDERS = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules")


class ProxyFailed(Exception):
    """The proxy did not start; the message holds its log."""


@dataclass(frozen=True)
class Kind:
    """A front server with one of the examples, and what that expects of the server behind it."""

    name: str
    # One of these is to be found.
    programs: tuple[str, ...]
    example: str
    # Writes what the program reads into a folder, and returns the command.
    configure: Callable[[Kind, Place, Sequence[Address]], list[str]] = field(repr=False)
    # Before the address that the server binds.
    scheme: str = ""
    over_unix: bool = False
    options: tuple[str, ...] = ()
    # Whether its clients use TLS.
    tls: bool = False
    websockets: bool = True
    # Whether it keeps connections to the server.
    keeps: bool = True

    def __str__(self) -> str:
        return self.name

    def missing(self) -> str | None:
        """Why it cannot be run here; None when it can."""
        if found(*self.programs) is None:
            return f"{self.programs[0]} is neither installed nor could tools/test-services install it"
        return None

    def bind(self, folder: Path) -> str:
        """Where a server listens that is to be behind it."""
        return self.scheme + (f"unix:{folder}/tidegate" if self.over_unix else f"{HOST}:0")

    def before(self, servers: Sequence[Address], *, port: int = 0) -> Proxy:
        """It, in front of these servers, on a port of the system's choice or this one."""
        return Proxy(self, servers, port)


@dataclass(frozen=True)
class Place:
    """What a proxy has to itself: a folder, and a socket that is bound to its address."""

    folder: Path
    socket: socket.socket

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def site(self, kind: Kind, changes: Mapping[str, str]) -> Path:
        """Write the example with what a test must choose itself; return its path."""
        path = self.folder / "site"
        path.write_text(_replaced((BEHIND / kind.example).read_text(), changes))
        return path


class Proxy(FrontProcess):
    """A running proxy. Has answered a request for `/` once entered."""

    def __init__(self, kind: Kind, servers: Sequence[Address], port: int = 0) -> None:
        super().__init__()
        self.kind = kind
        self.servers = servers
        self.port = port
        self.tls: ssl.SSLContext | None = None

    @property
    def certificate(self) -> Path | None:
        """What a client must trust who uses TLS."""
        return self._folder / "certificate" if self.kind.tls else None

    def http(self) -> http.client.HTTPConnection:
        """A standard client's connection."""
        if self.tls is not None:
            return http.client.HTTPSConnection(HOST, self.port, timeout=PATIENCE_S, context=self.tls)
        return http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)

    def connect(self, *, timeout_s: float = PATIENCE_S, client: str = "") -> Wire:
        """A connection of the client's own making, from an address of its own if it is to have one."""
        made = socket.create_connection((HOST, self.port), timeout_s, (client, 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Wire(made if self.tls is None else self.tls.wrap_socket(made, server_hostname=HOST))

    def connect_plain(self) -> Wire:
        """A connection to where a front that uses TLS redirects to it."""
        return Wire(Address("", 0, f"{self._folder}/plain").connect(PATIENCE_S))

    def freeze(self) -> None:
        """Have it see nothing until it is thawed, as if it were very busy."""
        self._tell(signal.SIGSTOP)
        end = time.monotonic() + PATIENCE_S
        # What runs on another processor goes on for a moment, long enough to open a connection.
        while any(state != "T" for state in self._states()):
            if time.monotonic() > end:
                raise ProxyFailed(f"{self.kind}: does not stop")
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        self._tell(signal.SIGCONT)

    def _states(self) -> list[str]:
        """How its threads are (proc(5), `stat`)."""
        assert self._process is not None
        states = []
        for path in Path("/proc").glob("[0-9]*/task/*/stat"):
            with contextlib.suppress(OSError):
                state, _, group = path.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self._process.pid:
                    states.append(state)
        return states

    def _start(self) -> None:
        if self.kind.tls:
            _certify(self._folder)
            self.tls = ssl.create_default_context(cafile=self.certificate)
        with socket.socket() as listener, (self._folder / "log").open("ab") as log:
            # Nobody is given a port that is bound; who asks for it by its number, as Apache does, gets it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, self.port))
            place = Place(self._folder, listener)
            self.port = place.port
            command = self.kind.configure(self.kind, place, self.servers)
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "NGINX": f"{listener.fileno()};"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
            self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            client = self.http()
            try:
                client.request("GET", "/")
                client.getresponse().read()
                return
            except (OSError, http.client.HTTPException) as error:
                assert self._process is not None
                refused = isinstance(error, ConnectionRefusedError)
                if not refused or self._process.poll() is not None or time.monotonic() > end:
                    raise ProxyFailed(f"{self.kind}: {error!r}\n{self.log}") from error
                time.sleep(0.02)
            finally:
                client.close()


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old!r}"
        text = text.replace(old, new)
    return text


def _certify(folder: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "certificate"), "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)


def _nginx(kind: Kind, place: Place, servers: Sequence[Address]) -> list[str]:
    folder = place.folder
    # It takes over a socket that listens already, and takes it for one of its own: it would wait in accept().
    place.socket.listen(1024)
    place.socket.setblocking(False)
    addresses = [
        f"unix:{server.path}" if server.path else f"{server.host}:{server.port}" for server in servers
    ]
    changes = {
        "server 127.0.0.1:8000 max_fails=0;": " ".join(
            f"server {address} max_fails=0;" for address in addresses
        )
    }
    if kind.tls:
        changes["listen 80;"] = f"listen unix:{folder}/plain;"
        changes["listen 443 ssl http2;"] = f"listen {HOST}:{place.port} ssl http2;"
        changes["/etc/ssl/site/fullchain.pem"] = f"{folder}/certificate"
        changes["/etc/ssl/site/privkey.pem"] = f"{folder}/key"
    else:
        changes["listen 80;"] = f"listen {HOST}:{place.port};"
    if protocol := kind.scheme.removesuffix("://"):
        # Beside the configuration of the distribution's.
        changes[f"include {protocol}_params;"] = f"include /etc/nginx/{protocol}_params;"
    place.site(kind, changes)
    # As root it would change to a user who may not read what is here.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX_CONF.format(user=user, folder=folder))
    return [found("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]


def _apache(kind: Kind, place: Place, servers: Sequence[Address]) -> list[str]:
    (server,) = servers
    folder = place.folder
    protocol = "uwsgi" if kind.scheme == "uwsgi://" else "http"
    address = (
        f"unix:{server.path}|{protocol}://localhost"
        if server.path
        else f"{protocol}://{server.host}:{server.port}"
    )
    changes = {f"{protocol}://127.0.0.1:8000": address, "*:80": f"{HOST}:{place.port}"}
    place.site(kind, changes)
    modules = next(Path(folder) for folder in APACHE_FOLDERS if Path(folder).is_dir())
    loaded = "\n".join(
        f"LoadModule {name}_module {path}"
        for name in APACHE_MODULES
        if (path := modules / f"mod_{name}.so").exists()
    )
    # It refuses to serve as root.
    user, group = (os.geteuid() or NOBODY, os.getegid() or NOBODY)
    text = APACHE_CONF.format(
        folder=folder, host=HOST, port=place.port, modules=loaded, user=user, group=group
    )
    (folder / "apache.conf").write_text(text)
    return [found(*kind.programs) or kind.programs[0], "-f", str(folder / "apache.conf"), "-D", "FOREGROUND"]


def _haproxy(kind: Kind, place: Place, servers: Sequence[Address]) -> list[str]:
    place.socket.listen(1024)
    # Where there is nothing to choose, checks are but requests that nobody has sent.
    often = "100ms" if len(servers) > 1 else "1h"
    changes = {"bind :80\n": f"bind fd@{place.socket.fileno()}\n", "inter 1s": f"inter {often}"}
    # Not every application here has a page at /ready.
    changes["status 200-399"] = "status 200-499"
    for port, server in zip((8001, 8002), servers, strict=False):
        changes[f"127.0.0.1:{port}"] = (
            f"unix@{server.path}" if server.path else f"{server.host}:{server.port}"
        )
    site = place.site(kind, changes)
    if len(servers) == 1:
        lines = site.read_text().splitlines(True)
        site.write_text("".join(line for line in lines if "server two" not in line))
    return [found("haproxy") or "haproxy", "-db", "-f", str(site)]


NGINX = Kind("nginx", ("nginx",), "nginx.conf", _nginx)
NGINX_UNIX = Kind("nginx-unix", ("nginx",), "nginx.conf", _nginx, over_unix=True)
NGINX_TLS = Kind("nginx-tls", ("nginx",), "nginx-tls.conf", _nginx, tls=True)
NGINX_UWSGI = Kind(
    "nginx-uwsgi", ("nginx",), "nginx-uwsgi.conf", _nginx, scheme="uwsgi://", websockets=False, keeps=False
)
NGINX_UWSGI_UNIX = replace(NGINX_UWSGI, name="nginx-uwsgi-unix", over_unix=True)
NGINX_SCGI = replace(NGINX_UWSGI, name="nginx-scgi", example="nginx-scgi.conf", scheme="scgi://")
APACHE = Kind("apache", ("apache2", "httpd"), "apache.conf", _apache)
APACHE_UWSGI = Kind(
    "apache-uwsgi",
    ("apache2", "httpd"),
    "apache-uwsgi.conf",
    _apache,
    scheme="uwsgi://",
    websockets=False,
    keeps=False,
)
HAPROXY = Kind("haproxy", ("haproxy",), "haproxy.cfg", _haproxy)
HAPROXY_PROXY = Kind("haproxy-proxy", ("haproxy",), "haproxy-proxy.cfg", _haproxy, scheme="proxy+http://")
HAPROXY_H2 = Kind("haproxy-h2", ("haproxy",), "haproxy-h2.cfg", _haproxy, options=("--http", "h2c"))

KINDS = [
    *(NGINX, NGINX_UNIX, NGINX_TLS, NGINX_UWSGI, NGINX_UWSGI_UNIX, NGINX_SCGI),
    *(APACHE, APACHE_UWSGI),
    *(HAPROXY, HAPROXY_PROXY, HAPROXY_H2),
]
