"""PROXY headers around TCP sessions: believed, sent, and together with TLS and server names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lbproxy.net.proxyproto import ProxyHeaderParser, encode_v2
from lbproxy.testing import LB
from tests.proxy.bench import A, B, Bench, Make, TLSOrigin
from tests.support import tls

CLIENT, AIM = ("203.0.113.77", 5555), ("192.0.2.80", 443)
BALANCER = "10.9.1.1"


def test_a_v2_header_with_facts_in_and_one_out(make: Make) -> None:
    bench = make(listen="tcp:9000 accept_proxy=10.9.0.0/16", servers=(f"a {A} send_proxy=v2",))
    origin = bench.lb.tcp_origin("a", A, lambda data: None)
    client = bench.lb.connect("t", client=BALANCER)
    header = encode_v2(CLIENT, AIM, ((0xEA, b"\x01vpce-1"),), checksum=True)
    for byte in header:
        client.send(bytes((byte,)))
    client.send(b"hello")
    session = bench.session
    assert (session.client_ip, session.client_port) == CLIENT
    assert (session.info.local_ip, session.info.local_port) == AIM
    assert (session.info.peer_ip, session.info.tlvs[0]) == (BALANCER, (0xEA, b"\x01vpce-1"))
    parser = ProxyHeaderParser()
    told = parser.receive(origin.connections[0].received)
    assert told is not None
    assert (told.source_ip, told.source_port) == CLIENT
    assert (told.destination_ip, told.destination_port) == AIM
    assert parser.leftover == b"hello"
    client.close()


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", encode_v2(None, None), encode_v2(CLIENT, AIM, local=True)]
)
def test_headers_without_addresses_leave_the_peer_s(make: Make, header: bytes) -> None:
    bench = make(listen="tcp:9000 accept_proxy=10.9.0.0/16", frontend="allow = 10.9.0.0/16")
    bench.lb.tcp_origin("a", A, "echo")
    client = bench.lb.connect("t", client=BALANCER)
    client.send(header + b"x")
    assert client.received == b"x"
    assert bench.session.client_ip == BALANCER
    assert bench.frontend.limits.from_address(BALANCER) == 1
    client.close()


def test_limits_count_the_announced_address(make: Make) -> None:
    bench = make(
        listen="tcp:9000 accept_proxy=10.9.0.0/16", frontend="maxconn_per_ip = 1\nmaxconn = 2"
    )
    bench.lb.tcp_origin("a", A, "echo")
    bench.lb.tcp_origin("b", B, "echo")

    def announced(ip: str) -> bool:
        client = bench.lb.connect("t", client=BALANCER)
        client.send(b"PROXY TCP4 %s 192.0.2.80 5555 443\r\nx" % ip.encode())
        return client.received == b"x"

    assert announced("203.0.113.1")
    assert not announced("203.0.113.1")
    assert announced("203.0.113.2")
    assert not announced("203.0.113.3"), "maxconn holds before the header is read"
    assert (bench.frontend.limits.active, bench.frontend.limits.addresses) == (2, 2)


def test_header_then_tls_on_one_listener(make: Make, tmp_path: Path) -> None:
    pem = tls.write(tls.issue("db.example.com"), tmp_path)
    bench = make(
        listen=f"tls:9443 certificates={pem} accept_proxy=10.9.0.0/16",
        servers=(f"a {A} send_proxy=v2",),
    )
    origin = bench.lb.tcp_origin("a", A, lambda data: None)
    client = bench.lb.connect("t", client=BALANCER)
    raw = client.transport
    raw.write(b"PROXY TCP4 203.0.113.77 192.0.2.80 5555 443\r\n")  # type: ignore[union-attr]
    secure = upgrade(bench, client)
    secure.send(b"hello")
    parser = ProxyHeaderParser()
    told = parser.receive(origin.connections[0].received)
    assert told is not None
    assert told.source_ip == "203.0.113.77"
    assert (2, b"db.example.com") in told.tlvs, (
        "the server learns the name of the TLS that ended here"
    )
    assert parser.leftover == b"hello"
    assert bench.session.sni == "db.example.com"
    secure.close()


def upgrade(bench: Bench, client: Any) -> Any:
    """Start TLS on a client's connection; a client on top of it."""
    from OpenSSL import SSL
    from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

    from lbproxy.net.handover import hand_over
    from lbproxy.testing import Client

    class Creator:
        def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
            connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
            connection.set_tlsext_host_name(b"db.example.com")
            return connection

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from zope.interface import directlyProvides

    creator = Creator()
    directlyProvides(creator, IOpenSSLClientConnectionCreator)
    inner = Client(bench.lb.reactor)
    factory = TLSMemoryBIOFactory(creator, True, None, bench.lb.reactor)  # type: ignore[arg-type]
    hand_over(client.transport, TLSMemoryBIOProtocol(factory, inner))
    bench.lb.reactor.pump()
    return inner


def test_header_then_a_look_at_the_name() -> None:
    from tests.proxy.test_tcp_tls import client_hello

    bench = Bench(
        LB.from_config(
            f"""
            [frontend t]
            mode = tcp
            listen = tcp:9000 accept_proxy=10.9.0.0/16
            routes =
                sni b.example -> b
                default -> raw
            [backend raw]
            servers = a {A}
            [backend b]
            servers = b {B} send_proxy=v1
            """
        )
    )
    origin = bench.lb.tcp_origin("b", B, lambda data: None)
    hello = client_hello("b.example")
    line = b"PROXY TCP4 203.0.113.77 192.0.2.80 5555 443\r\n"
    for step in (1, 20, 10_000):
        client = bench.lb.connect("t", client=BALANCER)
        for start in range(0, len(line + hello), step):
            client.send((line + hello)[start : start + step])
        assert origin.connections[-1].received == line + hello
        client.close()
        assert (bench.last.sni, bench.last.client_ip) == ("b.example", "203.0.113.77")
    bench.close()


def test_the_header_goes_before_the_handshake_with_the_server(make: Make, tmp_path: Path) -> None:
    ca = tls.ca_file(tmp_path)
    bench = make(servers=(f"a {A} tls ca={ca} sni=a.example send_proxy=v1",))
    origin = TLSOrigin(bench.lb.reactor, A, tmp_path, "a.example", handler="echo", header=True)
    client = bench.lb.connect("t", client="203.0.113.9")
    client.send(b"hello")
    assert client.received == b"hello"
    assert origin.headers[0].startswith(b"PROXY TCP4 203.0.113.9 ")
    client.close()


def test_clients_of_a_unix_socket(make: Make) -> None:
    bench = make(
        listen="unix:/run/t.sock accept_proxy=10.0.0.0/8",
        servers=("a unix:/run/a.sock send_proxy=v1",),
    )
    origin = bench.lb.tcp_origin("a", "unix:/run/a.sock", lambda data: None)
    local = bench.lb.connect("t")
    local.send(b"PROXY UNKNOWN\r\nx")
    assert origin.connections[0].received == b"PROXY UNKNOWN\r\nx"
    relayed = bench.lb.connect("t")
    relayed.send(b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\nx")
    assert origin.connections[1].received == b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\nx"
    local.close()
    relayed.close()
