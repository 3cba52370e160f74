"""DATA. Reads the server name and the application protocols from a TLS ClientHello without
terminating TLS.

:class:`lbproxy.proxy.preamble.Preamble` calls it for tcp frontends that route by SNI or ALPN and
leave TLS to the servers. The parser is a pure function of the bytes received so far (RFC 8446
§4.1.2 and §5.1, RFC 6066 §3, RFC 7301 §3.1).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from attrs import frozen

from lbproxy.errors import Kind, ProxyError

__all__ = ["MAX_HELLO_BYTES", "NOT_TLS", "ClientHello", "NotTLS", "sniff"]

MAX_HELLO_BYTES = (
    16 * 1024
)  # real ones have 0.2 to 2 KiB, at most 4 KiB with post-quantum key shares
MAX_RECORDS = 64  # a hello in smaller pieces is an attack: each byte costs a pass over all of them

_HANDSHAKE_RECORD = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16


class NotTLS(Enum):
    """The type of :data:`NOT_TLS`."""

    NOT_TLS = "not tls"


NOT_TLS: Final = NotTLS.NOT_TLS
"""The first bytes are not those of a TLS handshake."""


@frozen
class ClientHello:
    """The content of a ClientHello. ``sni``: server name in lower case, "" if none.

    ``alpn``: offered protocols, the preferred one first.
    """

    sni: str = ""
    alpn: tuple[str, ...] = ()


def sniff(buffer: bytes) -> ClientHello | NotTLS | None:
    """Return the content of the ClientHello; None if more bytes are needed.

    ``buffer``: everything received so far, from the first byte on. Raises :class:`ProxyError`
    (BAD_PREAMBLE) for a message that begins like TLS but is malformed, longer than
    :data:`MAX_HELLO_BYTES`, or split into more than :data:`MAX_RECORDS` records.
    """
    if not buffer:
        return None
    if buffer[0] != _HANDSHAKE_RECORD or (len(buffer) > 1 and buffer[1] != 3):
        return NOT_TLS
    hello = _unwrap_records(buffer)
    if hello is None:
        return None
    try:
        return _parse_hello(_Reader(hello))
    except (_Short, UnicodeDecodeError):
        raise _bad("malformed ClientHello") from None


def _unwrap_records(buffer: bytes) -> bytes | None:
    """Return the body of the hello, joined from its records; None if it is incomplete."""
    pieces = b""
    at = records = 0
    while at + 5 <= len(buffer):
        size = int.from_bytes(buffer[at + 3 : at + 5], "big")
        if buffer[at] != _HANDSHAKE_RECORD or buffer[at + 1] != 3:
            raise _bad("ClientHello interrupted by another record")
        if not 0 < size <= 1 << 14:
            raise _bad(f"TLS record of {size} bytes")
        pieces += buffer[at + 5 : at + 5 + size]
        if pieces and pieces[0] != _CLIENT_HELLO:
            raise _bad(f"TLS handshake begins with message {pieces[0]}, not a ClientHello")
        if len(pieces) >= 4:
            length = int.from_bytes(pieces[1:4], "big")
            if length > MAX_HELLO_BYTES:
                raise _bad(f"ClientHello of {length} bytes is too long")
            if len(pieces) >= 4 + length:
                return pieces[4 : 4 + length]
        at += 5 + size
        records += 1
        if records == MAX_RECORDS:
            raise _bad("ClientHello in too many records")
    return None


class _Short(Exception):
    """A length exceeds the message, or bytes remain after the last field."""


class _Reader:
    """Reads length-prefixed fields from the front of a message."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        start = self._at
        self._at = end = start + size
        if end > len(self._data):
            raise _Short
        return self._data[start:end]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, prefix: int) -> bytes:
        """Return a field that is preceded by its length in ``prefix`` bytes."""
        return self.take(self.number(prefix))


def _parse_hello(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)  # legacy_version, random
    if len(hello.vector(1)) > 32:  # legacy_session_id
        raise _Short
    ciphers = hello.vector(2)
    if not ciphers or len(ciphers) % 2 or not hello.vector(1):  # legacy_compression_methods
        raise _Short
    if not hello.more:
        return ClientHello()
    extensions = _Reader(hello.vector(2))
    if hello.more:
        raise _Short
    sni, alpn = "", ()
    seen: set[int] = set()
    while extensions.more:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind in seen:  # RFC 8446 §4.2
            raise _Short
        seen.add(kind)
        if kind == _SERVER_NAME:
            sni = _server_name(_Reader(body))
        elif kind == _ALPN:
            alpn = _protocols(_Reader(body))
    return ClientHello(sni, alpn)


def _server_name(extension: _Reader) -> str:
    """Return the host_name of a server_name extension (RFC 6066 §3). Other name types are
    skipped.
    """
    names = _Reader(extension.vector(2))
    if extension.more or not names.more:
        raise _Short
    found = ""
    while names.more:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            if found or not name or len(name) > 255 or b"\0" in name:
                raise _Short
            found = name.decode("ascii").lower()
    return found


def _protocols(extension: _Reader) -> tuple[str, ...]:
    names = _Reader(extension.vector(2))
    if extension.more or not names.more:
        raise _Short
    found: list[str] = []
    while names.more:
        name = names.vector(1)
        if not name:
            raise _Short
        found.append(name.decode("latin-1"))
    return tuple(found)


def _bad(detail: str) -> ProxyError:
    return ProxyError(Kind.BAD_PREAMBLE, detail)
