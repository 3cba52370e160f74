"""PURE. What HTTP/1 heads say about their own framing; the parsers of requests and responses call it."""

from __future__ import annotations

from typing import Final

from lbproxy.errors import Kind
from lbproxy.http.h1_body import Refused
from lbproxy.http.message import Headers
from lbproxy.http.syntax import FIELD_NAMES, checked_name, is_token, list_members

__all__ = [
    "CONNECTIONS",
    "check_coding",
    "read_connection",
    "read_fields",
    "read_length",
    "read_upgrade",
]

_LENGTH_DIGITS_MAX: Final = 18
_CONNECTION_OPTIONS: Final = frozenset((b"close", b"keep-alive", b"upgrade"))
_NEVER_NOMINATED: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_REFUSED_UPGRADES: Final = (b"h2", b"h2c", b"http", b"tls")


def read_fields(headers: Headers) -> dict[bytes, bytes]:
    """The fields that matter to the codec, by lower-case name, after checking every name.

    Repeated lines are joined with a comma, except for Host and Content-Length, which may not be
    repeated.  Control characters have been looked for already.
    """
    known = FIELD_NAMES
    special: dict[bytes, bytes] = {}
    for name, value in headers:
        low = known.get(name)
        if low is None:
            try:
                low = checked_name(name)
            except ValueError:
                raise Refused(Kind.BAD_REQUEST, "malformed field name") from None
        if low:
            if low in special:
                if low in (b"host", b"content-length"):
                    raise Refused(Kind.BAD_REQUEST, f"repeated {low.decode('ascii')}")
                special[low] += b"," + value
            else:
                special[low] = value
    return special


def read_length(text: bytes) -> int:
    """A Content-Length value: decimal digits only (RFC 9110 §8.6)."""
    if not text.isdigit() or len(text) > _LENGTH_DIGITS_MAX:
        raise Refused(Kind.BAD_REQUEST, "malformed content-length")
    return int(text)


def check_coding(value: bytes, special: dict[bytes, bytes], version: int) -> None:
    """Whether the body is framed by a single ``chunked`` and nothing contradicts it
    (RFC 9112 §6.1, §6.3)."""
    if version == 10:
        raise Refused(Kind.BAD_REQUEST, "transfer-encoding in HTTP/1.0")
    if b"content-length" in special:
        raise Refused(Kind.BAD_REQUEST, "both transfer-encoding and content-length")
    if value.lower() == b"chunked":
        return
    codings = [part.strip(b" \t") for part in value.lower().split(b",")]
    if not all(map(is_token, codings)):
        raise Refused(Kind.BAD_REQUEST, "malformed transfer-encoding")
    if b"chunked" in codings[:-1]:
        raise Refused(Kind.BAD_REQUEST, "chunked is not the last transfer coding, once")
    raise Refused(Kind.UNSUPPORTED, "unknown transfer coding", 501)


def read_connection(value: bytes) -> tuple[list[bytes], tuple[bytes, ...]]:
    """The Connection options, and among them the field names that are hop by hop.

    The fields that frame and route the message cannot be named away (RFC 9110 §7.6.1)."""
    options = list_members(value)
    nominated = tuple(
        option
        for option in options
        if option not in _CONNECTION_OPTIONS and option not in _NEVER_NOMINATED and is_token(option)
    )
    return options, nominated


CONNECTIONS: dict[bytes, tuple[list[bytes], tuple[bytes, ...]]] = {
    value: read_connection(value)
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
"""What :func:`read_connection` says of nearly all values that are sent."""


def read_upgrade(value: bytes) -> bytes | None:
    """The lower-cased Upgrade list, or None if a member of it is one we never switch to: HTTP/2
    and TLS are negotiated in the handshake, and a tunnelled h2c would hide requests from us."""
    protocols = list_members(value)
    for protocol in protocols:
        name, slash, version = protocol.partition(b"/")
        if name in _REFUSED_UPGRADES or not is_token(name) or (slash and not is_token(version)):
            return None
    return b", ".join(protocols) or None
