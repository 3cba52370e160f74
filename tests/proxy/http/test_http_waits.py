"""What waits while a filter decides, and the times and details that the log shows of waits."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.proxy.unsent import unsent_bytes
from tests.proxy.http_kit import GET, OK, A, post, rigs

rig = pytest.fixture(rigs)


class Slow:
    """A filter of phase ``response`` that waits for ``waits``."""

    def __init__(self) -> None:
        self.waits: Deferred[None] = Deferred()

    def response(self, traffic: Any) -> Any:
        return self.waits


class Seeing:
    """Keeps what the access log is made of."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def finish(self, traffic: Any) -> None:
        self.seen.append(traffic)


def test_a_server_is_not_read_while_a_response_filter_waits(rig) -> None:
    slow = Slow()
    r = rig(filters=[slow])
    client, server = r.talk()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
    server.send(b"x" * 900_000)
    assert unsent_bytes(server.transport) > 500_000
    assert client.received == b""
    slow.waits.callback(None)
    r.advance(0.1)
    assert len(client.received) > 900_000
    assert r.closes == ["ok"]


def test_times_of_a_request_that_waits_for_nothing(rig) -> None:
    one = Seeing()
    r = rig(filters=[one])
    r.advance(10)
    client, server = r.talk()
    r.advance(3)
    server.send(OK)
    client.send(GET)
    server.send(OK)
    first, second = one.seen
    assert (first.t_queue, first.t_connect, first.reused) == (0, 0, False)
    assert first.t_response == pytest.approx(3, abs=0.1)
    assert (second.t_queue, second.t_connect, second.reused) == (0, 0, True)


def test_times_of_the_queue_and_of_the_connection(rig) -> None:
    one = Seeing()
    r = rig(filters=[one], servers=f"a {A} maxconn=1", app="timeout_queue = 30s")
    r.advance(10)
    _, server = r.talk()
    second = r.client()
    second.send(GET)
    r.advance(4)
    server.send(OK)
    r.advance(2)
    server.send(OK)
    times = [(seen.t_queue, seen.t_response) for seen in one.seen]
    assert times == [(0, pytest.approx(4, abs=0.1)), pytest.approx((4, 2), abs=0.1)]


def test_a_response_after_a_retry_shows_why_it_was_retried(rig) -> None:
    r = rig()
    client = r.client()
    client.send(GET)
    r.lb.origin("a", A, b"x")
    r.advance(0.5)
    assert client.received.endswith(b"x")
    (record,) = r.log
    assert (record.attempts, record.status) == (2, 200)
    assert "refused" in record.detail.lower()


def test_a_request_that_can_be_replayed_uses_a_connection_that_may_be_stale(rig) -> None:
    """One that cannot be gets a connection of its own once the server has closed idle ones."""
    r = rig(web="timeout_keepalive = 60s")
    client, server = r.talk()
    server.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=5\r\n\r\n"))
    r.advance(3)
    client.send(GET)
    assert server.received.count(b"GET") == 2
    server.send(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=5\r\n\r\n"))
    r.advance(3)
    client.send(post(b"pay"))
    assert b"POST" not in server.received
    r.lb.origins[A].connections[-1].send(OK)
    assert r.closes == ["ok"] * 3


def test_an_answer_before_the_end_of_the_request_is_a_success(rig) -> None:
    r = rig()
    client, server = r.talk(post(b"ab", length=4))
    server.send(OK)
    assert client.received.endswith(b"hi")
    r.advance(0.1)
    counters = r.state().counters
    assert (counters.ok, counters.failed) == (1, 0)
    assert server.closed, "the rest of the request would be read as another one"


def test_a_retry_that_succeeds_gives_its_place_back(rig) -> None:
    r = rig(app="max_retries = 1")
    origin = r.lb.origin("a", A, b"x")
    for _ in range(3):
        origin.stop()
        client = r.client()
        client.send(GET)
        origin.start()
        r.advance(0.5)
        assert client.received.endswith(b"x")
        assert r.backend.retry_limit.running == 0
    assert [record.attempts for record in r.log] == [2, 2, 2]


def test_the_route_of_a_request_is_shown(rig) -> None:
    one = Seeing()
    r = rig(filters=[one], web="routes = path /a -> app")
    r.lb.origin("a", A, b"x")
    client = r.client()
    client.send(GET.replace(b"/", b"/a", 1))
    client.send(GET)
    assert [seen.route for seen in one.seen] == ["path /a -> app", "backend = app"]
