"""Makes ``twistd lbproxy`` known to Twisted."""

from twisted.application.service import ServiceMaker

lbproxy = ServiceMaker(
    "lbproxy",
    "lbproxy.tap",
    "A TCP and HTTP load balancer and reverse proxy.",
    "lbproxy",
)
