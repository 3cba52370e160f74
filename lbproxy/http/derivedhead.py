"""PURE. Heads for the other side, derived from a received head and sharing its lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from lbproxy.http.h1_write import add_line
from lbproxy.http.head import Head, Ours
from lbproxy.http.known import (
    CLAIMED,
    FORWARDED,
    HOST,
    TE,
    VIA,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PROTO,
    field_name,
)
from lbproxy.http.message import Headers, RequestHead
from lbproxy.http.scan import lines_of

__all__ = [
    "PROTECTED",
    "READ",
    "X_LINES",
    "host_as_sent",
    "joined",
    "lines_as_sent",
    "remove_nominated",
    "values_of",
    "with_added",
    "without_nominated",
]

PROTECTED: Final = CLAIMED | frozenset(
    b"host content-length content-type content-encoding content-range content-location "
    b"transfer-encoding trailer date expect range cache-control pragma expires age vary etag "
    b"authorization www-authenticate cookie set-cookie origin referer location max-forwards via "
    b"strict-transport-security content-security-policy".split()
)
"""Fields that Connection cannot remove, because they are for every recipient or control access (RFC
9110 §7.6.1). A client must not remove what a trusted proxy says about it.
"""

X_LINES: Final = (
    1 << X_FORWARDED_FOR | 1 << X_FORWARDED_PROTO | 1 << X_FORWARDED_HOST | 1 << X_FORWARDED_PORT
)

READ: Final = 1 << VIA | 1 << FORWARDED | 1 << TE | X_LINES
"""Request fields whose values matter for the lines that this hop adds."""

_NAMES: Final = {
    VIA: b"via",
    FORWARDED: b"forwarded",
    TE: b"te",
    X_FORWARDED_FOR: b"x-forwarded-for",
    X_FORWARDED_PROTO: b"x-forwarded-proto",
    X_FORWARDED_HOST: b"x-forwarded-host",
    X_FORWARDED_PORT: b"x-forwarded-port",
}


def host_as_sent(head: RequestHead) -> bytes:
    """Return the Host in the client's spelling, unless a filter has changed more than its case."""
    sent = head.lines.value(HOST)
    return sent if sent.lower() == head.host else head.host


def with_added(head: Head, special: i64) -> Head:
    """Return ``head``, or a copy that consists only of lines if its list or added lines have
    special names.

    ``special``: the set of known names that are left out.
    """
    if head.listed:
        return head.settled()
    if head.added is not None:
        for name, _ in head.added:
            if (special | READ) >> field_name(name).number & 1:
                return Head(None, lines_of(head.pairs()))
    return head


def remove_nominated(head: Head, nominated: Iterable[bytes]) -> None:
    """Remove the fields that Connection nominates, except :data:`PROTECTED` ones."""
    head.remove_headers(frozenset(nominated) - PROTECTED)


def without_nominated(source: Head, nominated: tuple[bytes, ...]) -> Head:
    """Return a copy of ``source`` that consists only of lines, without the fields that Connection
    nominates.
    """
    copy = Head(None, source.lines)
    copy.without = source.without
    copy.gone = source.gone
    if source.added is not None:
        copy.added = source.added.copy()
    remove_nominated(copy, nominated)
    return copy.settled()  # a list, if a line after those covered by ``gone`` was removed


def values_of(head: Head, read: i64) -> dict[bytes, bytes]:
    """Return the values of the fields in the set ``read`` that ``head`` has, by name."""
    return {
        name: joined(head, number)
        for number, name in _NAMES.items()
        if (head.present & read) >> number & 1
    }


def joined(head: Head, number: int) -> bytes:
    """Return the lines of a list field as one value (RFC 9110 §5.3)."""
    found = b""
    for value in head.lines.values(number):
        found = found + b", " + value if found else value
    return found


def lines_as_sent(pairs: Headers) -> Ours:
    """Return encoded lines. Raises ValueError if they cannot be sent."""
    writer = BytesWriter()
    te = False
    for name, value in pairs:
        add_line(writer, name, value)
        te = te or name == b"TE"
    return Ours(pairs, writer.getvalue(), te)
