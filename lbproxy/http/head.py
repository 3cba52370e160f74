"""PURE. The heads of requests and responses: raw bytes, a table of offsets and a list of edits.

:mod:`lbproxy.http.basehead` implements their lines.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

from lbproxy.http.basehead import Head, Headers, Ours, every_value
from lbproxy.http.cookietable import COOKIE_ROW, cookie_rows, is_cookie, line_without
from lbproxy.http.known import COOKIE, field_name
from lbproxy.http.scan import EMPTY, MASK, Lines

__all__ = ["Head", "Headers", "Ours", "RequestHead", "ResponseHead"]


_COOKIE: Final = field_name(b"cookie")


class RequestHead(Head):
    """The head of one request, checked and normalised by the codec.

    ``target`` is in origin form (``/path?query``), ``*`` for OPTIONS, or ``host:port`` for CONNECT;
    an absolute-form target has been split into ``scheme``, ``host`` and origin form (RFC 9112
    §3.2). ``host`` is the effective authority, lower case, with its port if one was sent;
    ``headers`` still holds a ``Host`` line equal to it. ``version`` is 10, 11 or 20.

    ``length`` is the body's length in bytes, None if it is not known in advance (chunked, HTTP/2
    without content-length), 0 for no body. ``keep_alive`` is the client's request. ``upgrade`` is
    the lower-cased Upgrade value if the request asks for a protocol switch (with ``Connection:
    upgrade``), else None. ``expect_continue``: the client waits for 100. ``nominated`` are the
    lower-cased field names in Connection besides close, keep-alive and upgrade.

    ``checked`` is the target that the codec has checked, if any. Only a different target is checked
    before it is sent.
    """

    __slots__ = (
        "checked",
        "expect_continue",
        "host",
        "keep_alive",
        "length",
        "method",
        "nominated",
        "scheme",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers | None,
        version: int = 11,
        host: bytes = b"",
        scheme: bytes = b"http",
        length: int | None = 0,
        keep_alive: bool = True,
        upgrade: bytes | None = None,
        expect_continue: bool = False,
        nominated: tuple[bytes, ...] = (),
        lines: Lines = EMPTY,
    ) -> None:
        super().__init__(headers, lines)
        self.method = method
        self.target = target
        self.version = version
        self.host = host
        self.scheme = scheme
        self.length = length
        self.keep_alive = keep_alive
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.nominated = nominated
        self.checked: bytes | None = None

    def __repr__(self) -> str:
        return (
            f"<request {self.method!r} {self.target!r} {self.host!r} {self.pairs()!r} "
            f"{self.length}>"
        )

    @property
    def path(self) -> bytes:
        """The target up to the ``?``."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The target after the ``?``; empty without a query."""
        return self.target.partition(b"?")[2]

    @property
    def hostname(self) -> bytes:
        """``host`` without its port and without a trailing dot; an IPv6 literal keeps its
        brackets.
        """
        host = self.host
        if host.find(b":") < 0 or host.endswith(b"]"):  # "in" costs six times as much
            return host.rstrip(b".")
        return host.rpartition(b":")[0].rstrip(b".")

    def cookie(self, name: bytes) -> bytes | None:
        """Return the first cookie ``name`` (RFC 6265 §4.2.1) without surrounding quotes, or
        None.
        """
        if not self._in_place():
            found = self._cookies_of(name)
            return found[0] if found else None
        table = self._cookie_table()
        raw = self.lines.raw
        at: i64 = 0
        while at < len(table):
            if is_cookie(raw, read_i64_le(table, at), name):
                word = read_i64_le(table, at + 8)
                return raw[word & MASK : word >> 32]
            at += COOKIE_ROW
        return None

    def cookies(self, name: bytes) -> list[bytes]:
        """Return all cookies ``name`` in order, without surrounding quotes."""
        if not self._in_place():
            return self._cookies_of(name)
        found: list[bytes] = []
        table = self._cookie_table()
        raw = self.lines.raw
        at: i64 = 0
        while at < len(table):
            if is_cookie(raw, read_i64_le(table, at), name):
                word = read_i64_le(table, at + 8)
                found.append(raw[word & MASK : word >> 32])
            at += COOKIE_ROW
        return found

    def drop_cookie(self, name: bytes) -> bool:
        """Remove the cookie ``name`` if it occurs at most once and in the only Cookie line.

        Otherwise return False and change nothing.
        """
        lines = self.lines
        if lines.repeated >> COOKIE & 1 or not self._in_place():
            return False
        table = self._cookie_table()
        found: i64 = -1
        at: i64 = 0
        while at < len(table):
            if is_cookie(lines.raw, read_i64_le(table, at), name):
                if found >= 0:
                    return False
                found = at
            at += COOKIE_ROW
        if found >= 0:
            left = line_without(lines, found)
            self.remove(_COOKIE)
            if left:
                self.add_header(b"Cookie", left)
        return True

    def _in_place(self) -> bool:
        """Return whether the Cookie lines are those of ``lines``."""
        if self.listed or self.without >> COOKIE & 1:
            return False
        if self.added is None and self.before is None:
            return True
        return not every_value(self._behind(), _COOKIE)

    def _cookie_table(self) -> bytes:
        lines = self.lines
        table = lines.cookies
        if table is None:
            table = lines.cookies = cookie_rows(lines)
        return table

    def _cookies_of(self, name: bytes) -> list[bytes]:
        found: list[bytes] = []
        for line in self.header_values(b"cookie"):
            for part in line.split(b";"):
                key, eq, value = part.strip().partition(b"=")
                if eq and key == name:
                    found.append(value.strip(b'"'))
        return found

    def query_value(self, name: bytes) -> bytes | None:
        """Return the first raw (not percent-decoded) query parameter ``name``, or None."""
        for part in self.query.split(b"&"):
            key, _, value = part.partition(b"=")
            if key == name:
                return value
        return None


class ResponseHead(Head):
    """The head of one response.

    ``status`` 100 to 999; ``version`` 10, 11 or 20. ``length`` is the body's length in bytes, 0
    without a body (HEAD, 204, 304, 1xx), None if it is chunked or runs until close, as
    ``until_close`` indicates. For a HEAD or 304 response the Content-Length *line* stays in
    ``headers`` and describes the body not sent. ``keep_alive``: the server accepts another request
    on this connection. ``chunked``: the body has the chunked coding.
    """

    __slots__ = (
        "chunked",
        "keep_alive",
        "length",
        "nominated",
        "reason",
        "status",
        "until_close",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        status: int,
        headers: Headers | None,
        reason: bytes = b"",
        version: int = 11,
        length: int | None = 0,
        keep_alive: bool = True,
        chunked: bool = False,
        until_close: bool = False,
        upgrade: bytes | None = None,
        nominated: tuple[bytes, ...] = (),
        lines: Lines = EMPTY,
    ) -> None:
        super().__init__(headers, lines)
        self.status = status
        self.reason = reason
        self.version = version
        self.length = length
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.until_close = until_close
        self.upgrade = upgrade
        self.nominated = nominated

    def __repr__(self) -> str:
        return f"<response {self.status} {self.reason!r} {self.pairs()!r} {self.length}>"
