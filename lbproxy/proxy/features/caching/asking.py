"""DATA. Requests that the cache itself sends, derived from those of clients."""

from __future__ import annotations

from lbproxy.http.message import RequestHead
from lbproxy.proxy.http.traffic import HTTPTraffic

__all__ = ["identified", "traffic_like"]


def traffic_like(original: HTTPTraffic, head: RequestHead) -> HTTPTraffic:
    """Return the traffic of a request that the cache sends on behalf of ``original``."""
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


def identified(traffic: HTTPTraffic) -> bool:
    """Return whether the client's connection is bound to an identity (NTLM)."""
    bound = traffic.info.bound
    return bound is not None and bound.identified
