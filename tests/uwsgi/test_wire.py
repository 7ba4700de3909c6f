"""uWSGI's protocol and SCGI as bytes: what is passed on, what is refused, and how responses come."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re

import pytest

from support.cgi import USUAL, fastcgi, record, scgi, unwrapped, uwsgi
from support.looks import resident_kib
from support.server import Server

FRAMES = {"uwsgi": uwsgi, "scgi": scgi, "fastcgi": fastcgi}


@pytest.fixture(scope="module")
def server():
    binds = [f"{protocol}://127.0.0.1:0" for protocol in FRAMES]
    options = ("--mount", "/pier=apps.handed_on:application", "--log-level", "debug")
    options += ("--access-log", "-")
    with Server("apps.handed_on:application", binds=binds, options=options) as server:
        yield server
        assert server.stop() == 0
        assert [line for line in server.complaints() if "Traceback" not in line] == []


@pytest.fixture(scope="module")
def scopes():
    with Server("apps.scope_mirror:application", binds=("uwsgi://127.0.0.1:0",)) as server:
        yield server


@pytest.fixture(params=FRAMES)
def protocol(request):
    return request.param


def index(protocol):
    return list(FRAMES).index(protocol)


def answer_to(server, protocol, variables, body=b""):
    answer = server.raw(FRAMES[protocol](variables, body), index=index(protocol))
    if protocol != "fastcgi":
        return answer
    content, ended, rest = unwrapped(answer)
    assert ended
    assert rest == b""
    return content


def told(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 200 OK\r\n", b"Status: 200 OK\r\n")), answer
    return json.loads(body)


def ask(server, variables, body=b"", protocol="uwsgi"):
    return told(answer_to(server, protocol, USUAL | variables, body))


def scope_of(answer):
    return ast.literal_eval(answer.partition(b"\r\n\r\n")[2].decode())["scope"]


def status(answer):
    found = re.match(rb"(?:HTTP/1.1|Status:) (\d{3}) ", answer)
    return int(found[1]) if found else None


def test_every_variable_is_in_the_environ_as_it_was_sent(server, protocol):
    variables = {
        "SERVER_NAME": "pilot.example",
        "SERVER_PORT": "8443",
        "SERVER_PROTOCOL": "HTTP/2.0",
        "DOCUMENT_ROOT": "/srv/tides",
        "REMOTE_USER": "nana",
        "SSL_CLIENT_S_DN": "CN=Pilot\nO=\xe9",
        "harbour": "",
        "REQUEST_SCHEME": "https",
        "UWSGI_SCHEME": "https",
        "HTTP_X_TIDE": "neap \xe9",
        "QUERY_STRING": "a=1",
    }
    seen = ask(server, variables, protocol=protocol)
    assert {name: seen.get(name) for name in variables} == variables
    assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == ("192.0.2.7", "4711")
    assert seen["wsgi.url_scheme"] == "https"


def test_what_uwsgi_would_act_upon_and_what_the_server_says_itself_is_left_out(server, protocol):
    left_out = {
        "UWSGI_FILE": "/tmp/evil.py",
        "UWSGI_SCRIPT": "evil",
        "UWSGI_MODULE": "evil",
        "UWSGI_CHDIR": "/tmp",
        "UWSGI_APPID": "evil",
        "UWSGI_SETENV": "A=b",
        "wsgi.url_scheme": "evil",
        "wsgi.evil": "evil",
        "tidegate.request_id": "evil",
        "HTTP_PROXY": "http://evil",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "HTTP_CONTENT_LENGTH": "666",
        "HTTP_CONTENT_TYPE": "evil",
    }
    seen = ask(server, left_out, protocol=protocol)
    assert {name: value for name, value in seen.items() if name in left_out} == {"wsgi.url_scheme": "http"}


@pytest.mark.parametrize(
    ("variables", "scheme"),
    [
        ({}, "http"),
        ({"HTTPS": ""}, "http"),
        ({"HTTPS": "off"}, "http"),
        ({"HTTPS": "on"}, "https"),
        ({"HTTPS": "1"}, "https"),
        ({"REQUEST_SCHEME": "https"}, "https"),
        ({"REQUEST_SCHEME": "https", "HTTPS": "off"}, "http"),
        ({"UWSGI_SCHEME": "http", "HTTPS": "on"}, "http"),
    ],
)
def test_the_scheme_is_what_the_front_server_says(server, scopes, variables, scheme):
    assert ask(server, variables)["wsgi.url_scheme"] == scheme
    assert scope_of(scopes.raw(uwsgi(USUAL | variables)))["scheme"] == scheme


@pytest.mark.parametrize(
    ("variables", "name", "port"),
    [
        ({"SERVER_NAME": ""}, "harbour.example", "80"),
        ({"SERVER_NAME": "", "HTTP_HOST": "[::1]:8080"}, "[::1]", "80"),
        ({"SERVER_NAME": "", "HTTP_HOST": ""}, "127.0.0.1", "80"),
        ({"SERVER_PORT": ""}, "harbour", "its own"),
        ({"SERVER_NAME": None, "SERVER_PORT": None}, "127.0.0.1", "its own"),
    ],
)
def test_a_server_without_a_name_has_that_which_was_asked_or_its_address(
    server, protocol, variables, name, port
):
    sent = {name: value for name, value in (USUAL | variables).items() if value is not None}
    seen = told(answer_to(server, protocol, sent))
    own = str(server.addresses[index(protocol)].port)
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == (name, own if port == "its own" else port)


def test_an_asgi_server_without_a_name_has_that_which_was_asked_or_its_address(scopes):
    own = (scopes.host, scopes.port)
    for variables, expected in (
        ({"SERVER_NAME": ""}, ("harbour.example", 80)),
        ({"SERVER_NAME": "", "HTTP_HOST": ""}, own),
        ({"SERVER_PORT": ""}, own),
    ):
        assert tuple(scope_of(scopes.raw(uwsgi(USUAL | variables)))["server"]) == expected


@pytest.mark.parametrize(
    ("variables", "script_name", "path_info"),
    [
        ({"PATH_INFO": "/a b", "REQUEST_URI": "/rewritten"}, "", "/a b"),
        ({"SCRIPT_NAME": "/", "PATH_INFO": "/a"}, "", "/a"),
        ({"SCRIPT_NAME": "/site", "PATH_INFO": "/a"}, "/site", "/a"),
        ({"SCRIPT_NAME": "/site", "PATH_INFO": ""}, "/site", ""),
        # Mounts are found by both.
        ({"PATH_INFO": "/pier/a"}, "/pier", "/a"),
        ({"SCRIPT_NAME": "/pier", "PATH_INFO": "/a"}, "/pier", "/a"),
        ({"SCRIPT_NAME": "/pier/long", "PATH_INFO": "/a"}, "/pier/long", "/a"),
        ({"PATH_INFO": "/pierce"}, "", "/pierce"),
        # A path that is not said is that of the target.
        ({"PATH_INFO": None, "REQUEST_URI": "/a%20b?c"}, "", "/a b"),
        ({"PATH_INFO": None, "REQUEST_URI": "/site/a", "SCRIPT_NAME": "/site"}, "/site", "/a"),
        ({"PATH_INFO": None, "REQUEST_URI": "/sites", "SCRIPT_NAME": "/site"}, "", "/sites"),
        ({"PATH_INFO": None, "REQUEST_URI": "/x/../a", "DOCUMENT_URI": "/a", "SCRIPT_NAME": "/a"}, "", "/a"),
        ({"REQUEST_URI": None, "PATH_INFO": "/a b", "SCRIPT_NAME": "/site"}, "/site", "/a b"),
    ],
)
def test_where_in_an_application_a_request_is(server, variables, script_name, path_info):
    sent = {name: value for name, value in (USUAL | variables).items() if value is not None}
    seen = told(server.raw(uwsgi(sent)))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == (script_name, path_info)


def test_modifier_30_has_the_script_name_taken_off_the_path(server):
    for path, rest in (("/site/a", "/a"), ("/site", ""), ("/sites", "/sites")):
        variables = USUAL | {"SCRIPT_NAME": "/site", "PATH_INFO": path, "REQUEST_URI": path}
        seen = told(server.raw(uwsgi(variables, modifier=30)))
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/site", rest)


def test_an_asgi_application_is_told_the_same(scopes):
    variables = USUAL | {
        "REQUEST_METHOD": "POST",
        "REQUEST_URI": "/site/%C3%A9?a=1",
        "SCRIPT_NAME": "/site",
        "PATH_INFO": "/é".encode().decode("latin-1"),
        "QUERY_STRING": "a=2",
        "SERVER_PORT": "8443",
        "HTTPS": "on",
        "HTTP_X_TIDE": "neap",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "upgrade",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
    }
    scope = scope_of(scopes.raw(uwsgi(variables, b"ebb")))
    assert (scope["type"], scope["method"], scope["scheme"]) == ("http", "POST", "https")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/site", "/site/é", b"/site/%C3%A9")
    assert (scope["query_string"], scope["http_version"]) == (b"a=2", "1.1")
    assert tuple(scope["client"]) == ("192.0.2.7", 4711)
    assert tuple(scope["server"]) == ("harbour", 8443)
    headers = dict(scope["headers"])
    assert headers[b"x-tide"] == b"neap"
    assert (headers[b"content-type"], headers[b"content-length"]) == (b"text/plain", b"3")
    assert headers[b"host"] == b"harbour.example"


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_a_body_arrives_whole(server, protocol, size):
    body = os.urandom(size)
    variables = USUAL | {"REQUEST_METHOD": "POST", "PATH_INFO": "/digest"}
    if protocol != "scgi":
        variables |= {"CONTENT_LENGTH": str(size)}
    answer = answer_to(server, protocol, variables, body)
    assert answer.endswith(b"\r\n\r\n" + hashlib.sha256(body).hexdigest().encode())


def test_a_request_that_comes_byte_by_byte_is_answered(server, protocol):
    variables = USUAL | {"REQUEST_METHOD": "POST", "PATH_INFO": "/digest", "CONTENT_LENGTH": "3"}
    if protocol == "scgi":
        del variables["CONTENT_LENGTH"]
    with server.connect(index(protocol)) as wire:
        for byte in FRAMES[protocol](variables, b"ebb"):
            wire.send(bytes([byte]))
        assert hashlib.sha256(b"ebb").hexdigest().encode() in wire.rest()


def test_a_body_of_unknown_length_ends_with_the_connection_and_is_never_in_chunks(server, protocol):
    variables = USUAL | {"PATH_INFO": "/blocks", "QUERY_STRING": "count=20"}
    head, _, body = answer_to(server, protocol, variables).partition(b"\r\n\r\n")
    assert body == bytes(range(256)) * 256 * 20
    assert b"\r\nTransfer-Encoding" not in head
    assert b"\r\nConnection" not in head


def test_the_response_to_head_and_a_204_have_no_body(server, protocol):
    head = answer_to(server, protocol, USUAL | {"REQUEST_METHOD": "HEAD"})
    assert head.endswith(b"\r\n\r\n")
    assert re.search(rb"\r\nContent-Length: \d\d", head)
    nothing = answer_to(server, protocol, USUAL | {"PATH_INFO": "/nothing"})
    assert (status(nothing), nothing.endswith(b"\r\n\r\n")) == (204, True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"REQUEST_METHOD": "G T"}, 400),
        ({"REQUEST_METHOD": ""}, 400),
        ({"REQUEST_METHOD": "CONNECT"}, 501),
        ({"REQUEST_URI": "/a b"}, 400),
        ({"REQUEST_URI": "a"}, 400),
        ({"REQUEST_URI": "/\xe9"}, 400),
        ({"REQUEST_URI": "/" + "a" * 17_000}, 414),
        ({"HTTP_X": "a\r\nb"}, 400),
        ({"HTTP_A B": "c"}, 400),
        ({"HTTP_HOST": "a/b"}, 400),
        ({"CONTENT_LENGTH": "-1"}, 400),
        ({"CONTENT_LENGTH": "1, 1"}, 400),
        ({"HTTP_X": "a" * 17_000}, 431),
    ],
)
def test_what_would_be_refused_in_http_is_refused(server, variables, expected):
    assert status(server.raw(uwsgi(USUAL | variables))) == expected


def test_too_many_fields_are_refused(server, protocol):
    fields = {f"HTTP_X{number}": "" for number in range(100)}
    assert status(answer_to(server, protocol, USUAL | fields)) == 431


USUAL_PACKET = uwsgi(USUAL)


def answer_to_what_is_malformed(server, protocol: str, packet: bytes) -> bytes:
    """What comes of a packet that is all there is: the server may close, or reset, before it has read it."""
    with server.connect(index(protocol)) as wire:
        with contextlib.suppress(OSError):
            wire.send(packet)
            wire.end_sending()
        try:
            return wire.rest()
        except ConnectionResetError:
            return b""


MALFORMED = {
    "modifier 22 evaluates code": uwsgi(USUAL, modifier=22),
    "modifier 10": uwsgi(USUAL, modifier=10),
    "modifier 72": uwsgi(USUAL, modifier=72),
    "modifier 255": b"\xff",
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01",
    "a value beyond the block": b"\0\x0c\0\0" + b"\4\0NAME\xff\0ab" + b"\0" * 300,
    "a name beyond the block": b"\0\6\0\0" + b"\xff\xffNAME" + b"\0" * 300,
    "a name without a value": b"\0\6\0\0" + b"\4\0NAME",
    "half a size": b"\0\1\0\0" + b"\4",
    "a name of no bytes": b"\0\4\0\0\0\0\0\0",
    "too many variables": uwsgi([("V", "")] * 300),
    "nothing but one byte, and then the end": b"\0",
    "a part of a packet, and then the end": USUAL_PACKET[:-1],
    "a part of a header, and then the end": USUAL_PACKET[:3],
}


@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_packet_has_the_connection_closed_without_an_answer(server, packet):
    assert answer_to_what_is_malformed(server, "uwsgi", packet) == b""


@pytest.mark.parametrize(
    "packet", [MALFORMED["modifier 22 evaluates code"], MALFORMED["a name beyond the block"]]
)
def test_a_malformed_packet_has_the_connection_closed_as_soon_as_it_is_seen(server, packet):
    with server.connect() as wire:
        for byte in packet:
            try:
                wire.send(bytes([byte]))
            except OSError:
                break
        with contextlib.suppress(ConnectionResetError):
            assert wire.rest() == b""


SCGI_USUAL = scgi(USUAL)


SCGI_MALFORMED = {
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no length": b":,",
    "a zero before the length": b"0" + SCGI_USUAL,
    "a size that is too long": b"9999999999:",
    "a size of something else": b"70x",
    "no comma": SCGI_USUAL.replace(b"harbour.example\0,", b"harbour.example\0;"),
    "the length of the body does not come first": b"9:SCGI\0" + b"1\0" + b",",
    "a value without an end": b"16:CONTENT_LENGTH\0" + b"1" + b",",
    "a name without a value": b"19:CONTENT_LENGTH\0" + b"0\0AB" + b",",
    "a part of a packet, and then the end": SCGI_USUAL[:-1],
}


@pytest.mark.parametrize("packet", SCGI_MALFORMED.values(), ids=SCGI_MALFORMED)
def test_malformed_scgi_has_the_connection_closed_without_an_answer(server, packet):
    assert answer_to_what_is_malformed(server, "scgi", packet) == b""


FASTCGI_MALFORMED = {
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "another version": b"\2\1\0\1\0\0\0\0",
    "another role": record(1, bytes([0, 3, 0, 0, 0, 0, 0, 0])),
    "a question": record(9, b"\x0f\0FCGI_MPXS_CONNS", request=0),
    "a second request on the connection": fastcgi(USUAL)[:40]
    + record(1, bytes([0, 1, 0, 0, 0, 0, 0, 0]), request=2),
    "a part of a request, and then the end": fastcgi(USUAL)[:-8],
}


@pytest.mark.parametrize("packet", FASTCGI_MALFORMED.values(), ids=FASTCGI_MALFORMED)
def test_malformed_fastcgi_has_the_connection_closed_without_an_answer(server, packet):
    assert answer_to_what_is_malformed(server, "fastcgi", packet) == b""


def test_a_fastcgi_connection_is_kept_where_the_front_server_wants_it(server):
    with server.connect(index("fastcgi")) as wire:
        for number in range(3):
            body = os.urandom(number * 100_000)
            variables = {"REQUEST_METHOD": "POST", "PATH_INFO": "/digest", "CONTENT_LENGTH": str(len(body))}
            wire.send(fastcgi(USUAL | variables, body, keep=True))
            answer = b""
            while not (seen := unwrapped(answer))[1]:
                head = wire.receive(8)
                answer += head + wire.receive(int.from_bytes(head[4:6], "big") + head[6])
            assert seen[0].endswith(hashlib.sha256(body).hexdigest().encode())
            assert seen[2] == b""


def test_a_fastcgi_response_that_is_cut_has_no_end(server):
    cut = server.raw(fastcgi(USUAL | {"PATH_INFO": "/cut"}), index=index("fastcgi"))
    content, ended, _ = unwrapped(cut)
    assert content.endswith(b"\r\n\r\nebb")
    assert not ended


@pytest.mark.parametrize("size", [0, 1, 65_528, 65_529, 3_000_000])
def test_a_file_arrives_whole(server, protocol, size, tmp_path):
    path = tmp_path / "tide"
    path.write_bytes(os.urandom(size))
    answer = answer_to(server, protocol, USUAL | {"PATH_INFO": "/file", "QUERY_STRING": str(path)})
    assert answer.partition(b"\r\n\r\n")[2] == path.read_bytes()


def test_a_file_costs_no_more_memory_for_being_large(server, tmp_path):
    path = tmp_path / "ocean"
    with path.open("wb") as file:
        file.truncate(32 << 30)
    ask(server, {}, protocol="fastcgi")
    before = resident_kib(server.pid)
    with server.connect(index("fastcgi")) as wire:
        wire.send(fastcgi(USUAL | {"PATH_INFO": "/file", "QUERY_STRING": str(path)}))
        received = sum(len(wire.receive(1 << 20)) for _ in range(8))
        grown = resident_kib(server.pid) - before
        wire.reset()
    assert received == 8 << 20
    # A header for each of its records would be 60 MiB.
    assert grown < 8 << 10


def test_the_log_says_what_was_sent_instead(server):
    since = len(server.log)
    for number in range(3):
        with server.connect(number) as wire, contextlib.suppress(ConnectionResetError):
            wire.send(b"GET / HTTP/1.1\r\n\r\n")
            wire.rest()
        server.wait_for_log("closed: this looks like HTTP, and another protocol is spoken here", since=since)
        since = len(server.log)


def test_the_access_log_has_the_client_of_the_front_server(server):
    ask(server, {"REMOTE_ADDR": "198.51.100.3", "REQUEST_URI": "/logged?a", "PATH_INFO": "/logged"})
    server.wait_until(
        lambda: re.search(r'198\.51\.100\.3 - - \[.*\] "GET /logged\?a HTTP/1\.1" 200', server.output)
    )


def test_a_request_that_says_little_is_answered(server):
    seen = told(server.raw(uwsgi({"REQUEST_METHOD": "GET", "PATH_INFO": "/a b", "QUERY_STRING": "c"})))
    assert (seen["REQUEST_URI"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/a%20b?c", "/a b", "c")
    assert seen["REMOTE_ADDR"] == "127.0.0.1"


def test_what_is_said_twice_is_what_was_said_last(server):
    variables = [
        *USUAL.items(),
        ("HTTP_HOST", "b.example"),
        ("PATH_INFO", "/b"),
        ("REMOTE_ADDR", "192.0.2.8"),
    ]
    variables += [("CONTENT_LENGTH", "7"), ("CONTENT_LENGTH", "0")]
    seen = told(server.raw(uwsgi(variables)))
    assert (seen["HTTP_HOST"], seen["PATH_INFO"], seen["REMOTE_ADDR"]) == ("b.example", "/b", "192.0.2.8")
    assert seen["CONTENT_LENGTH"] == "0"


def without(*names):
    return [pair for pair in USUAL.items() if pair[0] not in names]


TOLD_DIFFERENTLY = {
    "as usual": without(),
    "another place": [*without("PATH_INFO"), ("PATH_INFO", "/tide"), ("REMOTE_USER", "ada")],
    "nobody": [*without("PATH_INFO"), ("PATH_INFO", "/ebb"), ("REMOTE_USER", "")],
    "another query": (USUAL | {"QUERY_STRING": "a=1", "REQUEST_URI": "/?a=1", "REMOTE_PORT": "4712"}).items(),
    "a post": (USUAL | {"REQUEST_METHOD": "POST", "SERVER_PROTOCOL": "HTTP/1.0"}).items(),
    "no name": (USUAL | {"SERVER_NAME": ""}).items(),
    "another name": (USUAL | {"SERVER_NAME": "quay", "SERVER_PORT": "8080"}).items(),
    "neither name nor port": (USUAL | {"SERVER_NAME": "", "SERVER_PORT": ""}).items(),
    "nobody's address": without("REMOTE_ADDR"),
    "nobody's port": without("REMOTE_PORT"),
    "neither": without("REMOTE_ADDR", "REMOTE_PORT"),
    "no query": [*without("QUERY_STRING", "REQUEST_URI"), ("REQUEST_URI", "/?b=2")],
    "secure": [*USUAL.items(), ("HTTPS", "on")],
    "secure in another way": [*USUAL.items(), ("HTTPS", "1")],
    "not secure": [*USUAL.items(), ("HTTPS", "")],
    "said otherwise": [*USUAL.items(), ("HTTPS", "off")],
    "twice": [*USUAL.items(), ("BERTH", "1"), ("BERTH", "2")],
    "twice otherwise": [*USUAL.items(), ("BERTH", "3"), ("BERTH", "2")],
    "raw": [*USUAL.items(), ("RAW_URI", "/%2f")],
    "large": [*USUAL.items(), ("BERTH", "4" * 20_000)],
    "mounted": [("SCRIPT_NAME", "/pier"), *without("PATH_INFO"), ("PATH_INFO", "/pier/tide")],
}


def test_a_request_is_told_nothing_that_another_was_told(tmp_path):
    def served(name):
        return Server("apps.handed_on:application", binds=(f"uwsgi://unix:{tmp_path}/{name}",))

    with served("seasoned") as seasoned:
        for number, variables in enumerate(TOLD_DIFFERENTLY.values()):
            with served(f"fresh-{number}") as fresh:
                expected = told(fresh.raw(uwsgi(variables)))
            said = {name: value for name, value in variables if name == "RAW_URI"}
            assert expected.items() >= said.items()
            for others in (TOLD_DIFFERENTLY.values(), reversed(TOLD_DIFFERENTLY.values())):
                for other in others:
                    seasoned.raw(uwsgi(other))
                    assert told(seasoned.raw(uwsgi(variables))) == expected
