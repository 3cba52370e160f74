"""PURE. The HTTP vocabulary that codecs, filters, routes and the proxy share.

A codec turns bytes into a list of events for one stream: :class:`RequestHead` or
:class:`ResponseHead`, then body as plain ``bytes``, then one :class:`End`; or :class:`Invalid` as the
last event of a connection that broke the protocol.  HTTP/1 and HTTP/2 give the same events.

Header names keep the case they came in with (HTTP/1) and compare without it; names and values are
``bytes`` without surrounding white space.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Union

from attrs import frozen

from lbproxy.errors import Kind

Headers = list[tuple[bytes, bytes]]
"""Header lines in the order they came; repeated names stay separate lines."""


class _Head:
    """Header access shared by requests and responses."""

    __slots__ = ("headers",)

    headers: Headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of ``name`` (any case), or None."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    def header_values(self, name: bytes) -> list[bytes]:
        """Every value of ``name``, in order."""
        name = name.lower()
        return [value for key, value in self.headers if key.lower() == name]

    def set_header(self, name: bytes, value: bytes) -> None:
        """Replace every line of ``name`` by one."""
        self.remove_header(name)
        self.headers.append((name, value))

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add one more line of ``name``."""
        self.headers.append((name, value))

    def remove_header(self, name: bytes) -> None:
        """Remove every line of ``name``; no error if there is none."""
        name = name.lower()
        self.headers = [pair for pair in self.headers if pair[0].lower() != name]


class KeptLines:
    """Header lines that go from one head into another as they are; ``encoded`` is theirs who write them."""

    __slots__ = ("encoded", "headers")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.encoded: bytes | None = None


class FieldBlock:
    """The header lines of an HTTP/1 head that came once more, byte for byte, from the same peer.

    Clients and servers repeat themselves: while a connection's heads differ in nothing but the start line (for
    responses: in nothing), what follows from the lines is worked out once.  ``notes`` is where those who
    read the head keep what they made of it on this connection; a key is the reader's own object.  ``common`` is for
    what holds whoever sent the lines, the same for all connections that sent them.  Nobody changes ``headers``.
    ``kept``: for a head made of such a one, what follows its first line unchanged.
    """

    __slots__ = ("common", "headers", "kept", "notes", "raw")

    def __init__(
        self,
        raw: bytes,
        headers: Headers,
        common: dict[Any, Any] | None = None,
        kept: KeptLines | None = None,
    ) -> None:
        self.raw = raw
        self.headers = headers
        self.notes: dict[Any, Any] = {}
        self.common: dict[Any, Any] = {} if common is None else common
        self.kept = kept


class RequestHead(_Head):
    """The head of one request, after the codec has checked and normalised it.

    ``target`` is in origin form (``/path?query``), ``*`` for OPTIONS, or ``host:port`` for CONNECT;
    an absolute-form target has been split into ``scheme``, ``host`` and origin form (RFC 9112 §3.2).
    ``host`` is the effective authority, lower case, with its port if one was sent; ``headers`` still
    holds a ``Host`` line equal to it.  ``version`` is 10, 11 or 20.

    ``length`` is the body's length in bytes, None when it is not known in advance (chunked, HTTP/2
    without content-length); 0 means no body.  ``keep_alive`` is what the client asked for.
    ``upgrade`` is the lower-cased Upgrade value if the request asked for a protocol switch
    (and ``Connection: upgrade`` said so), else None.  ``expect_continue``: the client waits for 100.
    ``nominated`` are the lower-cased field names that Connection names beyond close, keep-alive and upgrade.
    ``block``: the lines ``headers`` was made of, where the codec knows them.
    """

    __slots__ = (
        "block",
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
        headers: Headers,
        version: int = 11,
        host: bytes = b"",
        scheme: bytes = b"http",
        length: int | None = 0,
        keep_alive: bool = True,
        upgrade: bytes | None = None,
        expect_continue: bool = False,
        nominated: tuple[bytes, ...] = (),
        block: FieldBlock | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.version = version
        self.host = host
        self.scheme = scheme
        self.length = length
        self.keep_alive = keep_alive
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.nominated = nominated
        self.block = block

    def __repr__(self) -> str:
        return f"<request {self.method!r} {self.target!r} {self.host!r} {self.headers!r} {self.length}>"

    @property
    def path(self) -> bytes:
        """The target up to the ``?``."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """The target after the ``?``, without it; empty if none."""
        return self.target.partition(b"?")[2]

    @property
    def hostname(self) -> bytes:
        """``host`` without its port and without a trailing dot; an IPv6 literal keeps its brackets."""
        host = self.host
        if host.endswith(b"]") or b":" not in host:
            return host.rstrip(b".")
        return host.rpartition(b":")[0].rstrip(b".")

    def cookie(self, name: bytes) -> bytes | None:
        """The first cookie ``name`` (RFC 6265 §4.2.1), without surrounding quotes, or None."""
        for line in self.header_values(b"cookie"):
            for part in line.split(b";"):
                key, eq, value = part.strip().partition(b"=")
                if eq and key == name:
                    return value.strip(b'"')
        return None

    def query_value(self, name: bytes) -> bytes | None:
        """The first raw (not percent-decoded) query parameter ``name``, or None."""
        for part in self.query.split(b"&"):
            key, _, value = part.partition(b"=")
            if key == name:
                return value
        return None


class ResponseHead(_Head):
    """The head of one response.

    ``status`` 100 to 999; ``version`` 10, 11 or 20.  ``length`` is the body's length in bytes, 0 when it
    has none (HEAD, 204, 304, 1xx), None when it is chunked or runs until close; ``until_close`` tells which.
    For a HEAD or 304 answer the Content-Length *line* stays in ``headers`` and describes the body not sent.
    ``keep_alive``: the server will take another request on this connection.
    ``chunked``: the body came with the chunked coding.
    """

    __slots__ = (
        "block",
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
        headers: Headers,
        reason: bytes = b"",
        version: int = 11,
        length: int | None = 0,
        keep_alive: bool = True,
        chunked: bool = False,
        until_close: bool = False,
        upgrade: bytes | None = None,
        nominated: tuple[bytes, ...] = (),
        block: FieldBlock | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.reason = reason
        self.version = version
        self.length = length
        self.keep_alive = keep_alive
        self.chunked = chunked
        self.until_close = until_close
        self.upgrade = upgrade
        self.nominated = nominated
        self.block = block

    def __repr__(self) -> str:
        return f"<response {self.status} {self.reason!r} {self.headers!r} {self.length}>"


@frozen
class End:
    """The message is complete; ``trailers`` are the trailer fields of a chunked body or an HTTP/2 stream."""

    trailers: tuple[tuple[bytes, bytes], ...] = ()


END: Final = End()
"""The usual end: no trailers."""


@frozen
class Invalid:
    """The peer broke the protocol: nothing more can be read from this connection.

    ``kind`` and ``detail`` as in :class:`lbproxy.errors.ProxyError`; ``status`` is the answer for a client
    (400, 413, 414, 431, 501, 505), and is meaningless for a server, whose breach is always 502.
    """

    kind: Kind
    detail: str
    status: int = 400


Event = Union[RequestHead, ResponseHead, bytes, End, Invalid]
"""What codecs return; body data is plain ``bytes``, never empty."""


@frozen
class Limits:
    """Bounds a codec enforces; sizes in bytes.  Defaults are in the range of HAProxy's and nginx's."""

    header_bytes: int = 32 * 1024  # whole head: start line and fields
    header_count: int = 100
    url_bytes: int = 8 * 1024
    trailer_bytes: int = 8 * 1024
    body_bytes: int | None = None  # None: no limit


class Reply:
    """An answer made by the proxy itself (a filter, a route, an error), complete in memory.

    ``body`` at most a few hundred KiB: it is held whole.  Content-Length is added when it is sent.
    ``close``: end the client's connection after it.
    """

    __slots__ = ("body", "close", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Headers | None = None, close: bool = False
    ) -> None:
        self.status = status
        self.body = body
        self.headers: Headers = [] if headers is None else headers
        self.close = close

    def __repr__(self) -> str:
        return f"<reply {self.status} {self.headers!r} {len(self.body)} bytes>"


def header_pairs(items: Iterable[tuple[str | bytes, str | bytes]]) -> Headers:
    """``Headers`` from str or bytes pairs (latin-1), for filters and tests."""

    def raw(value: str | bytes) -> bytes:
        return value if isinstance(value, bytes) else value.encode("latin-1")

    return [(raw(name), raw(value)) for name, value in items]
