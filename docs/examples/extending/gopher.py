"""A feature that speaks another protocol to servers: one selector, then text until the end
(Gopher).
"""

from attrs import frozen
from twisted.internet.protocol import Protocol

from lbproxy.config.model import option
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, ResponseHead
from lbproxy.proxy.dial import dial_server
from lbproxy.proxy.feature import Feature
from lbproxy.proxy.http.connector import Connector


@frozen
class Keys:
    gopher: bool = option("bool", False, doc="servers speak Gopher")


class Gopher(Feature):
    name = "gopher"
    keys = ("gopher",)
    Keys = Keys

    @classmethod
    def prepare(cls, spec, old, given):
        return (old or cls()) if spec.gopher else None

    def attach(self, owner):
        self.owner, self.usual = owner, owner.make_connector
        owner.use_connectors(GopherConnector)

    def detach(self):
        self.owner.use_connectors(self.usual)


class GopherConnector(Connector):
    """Makes the connections to one server."""

    def open(self, pending):
        protocol = GopherConnection(self.terms, pending)
        return dial_server(self.terms, self.server, protocol, pending.failed)


class GopherConnection(Protocol):
    """A connection to a server, and the one stream that it can carry."""

    pooled = False
    spare = 1

    def __init__(self, terms, pending):
        self.waits, self.pending, self.epoch = terms, pending, pending.epoch
        self.sink, self.begun = None, False
        self.timer = terms.wheel.timer(self.late)

    def connectionMade(self):
        self.address = self.pending.address
        self.pending.connected(self)

    def open_stream(self, sink):
        self.sink = sink
        return self

    def shut(self):
        self.transport.loseConnection()

    rest = shut

    # the stream

    def limit(self, waits):
        """A route may have timeouts of its own."""
        self.waits = waits

    def send_request(self, head, data, end):
        self.timer.set(self.waits.timeout_response)
        self.transport.write(head.path + b"\r\n")

    def send_body(self, data, end):
        """Gopher has no bodies of requests."""

    def bind(self, owner, *, pins):
        """Each connection serves one request anyway."""

    def pause_response(self):
        self.transport.pauseProducing()

    def resume_response(self):
        self.transport.resumeProducing()

    def close(self, *, reuse):
        self.sink = None
        self.timer.close()
        self.transport.loseConnection()

    # from the server

    def dataReceived(self, data):
        if self.sink is not None:
            self.timer.set(self.waits.timeout_server)
            begun, self.begun = self.begun, True
            self.sink.server_events([data] if begun else [head(), data])

    def connectionLost(self, reason):
        self.timer.close()
        sink, self.sink = self.sink, None
        if sink is not None and self.begun:
            sink.server_events([END])
        elif sink is not None:
            sink.server_failed(ProxyError(Kind.SERVER_GONE, "no answer"))

    def late(self):
        sink, self.sink = self.sink, None
        self.transport.abortConnection()
        if sink is not None:
            sink.server_failed(ProxyError(Kind.SERVER_TIMEOUT))


def head():
    return ResponseHead(200, [(b"Content-Type", b"text/plain")], length=None)
