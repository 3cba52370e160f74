"""HTTP over TLS, where half-close does not exist and a missing close_notify is a truncation."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from tests.proxy.http_kit import GET, OK, A, post, rigs
from tests.support import tls

rig = pytest.fixture(rigs)

UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture
def secure(rig, tmp_path):
    """A rig whose clients speak TLS."""
    pem = tls.write(tls.issue("a.example"), tmp_path)

    def make(**more):
        r = rig(listen=f"tls:8443 certificates={pem}", **more)
        r.client = lambda: r.lb.connect("web", tls="a.example")
        return r

    return make


def test_keep_alive_and_the_scheme_a_server_sees(secure):
    r = secure()
    client, server = r.talk()
    assert b"X-Forwarded-Proto: https\r\n" in server.received
    for _ in range(3):
        server.send(OK)
        client.send(GET)
    assert client.received.count(b"200 OK") == 3


def test_a_refused_upload_gets_its_answer(secure):
    r = secure(web="max_body = 1k")
    client = r.client()
    client.send(post(length=1_000_000))
    client.send(b"x" * 500_000)
    assert client.received.startswith(b"HTTP/1.1 413 ")
    r.advance(3)
    assert r.clients == 0
    assert client.finished


def test_a_client_that_leaves(secure):
    r = secure()
    client, server = r.talk()
    client.close()
    assert server.closed
    assert r.closes == ["client_gone"]


def test_a_client_that_does_not_read_stops_the_server(secure):
    r = secure()
    client, server = r.talk()
    client.transport.transport.pauseProducing()
    body = b"x" * 3_000_000
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    server.send(body)
    assert server.transport._unsent()
    client.transport.transport.resumeProducing()
    r.advance(0)
    assert client.received.endswith(body)
    assert r.closes == ["ok"]


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_tunnel_ends_whole(secure, first):
    r = secure()
    raw = r.raw()
    client = r.client()
    client.send(UPGRADE)
    server = raw.connections[0]
    server.send(SWITCH + b"hello")
    client.send(b"ping")
    assert client.received.endswith(b"hello")
    assert server.received.endswith(b"ping")
    (client if first == "client" else server).close()
    r.advance(1)
    assert client.finished
    assert server.finished or server.closed
    assert r.closes == ["ok"]


def test_a_server_over_tls_that_cuts_a_body_until_close(rig, tmp_path):
    certificate = tls.write(tls.issue("a.example"), tmp_path)
    r = rig(servers=f"a {A} tls verify=no")
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(certificate)
    context.use_privatekey_file(certificate)
    made: list[Protocol] = []

    class Origin(Protocol):
        def connectionMade(self) -> None:
            made.append(self)

    @implementer(IOpenSSLContextFactory)
    class Contexts:
        def getContext(self) -> SSL.Context:
            return context

    factory = TLSMemoryBIOFactory(Contexts(), False, Factory.forProtocol(Origin), r.lb.reactor)
    r.lb.reactor.listenTCP(8000, factory, interface="10.0.0.1")
    outcomes = []
    for clean in (True, False):
        client = r.client()
        client.send(GET)
        made[-1].transport.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        r.advance(0)
        if clean:
            made[-1].transport.loseConnection()
        else:
            made[-1].transport.transport.loseConnection()  # below TLS: no close_notify
        r.advance(0)
        outcomes.append((client.received.endswith(b"\r\n0\r\n\r\n"), client.reset))
    assert outcomes == [(True, False), (False, True)]
    assert r.closes == ["ok", "server_gone"]
