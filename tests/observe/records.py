"""Finished sessions and exchanges to log, without the proxy."""

from __future__ import annotations

from typing import Any

from lbproxy.errors import Kind
from lbproxy.http.message import RequestHead, ResponseHead, header_pairs
from lbproxy.net.endpoints import TLSInfo
from lbproxy.proxy.streams import ConnectionInfo

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


class Traffic:
    """Looks like an Exchange (or a Session) that is over."""

    mode = "http"

    def __init__(self, **changes: Any) -> None:
        self.info = ConnectionInfo(
            "10.1.1.1", 5000, "10.1.1.1", 5000, "10.0.0.1", 443, listener="tls:443", sni="example.com",
            tls=TLSInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "http/1.1", "example.com"),
        )  # fmt: skip
        self.frontend_name = "web"
        self.backend_name = "app"
        self.server_name = "a"
        self.route = "path /static/*"
        self.client_ip = "203.0.113.9"
        self.client_port = 0
        self.known_request_id = ""
        self.started = MOMENT
        self.t_header = 0.0001
        self.t_queue = 0.0
        self.t_connect = -1.0
        self.t_response = 0.00125
        self.t_total = 0.5
        self.bytes_in = 12
        self.bytes_out = 3456
        self.attempts = 2
        self.reused = True
        self.close = Kind.OK
        self.detail = ""
        self.status = 200
        self.request = RequestHead(
            b"GET", b"/static/app.js?v=3", list(BROWSER), host=b"example.com"
        )
        self.response: ResponseHead | None = ResponseHead(
            200, header_pairs([("Content-Type", "text/css")])
        )
        for name, value in changes.items():
            setattr(self, name, value)


class TCPTraffic(Traffic):
    """Looks like a Session that is over: it has nothing of HTTP."""

    mode = "tcp"

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        for name in ("request", "response", "status"):
            delattr(self, name)
        self.t_header = self.t_response = -1.0
        self.reused = False
