"""The service: starting, binding, stopping, starting again, and living inside another program."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint

from lbproxy.config.errors import ConfigErrors
from lbproxy.errors import ListenError
from lbproxy.service import LoadBalancer
from lbproxy.testing import Client, MemoryReactor, TCPOrigin
from lbproxy.testing.client import open_client
from tests.support import tls

A = "10.0.0.1:7000"
TEXT = f"""
    [frontend t]
    mode = tcp
    listen = tcp:9000
    backend = raw
    [backend raw]
    servers = a {A}
"""


@pytest.fixture
def reactor() -> MemoryReactor:
    return MemoryReactor()


def build(reactor: MemoryReactor, text: str = TEXT) -> LoadBalancer:
    return LoadBalancer.from_config(dedent(text), reactor=reactor)


def connect(reactor: MemoryReactor, port: int = 9000) -> Client:
    return open_client(reactor, "127.0.0.1", port, client_ip="203.0.113.1")


def echoes(reactor: MemoryReactor, port: int = 9000) -> bool:
    client = connect(reactor, port)
    if not client.established:
        return False
    client.send(b"x")
    good = client.received == b"x"
    client.close()
    return good


def stop(service: LoadBalancer, reactor: MemoryReactor) -> None:
    done: list[Any] = []
    service.stopService().addBoth(done.append)
    assert reactor.advance_until(lambda: done, 60)
    assert done == [None]


def quiet(reactor: MemoryReactor) -> bool:
    """Nothing is bound and nothing waits."""
    reactor.advance(5)
    return not reactor.ports and not reactor.getDelayedCalls()


def test_nothing_is_bound_before_the_start(reactor: MemoryReactor) -> None:
    service = build(reactor)
    assert quiet(reactor)
    service.startService()
    assert [str(listener.address) for listener in service.listeners] == ["0.0.0.0:9000"] or (
        service.listeners[0].address is not None and service.listeners[0].address.port == 9000
    )
    stop(service, reactor)
    assert service.listeners[0].address is None
    assert quiet(reactor)


def test_names_are_looked_up_again_as_often_as_configured(reactor: MemoryReactor) -> None:
    reactor.resolver.table["app.internal"] = ["10.0.0.1"]
    text = TEXT.replace("10.0.0.1", "app.internal") + "    resolve_every = 7s\n"
    service = build(reactor, text)
    service.startService()
    queries = reactor.resolver.queries
    reactor.advance(1)
    assert len(queries) == 1
    reactor.advance(70)
    assert 9 <= len(queries) <= 12  # the default would make it 3
    stop(service, reactor)


def test_stop_and_start_again(reactor: MemoryReactor) -> None:
    origin = TCPOrigin(reactor, "a", A, "echo")
    service = build(reactor)
    for _ in range(3):
        service.startService()
        assert echoes(reactor)
        stop(service, reactor)
        assert not connect(reactor).established
    origin.stop()
    assert quiet(reactor)


def test_a_second_start_changes_nothing(reactor: MemoryReactor) -> None:
    TCPOrigin(reactor, "a", A, "echo")
    service = build(reactor)
    service.privilegedStartService()
    service.startService()
    service.startService()
    assert echoes(reactor)
    stop(service, reactor)
    stop(service, reactor)


def test_stopping_what_never_started(reactor: MemoryReactor) -> None:
    stop(build(reactor), reactor)
    assert quiet(reactor)


TWO = TEXT.replace(
    "listen = tcp:9000", "listen =\n        tcp:9000\n        tcp:9001\n        tcp:9002"
)


@pytest.mark.parametrize("method", ["startService", "privilegedStartService"])
def test_all_or_no_address_is_bound(reactor: MemoryReactor, method: str, tmp_path: Path) -> None:
    from twisted.internet.protocol import Factory, Protocol

    other = reactor.listenTCP(9002, Factory.forProtocol(Protocol))
    log = tmp_path / "access.log"
    service = build(reactor, f"\n    [lbproxy]\n    access_log = {log}\n" + TWO)
    with pytest.raises(
        ListenError, match=r":9002: Address already in use .another program listens"
    ):
        getattr(service, method)()
    assert set(reactor.ports.values()) == {other}
    assert all(listener.address is None for listener in service.listeners)
    assert not service.running
    reactor.advance(5)
    assert reactor.getDelayedCalls() == []
    other.stopListening()
    service.startService()
    assert len(reactor.ports) == 3
    stop(service, reactor)


def test_inside_another_program(reactor: MemoryReactor) -> None:
    TCPOrigin(reactor, "a", A, "echo")
    parent = MultiService()
    service = build(reactor)
    service.setServiceParent(parent)  # type: ignore[no-untyped-call]
    parent.privilegedStartService()
    parent.startService()
    assert echoes(reactor)
    late = build(reactor, TEXT.replace("9000", "9010"))
    late.setServiceParent(parent)  # type: ignore[no-untyped-call]
    assert echoes(reactor, 9010)
    done: list[Any] = []
    client = connect(reactor)
    parent.stopService().addBoth(done.append)
    reactor.advance(1)
    assert not done, "it waits for sessions"
    client.close()
    reactor.advance(1)
    assert done
    assert not connect(reactor).established


def test_a_factory_for_an_endpoint_of_one_s_own(reactor: MemoryReactor) -> None:
    TCPOrigin(reactor, "a", A, "echo")
    service = build(
        reactor, TEXT.replace("listen = tcp:9000", "listen = tcp:9000 accept_proxy=10.0.0.0/8")
    )
    service.startService()
    ports: list[Any] = []
    TCP4ServerEndpoint(reactor, 7777).listen(service.factory("t")).addCallback(ports.append)
    assert echoes(reactor, 7777)
    kept = connect(reactor, 7777)
    kept.send(b"x")
    with pytest.raises(KeyError):
        service.factory("nope")
    done: list[Any] = []
    service.stopService().addBoth(done.append)
    refused = connect(reactor, 7777)
    assert refused.finished, "the endpoint is ours no more than the decision to stop"
    reactor.advance(12)
    assert kept.closed and done
    ports[0].stopListening()


def test_sessions_finish_within_the_time_for_shutdown(reactor: MemoryReactor) -> None:
    TCPOrigin(reactor, "a", A, "echo")
    service = build(reactor, "\n    [lbproxy]\n    timeout_shutdown = 3s\n" + TEXT)
    service.startService()
    brief, endless = connect(reactor), connect(reactor)
    done: list[Any] = []
    service.stopService().addBoth(done.append)
    reactor.advance(1)
    brief.send(b"x")
    assert brief.received == b"x"
    brief.close()
    reactor.advance(1.9)
    assert not endless.closed and not done
    reactor.advance(0.2)
    assert endless.closed
    assert done == [None]


@pytest.mark.parametrize("how", ["stop", "hand over"])
def test_who_stops_or_has_handed_over_binds_nothing_new(reactor: MemoryReactor, how: str) -> None:
    TCPOrigin(reactor, "a", A, "echo")
    text = "\n    [lbproxy]\n    timeout_shutdown = 3s\n" + TEXT
    service = build(reactor, text)
    service.startService()
    client = connect(reactor)
    done: list[Any] = []
    assert service.serving
    if how == "stop":
        service.stopService().addBoth(done.append)
        assert not service.serving, "an upgrade is refused"
    else:
        service.hand_over()
    more = dedent(text).replace("tcp:9000", "tcp:9000\n    tcp:9001")
    report = service.reload(more)
    assert not report.ok and not any(port in (9000, 9001) for _, port in reactor.ports), report
    if how == "hand over":
        service.stopService().addBoth(done.append)
    client.close()
    reactor.advance(10)
    assert done == [None]
    if how == "stop":
        assert report.errors == ("lbproxy is stopping",)
        assert service.reload(more).ok, "it has stopped"
        service.startService()
        assert echoes(reactor, 9001)
        stop(service, reactor)


def test_a_bug_at_the_end_does_not_keep_it_from_ending(
    reactor: MemoryReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = build(reactor, "\n    [lbproxy]\n    timeout_shutdown = 3s\n" + TEXT)
    service.startService()
    client = connect(reactor)
    monkeypatch.setattr(service, "_cut", None)  # there is no such thing to call
    done: list[Any] = []
    service.stopService().addBoth(done.append)
    reactor.advance(10)
    assert done[0].check(TypeError)
    assert not any(one.running for one in service)
    client.close()


def test_last_bytes_to_a_client_that_does_not_read_are_cut_off_too(reactor: MemoryReactor) -> None:
    origin = TCPOrigin(reactor, "a", A)
    service = build(reactor, "\n    [lbproxy]\n    timeout_shutdown = 3s\n" + TEXT)
    service.startService()
    client = connect(reactor)
    client.pause()
    origin.connections[0].send(b"x" * 150_000)
    origin.connections[0].half_close()
    client.half_close()
    assert service.frontend("t").clients, "its last bytes are on their way"
    stop(service, reactor)
    assert service.frontend("t").clients == set()
    client.abort()
    origin.stop()
    assert quiet(reactor)


class SlowEndpoint:
    """An endpoint of Twisted's that answers later."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.asked = 0

    def listen(self, factory: Any) -> Deferred[Any]:
        self.asked += 1
        self.waiting.append(Deferred())
        return self.waiting[-1]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowEndpoint:
    endpoint = SlowEndpoint()
    monkeypatch.setattr("lbproxy.net.stockport.serverFromString", lambda reactor, text: endpoint)
    return endpoint


ENDPOINT = TEXT.replace("tcp:9000", "onion:80")


def test_an_endpoint_that_takes_its_time(reactor: MemoryReactor, slow: SlowEndpoint) -> None:
    service = build(reactor, ENDPOINT)
    service.privilegedStartService()
    service.startService()
    assert slow.asked == 1
    port = reactor.listenTCP(9000, service.listeners[0].factory)
    slow.waiting[0].callback(port)
    assert service.listeners[0].address is not None
    stop(service, reactor)
    assert quiet(reactor)


def test_an_endpoint_that_answers_after_the_stop(
    reactor: MemoryReactor, slow: SlowEndpoint
) -> None:
    service = build(reactor, ENDPOINT)
    service.startService()
    stop(service, reactor)
    assert service.listeners[0].address is None
    assert quiet(reactor)


def test_an_endpoint_that_refuses_at_once(reactor: MemoryReactor) -> None:
    service = build(reactor, TEXT.replace("tcp:9000", "systemd:domain=INET:index=7"))
    with pytest.raises(ListenError, match="systemd has not passed this socket"):
        service.startService()
    assert not service.running
    assert quiet(reactor)


def test_certificates_that_cannot_be_used_are_errors_of_the_configuration(
    reactor: MemoryReactor, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    good = tls.write(tls.issue("x.example"), tmp_path)
    text = f"""
    [frontend t]
    mode = tcp
    listen =
        tls:9000 certificates={broken}
        tls:9001 certificates={good}
        tls:9002 certificates={good} ciphers=NONSENSE
    backend = raw
    [backend raw]
    servers = a {A} tls ca={broken}
    """
    with pytest.raises(ConfigErrors) as caught:
        build(reactor, text)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "broken.pem" in lines[0] and lines[0].startswith("<text>:5: [frontend t] listen: ")
    assert "NONSENSE" in lines[1]
    assert "[backend raw] servers: " in lines[2]
    assert quiet(reactor)


def test_a_server_added_with_a_bad_certificate_is_refused(
    reactor: MemoryReactor, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    service = build(reactor)
    service.startService()
    with pytest.raises(ConfigErrors, match=r"broken\.pem"):
        service.add_server("raw", f"b {A} tls ca={broken}")
    assert list(service.backend("raw").group.servers) == ["a"]
    with pytest.raises(KeyError):
        service.add_server("nope", f"b {A}")
    stop(service, reactor)


class Fussy:
    """A filter that cannot be made."""

    name = "fussy"
    modes = frozenset({"tcp"})

    from lbproxy.http.filter import NoOptions as Options

    def __init__(self, options: Any, env: Any) -> None:
        raise RuntimeError("no database")


def test_a_filter_that_cannot_be_made_is_an_error_with_its_line(reactor: MemoryReactor) -> None:
    text = TEXT.replace("backend = raw", "backend = raw\n    filters = tests.test_service:Fussy")
    with pytest.raises(ConfigErrors, match=r"<text>:6: \[frontend t\] filters: .*no database"):
        build(reactor, text)


def test_unix_listener(reactor: MemoryReactor, tmp_path: Path) -> None:
    TCPOrigin(reactor, "a", A, "echo")
    path = tmp_path / "t.sock"
    service = build(reactor, TEXT.replace("tcp:9000", f"unix:{path}"))
    service.startService()
    client = open_client(reactor, str(path), -1)
    client.send(b"x")
    assert client.received == b"x"
    client.close()
    stop(service, reactor)
