"""PURE. Access records as lines of JSON: this runs once per request.

The order of the work is what makes it fast: one dict is filled again and again, what does not change during
a connection is written once and kept with it, and the text is looked at only as a whole: a line that is
short, ASCII and without DEL cannot hold a field that needs care.  Any other line goes through
:func:`_careful`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lbproxy.errors import Kind
from lbproxy.http.message import Headers
from lbproxy.observe.fields import FIELD_LIMIT, FIELDS, VERSIONS, clip
from lbproxy.observe.record import Connection, HTTPRecord, Record
from lbproxy.observe.stamps import MILLIS, rfc3339

__all__ = ["CONNECTION_KEYS", "http_line", "tcp_line"]

Dumps = Callable[[Any], bytes]


def _standard() -> Dumps:
    encode = json.JSONEncoder(separators=(",", ":")).encode
    return lambda value: encode(value).encode("ascii")


try:
    from orjson import dumps as _orjson_dumps

    dumps: Dumps = _orjson_dumps
except ImportError:
    dumps = _standard()

_plain_dumps = _standard()

CONNECTION_KEYS = (
    "listener", "peer_ip", "peer_port", "local_ip", "local_port", "tls_version", "tls_cipher", "sni", "alpn",
)  # fmt: skip
"""Fields that are the same for every record of a connection; they end the line."""

_CLOSES = {kind: kind.value for kind in Kind}


def _safe_length(keys: tuple[str, ...]) -> int:
    """A line no longer than this holds no field longer than FIELD_LIMIT: keys and punctuation take the rest."""
    return FIELD_LIMIT + sum(len(key) + 4 for key in keys)


def _safe(data: bytes, length: int) -> bool:
    return len(data) <= length and data.isascii() and b"\x7f" not in data


def _text(value: Any) -> Any:
    """For values orjson refuses (lone surrogates of a filter's making, odd types): something close."""
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _careful(values: dict[str, Any]) -> bytes:
    """Every field cut to its limit, everything but printable ASCII escaped."""
    cut = {
        key: clip(value, FIELDS[key].limit) if isinstance(value, str) else _text(value)
        for key, value in values.items()
    }
    return _plain_dumps(cut).replace(b"\x7f", b"\\u007f")


def _dump(values: dict[str, Any], length: int) -> bytes:
    try:
        data = dumps(values)
    except (TypeError, ValueError):
        return _careful(values)
    return data if _safe(data, length) else _careful(values)


_CONNECTION_LENGTH = _safe_length(CONNECTION_KEYS)


def _connection(info: Connection) -> bytes:
    """The end of the line, kept with the connection."""
    tls = info.tls
    values = {
        "listener": info.listener,
        "peer_ip": info.peer_ip,
        "peer_port": info.peer_port,
        "local_ip": info.local_ip,
        "local_port": info.local_port,
        "tls_version": "" if tls is None else tls.version,
        "tls_cipher": "" if tls is None else tls.cipher,
        "sni": info.sni,
        "alpn": "" if tls is None else tls.alpn,
    }
    info.log_cache = tail = b"," + _dump(values, _CONNECTION_LENGTH)[1:] + b"\n"
    return tail


def _browser(headers: Headers) -> tuple[str, str]:
    """User-Agent and Referer, the first of each, in one pass."""
    agent = referer = b""
    for name, value in headers:
        size = len(name)
        if size == 10:
            if not agent and name.lower() == b"user-agent":
                agent = value
        elif size == 7 and not referer and name.lower() == b"referer":
            referer = value
    return agent.decode("latin-1"), referer.decode("latin-1")


def _first_keys(http: bool) -> tuple[str, ...]:
    return tuple(
        name
        for name, field in FIELDS.items()
        if field.json and name not in CONNECTION_KEYS and (http or not field.http)
    )


def http_line() -> Callable[[HTTPRecord], bytes]:
    """A writer for exchanges.  It keeps state between lines and is for one thread."""
    keys = _first_keys(http=True)
    length = _safe_length(keys)
    values: dict[str, Any] = dict.fromkeys(keys)
    values["mode"] = "http"
    second = -1
    stamp = ""
    encode = dumps
    closes, millis, versions = _CLOSES, MILLIS, VERSIONS
    refused = (TypeError, ValueError)

    def line(record: HTTPRecord) -> bytes:
        nonlocal second, stamp
        v = values
        moment = record.started
        now = int(moment)
        if now != second:
            stamp = rfc3339(now)
            second = now
        v["time"] = stamp + millis[int((moment - now) * 1000)]
        v["frontend"] = record.frontend_name
        v["route"] = record.route
        v["backend"] = record.backend_name
        v["server"] = record.server_name
        v["client_ip"] = record.client_ip
        v["client_port"] = record.client_port
        v["request_id"] = record.known_request_id
        request = record.request
        v["method"] = request.method.decode("latin-1")
        v["host"] = request.host.decode("latin-1")
        v["target"] = request.target.decode("latin-1")
        v["version"] = versions.get(request.version, "")
        v["status"] = record.status
        block = request.block
        if block is None:
            v["user_agent"], v["referer"] = _browser(request.headers)
        else:
            told = block.notes.get(_browser)
            if told is None:
                told = block.notes[_browser] = _browser(request.headers)
            v["user_agent"], v["referer"] = told
        v["bytes_in"] = record.bytes_in
        v["bytes_out"] = record.bytes_out
        v["attempts"] = record.attempts
        v["reused"] = record.reused
        v["close"] = closes[record.close]
        v["detail"] = record.detail
        t = record.t_header
        v["header_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        t = record.t_queue
        v["queue_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        t = record.t_connect
        v["connect_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        t = record.t_response
        v["response_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        t = record.t_total
        v["total_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        try:
            data = encode(v)
        except refused:
            data = _careful(v)
        else:
            if len(data) > length or not data.isascii() or b"\x7f" in data:
                data = _careful(v)
        info = record.info
        return data[:-1] + (info.log_cache or _connection(info))

    return line


def tcp_line() -> Callable[[Record], bytes]:
    """A writer for sessions; the same fields less what only HTTP has.  State and threads as :func:`http_line`."""
    keys = _first_keys(http=False)
    length = _safe_length(keys)
    values: dict[str, Any] = dict.fromkeys(keys)
    values["mode"] = "tcp"
    second = -1
    stamp = ""

    def line(record: Record) -> bytes:
        nonlocal second, stamp
        v = values
        moment = record.started
        now = int(moment)
        if now != second:
            stamp = rfc3339(now)
            second = now
        v["time"] = stamp + MILLIS[int((moment - now) * 1000)]
        v["frontend"] = record.frontend_name
        v["route"] = record.route
        v["backend"] = record.backend_name
        v["server"] = record.server_name
        v["client_ip"] = record.client_ip
        v["client_port"] = record.client_port
        v["request_id"] = record.known_request_id
        v["bytes_in"] = record.bytes_in
        v["bytes_out"] = record.bytes_out
        v["attempts"] = record.attempts
        v["close"] = _CLOSES[record.close]
        v["detail"] = record.detail
        t = record.t_queue
        v["queue_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        t = record.t_connect
        v["connect_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        t = record.t_total
        v["total_ms"] = t * 1e6 // 1 / 1e3 if t >= 0 else None
        info = record.info
        return _dump(v, length)[:-1] + (info.log_cache or _connection(info))

    return line
