"""Content codings from the client's side, by the libraries that clients use."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli  # type: ignore[import-untyped]
import zstandard

CODINGS = ["gzip", "br", "zstd"]


class Decoder(Protocol):
    """Takes a coding apart as it comes."""

    def take(self, data: bytes) -> bytes:
        """What can be read by now."""

    @property
    def is_complete(self) -> bool:
        """The end was there."""


class _Gzip:
    def __init__(self) -> None:
        self._inside = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def take(self, data: bytes) -> bytes:
        return self._inside.decompress(data)

    @property
    def is_complete(self) -> bool:
        return self._inside.eof


class _Brotli:
    def __init__(self) -> None:
        self._inside = brotli.Decompressor()

    def take(self, data: bytes) -> bytes:
        return bytes(self._inside.process(data))

    @property
    def is_complete(self) -> bool:
        return bool(self._inside.is_finished())


class _Zstd:
    def __init__(self) -> None:
        self._inside = zstandard.ZstdDecompressor().decompressobj()

    def take(self, data: bytes) -> bytes:
        return self._inside.decompress(data)

    @property
    def is_complete(self) -> bool:
        return self._inside.eof


_DECODERS: dict[str, Callable[[], Decoder]] = {"gzip": _Gzip, "br": _Brotli, "zstd": _Zstd}


def decoder(coding: str) -> Decoder:
    return _DECODERS[coding]()


def decoded(coding: str, body: bytes) -> bytes:
    """A whole body, which must be one."""
    inside = decoder(coding)
    plain = inside.take(body)
    assert inside.is_complete
    return plain
