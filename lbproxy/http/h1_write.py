"""PURE. Serialising HTTP/1 heads and chunked bodies; used by the client and server connections.

Headers given here have lost their hop-by-hop fields already.  The codec alone writes the framing:
a Content-Length, Transfer-Encoding, Connection, Proxy-Connection, Upgrade or (for requests) Host
line that a filter left in ``headers`` is replaced by what the head's attributes say.

Nothing that would start another line or message can be written: a name that is not a token, or a
CR, LF or other control character anywhere raises ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from lbproxy.http.message import End, Headers, KeptLines, RequestHead, ResponseHead
from lbproxy.http.syntax import (
    FIELD_NAMES,
    FIELD_TEXT,
    TRAILER_FORBIDDEN,
    checked_name,
    is_token,
)

__all__ = [
    "LAST_CHUNK",
    "encode_chunk",
    "encode_end",
    "encode_request",
    "encode_response",
    "encode_trailers",
]

LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""

_METHODS: Final = frozenset((b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"))
_BODY_EXPECTED: Final = frozenset((b"POST", b"PUT", b"PATCH"))  # RFC 9110 §8.6
# known to the codec, but not its to write
_PASSED_ON: Final = frozenset((b"expect", b"date", b"te"))
_NO_BODY_FOR: Final = frozenset((b"HEAD", b"CONNECT"))
_TARGET_TEXT: Final = bytes(range(0x21, 0x7F))
_REASONS: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


def _checked(lines: list[bytes]) -> bytes:
    """The head made of ``lines``, each of which holds no control character but HTAB."""
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    if len(head.translate(None, FIELD_TEXT)) != 2 * len(lines):
        raise ValueError("control character in a head")
    return head


def encode_request(head: RequestHead, host: bytes | None = None, *, close: bool = False) -> bytes:
    """The head of ``head`` as an HTTP/1.1 request, down to its empty line.

    ``host`` replaces the Host line; without it the Host header is sent, else ``head.host``.
    The body is chunked if ``head.length`` is None.  ``close``: tell the server that this is the
    last request.  A TE line is named in Connection as well (RFC 9110 §10.1.4).  ValueError if
    anything in it could be read as more than one head.

    The lines of a ``head.block`` are written once and remembered in its notes.
    """
    block = head.block
    if block is None or host is not None:
        return _encode_request(head, host, close)
    method, target = head.method, head.target
    key = (method, close)
    rest: bytes | None = block.notes.get(key)
    if rest is None:
        kept = block.kept
        out = (
            _encode_request(head, host, close) if kept is None else _encode_kept(head, kept, close)
        )
        block.notes[key] = out[len(method) + len(target) + 1 :]
        return out
    if not target or target.translate(None, _TARGET_TEXT):
        raise ValueError("malformed target")
    return method + b" " + target + rest


def _encode_request(head: RequestHead, host: bytes | None, close: bool) -> bytes:
    lines = [_request_line(head), b""]
    options: list[bytes] = []
    found = _add_fields(lines, options, head.headers)
    if host is None:
        host = head.host if found is None else found
    lines[1] = b"Host: " + host
    _add_framing(lines, options, head, close)
    return _checked(lines)


def _encode_kept(head: RequestHead, kept: KeptLines, close: bool) -> bytes:
    """The same, where ``kept`` follow the first header, which is Host: they are written once for all heads."""
    encoded = kept.encoded
    if encoded is None:
        fields: list[bytes] = []
        _add_fields(fields, [], kept.headers)
        encoded = kept.encoded = _checked(fields)[:-2] if fields else b""
    lines = [_request_line(head), b"Host: " + head.headers[0][1]]
    options: list[bytes] = []
    _add_fields(lines, options, head.headers[1 + len(kept.headers) :])
    _add_framing(lines, options, head, close)
    out = _checked(lines)
    at = len(lines[0]) + len(lines[1]) + 4
    return out[:at] + encoded + out[at:]


def _request_line(head: RequestHead) -> bytes:
    method, target = head.method, head.target
    if method not in _METHODS and not is_token(method):
        raise ValueError("method is not a token")
    if not target or target.translate(None, _TARGET_TEXT):
        raise ValueError("malformed target")
    return method + b" " + target + b" HTTP/1.1"


def _add_fields(lines: list[bytes], options: list[bytes], headers: Headers) -> bytes | None:
    """Add the lines that are not the codec's to write; the value of the first Host line, which is."""
    host: bytes | None = None
    known = FIELD_NAMES
    for name, value in headers:
        low = known.get(name)
        if low is None:
            low = checked_name(name)
        if low and low not in _PASSED_ON:
            if low == b"host" and host is None:
                host = value
        else:
            lines.append(name + b": " + value)
            if low == b"te" and not options:
                options.append(b"TE")
    return host


def _add_framing(lines: list[bytes], options: list[bytes], head: RequestHead, close: bool) -> None:
    """Add what says how the body is delimited and what becomes of the connection."""
    length = head.length
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif length or head.method in _BODY_EXPECTED:
        lines.append(b"Content-Length: %d" % length)
    if head.upgrade is not None:
        options.append(b"upgrade")
    elif close:
        options.append(b"close")
    if options:
        lines.append(b"Connection: " + b", ".join(options))
    if head.upgrade is not None:
        lines.append(b"Upgrade: " + head.upgrade)


def encode_response(
    head: ResponseHead,
    *,
    client_version: int = 11,
    keep_alive: bool = True,
    date: bytes | None = None,
    method: bytes = b"GET",
) -> tuple[bytes, bool]:
    """The head of ``head`` as an HTTP/1.1 response, and whether its body is to be chunked.

    ``client_version`` 10 or 11 is what the request said; ``method`` is the request's: the answer
    to HEAD, like a 304, keeps the Content-Length line that describes the body not sent.
    ``date`` is added if the head has none.  A body of unknown length goes to an HTTP/1.0 client
    unframed, so the connection must be closed after it, and the head says so whatever
    ``keep_alive`` is.  An interim (1xx) head for an HTTP/1.0 client is empty: it must not get one
    (RFC 9110 §15.2).  ValueError as for :func:`encode_request`.
    """
    block = head.block
    if block is None or client_version < 11 or date is not None or method in _NO_BODY_FOR:
        return _encode_response(head, client_version, keep_alive, date, method)
    known: tuple[bytes, bool] | None = block.notes.get(keep_alive)
    if known is None:
        known = _encode_response(head, client_version, keep_alive, date, method)
        block.notes[keep_alive] = known
    return known


def _encode_response(
    head: ResponseHead, client_version: int, keep_alive: bool, date: bytes | None, method: bytes
) -> tuple[bytes, bool]:
    status = head.status
    if not 100 <= status <= 999:
        raise ValueError("status out of range")
    interim = status < 200
    if interim and client_version < 11:
        return b"", False
    bodyless = interim or status == 204 or (method == b"CONNECT" and status < 300)
    described = method == b"HEAD" or status == 304
    lines = [b"HTTP/1.1 %d %b" % (status, head.reason or _REASONS.get(status, b""))]
    add = lines.append
    known = FIELD_NAMES
    declared: bytes | None = None
    for name, value in head.headers:
        low = known.get(name)
        if low is None:
            low = checked_name(name)
        if low:
            if low == b"date":
                date = None
            elif low == b"content-length":
                declared = value
                continue
            elif low not in _PASSED_ON:
                continue
        add(name + b": " + value)
    if date is not None and not interim:
        add(b"Date: " + date)

    length = head.length
    chunked = False
    if described:
        if declared is not None and declared.isdigit():
            add(b"Content-Length: " + declared)
    elif bodyless:
        pass
    elif length is not None:
        add(b"Content-Length: %d" % length)
    elif client_version >= 11:
        add(b"Transfer-Encoding: chunked")
        chunked = True
    else:
        keep_alive = False

    if status == 101:
        add(b"Connection: upgrade")
        add(b"Upgrade: " + (head.upgrade or b""))
    elif interim or (method == b"CONNECT" and status < 300):
        pass
    elif not keep_alive:
        add(b"Connection: close")
    elif client_version < 11:
        add(b"Connection: keep-alive")
    return _checked(lines), chunked


def encode_chunk(data: bytes) -> bytes:
    """``data`` as one chunk; nothing for no data, as an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_trailers(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked body with ``trailers``; those that may not be there are left out.

    ValueError as for :func:`encode_request`."""
    lines = [b"0"]
    for name, value in trailers:
        if name not in FIELD_NAMES:
            checked_name(name)
        if name.lower() not in TRAILER_FORBIDDEN:
            lines.append(name + b": " + value)
    return _checked(lines) if len(lines) > 1 else LAST_CHUNK


def encode_end(end: End) -> bytes:
    """The end of a chunked body."""
    return encode_trailers(end.trailers) if end.trailers else LAST_CHUNK
