"""PURE. Encoding of HTTP/1 heads and chunked bodies, for the client and server connections.

Hop-by-hop fields have been removed from the heads passed to this module. Only the codec writes the
framing: Content-Length, Transfer-Encoding, Connection, Proxy-Connection, Upgrade and (for requests)
Host lines that a filter has left in a head are replaced according to the head's attributes.

Received lines are copied in runs and are not checked again. Lines added by lbproxy or a filter are
checked: a name that is not a token, or a CR, LF or other control character, raises ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from librt.strings import BytesWriter

from lbproxy.http.bytetext import add_number, target_end, text_end
from lbproxy.http.head import Head, Headers, Ours
from lbproxy.http.known import (
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    FieldName,
    field_name,
)
from lbproxy.http.message import End, RequestHead, ResponseHead
from lbproxy.http.reasons import REASONS
from lbproxy.http.syntax import TRAILER_FORBIDDEN, is_token

__all__ = [
    "LAST_CHUNK",
    "add_line",
    "encode_chunk",
    "encode_chunks",
    "encode_end",
    "encode_request",
    "encode_response",
    "encode_trailers",
]

LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""

_METHODS: Final = frozenset((b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"))
_BODY_EXPECTED: Final = frozenset((b"POST", b"PUT", b"PATCH"))  # RFC 9110 §8.6
_TARGET_TEXT: Final = bytes(range(0x21, 0x7F))
_REASONS: Final = REASONS
_OURS_TO_WRITE: Final = (
    1 << HOST
    | 1 << CONTENT_LENGTH
    | 1 << TRANSFER_ENCODING
    | 1 << CONNECTION
    | 1 << UPGRADE
    | 1 << PROXY_CONNECTION
)
_HOST: Final = field_name(b"host")
_UPGRADE: Final = field_name(b"upgrade")
_LENGTH: Final = field_name(b"content-length")
_DATE: Final = field_name(b"date")


def add_line(writer: BytesWriter, name: bytes, value: bytes) -> None:
    """Write one field line.

    Raises ValueError for a name that is not a token, or a control character in the value.
    """
    _write_line(writer, field_name(name), name, value)


def _write_line(writer: BytesWriter, field: FieldName, name: bytes, value: bytes) -> None:
    if not field.token:
        raise ValueError("field name is not a token")
    if text_end(value, 0) != len(value):
        raise ValueError("control character in a head")
    writer.write(name)
    writer.write(b": ")
    writer.write(value)
    writer.write(b"\r\n")


def _add_lines(writer: BytesWriter, headers: Headers | None) -> bool:
    """Write the lines, except those that only the codec writes. Return whether TE is among them."""
    te = False
    if headers is not None:
        for name, value in headers:
            field = field_name(name)
            if not _OURS_TO_WRITE >> field.number & 1:
                _write_line(writer, field, name, value)
                te = te or field.number == TE
    return te


def _add_fields(writer: BytesWriter, head: Head) -> bool:
    """Write the lines of a settled head. Return whether TE is among them."""
    head.copy_lines(writer, _OURS_TO_WRITE)
    te = bool(head.present >> TE & 1)
    te = _add_lines(writer, head.before) or te
    ours: Ours | None = head.ours
    if ours is not None:
        writer.write(ours.encoded)
        te = te or ours.te
    return _add_lines(writer, head.added) or te


def _is_target(target: bytes) -> bool:
    """Return whether ``target`` can be written: at least one byte, all VCHAR."""
    if not target:
        return False
    return target_end(target, 0) == len(target) or not target.translate(None, _TARGET_TEXT)


def encode_request(head: RequestHead, host: bytes | None = None, *, close: bool = False) -> bytes:
    """Return ``head`` encoded as an HTTP/1.1 request, including its empty line.

    ``host`` replaces the Host line; without it the Host header is sent, or ``head.host`` if there
    is none. The body is chunked if ``head.length`` is None. ``close``: announce that this is the
    last request. A TE line is also nominated in Connection (RFC 9110 §10.1.4). Raises ValueError if
    the result could be read as more than one head.
    """
    method, target = head.method, head.target
    if method not in _METHODS and not is_token(method):
        raise ValueError("method is not a token")
    if target is not head.checked and not _is_target(target):
        raise ValueError("malformed target")
    settled = head.settled()
    if host is None:
        host = settled.first(_HOST)
        if host is None:
            host = head.host
    if text_end(host, 0) != len(host):
        raise ValueError("control character in a head")
    writer = BytesWriter()
    writer.write(method)
    writer.write(b" ")
    writer.write(target)
    writer.write(b" HTTP/1.1\r\nHost: ")
    writer.write(host)
    writer.write(b"\r\n")
    te = _add_fields(writer, settled)
    length = head.length
    if length is None:
        writer.write(b"Transfer-Encoding: chunked\r\n")
    elif length or method in _BODY_EXPECTED:
        writer.write(b"Content-Length: ")
        add_number(writer, length)
        writer.write(b"\r\n")
    upgrade = head.upgrade
    if te or close or upgrade is not None:
        _add_connection(writer, te, close, upgrade)
    writer.write(b"\r\n")
    return writer.getvalue()


def _add_connection(writer: BytesWriter, te: bool, close: bool, upgrade: bytes | None) -> None:
    """Write the Connection and Upgrade lines."""
    options: list[bytes] = []
    if te:
        options.append(b"TE")
    if upgrade is not None:
        options.append(b"upgrade")
    elif close:
        options.append(b"close")
    add_line(writer, b"Connection", b", ".join(options))
    if upgrade is not None:
        add_line(writer, b"Upgrade", upgrade)


def _add_required(writer: BytesWriter, head: Head, keep_alive: bool) -> None:
    """Write Connection and the Upgrade of a 426 (RFC 9110 §7.8, §15.5.22)."""
    required = b", ".join(head.every(_UPGRADE))
    options = [
        option for option, said in ((b"upgrade", required), (b"close", not keep_alive)) if said
    ]
    if options:
        add_line(writer, b"Connection", b", ".join(options))
    if required:
        add_line(writer, b"Upgrade", required)


def encode_response(
    head: ResponseHead,
    *,
    client_version: int = 11,
    keep_alive: bool = True,
    date: bytes | None = None,
    method: bytes = b"GET",
) -> tuple[bytes, bool]:
    """Return ``head`` encoded as an HTTP/1.1 response, and whether its body must be chunked.

    ``client_version`` 10 or 11 is that of the request. ``method`` is that of the request: a
    response to HEAD, like a 304, keeps the Content-Length line, which describes the body not sent.
    ``date`` is added if the head has none. A body of unknown length is sent to an HTTP/1.0 client
    without framing, so that the connection must be closed after it; the head announces this
    regardless of ``keep_alive``. An interim (1xx) head for an HTTP/1.0 client is empty, because the
    client must not get one (RFC 9110 §15.2). Raises ValueError like :func:`encode_request`.
    """
    status = head.status
    if not 100 <= status <= 999:
        raise ValueError("status out of range")
    interim = status < 200
    if interim and client_version < 11:
        return b"", False
    settled = head.settled()
    reason = head.reason or _REASONS.get(status, b"")
    if text_end(reason, 0) != len(reason):
        raise ValueError("control character in a head")
    writer = BytesWriter()
    writer.write(b"HTTP/1.1 ")
    add_number(writer, status)
    writer.write(b" ")
    writer.write(reason)
    writer.write(b"\r\n")
    _add_fields(writer, settled)
    if date is not None and not interim and settled.first(_DATE) is None:
        add_line(writer, b"Date", date)

    length = head.length
    chunked = False
    if method == b"HEAD" or status == 304:
        declared = settled.every(_LENGTH)
        if declared and declared[-1].isdigit():
            add_line(writer, b"Content-Length", declared[-1])
    elif interim or status == 204 or (method == b"CONNECT" and status < 300):
        pass
    elif length is not None:
        writer.write(b"Content-Length: ")
        add_number(writer, length)
        writer.write(b"\r\n")
    elif client_version >= 11:
        writer.write(b"Transfer-Encoding: chunked\r\n")
        chunked = True
    else:
        keep_alive = False

    if status == 101:
        writer.write(b"Connection: upgrade\r\n")
        add_line(writer, b"Upgrade", head.upgrade or b"")
    elif interim or (method == b"CONNECT" and status < 300):
        pass
    elif status == 426:
        _add_required(writer, settled, keep_alive)
    elif not keep_alive:
        writer.write(b"Connection: close\r\n")
    elif client_version < 11:
        writer.write(b"Connection: keep-alive\r\n")
    writer.write(b"\r\n")
    return writer.getvalue(), chunked


def encode_chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk; empty for no data, because an empty chunk would end the
    body.
    """
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_trailers(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the end of a chunked body with ``trailers``, without forbidden ones.

    Raises ValueError like :func:`encode_request`.
    """
    writer = BytesWriter()
    writer.write(b"0\r\n")
    for name, value in trailers:
        if name.lower() not in TRAILER_FORBIDDEN:
            add_line(writer, name, value)
    writer.write(b"\r\n")
    return writer.getvalue()


def encode_end(end: End) -> bytes:
    """Return the end of a chunked body."""
    return encode_trailers(end.trailers) if end.trailers else LAST_CHUNK


def encode_chunks(data: bytes, end: End | None) -> bytes:
    """Return ``data`` as one chunk, followed by the end of the body if it is known; b"" without
    either.
    """
    out = encode_chunk(data) if data else b""
    if end is not None:
        out += encode_end(end)
    return out
