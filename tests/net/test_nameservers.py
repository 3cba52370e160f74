"""Name servers of lbproxy's own: real questions to a server in the same process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver

from lbproxy.net.lookup import look_up
from lbproxy.net.nameservers import NamedReactor, NameServers, with_nameservers
from tests.support.reactor import run

Answer = Callable[[str, int], "list[dns.RRHeader] | int | None"]


def _reply(query: bytes, answer: Answer, tcp: bool, truncate: bool) -> bytes | None:
    message = dns.Message()
    message.fromStr(query)
    asked = message.queries[0]
    found = answer(str(asked.name), asked.type)
    if found is None:
        return None
    message.answer = 1
    if isinstance(found, int):
        message.rCode = found
    elif truncate and not tcp:
        message.trunc = 1
    else:
        message.answers = found
    return bytes(message.toStr())


class DNSServer:
    """``answer(name, type)``: records, a code, or None for silence.  ``seen``: the questions."""

    def __init__(self, reactor: Any, answer: Answer, truncate: bool = False) -> None:
        self.seen: list[tuple[str, int]] = []
        self.tcp = 0

        def noted(name: str, kind: int) -> Any:
            self.seen.append((name, kind))
            return answer(name, kind)

        class UDP(DatagramProtocol):
            def datagramReceived(self, data: bytes, peer: Any) -> None:
                reply = _reply(data, noted, False, truncate)
                if reply is not None:
                    self.transport.write(reply, peer)

        server = self

        class TCP(Int16StringReceiver):
            def stringReceived(self, string: bytes) -> None:
                server.tcp += 1
                reply = _reply(string, noted, True, truncate)
                assert reply is not None
                self.sendString(reply)

        for attempt in range(20):
            self._tcp = reactor.listenTCP(0, Factory.forProtocol(TCP), interface="127.0.0.1")
            self.port = self._tcp.getHost().port
            try:
                self._udp = reactor.listenUDP(self.port, UDP(), interface="127.0.0.1")
                break
            except CannotListenError:
                self._tcp.stopListening()
                if attempt == 19:
                    raise

    async def stop(self) -> None:
        await self._tcp.stopListening()
        await self._udp.stopListening()


def _record(name: str, payload: Any) -> dns.RRHeader:
    return dns.RRHeader(name=name, type=payload.TYPE, payload=payload, ttl=5)


def _a(name: str, kind: int) -> Any:
    if kind == dns.A:
        return [_record(name, dns.Record_A("10.1.2.3")), _record(name, dns.Record_A("10.1.2.4"))]
    return [_record(name, dns.Record_AAAA("2001:db8::7"))]


def _names(answer: Answer, name: str = "app.test", truncate: bool = False) -> Any:
    """Look ``name`` up; what came or the error, and the server."""

    async def scenario(reactor: Any) -> Any:
        server = DNSServer(reactor, answer, truncate)
        try:
            named = with_nameservers(reactor, [("127.0.0.1", server.port)])
            found: Any
            try:
                found = await look_up(named, name)
            except Exception as error:
                found = str(error)
            return found, server
        finally:
            await server.stop()

    return run(scenario, strict=False)


def test_addresses_of_both_families() -> None:
    found, server = _names(_a)
    assert sorted(found) == ["10.1.2.3", "10.1.2.4", "2001:db8::7"]
    assert sorted(server.seen) == [("app.test", dns.A), ("app.test", dns.AAAA)]


def test_an_alias_is_followed() -> None:
    def answer(name: str, kind: int) -> Any:
        if kind != dns.A:
            return []
        alias = _record(name, dns.Record_CNAME("real.test"))
        return [alias, _record("real.test", dns.Record_A("10.1.2.3"))]

    assert _names(answer)[0] == ["10.1.2.3"]


def test_a_name_that_does_not_exist_has_no_addresses() -> None:
    assert _names(lambda name, kind: dns.ENAME)[0] == []


def test_a_server_that_fails_is_an_error_with_a_reason() -> None:
    assert "SERVFAIL" in _names(lambda name, kind: dns.ESERVER)[0]


def test_one_family_is_enough() -> None:
    def answer(name: str, kind: int) -> Any:
        return _a(name, kind) if kind == dns.A else dns.ESERVER

    assert _names(answer)[0] == ["10.1.2.3", "10.1.2.4"]


def test_a_family_that_is_never_answered_is_not_waited_for_long() -> None:
    def answer(name: str, kind: int) -> Any:
        return _a(name, kind) if kind == dns.A else None

    assert _names(answer)[0] == ["10.1.2.3", "10.1.2.4"]


def test_a_long_answer_comes_over_tcp() -> None:
    found, server = _names(_a, truncate=True)
    assert sorted(found) == ["10.1.2.3", "10.1.2.4", "2001:db8::7"]
    assert server.tcp == 2


def test_a_name_that_dns_cannot_carry_is_an_error() -> None:
    found, server = _names(_a, "x" * 70 + ".test")
    assert found == [] or isinstance(found, str)
    assert not server.seen


def test_literals_and_hosts_need_no_question(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# comment\n10.9.9.9 db.test DB2  # more\nbroken x.test\n::9 db.test\n")

    async def scenario(reactor: Any) -> Any:
        names = NameServers(reactor, [("127.0.0.1", 9)], hosts=hosts)
        named = NamedReactor(reactor, names)
        return [await look_up(named, name) for name in ("db.test", "db2", "10.0.0.1", "::1")]

    assert run(scenario) == [["10.9.9.9", "::9"], ["10.9.9.9"], ["10.0.0.1"], ["::1"]]


def test_the_second_server_is_asked_when_the_first_is_silent() -> None:
    async def scenario(reactor: Any) -> Any:
        silent = DNSServer(reactor, lambda name, kind: None)
        good = DNSServer(reactor, _a)
        try:
            servers = [("127.0.0.1", silent.port), ("127.0.0.1", good.port)]
            return sorted(await look_up(with_nameservers(reactor, servers), "app.test"))
        finally:
            await silent.stop()
            await good.stop()

    assert run(scenario, strict=False) == ["10.1.2.3", "10.1.2.4", "2001:db8::7"]


def test_names_of_an_address() -> None:
    def answer(name: str, kind: int) -> Any:
        assert name == "3.2.1.10.in-addr.arpa"
        return [_record(name, dns.Record_PTR("crawler.test"))]

    async def scenario(reactor: Any) -> Any:
        server = DNSServer(reactor, answer)
        try:
            named = with_nameservers(reactor, [("127.0.0.1", server.port)])
            return await named.nameResolver.names_of("10.1.2.3")
        finally:
            await server.stop()

    assert run(scenario, strict=False) == ["crawler.test"]


class _Silent:
    """A resolver that never answers."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def lookupAddress(self, name: str, timeout: Any) -> Deferred[Any]:
        self.asked.append(Deferred())
        return self.asked[-1]

    lookupIPV6Address = lookupAddress


def test_a_cancelled_look_up_ends_its_questions() -> None:
    from lbproxy.testing import MemoryReactor

    reactor = MemoryReactor()
    silent = _Silent()
    names = NameServers(reactor, [("10.0.0.2", 53)], resolver=silent)
    asked = look_up(NamedReactor(reactor, names), "app.test")
    failed: list[Any] = []
    asked.addErrback(failed.append)
    asked.cancel()
    assert failed and all(one.called for one in silent.asked)
    assert not reactor.getDelayedCalls()


@pytest.mark.parametrize("servers", [(), []])
def test_without_servers_the_reactor_stays(servers: Any) -> None:
    reactor = object()
    assert with_nameservers(reactor, servers) is reactor


def test_the_service_and_its_servers_use_them() -> None:
    from lbproxy.testing import LB, MemoryReactor

    reactor = MemoryReactor()
    lb = LB.from_config(
        """
        [lbproxy]
        nameservers = 127.0.0.1:5353 [::1]:53 10.0.0.2

        [frontend web]
        listen = tcp:8080
        backend = app

        [backend app]
        servers = a app.test:8000
        """,
        reactor=reactor,
    )
    names = lb.service.reactor.nameResolver
    assert isinstance(names, NameServers)
    assert names.servers == (("127.0.0.1", 5353), ("::1", 53), ("10.0.0.2", 53))
    assert lb.service.generation.resolvers["app"]._reactor.nameResolver is names
    assert reactor.nameResolver is reactor.resolver, "the reactor of the program stays as it is"
    lb.close()


@pytest.mark.parametrize("text", ["ns.test", "10.0.0.2:0", "10.0.0.2:x", "[::1", "10.0.0.2:99999"])
def test_what_is_no_name_server_is_an_error(text: str) -> None:
    from lbproxy.config.errors import ConfigErrors
    from lbproxy.registry import parse_config

    with pytest.raises(ConfigErrors, match="nameservers"):
        parse_config(f"[lbproxy]\nnameservers = {text}\n")
