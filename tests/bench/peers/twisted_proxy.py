"""What Twisted brings along:

``twisted_proxy.py http|tcp PORT SERVER``; one server, no log, no pool, no limits.
"""

import sys

from twisted.internet import reactor
from twisted.protocols.portforward import ProxyFactory
from twisted.web.proxy import ReverseProxyResource
from twisted.web.server import Site


def main(mode, port, server):
    """Serve until the end."""
    host, _, number = server.rpartition(":")
    if mode == "tcp":
        factory = ProxyFactory(host, int(number))
    else:
        factory = Site(ReverseProxyResource(host, int(number), b""))
    factory.noisy = False
    reactor.listenTCP(int(port), factory, backlog=4096, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:4])
