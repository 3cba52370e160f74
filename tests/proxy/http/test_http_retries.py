"""When a server fails: who gets another attempt, how many, and who waits in the queue."""

from __future__ import annotations

import pytest

from lbproxy.balance.server import AdminState
from lbproxy.testing.transport import MemoryTransport
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, post, rigs

rig = pytest.fixture(rigs)


def status(client) -> bytes:
    return client.received[9:12]


def test_refused_goes_to_another_server(rig):
    r = rig(servers=TWO_SERVERS)
    r.lb.origin("b", B, b"from b")
    for method in ("GET", "POST"):
        for _ in range(2):
            assert r.lb.request(method, "http://a/", body=b"x" * 1000).body == b"from b"
    again = [record.attempts for record in r.log].count(2)
    assert r.state("a").counters.failed == r.backend.counters.redispatches == again > 0


def test_attempts_are_bounded_and_the_same_server_gets_a_pause(rig):
    r = rig(app="retries = 3")
    client = r.client()
    client.send(GET)
    for n in range(3):
        r.advance(0)
        assert r.state().counters.connects == n + 1
        assert client.received == b""
        r.advance(0.3)
    assert status(client) == b"502"
    assert r.state().counters.connects == 4
    assert (r.log[0].attempts, r.closes) == (4, ["connect_failed"])


def test_a_server_that_comes_back_in_the_pause(rig):
    r = rig()
    client = r.client()
    client.send(post(b"hello"))
    origin = r.lb.origin("a", A)
    r.advance(0.3)
    assert status(client) == b"200"
    assert origin.requests[0].body == b"hello"


def test_no_retries(rig):
    r = rig(servers=TWO_SERVERS, app="retries = 0")
    assert r.lb.get("http://a/").status == 502
    assert r.log[0].attempts == 1


@pytest.mark.parametrize("how", ["close", "abort"])
def test_an_idempotent_request_is_sent_again(rig, how):
    r = rig(servers=TWO_SERVERS)
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(post(b"hello").replace(b"POST", b"PUT"))
    one = (first.connections + second.connections)[0]
    getattr(one, how)()
    (other,) = [c for c in first.connections + second.connections if c is not one]
    assert other.received.endswith(b"\r\n\r\nhello")
    other.send(OK)
    assert client.received.endswith(b"hi")
    assert r.closes == ["ok"]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 20", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_post_is_not_sent_again(rig, sent):
    r = rig(servers=TWO_SERVERS)
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(post(b"hello"))
    one = (first.connections + second.connections)[0]
    if sent:
        one.send(sent)
    one.close()
    assert len(first.connections + second.connections) == 1
    assert client.received[-500:].count(b"HTTP/1.1 502 ") == 1
    assert r.closes == ["server_gone"]


def test_a_streamed_body_is_not_sent_again(rig):
    r = rig(servers=TWO_SERVERS, app="retry_buffer = 1k")
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(post(b"x" * 2000, length=3000).replace(b"POST", b"PUT"))
    (first.connections + second.connections)[0].close()
    assert status(client) == b"502"


def test_a_body_that_comes_slowly_is_kept_for_the_next_attempt(rig):
    r = rig(servers=TWO_SERVERS)
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(post(b"one", length=9).replace(b"POST", b"PUT"))
    client.send(b"two")
    one = (first.connections + second.connections)[0]
    one.close()
    client.send(b"six")
    (other,) = [c for c in first.connections + second.connections if c is not one]
    assert other.received.endswith(b"\r\n\r\nonetwosix")
    other.send(OK)
    assert client.received.endswith(b"hi")


def test_garbage_is_not_tried_again(rig):
    r = rig(servers=TWO_SERVERS)
    first, second = r.raw(), r.raw(B)
    client = r.client()
    client.send(GET)
    (first.connections + second.connections)[0].send(b"SSH-2.0-OpenSSH\r\n\r\n")
    assert status(client) == b"502"
    assert (r.closes, r.log[0].attempts) == (["bad_response"], 1)


def test_nobody_up(rig):
    r = rig()
    r.backend.set_admin("a", AdminState.MAINT)
    response = r.lb.get("http://a/")
    assert (response.status, response.header("retry-after")) == (503, "1")
    assert r.closes == ["no_server"]


# -- the queue


def full(rig, **more):
    """A server with one place, which is taken."""
    r = rig(servers=f"a {A} maxconn=1", **more)
    client, server = r.talk()
    return r, client, server


def test_the_queue_is_fair(rig):
    r, client, server = full(rig)
    waiting = [r.client() for _ in range(3)]
    for n, one in enumerate(waiting):
        one.send(GET.replace(b"/", b"/%d" % n, 1))
    assert len(r.backend.queue) == 3
    for n, one in enumerate(waiting):
        server.send(OK)
        assert f"/{n} HTTP/1.1".encode() in server.received
        assert not one.received
    server.send(OK)
    assert all(one.received.endswith(b"hi") for one in [client, *waiting])
    assert len(r.lb.origins[A].connections) == 1


def test_waiting_in_vain(rig):
    r, _, _ = full(rig, app="timeout_queue = 3s\nqueue = 1")
    one, two = r.client(), r.client()
    one.send(GET)
    two.send(GET)
    assert status(two) == b"503"
    assert b"Retry-After: 1" in two.received
    r.advance(2.9)
    assert one.received == b""
    r.advance(0.2)
    assert status(one) == b"503"
    assert r.closes == ["queue_full", "queue_timeout"]


@pytest.mark.parametrize("how", ["close", "abort", "half_close"])
def test_who_leaves_is_out_of_the_queue(rig, how):
    r, _, server = full(rig)
    leaver, stayer = r.client(), r.client()
    leaver.send(GET.replace(b"/", b"/gone", 1))
    stayer.send(GET)
    getattr(leaver, how)()
    assert len(r.backend.queue) == 1
    server.send(OK)
    assert b"/gone" not in server.received
    server.send(OK)
    assert stayer.received.endswith(b"hi")
    assert r.closes == ["client_gone", "ok", "ok"]


def test_a_body_that_waits_in_the_queue_is_sent_whole(rig):
    r, _, server = full(rig)
    client = r.client()
    body = bytes(range(256)) * 2000
    client.send(post(body))
    server.send(OK)
    assert server.received.endswith(body)
    server.send(OK)
    assert client.received.endswith(b"hi")


def test_the_queue_is_sent_away_when_lbproxy_stops(rig):
    r, _, _ = full(rig)
    client = r.client()
    client.send(GET)
    r.lb.service.stopService()
    r.advance(0)
    assert status(client) == b"503"
    assert r.closes == ["shutdown"]


def test_a_client_held_back_by_a_server_that_failed(rig, monkeypatch):
    """The next server took all there was at once, and nobody let the client go on."""
    r = rig(servers=TWO_SERVERS, app="retry_buffer = 1m")
    first, second = r.raw(A), r.raw(B)
    client = r.client()
    client.send(post(length=400_000).replace(b"POST", b"PUT"))
    (server,) = first.connections
    server.pause()
    client.send(b"x" * 400_000)
    r.advance(0.1)
    monkeypatch.setattr(MemoryTransport, "bufferSize", 1 << 20)
    server.abort()
    r.advance(1)
    (server,) = second.connections
    assert server.received.endswith(b"x" * 400_000)
