"""PURE. The HTTP types shared by codecs, filters, routes and the proxy.

A codec converts bytes to a list of events for one stream: :class:`RequestHead` or
:class:`ResponseHead`, then the body as plain ``bytes``, then one :class:`End`. An :class:`Invalid`
is the last event of a connection that violated the protocol. HTTP/1 and HTTP/2 have the same
events.

Header names keep their received case (HTTP/1) and are compared without case. Names and values are
``bytes`` without surrounding white space.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Union

from attrs import frozen

from lbproxy.errors import Kind
from lbproxy.http.bytetext import add_number, lowest
from lbproxy.http.head import Head, Headers, RequestHead, ResponseHead
from lbproxy.http.known import FieldName, field_name

__all__ = [
    "END",
    "End",
    "Event",
    "FieldName",
    "Head",
    "Headers",
    "Invalid",
    "Limits",
    "Reply",
    "RequestHead",
    "ResponseHead",
    "add_number",
    "field_name",
    "header_pairs",
    "lowest",
    "text_of",
]


@frozen
class End:
    """The end of a message. ``trailers`` are the trailer fields of a chunked body or an HTTP/2
    stream.
    """

    trailers: tuple[tuple[bytes, bytes], ...] = ()


END: Final = End()
"""The usual end, without trailers."""


@frozen
class Invalid:
    """The peer violated the protocol: nothing more can be read from this connection.

    ``kind`` and ``detail`` as in :class:`lbproxy.errors.ProxyError`. ``status`` is the response to
    a client (400, 413, 414, 431, 501, 505). It has no meaning for a server, whose violation is
    always 502.
    """

    kind: Kind
    detail: str
    status: int = 400


Event = Union[RequestHead, ResponseHead, bytes, End, Invalid]
"""The results of codecs; body data is plain ``bytes``, never empty."""


@frozen
class Limits:
    """The bounds of a codec; sizes in bytes.

    Defaults are in the range of HAProxy's and nginx's.
    """

    header_bytes: int = 32 * 1024  # complete head: start line and fields
    header_count: int = 100
    url_bytes: int = 8 * 1024
    trailer_bytes: int = 8 * 1024
    body_bytes: int | None = None  # None: no limit


class Reply:
    """A response created by lbproxy: by a filter, a route or a source, or an error page.

    ``body``: bytes, or an iterable or asynchronous iterable of non-empty bytes (a generator), which
    is read only as fast as the client reads. Each piece may take ``timeout_filter``. ``length``:
    number of bytes of an iterable, if known; without it the body is chunked, and an HTTP/1.0
    connection is closed after it. Content-Length is added when the reply is sent. ``close``: close
    the client's connection after the reply.
    """

    __slots__ = ("body", "close", "headers", "length", "status")

    def __init__(
        self,
        status: int,
        body: Any = b"",
        headers: Headers | None = None,
        close: bool = False,
        length: int | None = None,
    ) -> None:
        self.status = status
        self.body: Any = body
        self.headers: Headers = [] if headers is None else headers
        self.close = close
        self.length = length

    def __repr__(self) -> str:
        size = f"{len(self.body)} bytes" if isinstance(self.body, bytes) else "a stream"
        return f"<reply {self.status} {self.headers!r} {size}>"


def text_of(raw: bytes) -> str:
    """Return ``raw`` as text for people: UTF-8, or Latin-1 if it is not valid UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def header_pairs(items: Iterable[tuple[str | bytes, str | bytes]]) -> Headers:
    """Return ``Headers`` from str or bytes pairs (latin-1), for filters and tests."""

    def raw(value: str | bytes) -> bytes:
        return value if isinstance(value, bytes) else value.encode("latin-1")

    return [(raw(name), raw(value)) for name, value in items]
