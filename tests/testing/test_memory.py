"""The in-memory reactor: what a connection, a clock and a network do."""

from __future__ import annotations

import pytest
from twisted.internet import error, interfaces
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lbproxy.testing import Livelock, MemoryReactor, TCPOrigin
from lbproxy.testing.client import open_client


class Recorder(Protocol):
    """Remembers what it is told."""

    def __init__(self):
        self.data = b""
        self.lost = None

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.lost = reason.type


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """The same, staying open when the other side has finished."""

    events = ()

    def readConnectionLost(self):
        self.events += ("read",)

    def writeConnectionLost(self):
        self.events += ("write",)


class Source:
    """A push producer that counts."""

    def __init__(self):
        self.calls = []

    def pauseProducing(self):
        self.calls.append("pause")

    def resumeProducing(self):
        self.calls.append("resume")

    def stopProducing(self):
        self.calls.append("stop")


def pair(reactor, near=Recorder, far=Recorder):
    """Two joined protocols: the client's and the server's."""
    servers = []

    def build():
        servers.append(far())
        return servers[-1]

    factory = Factory.forProtocol(build)
    factory.noisy = False
    reactor.listenTCP(80, factory, interface="10.0.0.1")
    client = near()
    made = []
    endpoint = TCP4ClientEndpoint(reactor, "10.0.0.1", 80)
    endpoint.connect(Factory.forProtocol(lambda: client)).addCallback(made.append)
    reactor.pump()
    assert made == [client]
    return client, servers[0]


@pytest.fixture
def reactor():
    return MemoryReactor()


def test_interfaces(reactor):
    for interface in (
        interfaces.IReactorTime,
        interfaces.IReactorTCP,
        interfaces.IReactorUNIX,
        interfaces.IReactorPluggableNameResolver,
    ):
        assert verifyObject(interface, reactor)
    client, _ = pair(reactor)
    assert verifyObject(interfaces.ITCPTransport, client.transport)
    assert not interfaces.IReactorFDSet.providedBy(reactor)


def test_bytes_go_both_ways_in_order(reactor):
    client, server = pair(reactor)
    client.transport.write(b"one ")
    client.transport.writeSequence([b"two ", b"three"])
    server.transport.write(b"back")
    assert (client.data, server.data) == (b"", b"")
    reactor.pump()
    assert (client.data, server.data) == (b"back", b"one two three")


def test_addresses(reactor):
    client, server = pair(reactor)
    assert client.transport.getPeer() == server.transport.getHost()
    assert client.transport.getHost() == server.transport.getPeer()
    assert (client.transport.getPeer().host, client.transport.getPeer().port) == ("10.0.0.1", 80)
    other, _ = client, TCPOrigin(reactor, "t", "10.0.0.2:80")
    first = open_client(reactor, "10.0.0.2", 80, client_ip="203.0.113.7")
    second = open_client(reactor, "10.0.0.2", 80, client_ip="203.0.113.7")
    assert first.transport.getHost().host == "203.0.113.7"
    assert second.transport.getHost().port == first.transport.getHost().port + 1
    assert other.lost is None


def test_lose_connection_flushes_first(reactor):
    client, server = pair(reactor)
    client.transport.write(b"x" * 1_000_000)
    client.transport.loseConnection()
    reactor.pump()
    assert len(server.data) == 1_000_000
    assert (client.lost, server.lost) == (error.ConnectionDone, error.ConnectionDone)
    assert reactor.connections == []


def test_abort_is_seen_as_a_loss(reactor):
    client, server = pair(reactor)
    client.transport.write(b"never sent")
    client.transport.abortConnection()
    reactor.pump()
    assert (client.lost, server.lost) == (error.ConnectionAborted, error.ConnectionLost)
    assert server.data == b""


def test_closing_with_unread_data_resets_the_peer(reactor):
    client, server = pair(reactor)
    server.transport.pauseProducing()
    client.transport.write(b"unread")
    reactor.pump()
    server.transport.loseConnection()
    reactor.pump()
    assert (server.lost, client.lost) == (error.ConnectionDone, error.ConnectionLost)


def test_writing_to_one_that_has_gone_is_answered_by_a_reset(reactor):
    client, server = pair(reactor, near=HalfRecorder)
    server.transport.loseConnection()
    reactor.pump()
    assert (client.events, client.lost) == (("read",), None)
    client.transport.write(b"too late")
    reactor.pump()
    assert client.lost is None  # it reads no more, so it finds out when it writes again
    client.transport.write(b"again")
    reactor.pump()
    assert client.lost is error.ConnectionLost


def test_half_close(reactor):
    client, server = pair(reactor, HalfRecorder, HalfRecorder)
    client.transport.write(b"question")
    client.transport.loseWriteConnection()
    reactor.pump()
    assert (client.events, server.events, server.data) == (("write",), ("read",), b"question")
    client.transport.write(b"ignored")
    server.transport.write(b"answer")
    reactor.pump()
    assert (client.data, server.data) == (b"answer", b"question")
    server.transport.loseConnection()
    reactor.pump()
    assert (server.lost, client.events, client.lost) == (
        error.ConnectionDone,
        ("write", "read"),
        None,
    )
    client.transport.loseConnection()
    reactor.pump()
    assert client.lost is error.ConnectionDone


def test_without_half_close_a_fin_ends_both_ways(reactor):
    client, server = pair(reactor, near=HalfRecorder)
    client.transport.loseWriteConnection()
    reactor.pump()
    assert server.lost is error.ConnectionDone


def test_a_paused_reader_makes_the_writer_wait(reactor):
    client, server = pair(reactor)
    source = Source()
    client.transport.registerProducer(source, True)
    server.transport.pauseProducing()
    window = server.transport.window
    client.transport.write(b"x" * window)
    reactor.pump()
    assert source.calls == []
    client.transport.write(b"y" * (client.transport.bufferSize + 1))
    assert source.calls == ["pause"]
    reactor.pump()
    assert (source.calls, server.data) == (["pause"], b"")
    server.transport.resumeProducing()
    reactor.pump()
    assert source.calls == ["pause", "resume"]
    assert len(server.data) == window + client.transport.bufferSize + 1


def test_a_paused_reader_is_blind_until_it_reads(reactor):
    client, server = pair(reactor)
    server.transport.pauseProducing()
    client.transport.abortConnection()
    reactor.pump()
    assert server.lost is None
    server.transport.resumeProducing()
    reactor.pump()
    assert server.lost is error.ConnectionLost


def test_a_registered_producer_holds_the_connection_open(reactor):
    client, _ = pair(reactor)
    source = Source()
    client.transport.registerProducer(source, True)
    client.transport.loseConnection()
    reactor.pump()
    client.transport.unregisterProducer()
    reactor.pump()
    assert client.lost is error.ConnectionDone


def test_read_size(reactor):
    sizes = []

    class Sizes(Recorder):
        def dataReceived(self, data):
            sizes.append(len(data))

    client, server = pair(reactor, far=Sizes)
    server.transport.read_size = 3
    client.transport.write(b"12345678")
    reactor.pump()
    assert sizes == [3, 3, 2]


def test_refused(reactor):
    client = open_client(reactor, "10.9.9.9", 80)
    assert client.closed
    assert client.reason.check(error.ConnectionRefusedError)


def test_blackhole_times_out(reactor):
    TCPOrigin(reactor, "t", "10.0.0.1:80")
    reactor.blackhole("10.0.0.1:80")
    client = open_client(reactor, "10.0.0.1", 80, timeout=5)
    reactor.advance(4.9)
    assert not client.closed
    reactor.advance(0.2)
    assert client.reason.check(error.TimeoutError)
    reactor.heal()
    assert open_client(reactor, "10.0.0.1", 80).established


def test_partition_holds_back_and_heal_delivers(reactor):
    client, server = pair(reactor)
    reactor.partition("10.0.0.1")
    client.transport.write(b"later")
    reactor.advance(60)
    assert server.data == b""
    reactor.heal("10.0.0.1")
    reactor.pump()
    assert server.data == b"later"


def test_latency_is_one_way_and_keeps_order(reactor):
    client, server = pair(reactor)
    reactor.latency = 0.1
    reactor.slow("10.0.0.1:80", 0.4)
    client.transport.write(b"a")
    reactor.pump()
    client.transport.write(b"b")
    client.transport.loseConnection()
    reactor.advance(0.49)
    assert server.data == b""
    reactor.advance(0.02)
    assert (server.data, server.lost) == (b"ab", error.ConnectionDone)


def test_wildcard_listeners_are_on_this_machine_only(reactor):
    factory = Factory.forProtocol(Recorder)
    TCP4ServerEndpoint(reactor, 8080).listen(factory)
    assert open_client(reactor, "127.0.0.1", 8080).established
    assert not open_client(reactor, "10.0.0.1", 8080).established
    with pytest.raises(error.CannotListenError):
        reactor.listenTCP(8080, factory)
    assert not open_client(reactor, "::1", 8080).established


def test_stop_listening_leaves_connections(reactor):
    client, server = pair(reactor)
    port = reactor.ports["10.0.0.1", 80]
    port.stopListening()
    assert not open_client(reactor, "10.0.0.1", 80).established
    client.transport.write(b"still here")
    reactor.pump()
    assert server.data == b"still here"


def test_unix(reactor):
    origin = TCPOrigin(reactor, "u", "unix:/run/app.sock", "echo")
    client = Recorder()
    UNIXClientEndpoint(reactor, "/run/app.sock").connect(Factory.forProtocol(lambda: client))
    reactor.pump()
    client.transport.write(b"hi")
    reactor.pump()
    assert client.data == b"hi"
    assert interfaces.IUNIXTransport.providedBy(client.transport)
    assert origin.accepted == 1


def test_resolver(reactor):
    class Receiver:
        def __init__(self):
            self.seen = []

        def resolutionBegan(self, resolution):
            self.seen.append(resolution.name)

        def addressResolved(self, address):
            self.seen.append(address.host)

        def resolutionComplete(self):
            self.seen.append("done")

    reactor.resolver.table["app.test"] = ["10.0.0.1", "2001:db8::5"]
    receiver, nobody = Receiver(), Receiver()
    reactor.nameResolver.resolveHostName(receiver, "app.test", 80)
    reactor.nameResolver.resolveHostName(nobody, "gone.test", 80)
    assert receiver.seen == ["app.test"]
    reactor.pump()
    assert receiver.seen == ["app.test", "10.0.0.1", "2001:db8::5", "done"]
    assert nobody.seen == ["gone.test", "done"]


def test_time_stops_at_every_delayed_call(reactor):
    seen = []

    def again():
        seen.append(reactor.seconds())
        reactor.callLater(1.0, again)

    again()
    reactor.advance(2.5)
    assert seen == [0.0, 1.0, 2.0]
    assert reactor.seconds() == 2.5
    assert not reactor.advance_until(lambda: len(seen) > 5, within=2.0)
    assert reactor.seconds() == 4.5
    assert reactor.advance_until(lambda: len(seen) > 5, within=2.0)
    assert reactor.seconds() == 5.0


def test_an_endless_loop_is_found(reactor):
    def loop():
        reactor.callLater(0, loop)

    loop()
    with pytest.raises(Livelock):
        reactor.pump()


def test_an_exception_costs_the_connection_and_fails_the_test(reactor):
    class Broken(Recorder):
        def dataReceived(self, data):
            raise ZeroDivisionError

    client, server = pair(reactor, far=Broken)
    client.transport.write(b"x")
    with pytest.raises(ZeroDivisionError):
        reactor.pump()
    assert server.lost is ZeroDivisionError
    reactor.pump()
    assert client.lost is error.ConnectionDone


def test_shutdown_triggers_run_by_phase(reactor):
    seen = []
    for phase in ("after", "before", "during"):
        reactor.addSystemEventTrigger(phase, "shutdown", seen.append, phase)
    dropped = reactor.addSystemEventTrigger("before", "shutdown", seen.append, "dropped")
    reactor.removeSystemEventTrigger(dropped)
    reactor.stop()
    reactor.stop()
    assert seen == ["before", "during", "after"]


def test_tls_on_top(reactor):
    import trustme
    from OpenSSL import SSL
    from twisted.internet.ssl import CertificateOptions
    from twisted.protocols.tls import TLSMemoryBIOFactory

    issued = trustme.CA().issue_cert("app.test")
    context = SSL.Context(SSL.TLS_METHOD)
    issued.configure_cert(context)
    options = CertificateOptions()
    options._context = context

    class Echo(Recorder):
        def dataReceived(self, data):
            self.transport.write(data)

    factory = TLSMemoryBIOFactory(options, False, Factory.forProtocol(Echo), clock=reactor)
    reactor.listenTCP(443, factory, interface="10.0.0.1")
    client = open_client(reactor, "10.0.0.1", 443, tls_name="app.test")
    client.send(b"q" * 300_000)
    assert client.received == b"q" * 300_000
    client.close()
    assert client.closed
    assert not client.reset
