"""Draining a server: what is told, who waits and for how long, what is killed, what is listed."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.balance.server import State
from lbproxy.operate.drain import DrainStatus
from lbproxy.testing import LB

A, B = "10.0.0.1:7000", "10.0.0.2:7000"
TEXT = f"""
[frontend t]
mode = tcp
listen = tcp:9000
backend = raw

[backend raw]
servers =
    a {A}
    b {B}
"""


@pytest.fixture
def lb() -> Any:
    with LB.from_config(TEXT) as made:
        made.tcp_origin("a", A, "echo")
        made.tcp_origin("b", B, "echo")
        yield made


def connected(lb: Any, server: str) -> Any:
    """A client whose session is on ``server``."""
    for _ in range(4):
        client = lb.connect("t")
        client.send(b"x")
        if any(
            s.client_port == client.transport.getHost().port
            for s in lb.service.sessions("raw", server)
        ):
            return client
        client.close()
    raise AssertionError(f"nobody came to {server}")


def test_drain_says_how_many_sessions_are_left(lb: Any) -> None:
    clients = [connected(lb, "a") for _ in range(3)]
    status = lb.service.drain("raw", "a")
    assert status == DrainStatus("raw", "a", State.DRAIN, 3, None, 0.0)
    assert not status.done
    lb.advance(5)
    clients.pop().close()
    lb.advance(1)
    status = lb.service.drain_status("raw", "a")
    assert (status.sessions, round(status.since_s)) == (2, 6)
    for client in clients:
        client.close()
    lb.advance(1)
    assert lb.service.drain_status("raw", "a").done


def test_who_waits_hears_when_the_last_session_ends(lb: Any) -> None:
    client = connected(lb, "a")
    lb.service.drain("raw", "a")
    told: list[DrainStatus] = []
    lb.service.drained("raw", "a", 60).addCallback(told.append)
    lb.advance(30)
    assert told == []
    client.close()
    lb.advance(1)
    assert [status.done for status in told] == [True]


def test_waiting_ends_at_the_deadline(lb: Any) -> None:
    connected(lb, "a")
    lb.service.drain("raw", "a")
    told: list[DrainStatus] = []
    lb.service.drained("raw", "a", 10).addCallback(told.append)
    lb.service.drained("raw", "a", 20).addCallback(told.append)
    lb.advance(11)
    assert [(s.done, s.sessions) for s in told] == [(False, 1)]
    lb.advance(10)
    assert len(told) == 2


def test_waiting_ends_when_the_server_is_wanted_again(lb: Any) -> None:
    connected(lb, "a")
    lb.service.drain("raw", "a")
    told: list[DrainStatus] = []
    lb.service.drained("raw", "a").addCallback(told.append)
    lb.service.ready("raw", "a")
    lb.advance(1)
    assert [(s.done, s.state) for s in told] == [(False, State.UP)]


def test_waiting_can_be_cancelled_and_ends_with_the_service(lb: Any) -> None:
    connected(lb, "a")
    lb.service.drain("raw", "a")
    told: list[Any] = []
    cancelled = lb.service.drained("raw", "a").addErrback(told.append)
    cancelled.cancel()
    assert len(told) == 1
    waiting: list[DrainStatus] = []
    lb.service.drained("raw", "a", 1000.0).addCallback(waiting.append)
    lb.close()
    assert len(waiting) == 1


def test_an_empty_server_is_drained_at_once(lb: Any) -> None:
    lb.service.drain("raw", "b")
    told: list[DrainStatus] = []
    lb.service.drained("raw", "b").addCallback(told.append)
    assert [status.done for status in told] == [True]


def test_who_waits_may_ask_again_at_once(lb: Any) -> None:
    lb.service.drain("raw", "b")
    told: list[DrainStatus] = []

    def again(status: DrainStatus) -> None:
        told.append(status)
        lb.service.drained("raw", "b").addCallback(told.append)

    lb.service.drained("raw", "b").addCallback(again)
    assert len(told) == 2


def test_kill_ends_the_sessions_of_one_server(lb: Any) -> None:
    doomed = [connected(lb, "a") for _ in range(2)]
    spared = connected(lb, "b")
    lb.service.drain("raw", "a")
    assert lb.service.kill_sessions("raw", "a") == 2
    lb.advance(0.2)
    assert all(client.closed for client in doomed) and not spared.closed
    assert lb.service.drain_status("raw", "a").done
    assert lb.service.kill_sessions("raw", "a") == 0


def test_sessions_are_listed_oldest_first(lb: Any) -> None:
    for _ in range(3):
        connected(lb, "a")
        lb.advance(2)
    connected(lb, "b")
    views = lb.service.sessions("raw", "a")
    ages = [view.age_s for view in views]
    assert ages == sorted(ages, reverse=True) and len(ages) == 3
    assert {(v.backend, v.server, v.frontend, v.kind, v.request) for v in views} == {
        ("raw", "a", "t", "tcp", "")
    }
    assert views[0].bytes_in == 1 and views[0].client_ip == "203.0.113.9"
    assert len(lb.service.sessions()) == 4
    assert len(lb.service.sessions("raw", limit=2)) == 2


def test_a_request_is_listed_without_its_query() -> None:
    text = f"""
    [frontend web]
    listen = tcp:8080
    backend = app

    [backend app]
    servers = a {A}
    """
    with LB.from_config(text) as lb:
        origin = lb.tcp_origin("a", A)
        client = lb.connect("web")
        client.send(b"GET /path?token=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        (view,) = lb.service.sessions()
        assert (view.kind, view.request) == ("http", "GET /path")
        client.abort()
        client = lb.connect("web")
        client.send(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        origin.connections[-1].send(
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert [view.kind for view in lb.service.sessions("app", "a")] == ["tunnel"]


def test_unknown_names(lb: Any) -> None:
    service = lb.service
    for call in (service.drain, service.drain_status, service.drained, service.kill_sessions):
        with pytest.raises(KeyError):
            call("raw", "nobody")
        with pytest.raises(KeyError):
            call("nobody", "a")
    for names in (("nobody",), ("raw", "nobody")):
        with pytest.raises(KeyError):
            service.sessions(*names)
