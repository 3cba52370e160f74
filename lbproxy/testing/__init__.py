"""CONTROL. A load balancer in a test: virtual time, in-memory network, fake servers and clients.

    from lbproxy.testing import LB

    def test_a_dead_server_is_not_noticed_by_users():
        lb = LB.from_config('''
            [frontend web]
            listen = tcp:8080
            backend = app

            [backend app]
            servers =
                a 10.0.0.1:8000
                b 10.0.0.2:8000
        ''')
        a = lb.origin("a", "10.0.0.1:8000", b"hello from a")
        b = lb.origin("b", "10.0.0.2:8000", b"hello from b")
        a.stop()
        for _ in range(4):
            response = lb.get("http://example.com/", client="203.0.113.9")
            assert (response.status, response.server) == (200, "b")
        lb.close()

No socket is opened, and time passes only through ``lb.advance(seconds)`` or while a request waits
for its response. With pytest, the fixture ``lbproxy_factory`` creates load balancers and closes
them. To test your own protocols, :class:`MemoryReactor` alone is sufficient.
"""

from lbproxy.testing.client import Client, NoResponse, PendingResponse, Response
from lbproxy.testing.fixture import LB, LoadBalancerFixture
from lbproxy.testing.memory import Livelock, MemoryReactor, MemoryResolver
from lbproxy.testing.origin import HTTPOrigin, Request, TCPOrigin
from lbproxy.testing.transport import MemoryTransport

__all__ = [
    "LB",
    "Client",
    "HTTPOrigin",
    "Livelock",
    "LoadBalancerFixture",
    "MemoryReactor",
    "MemoryResolver",
    "MemoryTransport",
    "NoResponse",
    "PendingResponse",
    "Request",
    "Response",
    "TCPOrigin",
]
