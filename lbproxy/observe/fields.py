"""PURE. The fields of an access record: their names, sources and maximum lengths.

Custom formats and the documentation use this table. The JSON writers of
:mod:`lbproxy.observe.jsonlog` use the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import frozen

from lbproxy.http.message import RequestHead
from lbproxy.observe.timestamps import clf_stamp, rfc3339_stamp

__all__ = [
    "FIELDS",
    "FIELD_LIMIT",
    "TARGET_LIMIT",
    "VERSIONS",
    "Field",
    "clip",
    "escape",
    "frontend_of",
    "header_getter",
    "milliseconds",
    "render",
]

FIELD_LIMIT = 1024
"""Maximum length of any field except the target, in characters. Longer values end with ``...``."""

TARGET_LIMIT = 8 * 1024

VERSIONS = {9: "HTTP/0.9", 10: "HTTP/1.0", 11: "HTTP/1.1", 20: "HTTP/2.0", 30: "HTTP/3.0"}

Getter = Callable[[Any], Any]


@frozen
class Field:
    """A field. ``get(record)`` returns str, int, float milliseconds, bool or None.

    ``http``: the field exists only for exchanges. ``json``: the JSON line includes it.
    """

    get: Getter
    doc: str
    http: bool = False
    json: bool = True
    limit: int = FIELD_LIMIT


def milliseconds(seconds: float) -> float | None:
    """Return seconds as float milliseconds in whole microseconds; None for a negative value."""
    return seconds * 1e6 // 1 / 1e3 if seconds >= 0 else None


def clip(text: str, limit: int = FIELD_LIMIT) -> str:
    """Return at most ``limit`` characters of a text."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


_UNSAFE = re.compile(r"[^ !#-\[\]-~]")


def _hex(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str) -> str:
    r"""Return printable ASCII without quotes.

    Other characters, ``"`` and ``\`` become ``\xHH``, ``\uHHHH`` or longer escapes.
    """
    return _UNSAFE.sub(_hex, text)


def render(value: Any, limit: int = FIELD_LIMIT) -> str:
    """Return the value of a field for a line of text; "-" if empty."""
    if isinstance(value, str):
        return escape(clip(value, limit)) if value else "-"
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def header_getter(side: str, name: str) -> Getter:
    """Return a function that reads the header ``name`` of a request or response.

    Several lines are joined by ", ". The value is "" without the header.
    """
    raw = name.lower().encode("ascii")

    def get(record: Any) -> str:
        head = getattr(record, side)
        if head is None:
            return ""
        return b", ".join(head.header_values(raw)).decode("latin-1")

    return get


def _tls(name: str) -> Getter:
    def get(record: Any) -> str:
        tls = record.info.tls
        return "" if tls is None else str(getattr(tls, name))

    return get


def frontend_of(record: Any) -> Any:
    """Return the frontend of a session, an exchange or a refused connection."""
    frontend = getattr(record, "frontend", None)
    return getattr(record, "refused_by", None) if frontend is None else frontend


def _located(record: Any, name: str) -> Any:
    """Return ``country`` or ``asn`` of the client; None without ``geoip``."""
    geo = getattr(frontend_of(record), "geo", None)
    return None if geo is None else getattr(geo.find(record.client_ip), name)


def _stamped(stamp: Callable[[float], str]) -> Getter:
    return lambda record: stamp(record.started)


def _ms(name: str) -> Getter:
    return lambda record: milliseconds(getattr(record, name))


def _cached(name: str) -> Getter:
    return lambda record: "" if record.cached is None else str(getattr(record.cached, name))


def _cache_age(record: Any) -> int | None:
    note = record.cached
    return None if note is None or note.age < 0 else int(note.age)


def _request_line(record: Any) -> str:
    head: RequestHead = record.request
    if not head.method:
        return ""  # the client sent no valid request
    line = b"%b %b" % (head.method, head.target[:TARGET_LIMIT])
    return f"{line.decode('latin-1')} {VERSIONS.get(head.version, '')}"


FIELDS: dict[str, Field] = {
    "time": Field(
        _stamped(rfc3339_stamp()),
        "arrival of the request's first byte (http) or of the connection (tcp); RFC 3339, UTC",
    ),
    "mode": Field(lambda r: r.mode, "``http`` or ``tcp``"),
    "frontend": Field(lambda r: r.frontend_name, "name of the frontend"),
    "route": Field(lambda r: r.route, "the route that matched, as written; empty if none matched"),
    "backend": Field(lambda r: r.backend_name, "name of the backend; empty if none was chosen"),
    "server": Field(
        lambda r: r.server_name, "name of the last server tried; empty if none was tried"
    ),
    "client_ip": Field(
        lambda r: r.client_ip,
        "the client's address: reported by a trusted proxy, else ``peer_ip``",
    ),
    "client_port": Field(lambda r: r.client_port, "the client's port; 0 if unknown"),
    "request_id": Field(
        lambda r: r.known_request_id,
        "id of the request or session; empty unless a filter uses it, lbproxy answered with an "
        "error page, or the log has ``request_ids=yes``",
    ),
    "method": Field(
        lambda r: r.request.method.decode("latin-1"),
        "request method, also of a refused request if it was read; else empty",
        http=True,
    ),
    "host": Field(
        lambda r: r.request.host.decode("latin-1"),
        "effective host in lower case, with the port if sent",
        http=True,
    ),
    "target": Field(
        lambda r: r.request.target.decode("latin-1"),
        "path and query, as changed by filters; at most 8 KiB",
        http=True,
        limit=TARGET_LIMIT,
    ),
    "version": Field(
        lambda r: VERSIONS.get(r.request.version, ""), "protocol, such as ``HTTP/1.1``", http=True
    ),
    "status": Field(lambda r: r.status, "status sent to the client; 0 if none was sent", http=True),
    "user_agent": Field(header_getter("request", "user-agent"), "the User-Agent header", http=True),
    "referer": Field(header_getter("request", "referer"), "the Referer header", http=True),
    "bytes_in": Field(
        lambda r: r.bytes_in, "bytes from the client: request body (http), all bytes (tcp)"
    ),
    "bytes_out": Field(
        lambda r: r.bytes_out, "bytes to the client: response body (http), all bytes (tcp)"
    ),
    "attempts": Field(lambda r: r.attempts, "number of attempts; above 1 means retries"),
    "reused": Field(
        lambda r: r.reused, "whether the server connection came from the pool", http=True
    ),
    "close": Field(lambda r: r.close.value, "close reason; ``ok`` for success (see below)"),
    "detail": Field(lambda r: r.detail, "details of the close reason; empty for success"),
    "cache": Field(
        _cached("status"),
        "result of the cache: ``hit``, ``stale``, ``revalidated``, ``collapsed``, ``miss``, "
        "``bypass``, ``refused`` or ``purge`` (see :doc:`caching`); empty without a cache",
        http=True,
    ),
    "cache_reason": Field(
        _cached("reason"),
        "reason for the result, and why a response was not stored; "
        "empty for a fresh stored response",
        http=True,
    ),
    "cache_age": Field(
        _cache_age, "age of the stored response in seconds, as in the header ``Age``", http=True
    ),
    "header_ms": Field(
        _ms("t_header"), "from the first byte of the request to its complete head", http=True
    ),
    "queue_ms": Field(_ms("t_queue"), "wait in the queue for a server"),
    "connect_ms": Field(
        _ms("t_connect"),
        "connect time of the last attempt, TLS included; 0 for a reused connection",
    ),
    "response_ms": Field(
        _ms("t_response"), "from the request sent to the response head", http=True
    ),
    "total_ms": Field(_ms("t_total"), "total duration from ``time`` on"),
    "listener": Field(
        lambda r: r.info.listener, "the ``listen`` line that accepted the connection"
    ),
    "peer_ip": Field(
        lambda r: r.info.peer_ip, "the peer address of the socket; empty for a Unix socket"
    ),
    "peer_port": Field(lambda r: r.info.peer_port, "the peer port of the socket"),
    "local_ip": Field(lambda r: r.info.local_ip, "the address that the client connected to"),
    "local_port": Field(lambda r: r.info.local_port, "the port that the client connected to"),
    "tls_version": Field(_tls("version"), "such as ``TLSv1.3``; empty without TLS"),
    "tls_cipher": Field(_tls("cipher"), "cipher suite; empty without TLS"),
    "sni": Field(lambda r: r.info.sni, "server name in the client's ClientHello"),
    "alpn": Field(_tls("alpn"), "protocol negotiated in the TLS handshake"),
    "country": Field(
        lambda r: _located(r, "country") or "",
        "the client's country by ``[lbproxy] geoip``, such as ``DE``; empty if unknown",
        json=False,
    ),
    "asn": Field(
        lambda r: _located(r, "asn") or None,
        "the autonomous system of the client's network by ``[lbproxy] geoip``",
        json=False,
    ),
    "time_clf": Field(
        _stamped(clf_stamp()),
        "``time`` as in the common format: ``23/Nov/2026:12:46:06 +0000``",
        json=False,
    ),
    "epoch_ms": Field(
        lambda r: int(r.started * 1000), "``time`` in whole milliseconds since 1970", json=False
    ),
    "request_line": Field(
        _request_line,
        "method, target and version; empty if no method was read",
        http=True,
        json=False,
        limit=TARGET_LIMIT + FIELD_LIMIT,
    ),
}
"""Fields by name, in the order of the JSON line."""
