"""``retry_on``: responses and timeouts that make another attempt, and the pauses between
attempts.
"""

from __future__ import annotations

import pytest

from lbproxy.errors import Kind
from lbproxy.proxy.http.attempts import Attempts
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, post, rigs

rig = pytest.fixture(rigs)

ON_503 = "retry_on = connect reset 503"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nX-From: %s\r\n\r\nbusy"


def status(client) -> bytes:
    return client.received[9:12]


def start(r, request: bytes = GET):
    """Send; the connection it came out of, and the raw servers."""
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(request)
    connections = first.connections + second.connections
    return (
        client,
        connections[0],
        lambda: [c for c in first.connections + second.connections if c is not connections[0]],
    )


def test_a_status_is_tried_again_elsewhere(rig):
    r = rig(servers=TWO_SERVERS, app=ON_503)
    client, one, others = start(r)
    one.send(BUSY % b"one")
    assert client.received == b""
    (other,) = others()
    other.send(OK)
    assert status(client) == b"200"
    assert r.log[0].attempts == 2
    assert r.backend.counters.retries == r.backend.counters.redispatches == 1
    states = [r.state("a").counters, r.state("b").counters]
    assert sum(s.failed for s in states) == sum(s.ok for s in states) == 1
    assert not one.closed  # its response was complete: the connection is kept


def test_a_status_with_its_body_still_to_come_costs_the_connection(rig):
    r = rig(servers=TWO_SERVERS, app=ON_503)
    client, one, others = start(r)
    one.send((BUSY % b"one")[:-2])
    assert one.closed
    others()[0].send(OK)
    assert status(client) == b"200"


def test_the_last_answer_is_passed_on(rig):
    r = rig(servers=TWO_SERVERS, app=f"{ON_503}\nretries = 1")
    client, one, others = start(r)
    one.send(BUSY % b"one")
    (other,) = others()
    other.send(BUSY % b"two")
    assert status(client) == b"503"
    assert b"X-From: two" in client.received
    assert client.received.endswith(b"busy")
    assert (r.closes, r.log[0].attempts) == (["ok"], 2)


@pytest.mark.parametrize("head", [b"404 Not", b"500 Bad", b"502 Bad"])
def test_other_statuses_are_answers(rig, head):
    r = rig(servers=TWO_SERVERS, app=ON_503)
    client, one, others = start(r)
    one.send(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")
    assert status(client) == head[:3]
    assert others() == []


def test_nothing_is_retried_on_a_status_unless_asked(rig):
    r = rig(servers=TWO_SERVERS)
    client, one, others = start(r)
    one.send(BUSY % b"one")
    assert status(client) == b"503"
    assert others() == []


def test_a_post_gets_the_answer_there_is(rig):
    r = rig(servers=TWO_SERVERS, app=ON_503)
    client, one, others = start(r, post(b"hello"))
    one.send(BUSY % b"one")
    assert status(client) == b"503"
    assert others() == []


def test_a_put_is_sent_again_whole(rig):
    r = rig(servers=TWO_SERVERS, app=ON_503)
    client, one, others = start(r, post(b"hello", length=8).replace(b"POST", b"PUT"))
    one.send(BUSY % b"one")
    (other,) = others()
    client.send(b"you")
    assert other.received.endswith(b"\r\n\r\nhelloyou")
    other.send(OK)
    assert status(client) == b"200"


def test_a_body_too_long_to_keep_gets_the_answer_there_is(rig):
    r = rig(servers=TWO_SERVERS, app=f"{ON_503}\nretry_buffer = 1k")
    client, one, others = start(r, post(b"x" * 2000).replace(b"POST", b"PUT"))
    one.send(BUSY % b"one")
    assert status(client) == b"503"
    assert others() == []


def test_the_same_server_after_a_pause_when_there_is_no_other(rig):
    r = rig(app=ON_503)
    origin = r.raw()
    client = r.client()
    client.send(GET)
    (connection,) = origin.connections
    connection.send(BUSY % b"one")
    assert client.received == b""
    r.advance(0.3)
    assert connection.received.count(b"GET / ") == 2  # on the same connection
    connection.send(OK)
    assert status(client) == b"200"


def test_a_filter_never_sees_what_is_thrown_away(rig):
    class Filter:
        modes = frozenset({"http"})
        fail_open = False
        seen: list[int] = []

        def response(self, exchange):
            self.seen.append(exchange.response.status)

    r = rig(servers=TWO_SERVERS, app=ON_503, filters=[Filter()])
    client, one, others = start(r)
    one.send(BUSY % b"one")
    others()[0].send(OK)
    assert status(client) == b"200"
    assert Filter.seen == [200]


def test_a_late_response_is_tried_again_if_asked(rig):
    r = rig(servers=TWO_SERVERS, app="retry_on = timeout\ntimeout_response = 1s")
    client, one, others = start(r)
    r.advance(1.1)
    assert one.closed
    others()[0].send(OK)
    assert status(client) == b"200"


def test_junk_is_tried_again_if_asked(rig):
    r = rig(servers=TWO_SERVERS, app="retry_on = junk")
    client, one, others = start(r)
    one.send(b"SSH-2.0-OpenSSH\r\n\r\n")
    others()[0].send(OK)
    assert status(client) == b"200"


def test_nothing_is_tried_again_if_nothing_is_named(rig):
    r = rig(servers=TWO_SERVERS, app="retry_on = 503")
    assert r.lb.get("http://a/").status == 502
    assert r.closes == ["connect_failed"]


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_the_pause_grows_and_is_drawn(rig, draw):
    servers = "\n".join(f"s{n} 10.0.0.{n}:8000" for n in range(1, 5))
    r = rig(servers=servers, app="retries = 3\nretry_backoff = 1s")
    r.backend.random = lambda: draw
    client = r.client()
    client.send(GET)
    started = r.lb.reactor.seconds()
    r.lb.reactor.advance_until(lambda: client.received, 60)
    assert status(client) == b"502"
    assert r.log[0].attempts == 4
    assert r.lb.reactor.seconds() - started == pytest.approx(draw * (1 + 2 + 4), abs=0.3)


def test_a_client_that_leaves_in_the_pause(rig):
    r = rig(servers=TWO_SERVERS, app=f"{ON_503}\nretry_backoff = 10s")
    r.backend.random = lambda: 1.0
    client, one, others = start(r)
    one.send(BUSY % b"one")
    slots = r.lb.service.network.wheel._slots

    def pauses():
        owners = (getattr(t._callback, "__self__", None) for slot in slots.values() for t in slot)
        return sum(isinstance(owner, Attempts) for owner in owners)

    assert pauses() == 1
    client.abort()
    assert pauses() == 0, "no timer holds what is over"
    r.advance(20)
    assert others() == []
    assert r.closes == ["client_gone"]


def test_the_log_says_what_a_client_did_not_wait_for(rig):
    r = rig(servers=TWO_SERVERS, app=f"{ON_503}\nretry_backoff = 10s")
    r.backend.random = lambda: 1.0
    client, one, _ = start(r)
    one.send(BUSY % b"one")
    client.half_close()
    r.advance(1)
    assert (r.log[0].close.value, r.log[0].detail) == (
        "client_gone",
        "left while it waited for a retry",
    )


def test_no_attempt_begins_after_the_limit(rig):
    r = rig(
        servers=TWO_SERVERS, app="retry_on = timeout\ntimeout_response = 2s\ntimeout_retries = 1s"
    )
    client, _one, others = start(r)
    r.advance(2.1)
    assert status(client) == b"504"
    assert others() == []
    assert r.closes == [Kind.RESPONSE_TIMEOUT.value]


def test_only_backups_left_is_no_reason_for_haste(rig):
    """A backup that does not serve yet is no other server: the one there is gets its pause."""
    r = rig(servers=f"a {A}\nb {B} backup", app="retries = 1")
    client = r.client()
    client.send(GET)
    r.advance(0.1)
    assert r.state("a").counters.connects == 1
    r.lb.origin("a", A)
    r.advance(0.3)
    assert status(client) == b"200"
