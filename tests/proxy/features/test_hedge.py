"""Hedging: every order in which two attempts of one request may end, what begins a second one, and
what does not.
"""

from __future__ import annotations

import pytest

from lbproxy.config.errors import ConfigErrors
from lbproxy.proxy.features.hedge import Hedging
from lbproxy.proxy.unsent import unsent_bytes
from lbproxy.registry import parse_config
from lbproxy.testing import LB
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, Rig, post

HEDGE = "hedge = 200ms\nhedge_share = 100%"
C = "10.0.0.3:8000"
THREE = f"{TWO_SERVERS}\nc {C}"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"
OTHER = OK.replace(b"hi", b"ho")


def gone(connection):
    """lbproxy has closed it, or cut it."""
    return connection.finished or connection.closed


class Site(Rig):
    """A rig whose servers the script speaks for; ``a`` is asked first."""

    def __init__(self, lines="", servers=TWO_SERVERS, hedge=HEDGE, **more):
        super().__init__(app=f"{hedge}\n{lines}", servers=servers, **more)
        self.origins = {name: self.raw(at) for name, at in (("a", A), ("b", B), ("c", C))}

    def asked(self, name):
        """The open connections of a server that have a request."""
        return [c for c in self.origins[name].connections if c.received and not gone(c)]

    def begin(self, request=GET):
        """A client whose request is at ``a``."""
        client = self.client()
        client.send(request)
        assert len(self.asked("a")) == 1
        assert not self.asked("b")
        return client, self.asked("a")[0]

    def hedged(self, request=GET):
        """The same, and it is at ``b`` too."""
        client, first = self.begin(request)
        self.advance(0.3)
        assert len(self.asked("b")) == 1
        return client, first, self.asked("b")[0]

    @property
    def hedges(self):
        """Begun, won, refused."""
        counters = self.backend.counts["hedge"]
        return (counters.hedges, counters.hedges_won, counters.hedges_refused)

    def told(self, name):
        """What is known about a server: picked, ok, failed."""
        counters = self.state(name).counters
        return (counters.picked, counters.ok, counters.failed)

    def idle(self):
        """Nothing runs, before any client has left."""
        hedging = Hedging.of(self.backend)
        assert hedging is None or not hedging.running
        assert [s.active for s in self.backend.group.servers.values() if s.active] == []


@pytest.fixture
def site():
    made = []

    def make(*args, **options):
        made.append(Site(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.check()
        one.idle()


# -- who wins ------------------------------------------------------------------------------------


def test_a_quick_answer_needs_no_second_attempt(site):
    r = site()
    client, first = r.begin()
    r.advance(0.1)
    first.send(OK)
    r.advance(5)
    assert client.received.endswith(b"hi")
    assert r.hedges == (0, 0, 0)
    assert r.origins["b"].connections == []
    r.idle()


def test_the_first_wins(site):
    r = site("passive = errors=1")
    client, first, second = r.hedged()
    first.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert gone(second)
    assert (r.hedges, r.told("a"), r.told("b")) == ((1, 0, 0), (1, 1, 0), (1, 0, 0))
    assert not r.state("b").ejected
    r.idle()
    r.advance(1)
    assert (r.log[0].server, r.log[0].attempts, r.log[0].status) == ("a", 2, 200)


def test_the_second_wins(site):
    r = site("passive = errors=1")
    client, first, second = r.hedged()
    assert first.received == second.received
    second.send(OTHER)
    r.advance(0)
    assert client.received.endswith(b"ho")
    assert client.received.count(b"HTTP/1.1") == 1
    assert gone(first)
    assert (r.hedges, r.told("a"), r.told("b")) == ((1, 1, 0), (1, 0, 0), (1, 1, 0))
    assert not r.state("a").ejected
    assert (r.log[0].server, r.log[0].attempts, r.log[0].close.value) == ("b", 2, "ok")
    r.idle()
    assert r.state("b").connector.idle == 1, "its connection is used again"
    client.send(GET)
    r.advance(0)
    assert len(r.asked("a")) + len(r.asked("b")) == 2


def test_the_second_wins_in_pieces(site):
    r = site()
    client, _, second = r.hedged()
    second.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
    r.advance(0)
    assert client.received.endswith(b"ab")
    second.send(b"cd")
    r.advance(1)
    second.send(b"ef")
    r.advance(0)
    assert client.received.endswith(b"abcdef")
    r.idle()


def test_the_second_wins_and_breaks_off(site):
    r = site()
    client, _, second = r.hedged()
    second.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab")
    second.abort()
    r.advance(0)
    assert client.closed
    assert r.told("b") == (1, 0, 1)
    assert r.closes == ["server_gone"]
    r.idle()


def test_interim_heads_of_the_second_are_not_shown(site):
    r = site()
    client, first, second = r.hedged()
    second.send(b"HTTP/1.1 103 Early\r\n\r\n")
    r.advance(0)
    assert client.received == b""
    first.send(b"HTTP/1.1 103 Early\r\n\r\n")
    r.advance(0)
    assert client.received.count(b" 103 ") == 1
    second.send(b"HTTP/1.1 103 Early\r\n\r\n" + OK)
    r.advance(0)
    assert (client.received.count(b" 103 "), client.received.count(b" 200 ")) == (1, 1)


@pytest.mark.parametrize("winner", ["a", "b"])
def test_a_slow_client_holds_back_whoever_answers(site, winner):
    r = site("timeout_server = 60s", web="timeout_client = 60s")
    client, first, second = r.hedged()
    body = b"x" * 4_000_000
    server = first if winner == "a" else second
    client.pause()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    server.send(body)
    r.advance(1)
    client.resume()
    r.advance(1)
    assert client.received.endswith(body)


# -- failures ------------------------------------------------------------------------------------


def test_the_first_fails_and_the_second_goes_on(site):
    r = site("passive = errors=1 max_ejected=100%")
    client, first, second = r.hedged()
    first.abort()
    r.advance(0)
    assert client.received == b""
    assert r.told("a") == (1, 0, 1)
    assert r.state("a").ejected
    second.send(OTHER)
    r.advance(0)
    assert client.received.endswith(b"ho")
    assert (r.backend.counters.retries, r.hedges) == (0, (1, 0, 0))
    assert (r.log[0].server, r.log[0].attempts) == ("b", 2)
    r.idle()


def test_the_second_fails_and_the_first_goes_on(site):
    r = site("passive = errors=1 max_ejected=100%")
    client, first, second = r.hedged()
    second.abort()
    r.advance(0)
    assert client.received == b""
    assert r.told("b") == (1, 0, 1)
    assert r.state("b").ejected
    first.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    r.idle()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_both_fail_and_a_retry_goes_to_a_third(site, order):
    r = site("retries = 2", servers=THREE)
    client, first, second = r.hedged()
    for name in order:
        (first if name == "a" else second).abort()
        r.advance(0)
    (third,) = r.asked("c")
    third.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert (r.log[0].server, r.log[0].attempts) == ("c", 3)
    assert (r.backend.counters.retries, r.hedges) == (1, (1, 0, 0))
    r.idle()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_both_fail_and_no_retry_is_left(site, order):
    r = site("retries = 1")
    client, first, second = r.hedged()
    for name in order:
        (first if name == "a" else second).abort()
        r.advance(0)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert r.closes == ["server_gone"]
    r.idle()


def test_retries_are_not_hedged_again(site):
    r = site("retries = 5", servers=THREE)
    _, first = r.begin()
    first.abort()
    r.advance(0)
    assert len(r.asked("b")) == 1
    r.advance(5)
    assert not r.asked("c")
    assert r.hedges == (0, 0, 0)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_status_of_retry_on_does_not_win(site, order):
    r = site("retry_on = connect reset 503\nretries = 1")
    client, first, second = r.hedged()
    bad, good = (first, second) if order == "ab" else (second, first)
    bad.send(BUSY)
    r.advance(0)
    assert client.received == b""
    assert r.told(order[0]) == (1, 0, 1)
    good.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert (r.log[0].server, r.log[0].attempts) == (order[1], 2)
    r.idle()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_last_bad_status_is_shown(site, order):
    r = site("retry_on = connect reset 503\nretries = 1")
    client, first, second = r.hedged()
    for name in order:
        (first if name == "a" else second).send(BUSY)
        r.advance(0)
    assert client.received.startswith(b"HTTP/1.1 503 Busy")
    r.idle()


def test_another_bad_status_is_an_answer(site):
    r = site()
    client, _, second = r.hedged()
    second.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    r.advance(0)
    assert client.received.startswith(b"HTTP/1.1 404 ")


def test_junk_from_the_second_is_its_own_failure(site):
    r = site()
    client, first, second = r.hedged()
    second.send(b"\x00\xff junk\r\n\r\n")
    r.advance(0)
    assert r.told("b") == (1, 0, 1)
    first.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_a_101_that_nobody_asked_for(site):
    r = site()
    client, first, second = r.hedged()
    second.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    r.advance(0)
    assert r.told("b") == (1, 0, 1)
    first.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_both_are_too_late(site):
    r = site("timeout_response = 3s")
    client, _, _ = r.hedged()
    r.advance(4)
    assert client.received.startswith(b"HTTP/1.1 504 ")
    assert (r.told("a"), r.told("b")) == ((1, 0, 1), (1, 0, 1))
    assert r.closes == ["response_timeout"]
    r.idle()


# -- connections ---------------------------------------------------------------------------------


def test_a_first_that_cannot_be_reached(site):
    r = site("timeout_connect = 5s")
    r.origins["a"].unreachable()
    client = r.client()
    client.send(GET)
    r.advance(0.3)
    (second,) = r.asked("b")
    second.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert r.told("a") == (1, 0, 0)
    r.idle()


def test_a_second_that_cannot_be_reached(site):
    r = site("timeout_connect = 1s")
    r.origins["b"].stop()
    client, first = r.begin()
    r.advance(0.5)
    assert r.told("b") == (1, 0, 1)
    assert r.state("b").counters.connect_errors == 1
    first.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    r.idle()


@pytest.mark.parametrize("reached", [True, False])
def test_the_first_fails_while_the_second_is_dialled(site, reached):
    r = site("timeout_connect = 2s\nretries = 1")
    client, first = r.begin()
    r.origins["b"].unreachable()
    r.advance(0.3)
    assert r.hedges == (1, 0, 0)
    first.abort()
    r.advance(0.1)
    assert client.received == b""
    if not reached:
        r.advance(3)
        assert client.received.startswith(b"HTTP/1.1 504 ")
    else:
        client.abort()
        r.advance(0)
    r.idle()


def test_a_pooled_connection_that_died_costs_nothing(site):
    r = site()
    client = r.client()
    for name in "ab":  # one idle connection to each
        client.send(GET)
        r.advance(0)
        r.asked(name)[0].send(OK)
        r.advance(0)
    client = r.client()
    before = r.origins["b"].connections[0]
    client.send(GET)
    r.advance(0.3)
    assert r.hedges[0] == 1
    assert before.received.count(b"GET") == 2
    before.close()
    r.advance(0)
    assert len(r.origins["b"].connections) == 2
    assert r.told("b")[2] == 0
    r.origins["b"].connections[1].send(OTHER)
    r.advance(0)
    assert client.received.endswith(b"ho")
    r.idle()


# -- clients and operators -----------------------------------------------------------------------


def test_the_client_leaves(site):
    r = site("passive = errors=1 max_ejected=100%")
    client, first, second = r.hedged()
    client.abort()
    r.advance(0)
    assert gone(first)
    assert gone(second)
    assert (r.told("a"), r.told("b")) == ((1, 0, 0), (1, 0, 0))
    assert r.closes == ["client_gone"]
    r.idle()


def test_the_client_leaves_before_there_is_a_second(site):
    r = site()
    client, _ = r.begin()
    client.abort()
    r.advance(5)
    assert r.hedges == (0, 0, 0)
    r.idle()


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_server_goes_down(site, name):
    r = site("on_down = close")
    client, first, second = r.hedged()
    r.backend.group.set_health(r.state(name), False)
    r.advance(0)
    assert gone(first if name == "a" else second)
    (second if name == "a" else first).send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")
    assert r.told(name) == (1, 0, 0)
    r.idle()


def test_it_is_among_the_sessions_of_its_server(site):
    r = site()
    r.hedged()
    (one,) = r.state("b").sessions
    assert (one.traffic.frontend_name, one.server.name, one.request.method) == ("web", "b", b"GET")
    assert r.backend.kill_sessions(r.state("b")) == 1
    r.advance(0)
    assert not r.asked("b")
    assert r.asked("a")


def test_a_reload_in_between():
    text = (
        "[frontend web]\nlisten = tcp:8080\nbackend = app\n[backend app]\nservers =\n"
        f"    a {A}\n    b {B}\n"
    )
    lb = LB.from_config(text + HEDGE)
    a, b = lb.tcp_origin("a", A), lb.tcp_origin("b", B)
    clients = [lb.connect("web") for _ in range(2)]
    clients[0].send(GET)
    lb.advance(0.3)
    for other in (text + HEDGE.replace("200", "300"), text):
        assert lb.service.reload(other).ok
    (second,) = b.connections
    second.send(OK)
    lb.advance(0)
    assert clients[0].received.endswith(b"hi")
    clients[1].send(GET)
    lb.advance(5)
    assert len(a.connections) + len(b.connections) == 3
    assert Hedging.of(lb.backend("app")) is None
    clients[1].abort()
    lb.advance(0)
    assert [s.active for s in lb.backend("app").group.servers.values()] == [0, 0]
    lb.close()


# -- what is sent twice --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        post(b"hello"),
        GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
    ids=["post", "upgrade", "incomplete", "expect", "no-host"],
)
def test_not_sent_twice(site, request_):
    r = site()
    r.begin(request_)
    r.advance(3)
    assert r.hedges == (0, 0, 0)
    assert not r.asked("b")


def test_a_body_that_is_kept_is_sent_twice(site):
    r = site()
    body = b"z" * 9000
    client, first, second = r.hedged(post(body).replace(b"POST", b"PUT"))
    assert first.received == second.received
    assert second.received.endswith(body)
    second.send(OK)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_a_body_that_is_not_kept(site):
    r = site("retry_buffer = 1k")
    r.begin(post(b"z" * 9000).replace(b"POST", b"PUT"))
    r.advance(3)
    assert r.hedges == (0, 0, 0)


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "servers"),
    [
        ("max_retries = 1", THREE),
        ("maxconn = 3", THREE),
        ("retry_budget = 50%\nretry_floor = 1/d", THREE),
        ("", f"a {A} maxconn=2\nb {B} maxconn=1\nc {C} weight=0"),
    ],
)
def test_limits_hold(site, lines, servers):
    r = site(lines, servers)
    for _ in range(2):
        r.client().send(GET)
    r.advance(3)
    assert r.hedges[0] == 1 if servers is THREE else r.hedges[0] <= 1
    assert sum(r.hedges) == 2
    assert max(s.active for s in r.backend.group.servers.values()) <= 2


def test_a_share_of_the_requests(site):
    r = site(hedge="hedge = 200ms\nhedge_share = 10%\nretries = 2")
    for _ in range(20):
        r.client().send(GET)
    r.advance(1)
    assert r.hedges == (3, 0, 17), "a tenth, and the one that is always allowed"


def test_no_server_to_go_to(site):
    r = site(servers=f"a {A}")
    r.begin()
    r.advance(3)
    assert r.hedges == (0, 0, 1)


def test_nobody_is_overtaken_in_the_queue(site):
    r = site(servers=f"a {A} maxconn=1\nb {B} maxconn=1")
    for _ in range(3):
        r.client().send(GET)
    assert len(r.backend.queue) == 1
    r.advance(1)
    assert r.hedges == (0, 0, 2)


# -- the configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("retries = 0", "needs retries, which is 0"),
        ("sticky = cookie SRV", "sticky keeps a client on one"),
        ("mode = tcp", "http"),
    ],
)
def test_what_does_not_go_together(lines, words):
    with pytest.raises(ConfigErrors, match=rf"hedge.*{words}"):
        parse_config(f"[backend app]\nhedge = 1s\n{lines}\nservers = a {A}\n")


def test_a_server_that_does_not_read_stops_the_client(site):
    r = site()
    client = r.client()
    client.send(post(length=4_000_000))
    (server,) = r.asked("a")
    server.pause()
    client.send(b"x" * 4_000_000)
    assert unsent_bytes(client.transport) > 3_000_000
    server.resume()
    assert server.received.endswith(b"x" * 4_000_000)
    server.send(OK)
    assert client.received.endswith(b"hi")
