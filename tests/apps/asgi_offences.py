"""An ASGI application that offers the server what no server may take, and tells what came of it.

Each offence is a message, the legal ones before it, and the words that the exception must have: which message
it was, and which rule. The path chooses one. What came of it is told on standard error: `NAME passed`, or
`NAME raised TYPE: TEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from asgiref.typing import ASGISendEvent, Scope

from apps.asgi_parts import Receive, Send, answer, tell

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
END = {"type": "http.response.body", "body": b"end"}
ACCEPT = {"type": "websocket.accept"}
SAY = {"type": "websocket.send", "text": "said"}
CLOSE = {"type": "websocket.close"}
DENY = {"type": "websocket.http.response.start", "status": 403, "headers": []}
DENIED = {"type": "websocket.http.response.body", "body": b"denied"}


@dataclass(frozen=True)
class Offence:
    """`names` must all stand in the exception's text, or any one of those in a group of them."""

    message: object
    names: Sequence[str | tuple[str, ...]]
    after: Sequence[Mapping[str, Any]] = field(default=())


def start(names: Sequence[str | tuple[str, ...]], **changed: Any) -> Offence:
    return Offence({**START, **changed}, ["http.response.start", *names])


def without(message: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != key}


def named(*pair: Any) -> Offence:
    return start([("headers", "header", "field", "Content-Length")], headers=[pair])


BYTES = "bytes"

HTTP = {
    "no message at all": Offence(None, [("dict", "mapping", "Mapping")]),
    "a list": Offence([START], [("dict", "mapping", "Mapping")]),
    "no type": Offence(without(START, "type"), ["type"]),
    "a type that is no text": Offence({**START, "type": 1}, ["type", "str"]),
    "a type in bytes": Offence({**START, "type": b"http.response.start"}, ["type", "str"]),
    "an unknown type": Offence({"type": "http.response.finish"}, ["http.response.finish"]),
    "what only clients say": Offence({"type": "http.request", "body": b""}, ["http.request"]),
    "a push": Offence({"type": "http.response.push", "path": "/", "headers": []}, ["http.response.push"]),
    "a websocket's accept": Offence(ACCEPT, ["websocket.accept"]),
    "a websocket's message": Offence(SAY, ["websocket.send"]),
    "a websocket's denial": Offence(DENY, ["websocket.http.response.start"]),
    "a lifespan's message": Offence({"type": "lifespan.startup.complete"}, ["lifespan.startup.complete"]),
    "a body before the start": Offence(END, ["http.response.body", "http.response.start"]),
    "trailers that were not announced": Offence(
        {"type": "http.response.trailers", "headers": []}, ["http.response.trailers"], [START, END]
    ),
    "two starts": Offence(START, ["http.response.start"], [START]),
    "two starts with a part between": Offence(START, ["http.response.start"], [START, PART]),
    "a start after the end": Offence(START, ["http.response.start"], [START, END]),
    "a part after the end": Offence(PART, ["http.response.body"], [START, END]),
    "no status": Offence(without(START, "status"), ["http.response.start", "status"]),
    "a status of text": start(["status", "int"], status="200"),
    "a status of bytes": start(["status", "int"], status=b"200"),
    "a status of None": start(["status", "int"], status=None),
    "a status that is a fraction": start(["status", "int"], status=200.5),
    "a status of 99": start(["status"], status=99),
    "a status of 1000": start(["status"], status=1000),
    "a status of -200": start(["status"], status=-200),
    "a status of 2**70": start(["status"], status=2**70),
    "an interim status": start(["status"], status=103),
    "a switch of protocols": start(["status"], status=101),
    "headers of None": start(["headers"], headers=None),
    "headers of a number": start(["headers"], headers=5),
    "a mapping of headers": start(["headers"], headers={b"content-type": b"text/plain"}),
    "a header of one part": named(b"content-type"),
    "a header of three parts": named(b"content-type", b"text/plain", b"more"),
    "a header that is no pair": start(["headers"], headers=[5]),
    "a header that is bytes": start(["headers"], headers=[b"ab"]),
    "a name of text": start(["headers", BYTES], headers=[("content-type", b"text/plain")]),
    "a value of text": start(["headers", BYTES], headers=[(b"content-type", "text/plain")]),
    "a value of a number": start(["headers", BYTES], headers=[(b"content-length", 4)]),
    "an empty name": named(b"", b"value"),
    "a name with a space": named(b"content type", b"text/plain"),
    "a name with a colon": named(b"content-type:", b"text/plain"),
    "a value that splits the response": named(b"x-tide", b"low\r\nset-cookie: a=b"),
    "a value with a line feed": named(b"x-tide", b"low\nhigh"),
    "a value with a NUL": named(b"x-tide", b"low\0"),
    "a length that is no number": named(b"content-length", b"four"),
    "a negative length": named(b"content-length", b"-4"),
    "two lengths": start(
        [("content-length", "Content-Length")],
        headers=[(b"content-length", b"4"), (b"content-length", b"5")],
    ),
    "a body of text": Offence({**END, "body": "end"}, ["http.response.body", "body", BYTES], [START]),
    "a body of None": Offence({**END, "body": None}, ["http.response.body", "body", BYTES], [START]),
    "a body of a list": Offence({**END, "body": [b"end"]}, ["http.response.body", "body", BYTES], [START]),
    "a text of a body later on": Offence(
        {**PART, "body": "part"}, ["http.response.body", BYTES], [START, PART]
    ),
    "a path that is bytes": Offence(
        {"type": "http.response.pathsend", "path": b"/etc/hostname"},
        ["http.response.pathsend", "path", "str"],
        [START],
    ),
    "a path from here": Offence(
        {"type": "http.response.pathsend", "path": "asgi_probes.py"},
        ["http.response.pathsend", "path", "absolute"],
        [START],
    ),
    "a file that is none": Offence(
        {"type": "http.response.zerocopysend", "file": "tides"},
        ["http.response.zerocopysend", "file"],
        [START],
    ),
    "an early hint that is text": Offence(
        {"type": "http.response.early_hint", "links": ["</tide.css>; rel=preload"]},
        ["http.response.early_hint", "links", BYTES],
    ),
}

WEBSOCKET = {
    "no message at all": Offence(None, [("dict", "mapping", "Mapping")]),
    "no type": Offence({"text": "said"}, ["type"]),
    "an unknown type": Offence({"type": "websocket.ping"}, ["websocket.ping"]),
    "what only clients say": Offence({"type": "websocket.receive", "text": "said"}, ["websocket.receive"]),
    "a response's start": Offence(START, ["http.response.start"]),
    "a response's start when open": Offence(START, ["http.response.start"], [ACCEPT]),
    "a message before the accept": Offence(SAY, ["websocket.send", "websocket.accept"]),
    "two accepts": Offence(ACCEPT, ["websocket.accept"], [ACCEPT]),
    "a denial when open": Offence(DENY, ["websocket.http.response.start"], [ACCEPT]),
    "a denial's body before its start": Offence(DENIED, ["websocket.http.response.body"]),
    "a denial with a status of text": Offence(
        {**DENY, "status": "403"}, ["websocket.http.response.start", "status", "int"]
    ),
    "an accept after a denial": Offence(ACCEPT, ["websocket.accept"], [DENY, DENIED]),
    "neither text nor bytes": Offence(
        {"type": "websocket.send"}, ["websocket.send", "text", BYTES], [ACCEPT]
    ),
    "both None": Offence(
        {"type": "websocket.send", "text": None, "bytes": None}, ["websocket.send", "text", BYTES], [ACCEPT]
    ),
    "text and bytes": Offence(
        {"type": "websocket.send", "text": "a", "bytes": b"b"}, ["websocket.send", "text", BYTES], [ACCEPT]
    ),
    "text that is bytes": Offence(
        {"type": "websocket.send", "text": b"said"}, ["websocket.send", "text", "str"], [ACCEPT]
    ),
    "bytes that are text": Offence(
        {"type": "websocket.send", "bytes": "said"}, ["websocket.send", BYTES], [ACCEPT]
    ),
    "text that is no UTF-8": Offence(
        {"type": "websocket.send", "text": "lone \ud800"}, ["websocket.send", "text"], [ACCEPT]
    ),
    "a subprotocol in bytes": Offence(
        {**ACCEPT, "subprotocol": b"ebb"}, ["websocket.accept", "subprotocol", "str"]
    ),
    "a header of text": Offence(
        {**ACCEPT, "headers": [("x-tide", "low")]}, ["websocket.accept", "headers", BYTES]
    ),
    "a subprotocol among the headers": Offence(
        {**ACCEPT, "headers": [(b"sec-websocket-protocol", b"ebb")]},
        ["websocket.accept", ("sec-websocket-protocol", "handshake")],
    ),
    "a code of text": Offence({**CLOSE, "code": "1000"}, ["websocket.close", "code", "int"], [ACCEPT]),
    "a code that stays within": Offence({**CLOSE, "code": 1006}, ["websocket.close", "code"], [ACCEPT]),
    "a code out of range": Offence({**CLOSE, "code": 70000}, ["websocket.close", "code"], [ACCEPT]),
    "a code below all": Offence({**CLOSE, "code": 999}, ["websocket.close", "code"], [ACCEPT]),
    "a reason in bytes": Offence({**CLOSE, "reason": b"ebb"}, ["websocket.close", "reason", "str"], [ACCEPT]),
}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError(scope["type"])
    table = HTTP if scope["type"] == "http" else WEBSOCKET
    name = scope["path"].strip("/")
    if name not in table:
        assert scope["type"] == "http"
        await answer(send, "no such offence")
        return
    offence = table[name]
    await receive()
    for message in offence.after:
        await send(cast(ASGISendEvent, dict(message)))
    try:
        await send(cast(ASGISendEvent, offence.message))
    except Exception as error:
        tell(f"{name} raised {type(error).__name__}: {error}")
    else:
        tell(f"{name} passed")
        return
    await go_on(scope, send, offence)


async def go_on(scope: Scope, send: Send, offence: Offence) -> None:
    """What was refused has left no trace: the exchange goes on from where it was."""
    started = bool(offence.after)
    if END in offence.after or DENIED in offence.after:
        return
    if scope["type"] == "http":
        if not started:
            await answer(send, "went on")
        else:
            await send({"type": "http.response.body", "body": b"done", "more_body": False})
    else:
        if not started:
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        await send({"type": "websocket.send", "text": "went on", "bytes": None})
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
