"""PURE. Where llhttp puts what it finds in one complete HTTP/1 head; the parsers in ``h1`` read it.

llhttp calls back while a head is fed and keeps the bound methods it got, so these are objects of
their own: a parser that held an llhttp parser that held the parser would be garbage only the
collector finds, once per connection.

The lists are new for every head and given away with it.
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from lbproxy.http.message import Headers

__all__ = ["KEPT_OPEN", "NO_FIELDS", "FoundRequest", "FoundResponse", "knows_method"]

KEPT_OPEN: Final = frozenset((None, b"keep-alive", b"Keep-Alive"))
"""Connection values (None: no such line) after which an llhttp parser takes another head.  After
any other, which may mean ``close`` or an upgrade to it, it is not used again; nor after a
Proxy-Connection line, which it reads alike."""


NO_FIELDS: Headers = []
"""Where fields are found between heads: an idle connection does not hold on to those of the last one."""


class FoundRequest:
    """Target and fields of a request."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.target = b""

    def on_url(self, url: bytes) -> None:
        """The target as it was sent."""
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field line; llhttp takes blanks from a value's start only."""
        self.headers.append((name, value.strip()))


class FoundResponse:
    """Reason and fields of a response."""

    __slots__ = ("headers", "reason")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.reason = b""

    def on_status(self, reason: bytes) -> None:
        """The reason as it was sent."""
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field line; llhttp takes blanks from a value's start only."""
        self.headers.append((name, value.strip()))


def knows_method(method: bytes) -> bool:
    """Whether llhttp takes ``method`` (a token) in an HTTP/1.1 request.

    Asked only for a head that it refused: it has no word of its own for that in all cases."""
    if method == b"PRI":
        return False  # known as the start of an HTTP/2 connection only
    target = b"a:1" if method == b"CONNECT" else b"/"
    try:
        HttpRequestParser(FoundRequest()).feed_data(method + b" " + target + b" HTTP/1.1\r\n\r\n")
    except HttpParserUpgrade:
        return True
    except HttpParserError:
        return False
    return True
