"""allow and deny judge the client, allow_peers and deny_peers the peer."""

from __future__ import annotations

import pytest

from lbproxy.errors import Kind
from tests.proxy.http_kit import OK, rigs

rig = pytest.fixture(rigs)

PEER = "203.0.113.9"  # of the clients of a rig
TRUST = f"trusted_proxies = {PEER}\n"


def request(*lines: str) -> bytes:
    return "\r\n".join(["GET / HTTP/1.1", "Host: example.com", *lines, "", ""]).encode()


def ask(r, *lines: str) -> bytes:
    """The answer to one request; empty if the connection is refused."""
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    client.send(request(*lines))
    return client.take()


@pytest.mark.parametrize(
    ("lists", "client", "passes"),
    [
        ("deny = 6.6.6.0/24", "6.6.6.6", False),
        ("deny = 6.6.6.0/24", "1.1.1.1", True),
        ("allow = 1.1.1.0/24", "1.1.1.1", True),
        ("allow = 1.1.1.0/24", "6.6.6.6", False),
        (f"allow = {PEER}", "6.6.6.6", False),
        (f"deny = {PEER}", "1.1.1.1", True),
        (f"allow = {PEER}", "", True),
        (f"deny = {PEER}", "", False),
        (f"deny = 6.6.6.6\nallow_peers = {PEER}", "1.1.1.1", True),
    ],
)
def test_the_client_behind_a_trusted_proxy_is_judged(rig, lists, client, passes):
    r = rig(web=TRUST + lists)
    answer = ask(r, *([f"X-Forwarded-For: {client}"] if client else []))
    assert answer.startswith(b"HTTP/1.1 200 " if passes else b"HTTP/1.1 403 ")
    assert r.closes == ["ok" if passes else "denied"]


def test_each_request_of_a_proxy_is_judged_by_itself(rig):
    r = rig(web=TRUST + "deny = 6.6.6.6")
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    for address, status in (("6.6.6.6", b"403"), ("1.1.1.1", b"200"), ("6.6.6.6", b"403")):
        client.send(request(f"X-Forwarded-For: {address}"))
        assert client.take().startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("lists", "passes"),
    [
        (f"deny = {PEER}", False),
        ("allow = 1.1.1.1", False),
        ("deny = 6.6.6.6", True),
        (f"deny_peers = {PEER}", False),
        ("allow_peers = 1.1.1.1", False),
        (f"allow_peers = {PEER}", True),
        (f"deny_peers = {PEER}\nallow_peers = {PEER}", False),
        (f"allow = {PEER}\ndeny_peers = {PEER}", False),
    ],
)
def test_a_peer_that_is_not_trusted_is_judged_when_it_connects(rig, lists, passes):
    r = rig(web=lists)
    answer = ask(r, "X-Forwarded-For: 6.6.6.6")
    assert answer.startswith(b"HTTP/1.1 200 ") if passes else answer == b""
    assert r.refusals == ([] if passes else [Kind.DENIED])


@pytest.mark.parametrize("lists", [f"deny_peers = {PEER}", "allow_peers = 1.1.1.1"])
def test_a_trusted_peer_may_still_be_refused(rig, lists):
    assert ask(rig(web=TRUST + lists), "X-Forwarded-For: 1.1.1.1") == b""


def test_peers_are_judged_before_a_proxy_header(rig):
    r = rig(listen=f"tcp:8080 accept_proxy={PEER}", web=f"deny_peers = {PEER}")
    r.client()
    assert (r.refusals, r.closes) == ([Kind.DENIED], [])


def test_a_proxy_header_names_a_client_and_no_peer(rig):
    r = rig(listen=f"tcp:8080 accept_proxy={PEER}", web="deny_peers = 6.6.6.6")
    origin = r.raw()
    client = r.client()
    client.send(b"PROXY TCP4 6.6.6.6 10.0.0.1 1 80\r\n" + request())
    origin.connections[0].send(OK)
    assert client.take().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("line", [f"deny_peers = {PEER}", "allow_peers = 1.1.1.1"])
def test_a_reload_that_refuses_the_peer(rig, line):
    r = rig()
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    client.send(request())
    assert client.take().endswith(b"hi")
    r.reload(line)
    client.send(request())
    assert client.take().startswith(b"HTTP/1.1 403 ")


def test_a_reload_keeps_the_trusted_proxy_of_a_refused_client(rig):
    r = rig(web=TRUST)
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    client.send(request("X-Forwarded-For: 1.1.1.1"))
    assert client.take().endswith(b"hi")
    r.reload(f"deny = {PEER} 6.6.6.6")
    for address, status in (("6.6.6.6", b"403"), ("1.1.1.1", b"200")):
        client.send(request(f"X-Forwarded-For: {address}"))
        assert client.take().startswith(b"HTTP/1.1 " + status)


def test_the_port_of_the_client(rig):
    r = rig(web=TRUST)
    r.lb.origin("a", "10.0.0.1:8000", b"hi")
    client = r.client()
    for line in ("X-Forwarded-For: 1.1.1.1:5678", "X-Forwarded-For: 1.1.1.1", "X-A: b"):
        client.send(request(line))
    first, second, third = (record.client_port for record in r.log)
    assert (first, second) == (5678, 0)
    assert third > 0
