"""Connections made ahead: how many, to whom, and when not."""

from __future__ import annotations

import pytest

from lbproxy.balance.server import AdminState
from lbproxy.config.errors import ConfigErrors
from lbproxy.proxy.features.prewarm import Warmer
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, Rig

TEXT = """
[frontend web]
listen = tcp:8080
backend = app

[backend app]
{lines}
servers =
    a 10.0.0.1:8000
"""


@pytest.fixture
def rig():
    made = []

    def make(lines="pool_min = 2", **options):
        made.append(Rig(app=lines, **options))
        return made[-1]

    yield make
    for r in made:
        r.backend.retire()
        warmer = Warmer.of(r.backend)
        assert warmer is None or not warmer.dials
        r.check()


def live(origin):
    """Connections that lbproxy has not closed."""
    return sum(not connection.finished for connection in origin.connections)


def pooled(r, name="a"):
    return r.state(name).connector.idle


def test_the_first_request_finds_a_connection(rig):
    r = rig()
    raw = r.raw()
    r.advance(0.1)
    assert (live(raw), pooled(r)) == (2, 2)
    client = r.client()
    client.send(GET)
    assert (live(raw), pooled(r)) == (2, 1)
    assert r.state().counters.reused == 1
    r.advance(1.1)
    assert (live(raw), pooled(r)) == (3, 2), "there are as many idle ones again"
    next(c for c in raw.connections if c.received).send(OK)
    assert client.received.endswith(b"hi")
    assert pooled(r) == 3


def test_those_nobody_used_are_closed_and_replaced(rig):
    r = rig("pool_min = 2\npool_idle = 5s")
    raw = r.raw()
    r.advance(4.9)
    assert (live(raw), len(raw.connections)) == (2, 2)
    r.advance(2)
    assert (live(raw), len(raw.connections)) == (2, 4)


def test_a_server_that_closes_them_is_not_flooded(rig):
    r = rig()
    raw = r.raw()
    r.advance(0.1)
    for _ in range(100):
        for connection in raw.connections:
            if not connection.finished:
                connection.close()
        r.advance(0.1)
    assert 10 <= len(raw.connections) <= 24


def test_maxconn_holds(rig):
    r = rig("pool_min = 4", servers=f"a {A} maxconn=3")
    raw = r.raw()
    r.advance(3)
    assert live(raw) == 3
    clients = [r.client() for _ in range(3)]
    clients[0].send(GET)
    r.advance(3)
    assert (live(raw), pooled(r)) == (3, 2)
    clients[1].send(GET)
    clients[2].send(GET)
    r.advance(3)
    assert (live(raw), pooled(r)) == (3, 0)


def test_one_that_is_made_when_the_last_place_is_taken_is_closed(rig):
    r = rig("pool_min = 1", servers=f"a {A} maxconn=1")
    raw = r.raw()
    r.client().send(GET)
    assert live(raw) == 1
    r.state().active = 0  # as if the place were free for a moment
    Warmer.of(r.backend)._look()
    r.state().active = 1
    r.advance(0)
    assert (live(raw), pooled(r)) == (1, 0)


@pytest.mark.parametrize("wish", [AdminState.DRAIN, AdminState.MAINT])
def test_not_for_servers_that_are_out(rig, wish):
    r = rig()
    raw = r.raw()
    r.backend.set_admin("a", wish)
    r.advance(5)
    assert raw.connections == []
    r.backend.set_admin("a", AdminState.READY)
    r.advance(0.1)
    assert live(raw) == 2
    r.backend.set_admin("a", wish)
    r.advance(5)
    assert live(raw) == 0


def test_down_while_it_is_dialled(rig):
    r = rig()
    raw = r.raw()
    Warmer.of(r.backend)._look()
    assert len(Warmer.of(r.backend).dials) == 2
    r.backend.group.set_health(r.state(), False)
    r.advance(5)
    assert (live(raw), pooled(r)) == (0, 0)
    r.backend.group.set_health(r.state(), True)
    r.advance(0.1)
    assert (live(raw), pooled(r)) == (2, 2)


def test_not_for_those_with_a_proxy_header(rig):
    r = rig(servers=f"a {A} send_proxy=v2")
    raw = r.raw()
    r.advance(5)
    assert raw.connections == []


def test_a_backup_is_warm_when_it_serves(rig):
    r = rig(servers=f"a {A}\nb {B} backup")
    a, b = r.raw(), r.raw(B)
    r.advance(5)
    assert (live(a), live(b)) == (2, 0)
    r.backend.group.set_health(r.state(), False)
    r.advance(1.1)
    assert (live(a), live(b)) == (0, 2)


def test_a_failure_counts_once_and_has_growing_pauses(rig):
    r = rig("pool_min = 3\npassive = errors=9")
    r.raw().stop()
    r.advance(0.2)
    counters, health = r.state().counters, r.backend.passive.health
    assert counters.connect_errors == 3
    told = []
    failed = health.failed
    health.failed = lambda *words: told.append(words) or failed(*words)
    r.advance(60)
    assert 4 <= len(told) <= 7
    assert counters.connect_errors == 3 + len(told)
    raw = r.lb.origins[A]
    raw.start()
    for _ in range(400):
        if pooled(r):
            break
        r.advance(0.1)
    assert pooled(r) == 1, "one to see whether it answers"
    r.advance(1.1)
    assert pooled(r) == 3


def test_a_server_that_refuses_is_ejected_before_a_client_meets_it(rig):
    r = rig("pool_min = 3\npassive = errors=2 eject=20s\nretries = 0", servers=TWO_SERVERS)
    r.raw().stop()
    r.lb.origin("b", B)
    r.advance(4)
    assert r.state().ejected
    assert [r.lb.get("http://b/").status for _ in range(4)] == [200] * 4


def test_a_dial_has_a_deadline(rig):
    r = rig("pool_min = 1\ntimeout_connect = 2s")
    r.raw().unreachable()
    r.advance(1)
    assert len(Warmer.of(r.backend).dials) == 1
    r.advance(1.2)
    assert len(Warmer.of(r.backend).dials) == 0
    assert r.state().counters.connect_errors == 1


def test_no_more_than_so_many_at_once(rig):
    servers = "\n".join(f"s{n} 10.0.1.{n}:80" for n in range(1, 21))
    r = rig("pool_min = 3", servers=servers)
    origins = [r.raw(f"10.0.1.{n}:80") for n in range(1, 21)]
    Warmer.of(r.backend)._look()
    assert len(Warmer.of(r.backend).dials) == 16
    r.advance(2)
    assert [live(origin) for origin in origins] == [3] * 20


def test_unasked_bytes_close_it(rig):
    r = rig("pool_min = 1")
    raw = r.raw()
    r.advance(0.1)
    raw.connections[0].send(OK)
    assert pooled(r) == 0


def test_reloads_and_the_end():
    lb = LB.from_config(TEXT.format(lines="pool_min = 2"))
    raw = lb.tcp_origin("a", "10.0.0.1:8000")
    lb.advance(0.1)
    assert live(raw) == 2
    for number in (4, 0, 3):
        before = len(raw.connections)
        assert lb.service.reload(TEXT.format(lines=f"pool_min = {number}\npool_idle = 3s")).ok
        lb.advance(3)
        lb.advance(30)
        assert live(raw) == number
        assert number or len(raw.connections) == before, "nothing is made any more"
    lb.close()
    assert live(raw) == 0
    lb.advance(30)
    assert live(raw) == 0


def test_a_backend_that_is_gone_makes_none():
    lb = LB.from_config(TEXT.format(lines="pool_min = 2"))
    raw = lb.tcp_origin("a", "10.0.0.1:8000")
    lb.advance(0.1)
    other = TEXT.format(lines="pool_min = 1").replace("app", "new").replace("10.0.0.1", "10.0.0.2")
    new = lb.tcp_origin("new", "10.0.0.2:8000")
    assert lb.service.reload(other).ok
    lb.advance(10)
    assert (live(raw), live(new)) == (0, 1)
    lb.close()


def test_several_processes_share_what_maxconn_allows(rig):
    r = rig("pool_min = 4", servers=f"a {A} maxconn=5")
    raw = r.raw()
    r.backend.start(processes=2)
    r.advance(3)
    assert live(raw) == 2


def test_none_for_a_backend_that_has_retired(rig):
    r = rig("pool_min = 2")
    raw = r.raw()
    r.backend.retire()
    r.backend.start()
    r.advance(3)
    assert raw.connections == []


def test_more_than_the_pool_holds_is_a_mistake():
    with pytest.raises(ConfigErrors, match=r"pool_min.*at most pool_size, which is 3"):
        parse_config(TEXT.format(lines="pool_min = 4\npool_size = 3"))
