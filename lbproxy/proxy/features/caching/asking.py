"""DATA. Requests of the cache's own, made of those of clients."""

from __future__ import annotations

from typing import Final

from lbproxy.http.message import Headers, RequestHead
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["traffic_like", "unconditional"]

_CLIENT_CONDITIONS: Final = frozenset(
    {
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
        b"range",
    }
)


def unconditional(request: RequestHead) -> Headers:
    """Return the headers of ``request`` for a whole response: no conditions, no range."""
    return [pair for pair in request.pairs() if pair[0].lower() not in _CLIENT_CONDITIONS]


def traffic_like(
    original: HTTPTraffic, headers: Headers, target: bytes, length: int
) -> HTTPTraffic:
    """Return the traffic of a request of the cache's own, on behalf of ``original``."""
    asked = original.request
    head = RequestHead(
        b"POST" if asked.method == b"POST" else b"GET",
        target,
        headers,
        asked.version,
        asked.host,
        asked.scheme,
        length,
        nominated=asked.nominated,
    )
    frontend = original.frontend
    traffic = HTTPTraffic(frontend, original.info, head, frontend.now(), -1.0)
    traffic.client_ip, traffic.client_port = original.client_ip, original.client_port
    traffic.scheme = original.scheme
    traffic.backend = original.backend
    traffic.backend_name = original.backend_name
    traffic.policy = original.policy
    traffic.route = original.route
    traffic.hooks = original.hooks
    traffic.priority = original.priority
    traffic.vars = original.vars
    traffic.request_ended = True
    return traffic
