"""Full of idle connections: newcomers get the places of those that have waited longest."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from lbproxy.admin.parts.metrics import FRONTEND_COUNTERS
from lbproxy.proxy import admission
from tests.proxy.http_kit import GET, OK, A, Rig, rigs
from tests.support import tls

rig = pytest.fixture(rigs)


def full(rig: Any, web: str = "maxconn = 20", count: int = 20) -> tuple[Rig, list[Any]]:
    """A frontend whose places are taken by connections that have had an answer, each of an
    address of its own and a second after the one before."""
    r = rig(web=web)
    r.lb.tcp_origin("a", A, lambda data: OK)
    clients = []
    for n in range(count):
        clients.append(asked(r, f"10.1.0.{n}"))
        r.advance(1)
    return r, clients


def asked(r: Rig, ip: str) -> Any:
    client = r.lb.connect("web", client=ip)
    client.send(GET)
    r.advance(0)
    return client


def open_ones(clients: list[Any]) -> list[int]:
    return [n for n, client in enumerate(clients) if not client.finished]


def test_the_longest_idle_makes_room(rig) -> None:
    r, clients = full(rig)
    clients[0].send(GET)  # no longer the one that waits longest
    newcomers = [asked(r, f"10.2.0.{n}") for n in range(3)]
    assert all(client.received.endswith(b"hi") for client in newcomers)
    assert open_ones(clients) == [0, *range(4, 20)]
    assert not clients[1].reset
    assert r.frontend.counters.evicted == 3
    assert r.frontend.counters.refused == 0
    assert r.clients == 20


def test_silent_connections_go_after_idle_ones_and_have_a_record(rig) -> None:
    r = rig(web="maxconn = 20")
    r.lb.tcp_origin("a", A, lambda data: OK)
    silent = [r.lb.connect("web", client=f"10.3.0.{n}") for n in range(10)]
    idle = [asked(r, f"10.1.0.{n}") for n in range(10)]
    newcomers = []
    for n in range(12):
        newcomers.append(r.lb.connect("web", client=f"10.2.0.{n}"))
        newcomers[-1].send(GET[:20])  # neither idle nor silent
    assert open_ones(idle) == []
    assert open_ones(silent) == list(range(2, 10))
    assert [kind.value for kind in r.refusals] == ["limited"] * 2
    assert (r.frontend.counters.evicted, r.frontend.counters.refused) == (12, 2)
    for client in newcomers:
        client.send(GET[20:])
        assert client.received.endswith(b"hi")


def test_an_address_with_more_than_a_tenth_loses_its_own(rig) -> None:
    r, clients = full(rig, count=12)
    greedy = [asked(r, "6.6.6.6") for _ in range(8)]
    for _ in range(4):
        greedy.append(asked(r, "6.6.6.6"))
    assert open_ones(clients) == list(range(12))
    assert open_ones(greedy) == [0, 1, *range(6, 12)]


def test_a_trusted_proxy_may_have_more_than_a_tenth(rig) -> None:
    r, clients = full(rig, web="maxconn = 20\ntrusted_proxies = 6.6.6.6", count=12)
    greedy = [asked(r, "6.6.6.6") for _ in range(8)]
    asked(r, "10.2.0.1")
    assert open_ones(greedy) == list(range(8))
    assert open_ones(clients) == list(range(1, 12))


def test_who_is_at_work_stays_and_newcomers_are_refused(rig) -> None:
    r = rig(web="maxconn = 2")
    raw = r.raw()
    busy = [r.client() for _ in range(2)]
    for client in busy:
        client.send(GET)
    late = r.client()
    late.send(GET)
    assert not late.received
    assert r.frontend.counters.evicted == 0
    assert [kind.value for kind in r.refusals] == ["limited"]
    for connection in raw.connections:
        connection.send(OK)
    assert [client.received[-2:] for client in busy] == [b"hi"] * 2


def test_the_limit_of_the_process(rig) -> None:
    r, clients = full(rig, web="", count=4)
    r.lb.service.total.maxconn = 4
    assert asked(r, "10.2.0.1").received.endswith(b"hi")
    assert open_ones(clients) == [1, 2, 3]


def test_without_a_limit_nobody_goes(rig) -> None:
    r, clients = full(rig, web="", count=30)
    assert open_ones(clients) == list(range(30))
    assert r.frontend.counters.evicted == 0


def test_it_is_logged_once_a_second(rig) -> None:
    r, _ = full(rig)
    lines: list[str] = []
    admission._quiet._seen.clear()  # of other tests in this second

    def observe(event: Any) -> None:
        if "closing the idle connection" in (event.get("log_format") or ""):
            lines.append(event["ip"])

    globalLogPublisher.addObserver(observe)
    try:
        for n in range(5):
            asked(r, f"10.2.0.{n}")
    finally:
        globalLogPublisher.removeObserver(observe)
    assert lines == ["10.1.0.0"]
    assert ("evicted_connections", "evicted") in {row[:2] for row in FRONTEND_COUNTERS}


def test_an_unfinished_handshake_makes_room(rig, tmp_path) -> None:
    pem = tls.write(tls.issue("a.example"), tmp_path)
    r = rig(listen=f"tls:8443 certificates={pem}", web="maxconn = 10")
    r.lb.tcp_origin("a", A, lambda data: OK)
    silent = [r.lb.connect("web", client=f"10.3.0.{n}") for n in range(10)]
    client = r.lb.connect("web", client="10.2.0.1", tls="a.example")
    client.send(GET)
    assert client.received.endswith(b"hi")
    assert open_ones(silent) == list(range(1, 10))
    assert [kind.value for kind in r.refusals] == ["limited"]
    assert (r.frontend.counters.evicted, r.frontend.counters.refused) == (1, 1)


def test_a_listener_without_descriptors_makes_room(rig) -> None:
    r, clients = full(rig, web="")
    (listener,) = r.lb.service.listeners
    listener.factory.make_room()
    r.advance(0)
    assert open_ones(clients) == list(range(16, 20))
