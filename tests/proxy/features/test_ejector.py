"""Passive health at work: what traffic does to a server's state."""

from __future__ import annotations

import pytest

from lbproxy.balance.server import State
from lbproxy.observe.snapshot import server_snapshot
from lbproxy.testing import LB
from lbproxy.testing.origin import Answer
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, Rig, rigs

rig = pytest.fixture(rigs)

THREE = "passive = errors=3"
FOUR_SERVERS = "\n".join(f"{name} 10.0.0.{n}:8000" for n, name in enumerate("abcd", 1))


def test_a_dead_server_is_ejected_and_comes_back_on_trial(rig):
    r = rig(servers=TWO_SERVERS, app=THREE)
    r.lb.origin("b", B)
    for _ in range(6):
        assert r.lb.get("http://a/").status == 200
    a = r.state()
    assert (a.state, a.ejected, a.counters.ejections, a.counters.downs) == (State.DOWN, True, 1, 1)
    assert a.note == "ejected for 10 s: 3 failures in a row, the last: connect_failed"
    assert server_snapshot(a)["state"] == "down"
    assert server_snapshot(a)["note"] == a.note
    connects = a.counters.connects
    for _ in range(10):
        r.lb.get("http://a/")
    assert a.counters.connects == connects
    r.advance(10.1)
    assert (a.state, a.note) == (State.UP, "")
    for _ in range(2):
        r.lb.get("http://a/")
    assert a.ejected  # one failure was enough
    assert "for 20 s: failed again on its return" in a.note
    r.advance(15)
    assert a.ejected
    r.lb.origin("a", A)
    r.advance(5.1)
    served = a.counters.ok
    for _ in range(4):
        r.lb.get("http://a/")
    assert a.counters.ok == served + 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, "status 500"),
        (503, "status 503"),
        (Answer(raw=b"junk\r\n\r\n"), "bad_response"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", reset=True), "server_gone"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-", close=True), "server_gone"),
        (Answer(after=3.0), "response_timeout"),
    ],
)
def test_what_counts(rig, answer, reason):
    r = rig(servers=TWO_SERVERS, app=f"{THREE}\nretries = 0\ntimeout_response = 2s")
    r.lb.origin("a", A, answer)
    r.lb.origin("b", B)
    for _ in range(6):
        client = r.client()
        client.send(GET)
        r.advance(2.5)
        client.abort()
    assert r.state().ejected
    assert r.state().note.endswith(reason)
    assert not r.state("b").ejected


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (404, ""),
        (501, ""),
        (429, ""),
        (503, " count=connect,reset"),
        (Answer(raw=b"junk\r\n\r\n"), " count=5xx"),
    ],
)
def test_what_does_not_count(rig, answer, count):
    r = rig(servers=TWO_SERVERS, app=THREE + count)
    r.lb.origin("a", A, answer)
    r.lb.origin("b", B)
    for _ in range(20):
        r.lb.get("http://a/")
    assert not r.state().ejected


def test_a_status_that_a_filter_changes_is_judged_as_the_server_gave_it(rig):
    class Filter:
        modes = frozenset({"http"})
        fail_open = False

        def response(self, exchange):
            exchange.response.status = 200

    r = rig(servers=TWO_SERVERS, app=THREE, filters=[Filter()])
    r.lb.origin("a", A, 500)
    r.lb.origin("b", B)
    for _ in range(6):
        assert r.lb.get("http://a/").status == 200
    assert r.state().ejected


def test_statuses_that_are_retried_count(rig):
    r = rig(servers=TWO_SERVERS, app=f"{THREE}\nretry_on = 503")
    r.lb.origin("a", A, 503)
    r.lb.origin("b", B)
    for _ in range(6):
        assert r.lb.get("http://a/").status == 200
    assert r.state().ejected


def test_clients_that_leave_say_nothing(rig):
    r = rig(servers=TWO_SERVERS, app="passive = errors=1")
    r.raw()
    r.raw(B)
    for _ in range(20):
        client = r.client()
        client.send(GET)
        client.abort()
    assert not r.state().ejected and not r.state("b").ejected


def test_an_idle_connection_that_the_server_closed_says_nothing(rig):
    r = rig(servers=f"a {A}\nb {B}\nc 10.0.0.3:8000", app="passive = errors=1")
    origin = r.raw()
    client = r.client()
    client.send(GET)
    origin.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    origin.connections[0].close()
    assert not r.state().ejected


def test_never_more_than_the_share(rig):
    r = rig(servers=FOUR_SERVERS, app="passive = errors=1 max_ejected=50%\nretries = 0")
    for _ in range(40):
        assert r.lb.get("http://a/").status == 502
    out = [name for name in "abcd" if r.state(name).ejected]
    assert len(out) == 2
    assert r.backend.passive.health.refused > 0
    assert r.backend.group.eligible_count == 2


def test_the_only_server_is_never_ejected(rig):
    r = rig(app="passive = errors=1\nretries = 0")
    for _ in range(10):
        assert r.lb.get("http://a/").status == 502
    assert not r.state().ejected


def test_all_may_go_and_panic_brings_them_back(rig):
    r = rig(
        servers=FOUR_SERVERS, app="passive = errors=1 max_ejected=100%\npanic = 50%\nretries = 0"
    )
    for _ in range(40):
        assert r.lb.get("http://a/").status == 502
    assert sum(r.state(name).ejected for name in "abcd") >= 3
    assert r.backend.group.panicking
    for n, name in enumerate("abcd", 1):
        r.lb.origin(name, f"10.0.0.{n}:8000")
    assert all(r.lb.get("http://a/").status == 200 for _ in range(8))
    r.advance(600)
    assert not r.backend.group.panicking


def test_ejected_and_failing_its_check_it_stays_down(rig):
    r = rig(servers=TWO_SERVERS, app="passive = errors=1")
    a = r.state()
    r.lb.origin("b", B)
    for _ in range(2):
        r.lb.get("http://a/")
    assert a.ejected
    r.backend.group.set_health(a, False, "no answer")
    r.advance(11)
    assert (a.ejected, a.state, a.note) == (False, State.DOWN, "no answer")


def test_a_server_removed_while_it_is_out(rig):
    r = rig(servers=FOUR_SERVERS, app="passive = errors=1 latency=3x")
    for _ in range(4):
        r.lb.get("http://a/")
    gone = next(name for name in "abcd" if r.state(name).ejected)
    r.backend.remove(gone)
    r.advance(100)
    r.backend.passive.release(r.state(next(n for n in "abcd" if n != gone)))


def test_a_slow_server_is_ejected(rig):
    r = rig(servers=FOUR_SERVERS, app="passive = latency=3x min_requests=4")
    for n, name in enumerate("abcd", 1):
        r.lb.origin(name, f"10.0.0.{n}:8000", Answer(after=2.0 if name == "c" else 0.1))
    for _ in range(15):
        for pending in [r.lb.begin("GET", "http://a/") for _ in range(4)]:
            pending.wait()
            pending.client.close()
        if r.state("c").ejected:
            break
    r.advance(10)
    assert [name for name in "abcd" if r.state(name).counters.ejections] == ["c"]
    assert "answers in 2 s, the others in 0.1 s" in r.state("c").note or not r.state("c").ejected


# -- TCP


@pytest.fixture
def tcp():
    lb = LB.from_config(
        """
        [frontend db]
        mode = tcp
        listen = tcp:5432
        backend = pg
        [backend pg]
        balance = roundrobin
        retries = 0
        passive = errors=3
        servers =
            a 10.0.0.1:5432
            b 10.0.0.2:5432
        """
    )
    with lb:
        yield lb


def sessions(lb, count: int, act=lambda client: None) -> None:
    for _ in range(count):
        client = lb.connect("db")
        client.send(b"hello")
        act(client)
        client.close()


def test_tcp_connect_errors(tcp):
    tcp.tcp_origin("b", "10.0.0.2:5432", "echo")
    sessions(tcp, 6)
    assert tcp.server("pg", "a").ejected
    assert not tcp.server("pg", "b").ejected
    tcp.advance(11)
    assert tcp.server("pg", "a").state is State.UP


@pytest.mark.parametrize("how", ["close", "half_close", "abort"])
def test_tcp_sessions_that_die_at_once(tcp, how):
    origin = tcp.tcp_origin("a", "10.0.0.1:5432")
    tcp.tcp_origin("b", "10.0.0.2:5432", "echo")

    def act(client) -> None:
        for connection in origin.connections:
            if not connection.closed:
                getattr(connection, how)()

    sessions(tcp, 6, act)
    assert tcp.server("pg", "a").ejected


def test_tcp_sessions_that_clients_end_are_fine(tcp):
    tcp.tcp_origin("a", "10.0.0.1:5432")
    tcp.tcp_origin("b", "10.0.0.2:5432")
    sessions(tcp, 20)
    assert not tcp.server("pg", "a").ejected


def test_tcp_a_server_may_end_a_session_that_lasted(tcp):
    origin = tcp.tcp_origin("a", "10.0.0.1:5432")
    tcp.tcp_origin("b", "10.0.0.2:5432")

    def act(client) -> None:
        tcp.advance(2)
        for connection in origin.connections:
            if not connection.closed:
                connection.close()

    sessions(tcp, 10, act)
    assert not tcp.server("pg", "a").ejected


@pytest.mark.parametrize("how", ["abort", "cut", "503", "retried"])
def test_an_attempt_that_ejects_its_server_ends_once(how):
    r = Rig(
        app="passive = errors=1 count=reset,5xx max_ejected=100%\non_down = close\nretries = 1\n"
        + ("retry_on = 503" if how == "retried" else "retry_on = connect"),
        servers=TWO_SERVERS,
    )
    b = r.raw(B)
    client, server = r.talk()
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n"
    if how == "abort":
        server.abort()
    elif how == "cut":
        server.send(OK.replace(b": 2", b": 9"))
        server.abort()
    else:
        server.send(busy + b"busy")
    r.advance(0)
    assert r.state().ejected
    if how == "retried":
        b.connections[0].send(OK)
        r.advance(0)
        assert client.received.endswith(b"hi")
    assert len(r.log) == 1
    r.check()
