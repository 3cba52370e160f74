"""PURE. The framing fields of HTTP/1 heads, for the parsers of requests and responses."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.h1_body import BadMessage
from lbproxy.http.known import CONTENT_LENGTH, HOST, TRANSFER_ENCODING
from lbproxy.http.scan import Lines
from lbproxy.http.syntax import is_token, list_members

__all__ = [
    "ConnectionOptions",
    "check_coding",
    "check_repeated",
    "read_connection",
    "read_length",
    "read_upgrade",
]

_LENGTH_DIGITS_MAX: Final = 18
_CONNECTION_OPTIONS: Final = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))
_NEVER_NOMINATED: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_REFUSED_UPGRADES: Final = (b"h2", b"h2c", b"http", b"tls")


def check_repeated(lines: Lines) -> None:
    """Refuse a second Host or Content-Length line, even an equal one (RFC 9112 §3.2, RFC 9110
    §8.6).
    """
    if lines.repeated >> HOST & 1:
        raise BadMessage(Kind.BAD_REQUEST, "repeated host")
    if lines.repeated >> CONTENT_LENGTH & 1:
        raise BadMessage(Kind.BAD_REQUEST, "repeated content-length")


def read_length(text: bytes) -> int:
    """Parse a Content-Length value: decimal digits only (RFC 9110 §8.6)."""
    size: i64 = len(text)
    number: i64 = 0
    at: i64 = 0
    while at < size:
        digit: i64 = i64(text[at]) - 48
        if digit < 0 or digit > 9 or size > _LENGTH_DIGITS_MAX:
            raise BadMessage(Kind.BAD_REQUEST, "malformed content-length")
        number = number * 10 + digit
        at += 1
    if not size:
        raise BadMessage(Kind.BAD_REQUEST, "malformed content-length")
    return number


def check_coding(lines: Lines, version: int) -> None:
    """Refuse a body whose framing is not exactly one ``chunked`` (RFC 9112 §6.1, §6.3)."""
    if version == 10:
        raise BadMessage(Kind.BAD_REQUEST, "transfer-encoding in HTTP/1.0")
    if lines.present >> CONTENT_LENGTH & 1:
        raise BadMessage(Kind.BAD_REQUEST, "both transfer-encoding and content-length")
    value = lines.joined(TRANSFER_ENCODING).lower()
    if value == b"chunked":
        # some parsers treat it as part of the coding's name
        if lines.tab_behind(TRANSFER_ENCODING):
            raise BadMessage(Kind.BAD_REQUEST, "tab behind a transfer coding")
        return
    codings = [part.strip(b" \t") for part in value.split(b",")]
    if not all(map(is_token, codings)):
        raise BadMessage(Kind.BAD_REQUEST, "malformed transfer-encoding")
    if b"chunked" in codings[:-1]:
        raise BadMessage(
            Kind.BAD_REQUEST, "chunked must be the last transfer coding and occur once"
        )
    raise BadMessage(Kind.UNSUPPORTED, "unknown transfer coding", 501)


class ConnectionOptions:
    """The options of a Connection field. ``nominated``: the hop-by-hop field names among them."""

    __slots__ = ("close", "keep_alive", "nominated", "upgrade")

    def __init__(self, options: list[bytes], nominated: tuple[bytes, ...]) -> None:
        self.close = b"close" in options
        self.keep_alive = b"keep-alive" in options
        self.upgrade = b"upgrade" in options
        self.nominated = nominated


def _parsed(value: bytes) -> ConnectionOptions:
    options = list_members(value)
    nominated = tuple(
        option
        for option in options
        if option not in _CONNECTION_OPTIONS and option not in _NEVER_NOMINATED and is_token(option)
    )
    return ConnectionOptions(options, nominated)


_CONNECTIONS: Final = {
    value: _parsed(value)
    for value in (
        b"keep-alive",
        b"Keep-Alive",
        b"close",
        b"Close",
        b"upgrade",
        b"Upgrade",
        b"keep-alive, Upgrade",
    )
}
"""Results for nearly all values in practice."""


def read_connection(value: bytes) -> ConnectionOptions:
    """Return the options in a Connection field.

    TE is not included, because the forwarder handles it (RFC 9110 §10.1.4). Fields for framing and
    routing of the message cannot be nominated (RFC 9110 §7.6.1).
    """
    known = _CONNECTIONS.get(value)
    return _parsed(value) if known is None else known


def read_upgrade(value: bytes) -> bytes | None:
    """Return the Upgrade list in lower case, without protocols that lbproxy never switches to:
    HTTP/2 and TLS are negotiated in the handshake, and a tunnelled h2c would hide requests. None if
    nothing is left, or a member is malformed.
    """
    protocols: list[bytes] = []
    for protocol in list_members(value):
        name, slash, version = protocol.partition(b"/")
        if not is_token(name) or (slash and not is_token(version)):
            return None
        if name not in _REFUSED_UPGRADES:
            protocols.append(protocol)
    return b", ".join(protocols) or None
