"""Restarts behind each front that nobody notices."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.fronts import fronts, unserved
from support.load import Load
from support.proxies import APACHE, HAPROXY, HAPROXY_H2, HAPROXY_PROXY, NGINX, NGINX_UWSGI, Kind
from support.server import Address, Server
from support.websocket import open_websocket

BEHIND = "apps.behind:application"
GENERATIONS = ["apps.generations:application", "apps.generations:asynchronous"]
SAFE_AND_UNSAFE = ("GET", "POST")
TRUST = ("--trusted-proxies", "127.0.0.1", "--trusted-proxies", "unix")

ONE_OF_EACH = (NGINX, APACHE, HAPROXY)
# Those whose example is for several servers.
SEVERAL = fronts(NGINX, NGINX_UWSGI, HAPROXY, HAPROXY_PROXY, HAPROXY_H2)


@pytest.fixture(params=fronts())
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def tides() -> Iterator[Path]:
    # A short path: a unix socket's name has room for a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="tides-"))
    (folder / "version").write_text("one")
    yield folder
    shutil.rmtree(folder)


def served(
    tides: Path,
    app: str,
    kind: Kind,
    bind: str = "",
    options: Sequence[str] = ("--workers", "2"),
    pass_fds: Sequence[int] = (),
) -> Server:
    env = {"TIDES": str(tides)}
    options = [*TRUST, *kind.options, *options]
    binds = [kind.scheme + bind if bind else kind.bind(tides)]
    return Server(app, options=options, binds=binds, env=env, pass_fds=pass_fds, supervised=True)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.mark.parametrize(
    ("kind", "app"),
    [
        *(
            pytest.param(*front.values, GENERATIONS[0], marks=front.marks, id=f"{front.id}-wsgi")
            for front in fronts()
        ),
        *(
            pytest.param(*front.values, GENERATIONS[1], marks=front.marks, id=f"{front.id}-asgi")
            for front in fronts(*ONE_OF_EACH)
        ),
    ],
)
def test_a_reload_loses_no_request(tides, kind, app):
    with (
        served(tides, app, kind) as server,
        kind.before(server.addresses) as proxy,
        Load(proxy, 8, methods=SAFE_AND_UNSAFE) as load,
    ):
        load.wait_for("one")
        for version in ("two", "three", "four"):
            since = len(server.log)
            (tides / "version").write_text(version)
            server.signal(signal.SIGHUP)
            server.wait_for_log("reloaded: 2 new workers serve", since=since)
            load.wait_for(version)
        load.stop()
        assert not load.failures


@pytest.mark.parametrize("kind", fronts(*ONE_OF_EACH))
@pytest.mark.parametrize("app", GENERATIONS, ids=["wsgi", "asgi"])
def test_an_upgrade_loses_no_request(tides, kind, app):
    with (
        served(tides, app, kind) as server,
        kind.before(server.addresses) as proxy,
        Load(proxy, 8, methods=SAFE_AND_UNSAFE) as load,
    ):
        load.wait_for("one")
        (tides / "version").write_text("two")
        server.signal(signal.SIGUSR2)
        successor = int(server.wait_for_log(r"a new server is started \(pid (\d+)\)")[1])
        try:
            load.wait_until(lambda: has_ended(server.pid))
            load.wait_for("two")
            load.stop()
            assert not load.failures
        finally:
            load.stop()
            os.kill(successor, signal.SIGTERM)
            while not has_ended(successor):
                time.sleep(0.01)


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_server_that_is_stopped_and_replaced_loses_no_request(tides, kind):
    binds = [f"unix:{tides}/{name}" for name in ("a", "b")]
    options = ["--workers", "2", "--ready-path", "/ready", "--drain-delay", "500ms"]
    with ExitStack() as stack:
        servers = [stack.enter_context(served(tides, GENERATIONS[0], kind, bind, options)) for bind in binds]
        proxy = stack.enter_context(kind.before([server.addresses[0] for server in servers]))
        load = stack.enter_context(Load(proxy, 8, methods=SAFE_AND_UNSAFE))
        load.wait_for("one")
        (tides / "version").write_text("two")
        for server, bind in zip(servers, binds, strict=True):
            assert server.stop() == 0
            stack.enter_context(served(tides, GENERATIONS[0], kind, bind, options))
            load.wait_for("two")
        load.stop()
        assert not load.failures


@pytest.mark.skipif(unserved(NGINX) is not None, reason="nginx is not there")
def test_a_restart_on_a_socket_of_systemds_loses_no_request(tides):
    """HAProxy's checks would take it for gone."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        number = listener.fileno()

        def start() -> Server:
            server = served(tides, GENERATIONS[0], NGINX, f"fd://{number}", pass_fds=[number])
            return stack.enter_context(server)

        first = start()
        proxy = stack.enter_context(NGINX.before(first.addresses))
        load = stack.enter_context(Load(proxy, 8, methods=SAFE_AND_UNSAFE))
        load.wait_for("one")
        assert first.stop() == 0
        (tides / "version").write_text("two")
        start()
        load.wait_for("two")
        load.stop()
        assert not load.failures


def test_a_websocket_is_told_of_a_reload(tides, kind):
    if not kind.websockets:
        pytest.skip("passes on no WebSockets")
    with served(tides, BEHIND, kind, options=()) as server, kind.before(server.addresses) as proxy:
        with open_websocket(proxy) as peer:
            server.signal(signal.SIGHUP)
            assert peer.closing().code == 1012
        with open_websocket(proxy) as peer:
            peer.send("again")
            assert peer.message() == "again"


@pytest.mark.parametrize("method", SAFE_AND_UNSAFE)
def test_a_request_that_meets_a_connection_just_closed_is_not_lost(tides, kind, method):
    """The worst between a proxy and a server: a request comes before the news that the connection is gone."""
    with (
        served(tides, GENERATIONS[0], kind) as server,
        kind.before(server.addresses) as proxy,
        ExitStack() as stack,
    ):
        wires = [stack.enter_context(proxy.connect()) for _ in range(4)]
        for wire in wires:
            assert wire.ask(method, "/", body=b"tide").status == 200
        before = children(server.pid)
        proxy.freeze()
        for wire in wires:
            wire.send(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ntide".encode())
        server.signal(signal.SIGHUP)
        server.wait_for_log("reloaded: 2 new workers serve")
        # Each by itself: a list of children that is read while one of them ends may lack others (proc(5)).
        server.wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before) or None)
        proxy.thaw()
        assert [wire.answer().status for wire in wires] == [200] * 4


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("method", SAFE_AND_UNSAFE)
def test_a_server_that_is_not_there_is_passed_over(tides, kind, method):
    with served(tides, GENERATIONS[0], kind, f"unix:{tides}/a") as server:
        nobody = Address("", 0, f"{tides}/b")
        with kind.before([server.addresses[0], nobody]) as proxy, proxy.connect() as wire:
            for _ in range(6):
                assert wire.ask(method, "/", body=b"tide").status == 200
