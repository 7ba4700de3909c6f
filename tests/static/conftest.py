"""A directory of files, with all that must not be served around and in it, and the hosts that serve it."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.server import Server

HOSTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "main thread": ("apps.files:application", ("--threads", "1")),
    "threads": ("apps.files:application", ()),
    "greenlets": ("apps.files:application", ("--concurrency", "greenlets")),
    "bridge": ("apps.files:application", ("--concurrency", "asyncio")),
    "asyncio": ("apps.files:asynchronous", ()),
}

SECRET = b"nobody is to see this"
STYLE = b"body { color: teal }\n" * 20
SIZES = {"empty.bin": 0, "one.bin": 1, "small.bin": 4096, "edge.bin": 16 * 1024, "large.bin": 300_000}


@dataclass(frozen=True)
class Site:
    """What is on the disk."""

    around: Path

    @property
    def public(self) -> Path:
        return self.around / "public"

    def read(self, name: str) -> bytes:
        return (self.public / name).read_bytes()


def populate(around: Path) -> Site:
    site = Site(around)
    public = site.public
    for directory in (public / "sub" / "deep", public / ".git", public / ".well-known", around / "publicX"):
        directory.mkdir(parents=True)
    for secret in (around / "secret", public / ".git" / "config", public / ".env", around / "publicX" / "x"):
        secret.write_bytes(SECRET)
    (public / ".well-known" / "security.txt").write_text("Contact: mailto:a@example.org\n")
    (public / "style.css").write_bytes(STYLE)
    (public / "style.css.gz").write_bytes(gzip.compress(STYLE))
    (public / "style.css.br").write_bytes(b"as if by brotli")
    (public / "style.css.zst").write_bytes(b"as if by zstd")
    (public / "app.5f2a9c3b.js").write_text("let tide;\n")
    (public / "a b+é.txt").write_text("letters\n")
    (public / "sub" / "index.html").write_text("<p>the index</p>\n")
    (public / "sub" / "deep" / "leaf.json").write_text("{}\n")
    for name, size in SIZES.items():
        (public / name).write_bytes(bytes(number * 7 % 251 for number in range(size)))
    (public / "inside").symlink_to("sub/deep/leaf.json")
    (public / "out").symlink_to("../secret")
    (public / "absolute").symlink_to(around / "secret")
    (public / "up").symlink_to("..")
    (public / "out.css.gz").symlink_to("../secret")
    (public / "out.css").write_bytes(STYLE)
    os.mkfifo(public / "fifo")
    return site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return populate(tmp_path_factory.mktemp("static"))


def serve(host: str, *options: str, supervised: bool = False) -> Server:
    app, own = HOSTS[host]
    return Server(app, options=[*own, *options], supervised=supervised)


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
