"""Writes the first corpus of every fuzz target, from the inputs of tests/corpus/http1.tsv.

Each target takes four bytes that decide how the rest is cut and answered; the seeds have a few of those.
"""

from __future__ import annotations

import hashlib
import re
import sys
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
