"""Webhook requests of the plainest form, read without an HTTP parser; whatever else goes to the parser (RFC 9112).

Rules: only what arrives as exactly one whole request, `POST /webhooks/{connection}` with a body of told length, in visible
ASCII and without any header that changes how a message is framed or answered, is read here. Anything that could be read in
two ways is None, which says nothing about it: the server's own parser then refuses or takes it, in its own words. So a
proxy and we never disagree about where a request ends, and every limit of the parser stays the parser's.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from service.domain.wire import MAX_BODY_BYTES

MAX_HEAD_BYTES: Final = 8192
MAX_HEADERS: Final = 64

_START: Final = b"POST /webhooks/"
_VERSION: Final = b"HTTP/1.1"
_VISIBLE: Final = bytes(range(0x20, 0x7F))
_CONNECTION: Final = re.compile(rb"[0-9A-Za-z_-]{1,64}", re.ASCII)
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2."""
_UNUSUAL: Final = frozenset(
    {
        b"expect",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that say something about the message or the connection instead of the delivery."""
_KEEP: Final = b"keep-alive"
"""The one thing that `Connection` may say: what HTTP/1.1 means anyway."""


class PlainRequest(NamedTuple):
    """One request: the connection's name, its headers by lower-case name, its body."""

    name: str
    headers: Mapping[bytes, bytes]
    body: bytes


def plain_request(data: bytes) -> PlainRequest | None:
    """Return the one request that these bytes are, or None when somebody else has to read them."""
    if not data.startswith(_START):
        return None
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    first, *lines = data[:end].split(b"\r\n")
    written, _, version = first[len(_START) :].partition(b" ")
    name = _connection(written)
    if end < 0 or version != _VERSION or len(lines) > MAX_HEADERS or name is None:
        return None
    if data[:end].translate(None, _VISIBLE) != b"\r\n" * len(lines):
        return None
    headers = _headers(lines)
    size = len(data) - end - 4
    if headers is None or headers.get(b"content-length") != b"%d" % size or size > MAX_BODY_BYTES:
        return None
    return PlainRequest(name, headers, data[end + 4 :])


def _headers(lines: list[bytes]) -> dict[bytes, bytes] | None:
    found: dict[bytes, bytes] = {}
    for line in lines:
        written, colon, value = line.partition(b":")
        name = _name(written)
        if name is None or name in found or not colon:
            return None
        found[name] = value.lstrip(b" ")
    return found if found.get(b"connection", _KEEP).lower() == _KEEP else None


@lru_cache(maxsize=512)
def _name(written: bytes) -> bytes | None:
    """A header's name in lower case; None for what is none, and for one of `_UNUSUAL`."""
    name = written.lower()
    return None if _TOKEN.fullmatch(name) is None or name in _UNUSUAL else name


@lru_cache(maxsize=512)
def _connection(written: bytes) -> str | None:
    return written.decode() if _CONNECTION.fullmatch(written) else None
