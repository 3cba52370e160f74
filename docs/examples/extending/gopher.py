"""A feature that speaks another protocol to servers: one selector, then text until the end
(Gopher).
"""

from attrs import frozen
from twisted.internet.protocol import Protocol

from lbproxy.config.model import option
from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import END, ResponseHead
from lbproxy.proxy.feature import Feature


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
        self.owner, self.usual, owner.connector = owner, owner.connector, connect

    def detach(self):
        self.owner.connector = self.usual


def connect(backend, server, waiter):
    """Begin a connection for an attempt; returns what cancels it."""
    return backend.dial(server, GopherConnection(backend, waiter), waiter.connect_failed)


class GopherConnection(Protocol):
    """A connection to a server, and the one stream that it can carry."""

    pooled = False
    spare = 1

    def __init__(self, backend, waiter):
        self.backend, self.waiter = backend, waiter
        self.sink, self.begun = None, False
        self.timer = backend.wheel.timer(self.late)

    def connectionMade(self):
        self.waiter.connected(self)

    def open_stream(self, sink):
        self.sink = sink
        return self

    def shut(self):
        self.transport.loseConnection()

    rest = shut

    # the stream

    def send_request(self, head, data, end):
        self.timer.set(self.backend.timeout_response)
        self.transport.write(head.path + b"\r\n")

    def send_body(self, data, end):
        """Gopher has no bodies of requests."""

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
            self.timer.set(self.backend.server_timeout)
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
