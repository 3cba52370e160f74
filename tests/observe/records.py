"""Finished sessions and exchanges to log, without the proxy."""

from __future__ import annotations

from typing import Any, TypeVar

from lbproxy.http.message import RequestHead, ResponseHead, header_pairs
from lbproxy.observe.record import HTTPRecord, Record
from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.tls.parameters import TLSInfo

MOMENT = 1763902000.123  # 2025-11-23 12:46:40 UTC

BROWSER = header_pairs(
    [
        ("Host", "example.com"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"),
        ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-GB,en;q=0.5"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Referer", "https://example.com/"),
        ("Cookie", "session=0123456789abcdef"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Cache-Control", "max-age=0"),
    ]
)


def Traffic(**changes: Any) -> HTTPRecord:
    """An exchange that is over."""
    record = HTTPRecord(
        _info(), RequestHead(b"GET", b"/static/app.js?v=3", list(BROWSER), host=b"example.com"),
        MOMENT, 0.0001
    )  # fmt: skip
    record.t_response = 0.00125
    record.status = 200
    record.reused = True
    record.response = ResponseHead(200, header_pairs([("Content-Type", "text/css")]))
    return _change(record, changes)


def TCPTraffic(**changes: Any) -> Record:
    """A session that is over."""
    return _change(Record(_info(), MOMENT), changes)


def _info() -> ConnectionInfo:
    return ConnectionInfo(
        "10.1.1.1", 5000, "10.1.1.1", 5000, "10.0.0.1", 443, listener="tls:443", sni="example.com",
        tls=TLSInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "http/1.1", "example.com"),
    )  # fmt: skip


R = TypeVar("R", bound=Record)


def _change(record: R, changes: dict[str, Any]) -> R:
    record.frontend_name = "web"
    record.backend_name = "app"
    record.server_name = "a"
    record.route = "path /static/*"
    record.client_ip = "203.0.113.9"
    record.client_port = 0
    record.t_queue = 0.0
    record.t_total = 0.5
    record.bytes_in = 12
    record.bytes_out = 3456
    record.attempts = 2
    for name, value in changes.items():
        setattr(record, "_request_id" if name == "known_request_id" else name, value)
    return record
