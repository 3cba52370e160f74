"""Server connections that carry a user's identity serve one client connection."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.balance.server import AdminState
from lbproxy.config.errors import ConfigErrors
from lbproxy.registry import parse_config
from tests.proxy.http_kit import GET, OK, TWO_SERVERS, A, B, rigs

rig = pytest.fixture(rigs)

CHALLENGE = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: %b\r\nContent-Length: 2\r\n\r\nno"


def with_credentials(value: bytes) -> bytes:
    return GET.replace(b"\r\n\r\n", b"\r\nAuthorization: " + value + b"\r\n\r\n")


def paired(r: Any) -> Any:
    """A rig with two servers whose every byte the script decides."""
    r.raw(A), r.raw(B)
    return r


def answer(r: Any, data: bytes = OK) -> Any:
    """Answer the one request that has no answer; return its connection."""
    connections = [one for name in (A, B) for one in r.lb.origins[name].connections]
    (open_,) = [one for one in connections if one.received.count(b"GET ") > answers(one)]
    open_.answered = answers(open_) + 1
    open_.send(data)
    return open_


def answers(connection: Any) -> int:
    return getattr(connection, "answered", 0)


@pytest.mark.parametrize("scheme", [b"NTLM", b"Negotiate", b"Basic realm=x, NTLM", b"kerberos"])
def test_after_a_challenge_the_connection_belongs_to_the_client(rig, scheme):
    r = paired(rig(servers=TWO_SERVERS))
    alice, bob = r.client(), r.client()
    alice.send(GET)
    first = answer(r, CHALLENGE % scheme)
    for _ in range(4):
        bob.send(GET)
        assert answer(r) is not first
        alice.send(with_credentials(b"NTLM TlRMTVNTUAAB"))
        assert answer(r) is first
    assert r.state("a").connector.idle + r.state("b").connector.idle >= 1
    alice.abort()
    assert first.finished
    assert r.backend.terms.bound == 0


@pytest.mark.parametrize("scheme", [b"NTLM", b"Basic realm=x, Negotiate"])
def test_a_proxy_behind_it_challenges_with_407(rig, scheme):
    r = paired(rig(servers=TWO_SERVERS))
    alice, bob = r.client(), r.client()
    alice.send(GET)
    challenge = CHALLENGE.replace(b"401 Un", b"407 Un").replace(b"WWW-", b"Proxy-")
    first = answer(r, challenge % scheme)
    assert r.backend.terms.bound == 1
    for _ in range(4):
        bob.send(GET)
        assert answer(r) is not first
        alice.send(GET)
        assert answer(r) is first


def test_a_challenge_of_the_other_status_is_none(rig):
    r = rig()
    _, server = r.talk()
    server.send((CHALLENGE % b"NTLM").replace(b"401 Un", b"403 Un"))
    assert (r.state().connector.idle, r.backend.terms.bound) == (1, 0)


@pytest.mark.parametrize("value", [b"Negotiate YII", b"ntlm TlRM", b"Kerberos x"])
def test_credentials_in_the_first_request_bind_it_too(rig, value):
    r = paired(rig(servers=TWO_SERVERS))
    alice, bob = r.client(), r.client()
    alice.send(with_credentials(value))
    first = answer(r)
    for _ in range(3):
        alice.send(GET)
        assert answer(r) is first, "no credentials are needed any more"
        bob.send(GET)
        assert answer(r) is not first


@pytest.mark.parametrize("value", [b"Basic NTLM", b"Bearer negotiate", b"NTLMx y"])
def test_other_credentials_bind_nothing(rig, value):
    r = rig()
    _, server = r.talk(with_credentials(value))
    server.send(CHALLENGE % b"Basic realm=NTLM")
    assert (r.state().connector.idle, r.backend.terms.bound) == (1, 0)


def test_a_pooled_connection_can_be_bound(rig):
    r = rig()
    alice, server = r.talk()
    server.send(OK)
    alice.send(with_credentials(b"NTLM x"))
    server.send(OK)
    assert (r.state().connector.idle, r.backend.terms.bound) == (0, 1)
    r.client().send(GET)
    assert len(r.lb.origins[A].connections) == 2


def test_a_bound_connection_outlives_pool_idle_but_not_its_server(rig):
    r = rig(app="pool_idle = 1s", web="timeout_keepalive = 60s")
    alice, server = r.talk(with_credentials(b"NTLM x"))
    server.send(OK)
    r.advance(20)
    assert not server.finished
    r.backend.set_admin("a", AdminState.DRAIN)
    alice.send(GET)
    assert server.received.count(b"GET ") == 2, "like a sticky session"
    server.send(OK)
    r.backend.set_admin("a", AdminState.MAINT)
    r.advance(0)
    assert server.finished
    assert r.backend.terms.bound == 0


def test_a_server_that_closes_it_frees_the_client(rig):
    r = paired(rig(servers=TWO_SERVERS))
    alice = r.client()
    alice.send(with_credentials(b"NTLM x"))
    first = answer(r)
    first.close()
    assert r.backend.terms.bound == 0
    alice.send(GET)
    assert answer(r) is not first
    assert r.closes == ["ok", "ok"]


def test_a_full_server_lends_the_client_to_another(rig):
    r = paired(rig(servers=f"a {A} maxconn=1\nb {B}"))
    alice, bob = r.client(), r.client()
    alice.send(with_credentials(b"NTLM x"))
    first = answer(r)
    assert first in r.lb.origins[A].connections
    bob.send(GET)  # to b
    answer(r)
    bob.send(GET)  # to a
    busy = r.lb.origins[A].connections[-1]
    alice.send(GET)
    assert first.received.count(b"GET ") == 1
    r.lb.origins[B].connections[-1].send(OK)
    busy.send(OK)
    alice.send(GET)
    assert first.received.count(b"GET ") == 2


def test_removal_of_the_server_closes_idle_bound_connections(rig):
    r = paired(rig(servers=TWO_SERVERS))
    alice = r.client()
    alice.send(with_credentials(b"NTLM x"))
    first = answer(r)
    r.backend.remove("a" if first in r.lb.origins[A].connections else "b")
    r.advance(0)
    assert first.finished


def test_never_shares_nothing_between_clients(rig):
    r = rig(app="reuse = never")
    alice, server = r.talk()
    assert b"Connection: close" not in server.received
    server.send(OK)
    alice.send(GET)
    assert server.received.count(b"GET ") == 2
    server.send(OK)
    bob = r.client()
    bob.send(GET)
    assert len(r.lb.origins[A].connections) == 2
    alice.abort()
    assert server.finished
    assert r.state().connector.idle == 0


def test_never_keeps_one_connection_for_a_client_and_picks_every_time(rig):
    r = paired(rig(app="reuse = never", servers=TWO_SERVERS))
    alice = r.client()
    for _ in range(6):
        alice.send(GET)
        answer(r)
    used = [one for name in (A, B) for one in r.lb.origins[name].connections]
    assert len(used) == 6, "roundrobin changes the server each time"
    assert r.backend.terms.bound == 1


def test_safe_keeps_the_first_request_off_pooled_connections(rig):
    r = rig(app="reuse = safe")
    alice, server = r.talk()
    server.send(OK)
    alice.send(GET)
    assert server.received.count(b"GET ") == 2, "the second request may use a pooled one"
    server.send(OK)
    bob = r.client()
    bob.send(GET)
    assert len(r.lb.origins[A].connections) == 2
    r.lb.origins[A].connections[1].send(OK)
    assert r.state().connector.idle == 2


def test_safe_holds_for_retries_of_the_first_request(rig):
    r = rig(app="reuse = safe\nretries = 1")
    _, server = r.talk()
    server.send(OK)
    bob = r.client()
    bob.send(GET)
    fresh = r.lb.origins[A].connections[1]
    fresh.abort()
    r.advance(1)
    assert len(r.lb.origins[A].connections) == 3


def test_pool_min_without_reuse_is_an_error():
    text = "[frontend f]\nlisten = tcp:1\nbackend = b\n[backend b]\nservers = a 10.0.0.1:1\n"
    with pytest.raises(ConfigErrors, match="no effect with reuse = never"):
        parse_config(text + "reuse = never\npool_min = 2\nmode = http\n", "lb.ini")


class Wait:
    """Lets each request wait for ``passed`` before it goes to its server."""

    def __init__(self) -> None:
        self.passed: Deferred[None] = Deferred()

    def server_request(self, traffic: Any) -> Deferred[None]:
        return self.passed


@pytest.mark.parametrize("reuse", ["never", "always"])
def test_a_fetch_that_outlives_its_client_binds_nothing(rig, reuse):
    wait = Wait()
    r = rig(
        filters=[wait],
        app=f"reuse = {reuse}",
        web="cache = main",
        sections="\n[cache main]\n",
    )
    origin = r.raw()
    client = r.client()
    client.send(GET)
    client.abort()
    wait.passed.callback(None)
    r.advance(0)
    (connection,) = origin.connections
    connection.send(CHALLENGE % b"NTLM")
    r.advance(0)
    assert connection.finished
    assert r.backend.terms.bound == 0
