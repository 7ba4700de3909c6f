"""The scope: every key, its type and its value."""

from __future__ import annotations

import ast

import pytest

from support.server import Server
from support.websocket import open_websocket

APP = "apps.scope_mirror:application"

TYPES = {
    "type": "str",
    "asgi": "dict",
    "http_version": "str",
    "method": "str",
    "scheme": "str",
    "path": "str",
    "raw_path": "bytes",
    "query_string": "bytes",
    "root_path": "str",
    "headers": "list",
    "extensions": "dict",
}


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def seen(answer):
    assert answer.status == 200
    return ast.literal_eval(answer.text)


def http_scope(server, target="/", *fields):
    with server.connect() as wire:
        return seen(wire.ask("GET", target, *fields))["scope"]


def test_every_key_of_an_http_scope_has_its_type(server):
    with server.connect() as wire:
        found = seen(wire.ask("GET", "/"))
    types = found["types"]
    for key, kind in TYPES.items():
        assert (key, types[key]) == (key, kind)
    # The specification has iterables here; frameworks take them apart in one way or the other.
    assert types["client"] in ("list", "tuple") and types["server"] in ("list", "tuple")
    assert found["pairs"] <= {"list", "tuple"}
    assert "subprotocols" not in types


def test_the_versions_are_those_of_the_specification(server):
    versions = http_scope(server)["asgi"]
    assert versions["version"] == "3.0"
    major, minor = versions["spec_version"].split(".")
    assert (int(major), int(minor)) >= (2, 3)


def test_a_plain_request_is_told_as_it_is(server):
    with server.connect() as wire:
        port = wire.sock.getsockname()[1]
        scope = seen(wire.ask("DELETE", "/pier?a=1&b=%20", host="tide.example"))["scope"]
    assert (scope["type"], scope["http_version"], scope["method"]) == ("http", "1.1", "DELETE")
    assert (scope["scheme"], scope["root_path"]) == ("http", "")
    assert (scope["path"], scope["raw_path"]) == ("/pier", b"/pier")
    assert scope["query_string"] == b"a=1&b=%20"
    assert list(scope["client"]) == ["127.0.0.1", port]
    assert list(scope["server"]) == ["127.0.0.1", server.port]
    assert [list(pair) for pair in scope["headers"]] == [[b"host", b"tide.example"]]


def test_methods_are_upper_case_as_they_came_and_may_be_any(server):
    with server.connect() as wire:
        for method in ("GET", "OPTIONS", "PROPFIND", "M-SEARCH"):
            wire.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert seen(wire.answer())["scope"]["method"] == method


def test_an_http_1_0_request_is_told_as_such(server):
    received = server.raw(b"GET / HTTP/1.0\r\n\r\n")
    scope = ast.literal_eval(received.partition(b"\r\n\r\n")[2].decode())["scope"]
    assert scope["http_version"] == "1.0"
    assert list(scope["headers"]) == []


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", b"/", b""),
        ("/?", "/", b"/", b""),
        ("/a?b?c=%ff", "/a", b"/a", b"b?c=%ff"),
        ("/%73cope?%2F", "/scope", b"/%73cope", b"%2F"),
        ("/a%2Fb%252F", "/a/b%2F", b"/a%2Fb%252F", b""),
        ("/a%20b+c", "/a b+c", b"/a%20b+c", b""),
        ("//double//slash/", "//double//slash/", b"//double//slash/", b""),
        ("/a/../b/./c", "/a/../b/./c", b"/a/../b/./c", b""),
        ("/S%C3%B8r/%F0%9F%8C%8A", "/S\u00f8r/\N{WATER WAVE}", b"/S%C3%B8r/%F0%9F%8C%8A", b""),
        ("http://localhost/absolute?q", "/absolute", b"/absolute", b"q"),
    ],
)
def test_the_path_is_decoded_once_and_the_raw_one_not_at_all(server, target, path, raw_path, query):
    scope = http_scope(server, target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_a_path_that_is_no_utf_8_does_not_hurt(server):
    with server.connect() as wire:
        answer = wire.ask("GET", "/%ff%fe")
        if answer.status == 200:
            scope = seen(answer)["scope"]
            assert type(scope["path"]) is str and scope["raw_path"] == b"/%ff%fe"
        else:
            assert answer.status == 400
    assert http_scope(server)["path"] == "/"


def test_names_are_in_lower_case_in_order_and_repeated_as_they_came(server):
    fields = ["X-Moon: full", "Accept: a", "x-moon: new", "ACCEPT: b", "X-Empty:", "X-Latin: \xe9t\xe9"]
    pairs = [tuple(pair) for pair in http_scope(server, "/", *fields)["headers"]]
    assert pairs == [
        (b"host", b"localhost"),
        (b"x-moon", b"full"),
        (b"accept", b"a"),
        (b"x-moon", b"new"),
        (b"accept", b"b"),
        (b"x-empty", b""),
        (b"x-latin", b"\xe9t\xe9"),
    ]


def test_the_scope_of_one_request_is_not_that_of_the_next():
    with Server("apps.scope_mirror:spoils") as server, server.connect() as wire:
        first, second = (seen(wire.ask("GET", "/", "X-A: 1"))["scope"] for _ in range(2))
        assert first == second


def test_a_unix_socket_has_no_client_and_its_path_for_server(tmp_path):
    path = tmp_path / "a.sock"
    with Server(APP, binds=[f"unix:{path}"]) as server:
        scope = http_scope(server)
        assert scope["client"] is None
        assert list(scope["server"]) == [str(path), None]
        with open_websocket(server) as peer:
            scope = ast.literal_eval(peer.message())["scope"]
            assert scope["client"] is None
            assert list(scope["server"]) == [str(path), None]


def test_an_ipv6_client_is_told_without_brackets():
    with Server(APP, binds=["[::1]:0"]) as server:
        scope = http_scope(server)
        assert scope["client"][0] == "::1"
        assert list(scope["server"]) == ["::1", server.port]


def test_every_key_of_a_websocket_scope_has_its_type(server):
    target = "/scope?tide=%F0"
    fields = ["Sec-WebSocket-Protocol: ebb, flood", "Sec-WebSocket-Protocol: neap", "X-Moon: full"]
    with open_websocket(server, target, fields=fields) as peer:
        port = peer.wire.sock.getsockname()[1]
        found = ast.literal_eval(peer.message())
    scope, types = found["scope"], found["types"]
    assert "method" not in scope
    for key, kind in TYPES.items():
        if key != "method":
            assert (key, types[key]) == (key, kind)
    assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/scope", b"/scope", b"tide=%F0")
    assert scope["root_path"] == ""
    assert list(scope["subprotocols"]) == ["ebb", "flood", "neap"]
    assert list(scope["client"]) == ["127.0.0.1", port]
    assert list(scope["server"]) == ["127.0.0.1", server.port]
    pairs = [tuple(pair) for pair in scope["headers"]]
    assert pairs[0] == (b"host", b"localhost") and pairs[-1] == (b"x-moon", b"full")
    assert (b"upgrade", b"websocket") in pairs
    assert "websocket.http.response" in scope["extensions"]


def test_without_subprotocols_the_list_is_empty(server):
    with open_websocket(server) as peer:
        assert list(ast.literal_eval(peer.message())["scope"]["subprotocols"]) == []


def test_the_root_path_is_named_and_is_part_of_the_path():
    with Server(APP, options=["--script-name", "/S\u00f8r"]) as server:
        scope = http_scope(server, "/S%C3%B8r/pier?x")
        assert (scope["root_path"], scope["path"]) == ("/S\u00f8r", "/S\u00f8r/pier")
        assert scope["raw_path"] == b"/S%C3%B8r/pier"
