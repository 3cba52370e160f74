"""PURE. Access records as lines of JSON: this runs once per request.

What does not change from line to line is kept as text: with the connection, with the header lines of a request
that came before, and by name of frontend, route, backend and server.  The rest is numbers and the target, so a line is
put together from a few pieces at once.  Every text among them has been through :func:`_quoted`, or is looked
at each time.  What is kept by what a client or a filter chooses is bounded in number and in size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from lbproxy.errors import Kind
from lbproxy.http.message import Headers, RequestHead
from lbproxy.observe.fields import FIELD_LIMIT, TARGET_LIMIT, VERSIONS, clip
from lbproxy.observe.record import Connection, HTTPRecord, LogCache, Record
from lbproxy.observe.timestamps import MILLIS, rfc3339

__all__ = ["HTTPLines", "TCPLines", "http_line", "tcp_line"]

_KEPT: Final = 1024  # pieces of text that a writer remembers of each kind ...
_KEPT_SIZE: Final = 1024  # ... and the longest one
_encode: Final = json.JSONEncoder().encode

_NO_TEXT: Final = '""'
_ZERO: Final = "0.000"
# what stands for itself in a JSON string
_PLAIN: Final = bytes(range(0x20, 0x7F)).translate(None, b'"\\')
_IN_THE_CLEAR: Final = '"tls_version":"","tls_cipher":""'
_addresses: Final[dict[str, str]] = {}  # quoted; of hosts that come again
_ADDRESS_SIZE: Final = 64
_MILLIS: Final = MILLIS
_CLOSES: Final = {kind: f'"close":"{kind.value}"' for kind in Kind}
_WHOLE: Final = tuple([str(n) for n in range(1000)])
_FOREVER: Final = 1e12  # seconds that no clock measures
_FRACTION: Final = tuple([str(n / 1000)[1:] for n in range(1000)])  # ".0" to ".999"


def _text(text: str, limit: int) -> str:
    """A JSON string in printable ASCII, cut to ``limit``; most need no more than the quotes."""
    plain = text.isascii() and '"' not in text and "\\" not in text and text.isprintable()
    if plain and len(text) <= limit:
        return f'"{text}"'
    return _encode(clip(text, limit))


def _quoted(value: Any, limit: int) -> str:
    """A JSON value in printable ASCII, a text cut to ``limit``; for what a filter put there, something close."""
    if type(value) is str:
        return _text(value, limit)
    if isinstance(value, str):
        return _encode(clip(value, limit))
    plain = (
        value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value))
    )
    return _encode(value) if plain else _quoted(str(value), limit)


def _address(value: Any) -> str:
    """An IP address, a host or the name of a listener, most likely one that came before."""
    if type(value) is not str:
        return _quoted(value, FIELD_LIMIT)
    known = _addresses.get(value)
    if known is None:
        known = _text(value, FIELD_LIMIT)
        if len(known) <= _ADDRESS_SIZE:
            if len(_addresses) >= _KEPT:
                _addresses.clear()
            _addresses[value] = known
    return known


def _number(value: Any) -> str:
    """The value of a field that holds an int, unless a filter put something else there."""
    return str(value) if type(value) is int else _quoted(value, FIELD_LIMIT)


def _field(name: str, value: Any) -> str:
    return f'"{name}":{_quoted(value, FIELD_LIMIT)}'


def _latin(name: str, value: bytes) -> str:
    return f'"{name}":{_text(value.decode("latin-1"), FIELD_LIMIT)}'


def _ms(seconds: float) -> str:
    """Whole microseconds as milliseconds; null for "there was none" (negative)."""
    if seconds == 0.0:
        return _ZERO
    if not 0.0 <= seconds < _FOREVER:
        return "null"
    micros = int(seconds * 1e6)
    if micros < 1000000:
        return _WHOLE[micros // 1000] + _FRACTION[micros % 1000]
    return f"{micros // 1000}{_FRACTION[micros % 1000]}"


def _cache(info: Connection) -> LogCache:
    """What is the same for every line of a connection: the end."""
    tls = info.tls
    secured = _IN_THE_CLEAR
    if tls is not None:
        secured = f"{_field('tls_version', tls.version)},{_field('tls_cipher', tls.cipher)}"
    cache = LogCache(
        f'"listener":{_address(info.listener)},"peer_ip":{_address(info.peer_ip)},'
        f'"peer_port":{_number(info.peer_port)},"local_ip":{_address(info.local_ip)},'
        f'"local_port":{_number(info.local_port)},{secured},"sni":{_address(info.sni)},'
        f'"alpn":{_NO_TEXT if tls is None else _quoted(tls.alpn, FIELD_LIMIT)}}}\n'
    )
    info.log_cache = cache
    return cache


def _client(record: Record, cache: LogCache) -> str:
    """Who the client is; kept for the connection's next line."""
    ip, port = record.client_ip, record.client_port
    if cache.ip != ip or cache.port != port:
        cache.ip = ip
        cache.port = port
        cache.client = f'"client_ip":{_address(ip)},"client_port":{_number(port)}'
    return cache.client


def _browser(headers: Headers) -> str:
    """User-Agent and Referer, the first of each, in one pass."""
    agent = referer = b""
    for name, value in headers:
        size = len(name)
        if size == 10:
            if not agent and name.lower() == b"user-agent":
                agent = value
        elif size == 7 and not referer and name.lower() == b"referer":
            referer = value
    return f"{_latin('user_agent', agent)},{_latin('referer', referer)}"


class _Told:
    """What header lines that come again say in the log."""

    __slots__ = ("browser", "host", "host_text")

    def __init__(self, request: RequestHead) -> None:
        self.host = request.host
        self.host_text = _latin("host", request.host)
        self.browser = _browser(request.headers)


class _Lines:
    """What both writers keep from line to line."""

    __slots__ = ("_second", "_stamp", "_ways")

    def __init__(self) -> None:
        self._second = -1
        self._stamp = ""
        self._ways: dict[tuple[str, str, str, str], str] = {}

    def _time(self, moment: float) -> str:
        now = int(moment)
        if now != self._second:
            self._stamp = rfc3339(now)
            self._second = now
        return self._stamp + _MILLIS[int((moment - now) * 1000)]

    def _way(self, record: Record) -> str:
        """Frontend, route, backend and server."""
        key = (record.frontend_name, record.route, record.backend_name, record.server_name)
        way = self._ways.get(key)
        if way is None:
            names = ("frontend", "route", "backend", "server")
            way = ",".join([_field(name, value) for name, value in zip(names, key, strict=True)])
            if len(way) <= _KEPT_SIZE:
                if len(self._ways) >= _KEPT:
                    self._ways.clear()
                self._ways[key] = way
        return way


class HTTPLines(_Lines):
    """A writer for exchanges; for one thread."""

    __slots__ = ("_methods",)

    def __init__(self) -> None:
        super().__init__()
        self._methods: dict[bytes, str] = {}

    def line(self, record: HTTPRecord) -> bytes:
        """The line of one exchange."""
        info: Connection = record.info
        cache = info.log_cache
        if cache is None:
            cache = _cache(info)
        request = record.request
        told = _Told(request)
        method = self._methods.get(request.method)
        if method is None:
            method = self._method(request.method)
        version = "HTTP/1.1" if request.version == 11 else VERSIONS.get(request.version, "")
        target = request.target
        if len(target) <= TARGET_LIMIT and not target.translate(None, _PLAIN):
            target_text = target.decode("ascii")
        else:
            target_text = _text(target.decode("latin-1"), TARGET_LIMIT)[1:-1]
        name = record.known_request_id
        detail = record.detail
        text = (
            f'{{"time":"{self._time(record.started)}","mode":"http",{self._way(record)},'
            f'{_client(record, cache)},"request_id":{_quoted(name, FIELD_LIMIT) if name else _NO_TEXT},'
            f'{method},{told.host_text},"target":"{target_text}","version":"{version}",'
            f'"status":{_number(record.status)},{told.browser},"bytes_in":{_number(record.bytes_in)},'
            f'"bytes_out":{_number(record.bytes_out)},"attempts":{_number(record.attempts)},'
            f'"reused":{"true" if record.reused else "false"},{_CLOSES[record.close]},'
            f'"detail":{_quoted(detail, FIELD_LIMIT) if detail else _NO_TEXT},'
            f'"header_ms":{_ms(record.t_header)},"queue_ms":{_ms(record.t_queue)},'
            f'"connect_ms":{_ms(record.t_connect)},"response_ms":{_ms(record.t_response)},'
            f'"total_ms":{_ms(record.t_total)},{cache.tail}'
        )
        return text.encode("ascii")

    def _method(self, method: bytes) -> str:
        text = _latin("method", method)
        if len(text) <= _KEPT_SIZE:
            if len(self._methods) >= _KEPT:
                self._methods.clear()
            self._methods[method] = text
        return text


class TCPLines(_Lines):
    """A writer for sessions, with the same fields less what only HTTP has; for one thread."""

    __slots__ = ()

    def line(self, record: Record) -> bytes:
        """The line of one session."""
        info: Connection = record.info
        cache = info.log_cache
        if cache is None:
            cache = _cache(info)
        name = record.known_request_id
        detail = record.detail
        text = (
            f'{{"time":"{self._time(record.started)}","mode":"tcp",{self._way(record)},'
            f'{_client(record, cache)},"request_id":{_quoted(name, FIELD_LIMIT) if name else _NO_TEXT},'
            f'"bytes_in":{_number(record.bytes_in)},"bytes_out":{_number(record.bytes_out)},'
            f'"attempts":{_number(record.attempts)},'
            f'{_CLOSES[record.close]},"detail":{_quoted(detail, FIELD_LIMIT) if detail else _NO_TEXT},'
            f'"queue_ms":{_ms(record.t_queue)},"connect_ms":{_ms(record.t_connect)},'
            f'"total_ms":{_ms(record.t_total)},{cache.tail}'
        )
        return text.encode("ascii")


def http_line() -> Callable[[Any], bytes]:
    """A new writer's :meth:`HTTPLines.line`."""
    return HTTPLines().line


def tcp_line() -> Callable[[Any], bytes]:
    """A new writer's :meth:`TCPLines.line`."""
    return TCPLines().line
