"""What the tests of compression share: the application on each host, and a folder that it reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.server import PATIENCE_S, Server

HOSTS = {
    "threads": ("wsgi", ["--threads", "8"]),
    "inline": ("wsgi", ["--threads", "1"]),
    "greenlets": ("wsgi", ["--concurrency", "greenlets"]),
    "bridge": ("wsgi", ["--concurrency", "asyncio"]),
    "asyncio": ("asgi", ["--loop", "asyncio"]),
    "uvloop": ("asgi", ["--loop", "uvloop"]),
}


@dataclass
class Site:
    """A running server of `apps.compressed`."""

    server: Server
    folder: Path
    kind: str
    client: httpx.Client

    def get(self, path: str, accepted: str | None = "gzip", **options) -> httpx.Response:
        """A response whose body is still as it was sent."""
        fields = options.pop("headers", {}) | ({} if accepted is None else {"Accept-Encoding": accepted})
        method = options.pop("method", "GET")
        request = self.client.build_request(method, path, headers=fields)
        if accepted is None:
            del request.headers["Accept-Encoding"]
        response = self.client.send(request, stream=True)
        response.raw_body = b"".join(response.iter_raw())  # type: ignore[attr-defined]
        response.close()
        return response


@pytest.fixture(scope="module")
def options():
    return ["--compress", "gzip,br,zstd"]


@pytest.fixture(scope="module", params=HOSTS)
def site(request, options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compressed")
    kind, own = HOSTS[request.param]
    log = folder / "access.log"
    written = ["--access-log", str(log), "--access-log-format", "%(r)s %(s)s %(B)s %({content-encoding}o)s"]
    server = Server(
        f"apps.compressed:{kind}",
        options=[*own, *options, *written],
        env={"COMPRESSED_FOLDER": str(folder)},
    )
    with (
        server,
        httpx.Client(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield Site(server, folder, kind, client)
        assert server.stop() == 0


@pytest.fixture
def pipe(site, request):
    path = site.folder / f"pipe-{abs(hash(request.node.name))}"
    os.mkfifo(path)
    yield path
    path.unlink()
