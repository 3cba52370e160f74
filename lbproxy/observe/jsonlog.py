"""PURE. Access records as lines of JSON. This code runs once per request.

A line is written into one buffer. Constants, and values that repeat from line to line (the
connection, the method, the names of frontend, route, backend and server), are bytes. Numbers and
times are written digit by digit. Text from clients is copied straight from the raw head if it needs
no escape, and escaped otherwise. Caches whose keys a client or a filter controls are bounded in
number and in size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from librt.strings import BytesWriter, read_i64_le
from mypy_extensions import i64

from lbproxy.errors import Kind
from lbproxy.http.message import FieldName, RequestHead, add_number, field_name, text_of
from lbproxy.observe.fields import FIELD_LIMIT, TARGET_LIMIT, VERSIONS, clip
from lbproxy.observe.record import Connection, HTTPRecord, LogCache, Record
from lbproxy.observe.timestamps import rfc3339

__all__ = ["HTTPLines", "TCPLines", "http_line", "plain_end", "tcp_line"]

_KEPT: Final = 1024  # pieces of text that a writer remembers of each kind ...
_KEPT_SIZE: Final = 1024  # ... and the longest one
_BUFFER_MAX: Final = 64 * 1024  # a buffer that has grown beyond this is not used again
_encode: Final = json.JSONEncoder().encode

_IN_THE_CLEAR: Final[bytes] = b'"tls_version":"","tls_cipher":""'
_addresses: Final[dict[str, bytes]] = {}  # quoted; of hosts that come again
_ADDRESS_SIZE: Final = 64
_FOREVER: Final = 1e12  # seconds that no clock measures
_MOST: Final = 10**18  # a larger number is written the slow way
_USER_AGENT: Final = field_name(b"user-agent")
_REFERER: Final = field_name(b"referer")
_VERSIONS: Final = {
    version: f'","version":"{text}","status":'.encode() for version, text in VERSIONS.items()
}
_HTTP_1_1: Final[bytes] = _VERSIONS[11]
_NO_VERSION: Final[bytes] = b'","version":"","status":'
_CLOSES: Final = {kind: f'"close":"{kind.value}","detail":"'.encode() for kind in Kind}
_OK: Final = Kind.OK
_CLOSE_OK: Final[bytes] = _CLOSES[_OK]  # the hash of an enum's member is computed in Python
_REUSED_OK: Final[bytes] = b',"reused":true,' + _CLOSE_OK + b'","header_ms":'
_FRESH_OK: Final[bytes] = b',"reused":false,' + _CLOSE_OK + b'","header_ms":'
_WHOLE: Final[list[bytes]] = [b"%d" % n for n in range(1000)]
_THOUSANDTHS: Final[list[bytes]] = [b".%03d" % n for n in range(1000)]
# what stands for itself in a JSON string: printable ASCII but quote and backslash
_PLAIN: Final[bytes] = bytes([0x20 <= c <= 0x7E and c not in (34, 92) for c in range(256)])


# -- values as text, for what is kept or odd -----------------------------------------------------


def _text(text: str, limit: int) -> str:
    """Return a JSON string in printable ASCII, cut to ``limit``.

    Most texts only need the quotes.
    """
    plain = text.isascii() and '"' not in text and "\\" not in text and text.isprintable()
    if plain and len(text) <= limit:
        return f'"{text}"'
    return _encode(clip(text, limit))


def _quoted(value: Any, limit: int) -> str:
    """Return a JSON value in printable ASCII, with text cut to ``limit``.

    A value of an unexpected type, set by a filter, is converted to something similar.
    """
    if type(value) is str:
        return _text(value, limit)
    if isinstance(value, str):
        return _encode(clip(value, limit))
    plain = (
        value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    )
    return _encode(value) if plain else _quoted(str(value), limit)


def _address(value: Any) -> bytes:
    """Return an IP address, a host or the name of a listener as JSON, mostly one seen before."""
    if type(value) is not str:
        return _quoted(value, FIELD_LIMIT).encode("ascii")
    known = _addresses.get(value)
    if known is None:
        known = _text(value, FIELD_LIMIT).encode("ascii")
        if len(known) <= _ADDRESS_SIZE:
            if len(_addresses) >= _KEPT:
                _addresses.clear()
            _addresses[value] = known
    return known


def _number(value: Any) -> str:
    """Return the JSON value of an int field; a filter may have set another type."""
    return str(value) if type(value) is int else _quoted(value, FIELD_LIMIT)


def _field(name: str, value: Any) -> str:
    return f'"{name}":{_quoted(value, FIELD_LIMIT)}'


# -- values into the buffer ----------------------------------------------------------------------


def plain_end(raw: bytes, at: i64, end: i64) -> i64:
    """Return where the bytes of ``raw`` from ``at`` that need no JSON escape end, at most
    ``end``.
    """
    plain: bytes = _PLAIN
    wide: i64 = end - 8
    blanks: i64 = 0x2020202020202020
    ones: i64 = 0x0101010101010101
    halves: i64 = 0x3F3F3F3F3F3F3F3F
    deletes: i64 = halves * 2 + ones  # 0x7f in each byte
    quotes: i64 = 0x2222222222222222
    slashes: i64 = 0x5C5C5C5C5C5C5C5C
    high: i64 = ~deletes
    i: i64 = at
    while i <= wide:
        word: i64 = read_i64_le(raw, i)
        flip: i64 = word ^ deletes
        quote: i64 = word ^ quotes
        slash: i64 = word ^ slashes
        # some byte below 0x20, above 0x7e, a quote or a backslash
        if (
            ((word - blanks) & ~word)
            | ((flip - ones) & ~flip)
            | ((quote - ones) & ~quote)
            | ((slash - ones) & ~slash)
            | word
        ) & high:
            break
        i += 8
    while i < end and plain[i64(raw[i])]:
        i += 1
    return i


def _add_raw(writer: BytesWriter, raw: bytes, at: i64, end: i64, limit: i64) -> None:
    """Write bytes ``at`` to ``end`` of ``raw``, decoded, as the inside of a JSON string."""
    if at >= end:
        return
    if end - at <= limit and plain_end(raw, at, end) == end:
        writer.write(raw if end - at == len(raw) else raw[at:end])
        return
    writer.write(_encode(clip(text_of(raw[at:end]), limit))[1:-1].encode("ascii"))


def _add_text(writer: BytesWriter, text: Any) -> None:
    """Write a str, which is empty in most lines, as the inside of a JSON string."""
    if text:
        quoted = _quoted(text if isinstance(text, str) else str(text), FIELD_LIMIT)
        writer.write(quoted[1:-1].encode("ascii"))


def _add_number(writer: BytesWriter, value: Any) -> None:
    """Write the value of an int field; a filter may have set another type."""
    if type(value) is int:
        number: int = value
        if 0 <= number < 1000:
            writer.write(_WHOLE[number])
            return
        if 0 < number < _MOST:
            add_number(writer, number)
            return
    writer.write(_number(value).encode("ascii"))


def _add_ms(writer: BytesWriter, seconds: float) -> None:
    """Write seconds as milliseconds in whole microseconds; null for a negative value."""
    if seconds == 0.0:
        writer.write(b"0.000")
    elif not 0.0 <= seconds < _FOREVER:
        writer.write(b"null")
    else:
        micros: i64 = int(seconds * 1e6)
        millis: i64 = micros // 1000
        if millis < 1000:
            writer.write(_WHOLE[millis])
        else:
            add_number(writer, millis)
        writer.write(_THOUSANDTHS[micros - millis * 1000])


def _add_header(writer: BytesWriter, head: RequestHead, name: FieldName) -> None:
    """Write the first value of a header, straight from the raw head if it is unchanged."""
    word = head.place(name)
    if word >= 0:
        _add_raw(writer, head.lines.raw, word & 0xFFFFFFFF, word >> 32, FIELD_LIMIT)
    elif word == -2:
        value = head.first(name)
        if value is not None:
            _add_raw(writer, value, 0, len(value), FIELD_LIMIT)


# -- the lines -----------------------------------------------------------------------------------


def _add_client(writer: BytesWriter, record: Record) -> None:
    """Write the client, up to the request id."""
    writer.write(b'"client_ip":')
    writer.write(_address(record.client_ip))
    writer.write(b',"client_port":')
    _add_number(writer, record.client_port)
    writer.write(b',"request_id":"')


def _add_connection(writer: BytesWriter, info: Connection) -> None:
    """Write the end of the line, which is the same for all lines of a connection."""
    writer.write(b',"listener":')
    writer.write(_address(info.listener))
    writer.write(b',"peer_ip":')
    writer.write(_address(info.peer_ip))
    writer.write(b',"peer_port":')
    _add_number(writer, info.peer_port)
    writer.write(b',"local_ip":')
    writer.write(_address(info.local_ip))
    writer.write(b',"local_port":')
    _add_number(writer, info.local_port)
    writer.write(b",")
    tls = info.tls
    if tls is None:
        writer.write(_IN_THE_CLEAR)
    else:
        secured = f"{_field('tls_version', tls.version)},{_field('tls_cipher', tls.cipher)}"
        writer.write(secured.encode("ascii"))
    writer.write(b',"sni":')
    writer.write(_address(info.sni))
    if tls is None:
        writer.write(b',"alpn":""}\n')
    else:
        writer.write(f',"alpn":{_quoted(tls.alpn, FIELD_LIMIT)}}}\n'.encode("ascii"))


def _cache(info: Connection) -> LogCache:
    """Return the end of the line, and keep it for the next line of the connection."""
    writer = BytesWriter()
    _add_connection(writer, info)
    cache = info.log_cache = LogCache(writer.getvalue())
    return cache


def _client(record: Record, cache: LogCache) -> bytes:
    """Return the client's part of the line, and keep it for the next line of the connection."""
    ip, port = record.client_ip, record.client_port
    if cache.ip != ip or cache.port != port:
        cache.ip = ip
        cache.port = port
        writer = BytesWriter()
        _add_client(writer, record)
        cache.client = writer.getvalue()
    return cache.client


class _Lines:
    """Base of both writers: values kept from line to line."""

    __slots__ = (
        "_backend",
        "_frontend",
        "_route",
        "_second",
        "_server",
        "_servers",
        "_stamp",
        "_way",
        "_ways",
        "_writer",
    )

    _mode = b'Z","mode":"tcp",'

    def __init__(self) -> None:
        self._second = -1
        self._stamp = b""
        self._ways: dict[tuple[str, str, str, str], bytes] = {}
        self._frontend = self._route = self._backend = self._server = "\0"
        self._way = b""  # of these four
        self._servers: dict[str, bytes] = {}  # the ways of servers, for the other three
        self._writer = BytesWriter()

    def _begin(self, record: Record) -> BytesWriter:
        """Return the buffer with the start of a line, up to the client."""
        writer = self._writer
        writer.truncate(0)
        moment: float = record.started
        now = int(moment)
        if now != self._second:
            self._stamp = f'{{"time":"{rfc3339(now)}'.encode("ascii")
            self._second = now
        writer.write(self._stamp)
        writer.write(_THOUSANDTHS[int((moment - now) * 1000)])
        if (
            record.route != self._route
            or record.backend_name != self._backend
            or record.frontend_name != self._frontend
        ):
            self._servers = {}
            self._follow(record)
        elif record.server_name != self._server:
            way = self._servers.get(record.server_name)
            if way is None:
                self._follow(record)
            else:
                self._server = record.server_name
                self._way = way
        writer.write(self._way)
        return writer

    def _follow(self, record: Record) -> None:
        """Look up frontend, route, backend and server if they differ from those of the
        last line.
        """
        key = (record.frontend_name, record.route, record.backend_name, record.server_name)
        way = self._ways.get(key)
        if way is None:
            names = ("frontend", "route", "backend", "server")
            pairs = [_field(name, value) for name, value in zip(names, key, strict=True)]
            way = self._mode + (",".join(pairs) + ",").encode("ascii")
            if len(way) <= _KEPT_SIZE:
                if len(self._ways) >= _KEPT:
                    self._ways.clear()
                self._ways[key] = way
        if len(way) > _KEPT_SIZE:
            key = ("\0", "\0", "\0", "\0")  # long names are not held on to
        elif len(self._servers) < _KEPT:
            self._servers[record.server_name] = way
        self._frontend, self._route, self._backend, self._server = key
        self._way = way

    def _end(self, writer: BytesWriter) -> bytes:
        """Return the line in the buffer."""
        line = writer.getvalue()
        if len(line) > _BUFFER_MAX:
            self._writer = BytesWriter()
        return line


class HTTPLines(_Lines):
    """A writer for exchanges, for use in one thread."""

    __slots__ = ("_methods",)

    _mode = b'Z","mode":"http",'

    def __init__(self) -> None:
        super().__init__()
        self._methods: dict[bytes, bytes] = {}

    def line(self, record: HTTPRecord) -> bytes:
        """Return the line of one exchange."""
        writer = self._begin(record)
        info: Connection = record.info
        cache = info.log_cache
        if cache is None:
            cache = _cache(info)
        writer.write(_client(record, cache))
        _add_text(writer, record.known_request_id)
        request = record.request
        method = self._methods.get(request.method)
        writer.write(self._method(request.method) if method is None else method)
        host = request.host
        _add_raw(writer, host, 0, len(host), FIELD_LIMIT)
        writer.write(b'","target":"')
        target = request.target
        _add_raw(writer, target, 0, len(target), TARGET_LIMIT)
        version = request.version
        writer.write(_HTTP_1_1 if version == 11 else _VERSIONS.get(version, _NO_VERSION))
        _add_number(writer, record.status)
        writer.write(b',"user_agent":"')
        _add_header(writer, request, _USER_AGENT)
        writer.write(b'","referer":"')
        _add_header(writer, request, _REFERER)
        writer.write(b'","bytes_in":')
        _add_number(writer, record.bytes_in)
        writer.write(b',"bytes_out":')
        _add_number(writer, record.bytes_out)
        writer.write(b',"attempts":')
        _add_number(writer, record.attempts)
        if record.close is _OK and not record.detail:  # nearly all lines
            writer.write(_REUSED_OK if record.reused else _FRESH_OK)
        else:
            writer.write(b',"reused":true,' if record.reused else b',"reused":false,')
            writer.write(_CLOSES[record.close])
            _add_text(writer, record.detail)
            writer.write(b'","header_ms":')
        _add_ms(writer, record.t_header)
        writer.write(b',"queue_ms":')
        _add_ms(writer, record.t_queue)
        writer.write(b',"connect_ms":')
        _add_ms(writer, record.t_connect)
        writer.write(b',"response_ms":')
        _add_ms(writer, record.t_response)
        writer.write(b',"total_ms":')
        _add_ms(writer, record.t_total)
        writer.write(cache.tail)
        return self._end(writer)

    def _method(self, method: bytes) -> bytes:
        text = _text(text_of(method), FIELD_LIMIT)
        found = f'","method":{text},"host":"'.encode("ascii")
        if len(found) <= _KEPT_SIZE:
            if len(self._methods) >= _KEPT:
                self._methods.clear()
            self._methods[method] = found
        return found


class TCPLines(_Lines):
    """A writer for sessions, for use in one thread. It omits the fields that only HTTP has."""

    __slots__ = ()

    def line(self, record: Record) -> bytes:
        """Return the line of one session."""
        writer = self._begin(record)
        _add_client(writer, record)  # a connection has one line: nothing is kept for the next
        _add_text(writer, record.known_request_id)
        writer.write(b'","bytes_in":')
        _add_number(writer, record.bytes_in)
        writer.write(b',"bytes_out":')
        _add_number(writer, record.bytes_out)
        writer.write(b',"attempts":')
        _add_number(writer, record.attempts)
        writer.write(b",")
        writer.write(_CLOSE_OK if record.close is _OK else _CLOSES[record.close])
        _add_text(writer, record.detail)
        writer.write(b'","queue_ms":')
        _add_ms(writer, record.t_queue)
        writer.write(b',"connect_ms":')
        _add_ms(writer, record.t_connect)
        writer.write(b',"total_ms":')
        _add_ms(writer, record.t_total)
        _add_connection(writer, record.info)
        return self._end(writer)


def http_line() -> Callable[[Any], bytes]:
    """Return :meth:`HTTPLines.line` of a new writer."""
    return HTTPLines().line


def tcp_line() -> Callable[[Any], bytes]:
    """Return :meth:`TCPLines.line` of a new writer."""
    return TCPLines().line
