"""Whatever an application offers against the rules raises, says what was wrong, and leaves no trace."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from apps.asgi_offences import DENIED, END, HTTP, WEBSOCKET
from support.server import Server
from support.websocket import Refused, open_websocket


@pytest.fixture(scope="module")
def server():
    with Server("apps.asgi_offences:application") as server:
        yield server
        assert server.stop() == 0
        assert server.complaints() == []


def explained(server, since, name, offence):
    """The exception's text, which must name the message and the rule."""
    said = server.wait_for_log(f"probe: {re.escape(name)} (passed|raised ([^:]+): (.*))\n", since=since)
    assert said[1] != "passed", "the server took it"
    for names in offence.names:
        choice = (names,) if isinstance(names, str) else names
        assert any(choice in said[3] for choice in choice), (names, said[0])
    return said[2]


@pytest.mark.parametrize("name", HTTP)
def test_on_http_it_raises_and_the_response_goes_on(server, name):
    offence = HTTP[name]
    since = len(server.log)
    with server.connect() as wire:
        answer = wire.ask("GET", f"/{quote(name)}")
        explained(server, since, name, offence)
        assert answer.status == 200
        if END in offence.after:
            assert answer.text == "end"
        elif not offence.after:
            assert answer.text == "went on"
        else:
            assert answer.text.replace("part", "") == "done"
        assert "set-cookie" not in answer.headers
    with server.connect() as wire:
        assert wire.ask("GET", "/none").text == "no such offence"


@pytest.mark.parametrize("name", WEBSOCKET)
def test_on_a_websocket_it_raises_and_the_conversation_goes_on(server, name):
    offence = WEBSOCKET[name]
    since = len(server.log)
    if DENIED in offence.after:
        with pytest.raises(Refused, match="403"), open_websocket(server, f"/{quote(name)}"):
            pass
        explained(server, since, name, offence)
        return
    with open_websocket(server, f"/{quote(name)}") as peer:
        explained(server, since, name, offence)
        assert "x-tide" not in peer.answer.headers
        assert peer.message() == "went on"
        assert peer.closing().code == 1000


@pytest.mark.parametrize("number", range(3))
def test_the_kind_of_exception_is_not_that_of_a_client_that_left(server, number):
    # OSError says that the client has gone, which an application may pass over in silence.
    name = ["a body of text", "two starts", "an unknown type"][number]
    since = len(server.log)
    with server.connect() as wire:
        wire.ask("GET", f"/{quote(name)}")
    kind = explained(server, since, name, HTTP[name])
    assert "OS" not in kind and "Connection" not in kind and "Client" not in kind
