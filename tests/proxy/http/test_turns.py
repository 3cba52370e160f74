"""A connection is served for a bounded work in a turn, then the others."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lbproxy.proxy.http.pipelineline import REQUESTS_PER_TURN
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


@pytest.mark.parametrize("attackers", [2, 30])
def test_many_bursts_together_hold_up_an_ordinary_client_for_a_turn(rig, attackers: int) -> None:
    r = rig(web="routes = path / -> reply 200 hi")
    crowd = [r.client() for _ in range(attackers)]
    other = r.client()
    receive = other.dataReceived

    def ask_again(data: bytes) -> None:
        receive(data)
        if other.received.count(b"HTTP/1.1 200") < 10:
            r.lb.reactor.callLater(0, other.transport.write, GET)  # it arrives in the next turn

    other.dataReceived = ask_again
    for one in crowd:
        one.transport.write(GET * 200)
    other.transport.write(GET)
    r.advance(0)
    served = order(r)
    assert len(served) == attackers * 200 + 10
    (port,) = {port for port in set(served) if served.count(port) == 10}
    turns = [at for at, one in enumerate(served) if one == port]
    between = [after - before - 1 for before, after in pairwise(turns)]
    assert 0 < max(between) <= 2 * REQUESTS_PER_TURN, between
    assert turns[-1] < len(served) - REQUESTS_PER_TURN


def test_bursts_are_served_in_rounds(rig) -> None:
    r = rig(web="routes = path / -> reply 200 hi")
    crowd = [r.client() for _ in range(5)]
    for one in crowd:
        one.transport.write(GET * 50)
    r.advance(0)
    served = order(r)
    assert len(served) == 250
    ports = sorted(set(served))
    for end in range(60, 200):
        counts = [served[:end].count(port) for port in ports]
        assert max(counts) - min(counts) <= REQUESTS_PER_TURN, (end, counts)
    assert len(r.lb.service.frontend("web").pipelines) == 0


def test_requests_that_wait_for_their_turn_are_not_dropped_as_an_idle_client(rig) -> None:
    r = rig(web="timeout_keepalive = 1s\nroutes = path / -> reply 200 hi")
    line = r.lb.service.frontend("web").pipelines
    client = r.client()
    line.busy = True  # a line so long that no turn comes
    client.send(GET * 3)
    assert client.received.count(b"HTTP/1.1 200") == 1 and len(line) == 1
    r.advance(10)
    assert not client.finished
    line._turn()
    r.advance(0)
    assert client.received.count(b"HTTP/1.1 200") == 3
    r.advance(2)
    assert client.finished, "from now on it is idle"


def test_a_client_that_ends_its_direction_behind_a_burst_gets_all_responses(rig) -> None:
    r = rig(web="routes = path / -> reply 200 hi")
    client = r.client()
    client.transport.write(GET * 100)
    client.half_close()
    r.advance(0)
    assert client.received.count(b"HTTP/1.1 200") == 100


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
