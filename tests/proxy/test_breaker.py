"""Circuit breakers:

``maxconn`` of a backend, ``max_retries``, ``retry_budget``; and priorities in the queue.
"""

from __future__ import annotations

import pytest

from lbproxy.testing import LB
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, rigs

rig = pytest.fixture(rigs)


def status(client) -> bytes:
    return client.received[9:12]


def ask(r, path: str = "/"):
    client = r.client()
    client.send(GET.replace(b" / ", f" {path} ".encode(), 1))
    return client


def test_a_backend_has_only_so_much_to_do(rig):
    r = rig(servers=TWO_SERVERS, app="maxconn = 3")
    first, _ = r.raw(), r.raw(B)
    clients = [ask(r) for _ in range(4)]
    assert r.backend.group.active == 3
    assert status(clients[3]) == b"503"
    assert b"Retry-After: 1" in clients[3].received
    assert r.closes == ["circuit_open"]
    assert r.backend.counters.circuit_open == 1
    first.connections[0].send(OK)
    assert status(clients[0]) == b"200"
    ask(r)
    assert r.backend.group.active == 3


def test_those_that_wait_count_too(rig):
    r = rig(servers=f"a {A} maxconn=1", app="maxconn = 2")
    origin = r.raw()
    clients = [ask(r) for _ in range(3)]
    assert [len(c.received) > 0 for c in clients] == [False, False, True]
    for _ in range(2):
        origin.connections[0].send(OK)
    assert [status(c) for c in clients] == [b"200", b"200", b"503"]
    assert r.backend.group.active == 0


def test_so_many_requests_are_retried_at_once(rig):
    r = rig(servers=TWO_SERVERS, app="max_retries = 1\nretries = 5")
    first, second = r.raw(), r.raw(B)
    one, two = ask(r), ask(r)
    first.connections[0].close()  # one's: it goes to b
    assert len(second.connections) == 2
    second.connections[0].close()  # two's: one is retried already
    assert status(two) == b"502"
    assert r.backend.counts["retry_limit"].retries_refused == 1
    second.connections[1].close()  # one's again: it is one retried request, not two
    r.advance(0.3)
    assert one.received == b""
    assert (r.backend.retry_limit.running, r.backend.counters.retries) == (1, 2)
    (first.connections + second.connections)[-1].send(OK)
    first.connections[-1].send(OK)
    assert status(one) == b"200"
    assert r.backend.retry_limit.running == 0


@pytest.mark.parametrize("how", ["pause", "queue"])
def test_who_leaves_before_the_next_attempt_is_no_retry_any_more(rig, how):
    r = rig(servers=f"a {A} maxconn=1", app="max_retries = 1")
    first = r.raw()
    one = ask(r)
    two = ask(r)
    first.connections[0].close()  # one pauses, and two takes the place
    if how == "queue":
        r.advance(0.3)
    assert r.backend.retry_limit.running == 1
    one.abort()
    assert r.backend.retry_limit.running == 0
    first.connections[1].send(OK)
    assert status(two) == b"200"


def test_a_budget(rig):
    r = rig(servers=TWO_SERVERS, app="retry_budget = 20%\nretry_floor = 0/s")
    r.lb.origin("b", B)
    statuses = [r.lb.get("http://a/").status for _ in range(100)]
    assert set(statuses) == {200, 502}
    assert r.backend.counters.retries == 20
    assert r.backend.counts["retry_limit"].retries_refused == statuses.count(502)
    assert r.backend.retry_limit.running == 0


def test_the_answer_there_is_when_the_budget_is_spent(rig):
    r = rig(
        servers=TWO_SERVERS,
        app="retry_on = 503\nmax_retries = 1\nretry_budget = 1%\nretry_floor = 0/s",
    )
    r.lb.origin("a", A, 503)
    r.lb.origin("b", B, 503)
    assert r.lb.get("http://a/").header("x-origin") in ("a", "b")
    assert (r.closes, r.log[0].attempts, r.log[0].status) == (["ok"], 1, 503)


def test_priorities_of_routes(rig):
    r = rig(
        web="routes = path /soon -> app priority=-1",
        servers=f"a {A} maxconn=1",
        app="queue = 3",
    )
    origin = r.raw()
    ask(r)
    (server,) = origin.connections
    clients = [ask(r, path) for path in ("/late", "/later", "/soon", "/latest")]
    assert status(clients[3]) == b"503"
    ask(r, "/soon?2")
    assert status(clients[1]) == b"503"  # it gave way
    order = []
    for _ in range(4):
        order.append(server.received.rpartition(b" HTTP/1.1")[0].rpartition(b" ")[2])
        server.send(OK)
    assert order == [b"/", b"/soon", b"/soon?2", b"/late"]
    assert r.backend.counters.queue_full == 2


def test_a_filter_may_say_who_comes_first(rig):
    class Paying:
        modes = frozenset({"http"})
        fail_open = False

        def request(self, exchange):
            if exchange.request.target == b"/paid":
                exchange.priority = -9

    r = rig(servers=f"a {A} maxconn=1", filters=[Paying()])
    origin = r.raw()
    ask(r)
    ask(r, "/free")
    ask(r, "/paid")
    (server,) = origin.connections
    server.send(OK)
    assert b"/paid" in server.received and b"/free" not in server.received


def test_tcp():
    lb = LB.from_config(
        """
        [frontend db]
        mode = tcp
        listen = tcp:5432
        backend = pg
        [backend pg]
        maxconn = 2
        balance = first
        max_retries = 1
        servers =
            a 10.0.0.1:5432
            b 10.0.0.2:5432
        """
    )
    with lb:
        lb.tcp_origin("b", "10.0.0.2:5432", "echo")
        clients = [lb.connect("db") for _ in range(2)]
        lb.advance(1)
        backend = lb.backend("pg")
        assert [c.closed for c in clients] == [False, True]
        assert backend.counts["retry_limit"].retries_refused == backend.retry_limit.running == 1
        lb.tcp_origin("a", "10.0.0.1:5432", "echo")
        clients += [lb.connect("db") for _ in range(2)]
        assert [c.closed for c in clients] == [False, True, False, True]
        assert backend.counters.circuit_open == 1
        clients[0].close()
        lb.advance(1)
        assert backend.retry_limit.running == 0
        assert backend.group.active == 1


RETRIES = """
[frontend web]
listen = tcp:80
backend = app
[backend app]
servers = a 10.0.0.1:80
max_retries = 9
retry_budget = 20%
"""


def test_a_reload_of_something_else_does_not_forget_the_retries():
    with LB.from_config(RETRIES) as lb:
        backend = lb.service.backends["app"]
        limit = backend.retry_limit
        assert lb.service.reload(RETRIES + "queue = 7").ok
        assert (backend.queue.limit, backend.retry_limit) == (7, limit)
        assert lb.service.reload(RETRIES + "retry_floor = 5/s").ok
        assert backend.retry_limit is not limit
        assert backend.retry_limit.budget.floor == 5
        assert lb.service.reload(RETRIES.partition("max_retries")[0]).ok
        assert backend.retry_limit is None
