"""A backend by itself: leases, its queue, its servers at run time."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.balance.base import Balancer
from lbproxy.balance.lease import Lease
from lbproxy.errors import Kind, Outcome, ProxyError
from tests.proxy.bench import A, B, Bench, C, Make


class Asker:
    """Somebody who wants a server."""

    client_ip, sni, request = "203.0.113.1", "", None
    priority = 0
    patience = 0.0

    def __init__(self, *tried: Any) -> None:
        self.tried = list(tried)
        self.lease: Lease | None = None
        self.error: ProxyError | None = None

    @property
    def traffic(self) -> Any:
        return self

    def leased(self, lease: Lease) -> None:
        self.lease = lease

    def refused(self, error: ProxyError) -> None:
        self.error = error


def ask(bench: Bench, *tried: Any) -> Asker:
    asker = Asker(*tried)
    lease = bench.backend.acquire(asker, asker, asker.tried)
    if lease is not None:
        asker.leased(lease)
    return asker


def give(*askers: Asker) -> None:
    for asker in askers:
        assert asker.lease is not None
        asker.lease.release(Outcome.NEUTRAL)


def test_servers_tried_are_avoided_while_there_are_others(make: Make) -> None:
    bench = make()
    a, b = bench.server("a"), bench.server("b")
    one = ask(bench, a)
    assert one.lease is not None and one.lease.server is b
    two = ask(bench, a, b)
    assert two.lease is not None, "all were tried: any will do"
    assert bench.backend.has_other([a]) and not bench.backend.has_other([a, b])
    give(one, two)


def test_a_place_that_comes_free_is_handed_on_in_turn(make: Make) -> None:
    bench = make(servers=(f"a {A} maxconn=1",), backend="queue = 5\ntimeout_queue = 100s")
    first, *others = (ask(bench) for _ in range(4))
    assert [bool(asker.lease) for asker in others] == [False] * 3
    for asker in others:
        give(first)
        assert asker.lease is not None
        first = asker
    give(first)
    assert bench.backend.counters.queued == 3


def test_an_asker_that_gives_up_at_once_does_not_stop_the_queue(make: Make) -> None:
    class Fickle(Asker):
        def leased(self, lease: Lease) -> None:
            super().leased(lease)
            lease.release(Outcome.NEUTRAL)

    bench = make(servers=(f"a {A} maxconn=1",), backend="queue = 500\ntimeout_queue = 100s")
    first = ask(bench)
    fickle = [Fickle() for _ in range(200)]
    for asker in fickle:
        assert bench.backend.acquire(asker, asker, asker.tried) is None
    last = ask(bench)
    give(first)
    assert all(asker.lease for asker in fickle)
    assert last.lease is not None
    give(last)


def test_no_server_and_no_place(make: Make) -> None:
    bench = make(servers=(f"a {A} maxconn=1",), backend="queue = 0")
    first = ask(bench)
    with pytest.raises(ProxyError) as caught:
        ask(bench)
    assert caught.value.kind is Kind.QUEUE_FULL
    bench.backend.group.set_health(bench.server("a"), False, "test")
    with pytest.raises(ProxyError) as caught:
        ask(bench)
    assert caught.value.kind is Kind.NO_SERVER
    counters = bench.backend.counters
    assert (counters.queue_full, counters.no_server) == (1, 1)
    give(first)


def test_names_are_unique_and_free_again_after_removal(make: Make) -> None:
    bench = make(servers=(f"a {A}",))
    with pytest.raises(ValueError, match="already has a server named 'a'"):
        bench.lb.service.add_server("raw", f"a {B}")
    with pytest.raises(KeyError):
        bench.backend.remove("b")
    held = ask(bench)
    old = bench.backend.remove("a")
    bench.lb.service.add_server("raw", f"a {C}")
    give(held)
    new = bench.backend.group.servers["a"]
    assert (old.connector.closed, new.connector.closed) == (True, False)
    assert new.connector.server is new


def test_a_balancer_that_fails_is_replaced_for_that_pick(make: Make) -> None:
    class Broken(Balancer):
        def pick(self, context: Any, avoid: Any) -> Any:
            raise RuntimeError("balancer bug")

    bench = make(may_fail=True)
    bench.backend.group.set_balancer(Broken(None, None))  # type: ignore[arg-type]
    one = ask(bench)
    assert one.lease is not None and one.lease.server.name == "a"
    assert bench.backend.group.balancer_errors == 1
    give(one)


def test_downs_are_counted(make: Make) -> None:
    bench = make()
    server = bench.server("a")
    for healthy in (False, False, True, False):
        bench.backend.group.set_health(server, healthy, "test")
    assert server.counters.downs == 2
