"""A Twisted program with a web application and a load balancer in front of it, on one reactor.

twistd -ny docs/examples/embed.py
"""

from twisted.application import internet, service
from twisted.internet import endpoints, reactor
from twisted.web import resource, server, static

from lbproxy.service import LoadBalancer

CONFIG = """
[frontend web]
listen = tcp:8080:interface=127.0.0.1
backend = app

[backend app]
servers =
    here unix:app.sock
    there 127.0.0.1:8001 backup
"""

application = service.Application("shop")

root = resource.Resource()
root.putChild(b"", static.Data(b"hello\n", "text/plain"))
endpoint = endpoints.serverFromString(reactor, "unix:app.sock")
internet.StreamServerEndpointService(endpoint, server.Site(root)).setServiceParent(application)

LoadBalancer.from_config(CONFIG, reactor=reactor).setServiceParent(application)
