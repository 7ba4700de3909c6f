"""Several applications by path in one process: Flask by WSGI, FastAPI by ASGI, and what lies between them."""

from __future__ import annotations

import ast
import json

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.server import PATIENCE_S, Server

MAIN = "apps.scope_mirror:application"
MOUNTS = {
    "/api": "apps.fastapi_app:app",
    "/old": "apps.flask_app:app",
    "/old/tools": "apps.engine_probe:application",
    "/api/v2": "apps.scope_mirror:application",
}


@pytest.fixture(scope="module")
def server(loop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mounts")
    (folder / "tides.bin").write_bytes(bytes(100_000))
    options = ["--loop", loop]
    for prefix, app in MOUNTS.items():
        options += ["--mount", f"{prefix}={app}"]
    with Server(MAIN, options=options, env={"FLASK_FILES": str(folder)}) as server:
        yield server
        assert server.stop() == 0
        assert "probe: fastapi starts" in server.log
        assert "probe: fastapi stops" in server.log


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url(""), trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def mirrored(client, path):
    return ast.literal_eval(client.get(path).text)["scope"]


def test_an_asgi_application_finds_its_prefix_in_the_root_path(server, client):
    seen = client.get("/api/?q=1").json()
    assert seen == {"moon": "full", "root": "/api", "url": server.url("/api/?q=1")}
    assert client.post("/api/readings", json={"place": "a", "height": 1}).status_code == 201


def test_a_wsgi_application_finds_its_prefix_in_script_name(client):
    assert client.get("/old/").text == "<h1>Tides &amp; gates</h1>"
    # The redirect is made of SCRIPT_NAME and the route.
    assert client.post("/old/login", data={"name": "Nana"}).headers["Location"] == "/old/login"
    environ = client.get("/old/tools/environ").json()
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/old/tools", "/environ")
    assert client.get("/old/files/tides.bin").content == bytes(100_000)
    assert client.post("/old/body", content=bytes(200_000)).json()["size"] == 200_000


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/", ""),
        ("/elsewhere", ""),
        # A prefix ends with a segment.
        ("/apiary", ""),
        ("/older/things", ""),
        ("/API/", ""),
        ("/api/v2", "/api/v2"),
        ("/api/v2/deep/down", "/api/v2"),
        ("/%61pi/v2/encoded", "/api/v2"),
    ],
)
def test_the_longest_prefix_has_the_request_and_the_main_application_the_rest(client, path, root_path):
    scope = mirrored(client, path)
    assert (scope["root_path"], scope["raw_path"]) == (root_path, path.encode())
    assert scope["path"].startswith(root_path)


def test_a_longer_prefix_that_does_not_match_leaves_it_to_the_shorter(client):
    # FastAPI's and Flask's own words for what they do not know.
    assert client.get("/api/v22").json() == {"detail": "Not Found"}
    assert "<title>404 Not Found</title>" in client.get("/old/toolshed").text


def test_websockets_go_by_the_same_rules(server):
    with connect(f"ws://{server.authority}/api/sum?start=5", proxy=None) as websocket:
        websocket.send('{"add": 1}')
        assert json.loads(websocket.recv(PATIENCE_S)) == {"total": 6}
    with connect(f"ws://{server.authority}/api/v2/sum", proxy=None) as websocket:
        scope = ast.literal_eval(websocket.recv(PATIENCE_S))["scope"]
        assert (scope["root_path"], scope["path"]) == ("/api/v2", "/api/v2/sum")
    # There are no WebSockets in WSGI.
    with pytest.raises(InvalidStatus):
        connect(f"ws://{server.authority}/old/", proxy=None)


def test_a_wsgi_application_that_blocks_leaves_the_loop_to_others(server):
    with server.connect() as slow, server.connect() as quick:
        slow.send(b"GET /old/tools/slow?for=0.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("called /slow")
        for _ in range(20):
            assert quick.ask("GET", "/api/").status == 200
        assert slow.answer().body == b"slow"


def test_one_connection_serves_all_of_them_in_turn(server):
    with server.connect() as wire:
        for _ in range(3):
            for path in ("/old/", "/api/", "/", "/old/tools/", "/api/v2/"):
                assert wire.ask("GET", path).status == 200


def test_without_a_main_application_the_rest_is_a_404():
    options = ["--mount", "/api=apps.fastapi_app:app"]
    with Server("", options=options) as server, server.connect() as wire:
        assert wire.ask("GET", "/api/").status == 200
        for path in ("/", "/apiary", "/elsewhere"):
            assert wire.ask("GET", path).status == 404
