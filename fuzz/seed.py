"""Writes the first corpus of every fuzz target: for HTTP from the inputs of tests/corpus/http1.tsv, for
WebSockets from frames and handshakes made here.

Each target takes four bytes that decide how the rest is cut and answered; the seeds have a few of those.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "tests" / "corpus" / "http1.tsv"
CONTROLS = (b"\0\0\0\0", b"\1\2\3\4", b"\x7f\x55\xaa\x10")
# Larger inputs slow every run down and hold nothing that smaller ones do not.
SIZE_MAX = 4096
ESCAPE = re.compile(rb"\\(?:\{(\d+) (.*?)\\\}|x([0-9a-fA-F]{2})|([rnt0\\]))", re.DOTALL)
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def unescape(text: bytes) -> bytes:
    """Return the bytes that an escaped text of the table stands for."""

    def replace(match: re.Match[bytes]) -> bytes:
        count, repeated, digits, plain = match.groups()
        if count is not None:
            return unescape(repeated) * int(count)
        return bytes.fromhex(digits.decode()) if digits is not None else PLAIN[plain]

    return ESCAPE.sub(replace, text)


def inputs() -> list[bytes]:
    """Return the input column of the table, unescaped."""
    lines = TABLE.read_bytes().splitlines()
    return [unescape(line.split(b"\t")[2]) for line in lines if line and not line.startswith(b"#")]


def frame(first: int, payload: bytes, key: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    """Return a masked frame."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([first]) + length + key + masked


def compressed(data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """Return what a message is compressed to."""
    compressor = zlib.compressobj(wbits=-15)
    out = compressor.compress(data) + compressor.flush(flush)
    return out[:-4] if flush == zlib.Z_SYNC_FLUSH else out + b"\0"


def conversations() -> list[bytes]:
    """Return what clients of WebSockets send, right and wrong."""
    text = "h\u00e9llo \u20ac \U0001f418".encode()
    json = b'{"id": 1, "name": "somebody"}, ' * 20
    whole = [frame(0x81, b"Hello"), frame(0x82, bytes(range(200))), frame(0x81, text), frame(0x81, json)]
    fragments = [
        frame(0x01, text[:3]) + frame(0x89, b"ping") + frame(0x00, text[3:9]) + frame(0x80, text[9:])
    ]
    control = [frame(0x89, b"x" * 125), frame(0x8A, b""), frame(0x88, b""), frame(0x88, b"\x03\xe8why")]
    packed = [
        frame(0xC1, compressed(json)),
        frame(0xC2, compressed(b"")),
        frame(0xC1, compressed(json, zlib.Z_FINISH)),
    ]
    packed += [frame(0x41, compressed(json)[:9]) + frame(0x80, compressed(json)[9:])]
    wrong = [
        frame(0x81, b"\xff"),
        frame(0x83, b""),
        frame(0x09, b"a"),
        b"\x81\x05Hello",
        b"\x82\xfe\0\x01mask.",
    ]
    wrong += [
        frame(0x88, b"\x03"),
        frame(0x88, b"\x03\xed"),
        frame(0x80, b"a"),
        frame(0x01, b"a") + frame(0x01, b"b"),
    ]
    plain = [frame(0x81, b"Hello", b"\0\0\0\0"), frame(0xC1, compressed(json), b"\0\0\0\0")]
    each = whole + fragments + control + packed + wrong + plain
    return each + [b"".join(whole + fragments + packed + control)]


def handshakes() -> list[bytes]:
    """Return requests for WebSockets, right and wrong."""
    lines = [
        b"GET /chat HTTP/1.1",
        b"Host: a",
        b"Upgrade: websocket",
        b"Connection: keep-alive, Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Protocol: chat, superchat",
    ]
    offers = [
        b"permessage-deflate",
        b"permessage-deflate; client_max_window_bits, foo",
        b'permessage-deflate; server_max_window_bits="10"; server_no_context_takeover',
        b"permessage-deflate; client_no_context_takeover; client_max_window_bits=15",
        b"permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits=9",
        b"permessage-deflate; =",
    ]
    heads = [lines + [b"Sec-WebSocket-Extensions: " + offer] for offer in offers]
    heads += [lines[:index] + lines[index + 1 :] for index in range(2, len(lines))]
    return [b"\r\n".join(head) + b"\r\n\r\n" for head in heads]


def proxy_headers() -> list[bytes]:
    """Return headers of the PROXY protocol, right and wrong."""
    lines = [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP9 a b 0 0\r\n",
    ]
    inet = bytes([192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 1, 0xBB])
    tls = b"\x20\0\x10\7\0\0\0\0\x21\0\3TLS\x22\0\2cn"
    rests = [
        (0x20, 0, b""),
        (0x21, 0x11, inet),
        (0x21, 0x11, inet + b"\1\0\2h2" + tls),
        (0x21, 0x21, bytes(36)),
    ]
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    binary = [
        signature + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest
        for command, family, rest in rests
    ]
    return lines + binary


def forwarded() -> list[bytes]:
    """Return what proxies say of clients, right and wrong."""
    return [
        b"192.0.2.1, 10.0.0.1",
        b"[2001:db8::1]:80, unknown, _a",
        b"https",
        b"shop.example:8443",
        b"/app/one",
        b'for="[2001:db8::1]:4711";proto=https;host="shop.example:81", for=_x;by=y',
        b'for=a;x="\\"", for="',
    ]


def variables() -> list[list[tuple[bytes, bytes]]]:
    """Return what front servers say of requests, right and wrong."""
    usual = [
        (b"QUERY_STRING", b"a=1"),
        (b"REQUEST_METHOD", b"POST"),
        (b"CONTENT_TYPE", b"text/plain"),
        (b"CONTENT_LENGTH", b"3"),
        (b"REQUEST_URI", b"/site/a%20b?a=1"),
        (b"PATH_INFO", b"/a b"),
        (b"SCRIPT_NAME", b"/site"),
        (b"SERVER_PROTOCOL", b"HTTP/1.1"),
        (b"HTTPS", b"on"),
        (b"REMOTE_ADDR", b"192.0.2.7"),
        (b"HTTP_HOST", b"harbour"),
        (b"HTTP_X_TIDE", b"neap"),
    ]
    odd = [
        (b"CONTENT_LENGTH", b""),
        (b"CONTENT_LENGTH", b"-1"),
        (b"HTTP_PROXY", b"evil"),
        (b"HTTP_TRANSFER_ENCODING", b"chunked"),
        (b"HTTP_HOST", b"a/b"),
        (b"HTTP_", b""),
        (b"UWSGI_FILE", b"evil"),
        (b"wsgi.input", b"evil"),
        (b"REQUEST_METHOD", b"CONNECT"),
        (b"REQUEST_URI", b"http://a/b"),
        (b"REQUEST_URI", b""),
        (b"HTTP_X\n", b"\0"),
    ]
    return [usual, usual[:4], *([*usual, pair] for pair in odd)]


def uwsgi(pairs: list[tuple[bytes, bytes]], modifier: int = 0) -> bytes:
    """Return a packet of uWSGI's protocol."""
    block = b"".join(len(part).to_bytes(2, "little") + part for pair in pairs for part in pair)
    return bytes([modifier]) + len(block).to_bytes(2, "little") + b"\0" + block


def scgi(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Return a request in SCGI."""
    first = [(b"CONTENT_LENGTH", b"3"), (b"SCGI", b"1")]
    block = b"".join(name + b"\0" + value + b"\0" for name, value in first + pairs)
    return b"%d:%s," % (len(block), block)


def record(kind: int, content: bytes = b"", padding: int = 0) -> bytes:
    """Return a record of FastCGI."""
    return (
        bytes([1, kind, 0, 1])
        + len(content).to_bytes(2, "big")
        + bytes([padding, 0])
        + content
        + b"\0" * padding
    )


def fastcgi(pairs: list[tuple[bytes, bytes]], keep: int = 0) -> bytes:
    """Return a request in FastCGI."""
    block = b"".join(bytes([len(name), len(value)]) + name + value for name, value in pairs)
    return b"".join(
        [
            record(1, bytes([0, 1, keep, 0, 0, 0, 0, 0])),
            record(4, block[:50], 6),
            record(4, block[50:]),
            record(4),
            record(5, b"e"),
            record(5, b"bb", 3),
            record(5),
        ]
    )


def seed(target: str, seeds: list[bytes]) -> None:
    """Write seeds into the target's corpus, each under the name that cargo-fuzz would give it."""
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for content in seeds:
        for control in CONTROLS:
            data = control + content
            (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def main() -> int:
    """Seed every target."""
    wires = [wire for wire in inputs() if len(wire) <= SIZE_MAX]
    bodies = [wire.split(b"\r\n\r\n", 1)[1] for wire in wires if b"chunked\r\n\r\n" in wire]
    seed("head", wires)
    seed(
        "connection", wires + [first + second for first, second in zip(wires[::2], wires[1::2], strict=False)]
    )
    seed("chunked", bodies)
    seed("handshake", handshakes())
    seed("websocket", conversations())
    seed("proxy", proxy_headers())
    seed("forwarded", forwarded())
    packets = [uwsgi(pairs) + b"ebb" for pairs in variables()] + [uwsgi(variables()[0], 30) + b"ebb"]
    seed("uwsgi", [*packets, b"\x16\4\0\0evil", packets[0][:-9], b"\0\6\0\0\xff\xffNAME"])
    packets = [scgi(pairs) + b"ebb" for pairs in variables()]
    seed("scgi", [*packets, b"1:,", b"00:,", packets[0][:-9]])
    packets = [fastcgi(pairs) for pairs in variables()] + [fastcgi(variables()[0], 1) * 2]
    seed("fastcgi", [*packets, record(9), record(2), packets[0][:-9]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
