"""A connection is served for a bounded work in a turn, then the others."""

from __future__ import annotations

import pytest

from lbproxy.proxy.http.client import REQUESTS_PER_TURN
from tests.proxy.http_kit import GET, Rig, rigs

rig = pytest.fixture(rigs)


def order(r: Rig) -> list[int]:
    """Who was served, as the ports of the clients in the order of the log."""
    return [record.client_port for record in r.log]


def test_a_burst_of_requests_does_not_hold_up_others(rig) -> None:
    r = rig(web="routes = path / -> reply 200 hi")
    greedy, other = r.client(), r.client()
    greedy.transport.write(GET * 100)
    other.transport.write(GET)
    r.advance(0)
    served = order(r)
    (port,) = {port for port in served if served.count(port) == 1}
    assert served.index(port) == REQUESTS_PER_TURN
    assert len(served) == 101
    assert greedy.received.count(b"HTTP/1.1 200") == 100
    assert r.lb.reactor.errors == []


@pytest.mark.parametrize("how", ["close", "abort", "half_close"])
def test_a_client_that_leaves_in_the_middle_of_its_burst(rig, how: str) -> None:
    r = rig(web="routes = path / -> reply 200 hi")
    client = r.client()
    client.transport.write(GET * 100)
    getattr(client, how)()
    r.advance(0)
    assert r.clients == 0
    assert r.lb.reactor.errors == []


def test_a_burst_of_bad_requests_ends_at_the_first(rig) -> None:
    r = rig(web="routes = path / -> reply 200 hi")
    client = r.client()
    client.send(GET * 20 + b"nonsense\r\n\r\n" + GET * 20)
    assert client.received.count(b"HTTP/1.1 200") == 20
    assert r.closes == ["replied"] * 20 + ["bad_request"]
