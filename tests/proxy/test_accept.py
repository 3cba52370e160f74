"""Admission: who is let in, who is counted where, and what is left when they go."""

from __future__ import annotations

from typing import Any
from weakref import ref

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport

from lbproxy.proxy.http.streams import ConnectionInfo
from lbproxy.proxy.info import note_local
from lbproxy.proxy.tcp.factory import TCPProxyFactory
from lbproxy.proxy.tcp.session import Session
from tests.proxy.bench import A, Bench, Make, origins


def test_global_maxconn_holds_across_frontends() -> None:
    bench = Bench.of(
        f"""
        [lbproxy]
        maxconn = 3
        [frontend t]
        mode = tcp
        listen = tcp:9000
        backend = raw
        [frontend u]
        mode = tcp
        listen = tcp:9001
        backend = raw
        [backend raw]
        servers = a {A}
        """
    )
    bench.lb.tcp_origin("a", A, "echo")
    clients = [bench.lb.connect(name) for name in "tutu"]
    assert [client.finished for client in clients] == [False, False, False, True]
    clients[0].close()
    assert not bench.lb.connect("u").finished
    assert bench.lb.connect("t").finished
    bench.close()


@pytest.mark.parametrize(
    ("address", "ip", "port"),
    [
        (IPv4Address("TCP", "192.0.2.1", 5), "192.0.2.1", 5),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 5), "192.0.2.1", 5),
        (IPv6Address("TCP", "fe80::1%eth0", 5), "fe80::1%eth0", 5),
        (UNIXAddress("/run/x"), "", 0),
        (UNIXAddress(None), "", 0),
        (None, "", 0),
    ],
)
def test_addresses_of_every_kind(make: Make, address: object, ip: str, port: int) -> None:
    bench = make(frontend="deny = 198.51.100.0/24 fe80::2/128")
    protocol = bench.lb.service.factory("t").buildProtocol(address)
    assert isinstance(protocol, Session)
    info = protocol.info
    assert (info.client_ip, info.client_port, info.peer_ip, info.peer_port) == (ip, port, ip, port)
    assert bench.frontend.limits.from_address(ip) == 1
    bench.frontend.depart(info)
    bench.frontend.depart(info)


@pytest.mark.parametrize("ip", ["198.51.100.7", "fe80::2%eth0", "::ffff:198.51.100.7"])
def test_denied_in_every_dress(make: Make, ip: str) -> None:
    bench = make(frontend="deny = 198.51.100.0/24 fe80::2/128")
    factory = bench.lb.service.factory("t")
    kind = IPv6Address if ":" in ip else IPv4Address
    assert factory.buildProtocol(kind("TCP", ip, 5)) is None
    assert bench.frontend.counters.refused == 1


def test_unix_clients_need_an_open_door(make: Make) -> None:
    bench = make(frontend="allow = 10.0.0.0/8")
    assert bench.lb.service.factory("t").buildProtocol(UNIXAddress("/run/x")) is None


def test_a_stopped_frontend_takes_nobody(make: Make) -> None:
    bench = make()
    factory = bench.lb.service.factory("t")
    bench.frontend.stop()
    assert factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5)) is None
    assert bench.frontend.counters.connections == 0
    bench.frontend.start()
    protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5))
    assert protocol is not None
    bench.frontend.depart(protocol.info)


def test_the_local_address_is_plain() -> None:
    info = ConnectionInfo()
    transport = StringTransport(hostAddress=IPv6Address("TCP", "::ffff:192.0.2.9", 80))
    note_local(info, transport)
    assert (info.local_ip, info.local_port) == ("192.0.2.9", 80)
    note_local(info, StringTransport(hostAddress=HostnameAddress(b"x.example", 81)))
    assert info.local_port == 80, "it is noted once"


def test_a_flood_of_refusals_is_counted_and_costs_nothing_lasting(make: Make) -> None:
    bench = make(frontend="maxconn_per_ip = 1")
    origins(bench)
    keeper = bench.lb.connect("t")
    for _ in range(50):
        assert bench.lb.connect("t").finished
    assert (bench.frontend.counters.refused, bench.frontend.limits.active) == (50, 1)
    keeper.close()


class _Own(TCPProxyFactory):
    """An extension's factory: each client gets a protocol of its own."""

    def protocol_for(self, info: ConnectionInfo) -> Any:
        return info.client_ip, self.frontend.name


def test_a_factory_with_its_own_protocol_is_asked_for_it(make: Make) -> None:
    bench = make()
    factory = _Own(bench.frontend)
    assert factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5)) == ("192.0.2.1", "t")
    assert factory.builder.build("192.0.2.2", 5) == ("192.0.2.2", "t")
    ours = TCPProxyFactory(bench.frontend).builder.build("192.0.2.3", 5)
    assert type(ours) is Session and ours.frontend is bench.frontend
    for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        assert bench.frontend.limits.from_address(ip) == 1
        bench.frontend.limits.give_back(ip)


def test_a_replaced_factory_is_freed_at_once(make: Make) -> None:
    """No cycle keeps the frontends of earlier generations."""
    factory = TCPProxyFactory(make().frontend)
    gone = ref(factory)
    del factory
    assert gone() is None
