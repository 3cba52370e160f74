"""A load balancer with two servers, for extensions that fail."""

from __future__ import annotations

from lbproxy.testing import LB, LoadBalancerFixture

TEXT = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers =
    a 10.0.0.1:80
    b 10.0.0.2:80
{more}
"""


def start(more: str = "") -> LoadBalancerFixture:
    lb = LB.from_config(TEXT.format(more=more))
    lb.origin("a", "10.0.0.1:80")
    lb.origin("b", "10.0.0.2:80")
    return lb
