"""nginx and HAProxy in front of servers, as the examples have them: `with NGINX.before([address]) as proxy`.

What an example names that a test must choose itself, addresses and how often to check, is put in its place.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from support.server import EXAMPLES, PATIENCE_S, Address
from support.wire import Wire

if TYPE_CHECKING:
    from typing_extensions import Self

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


class ProxyFailed(Exception):
    """The proxy did not start; the message holds its log."""


@dataclass(frozen=True)
class Kind:
    """A program, and how to run it."""

    program: str
    # Writes what it reads into a folder, and returns the command. It takes over the socket, before servers.
    configure: Callable[[Path, socket.socket, Sequence[Address]], list[str]]

    def missing(self) -> str | None:
        """Why it cannot be run here; None when it can."""
        if found(self.program) is None:
            return f"{self.program} is neither installed nor could tools/test-services install it"
        return None

    def before(self, servers: Sequence[Address]) -> Proxy:
        """It, in front of these servers."""
        return Proxy(self, servers)


class Proxy:
    """A running proxy. Has answered a request for `/` once entered."""

    def __init__(self, kind: Kind, servers: Sequence[Address]) -> None:
        self.kind = kind
        self.servers = servers
        self.port = 0
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-proxy-"))
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def log(self) -> str:
        """What it has said so far."""
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    def http(self) -> http.client.HTTPConnection:
        """A standard client's connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def connect(self, *, timeout_s: float = PATIENCE_S) -> Wire:
        """A connection of the client's own making."""
        return Wire(Address("127.0.0.1", self.port).connect(timeout_s))

    def freeze(self) -> None:
        """Have it see nothing until it is thawed, as if it were very busy."""
        self._tell(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _start(self) -> None:
        # It takes over a socket that listens already: nobody else can have the port, and clients may connect.
        with socket.socket() as listener, (self._folder / "log").open("ab") as log:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1024)
            # nginx takes it for one of its own, and would wait in accept().
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            command = self.kind.configure(self._folder, listener, self.servers)
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "NGINX": f"{listener.fileno()};"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        client = self.http()
        try:
            client.request("GET", "/")
            client.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            raise ProxyFailed(f"{self.kind.program}: {error!r}\n{self.log}") from error
        finally:
            client.close()

    def _stop(self) -> None:
        if self._process is not None:
            self._tell(signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._folder)


def found(program: str) -> str | None:
    """Where it is; distributions keep it where not every user looks."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old!r}"
        text = text.replace(old, new)
    return text


def _nginx(folder: Path, listener: socket.socket, servers: Sequence[Address]) -> list[str]:
    addresses = [
        f"unix:{server.path}" if server.path else f"{server.host}:{server.port}" for server in servers
    ]
    host, port = listener.getsockname()
    changes = {
        "server 127.0.0.1:8000 max_fails=0;": " ".join(
            f"server {address} max_fails=0;" for address in addresses
        ),
        "listen 80;": f"listen {host}:{port};",
    }
    (folder / "site").write_text(_replaced((EXAMPLES / "nginx" / "tidegate.conf").read_text(), changes))
    # As root it would change to a user who may not read what is here.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX_CONF.format(user=user, folder=folder))
    return [found("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]


def _haproxy(folder: Path, listener: socket.socket, servers: Sequence[Address]) -> list[str]:
    text = (EXAMPLES / "haproxy" / "haproxy.cfg").read_text()
    if len(servers) == 1:
        text = "".join(line for line in text.splitlines(True) if "server two" not in line)
    changes = {"bind :80\n": f"bind fd@{listener.fileno()}\n", "inter 1s": "inter 100ms"}
    for port, server in zip((8001, 8002), servers, strict=False):
        changes[f"127.0.0.1:{port}"] = (
            f"unix@{server.path}" if server.path else f"{server.host}:{server.port}"
        )
    (folder / "haproxy.cfg").write_text(_replaced(text, changes))
    return [found("haproxy") or "haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


NGINX = Kind("nginx", _nginx)
HAPROXY = Kind("haproxy", _haproxy)
