"""nginx and HAProxy that pass on connections, and say whose they are by the PROXY protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from support.fronting import found
from support.proxies import Kind, Place
from support.server import Address

STREAM_MODULES = [
    Path(folder, "ngx_stream_module.so") for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")
]

NGINX_CONF = """\
{modules}{user}daemon off;
pid {folder}/pid;
error_log {folder}/log;
events {{}}
stream {{
    server {{
        listen {listen};
        proxy_pass {server};
        proxy_protocol on;
    }}
}}
"""

HAPROXY_CFG = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s

listen site
    bind fd@{listener}
    server one {server} {send}
"""


def _nginx(kind: Kind, place: Place, servers: Sequence[Address]) -> list[str]:
    folder = place.folder
    # It takes over a socket that listens already, and takes it for one of its own: it would wait in accept().
    place.socket.listen(1024)
    place.socket.setblocking(False)
    host, port = place.socket.getsockname()
    text = NGINX_CONF.format(
        modules="".join(f"load_module {module};\n" for module in STREAM_MODULES if module.exists()),
        # As root it would change to a user who may not read what is here.
        user="user root;\n" if os.geteuid() == 0 else "",
        folder=folder,
        listen=f"{host}:{port}",
        server=f"{servers[0].host}:{servers[0].port}",
    )
    (folder / "nginx.conf").write_text(text)
    return [found("nginx") or "nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]


def _haproxy(send: str, place: Place, servers: Sequence[Address]) -> list[str]:
    folder = place.folder
    place.socket.listen(1024)
    server = f"{servers[0].host}:{servers[0].port}"
    text = HAPROXY_CFG.format(listener=place.socket.fileno(), server=server, send=send)
    (folder / "haproxy.cfg").write_text(text)
    return [found("haproxy") or "haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def has_nginx_stream() -> bool:
    """Whether nginx has its stream module, which distributions have in a package of its own."""
    return any(module.exists() for module in STREAM_MODULES)


NGINX_STREAM = Kind("nginx-stream", ("nginx",), "", _nginx)
# What a server's line has decides the version, and what is told.
HAPROXY_V1 = Kind("haproxy-v1", ("haproxy",), "", lambda kind, *of: _haproxy("send-proxy", *of))
HAPROXY_V2 = Kind("haproxy-v2", ("haproxy",), "", lambda kind, *of: _haproxy("send-proxy-v2", *of))
