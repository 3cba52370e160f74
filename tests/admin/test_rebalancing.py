"""Rebalancing on demand, over the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kit import AdminClient, admin

TEXT = """\
[lbproxy]
admin = tcp:8404:interface=127.0.0.1

[frontend t]
mode = tcp
listen = tcp:9000
backend = raw

[frontend u]
mode = tcp
listen = tcp:9001
backend = plain

[backend raw]
balance = leastconn
rebalance = tcp rate=10/s idle=0s after=1h
servers =
    a 10.0.2.1:7000
    b 10.0.2.2:7000

[backend plain]
servers = a 10.0.2.1:7000
"""


@pytest.fixture
def client() -> Iterator[AdminClient]:
    with admin(TEXT) as made:
        yield made


def test_rebalance(client: AdminClient) -> None:
    lb = client.lb
    for name, address in (("a", "10.0.2.1:7000"), ("b", "10.0.2.2:7000")):
        lb.tcp_origin(name, address, "echo")
    lb.service.maint("raw", "b")
    sessions = [lb.connect("t") for _ in range(4)]
    lb.service.ready("raw", "b")
    answer = client.ask("POST", "backends/raw/rebalance")
    assert answer.data == {"backend": "raw", "sessions": 2, "moves": {"a": 2}}
    for _ in range(20):
        lb.advance(0.1)
    assert sum(session.finished for session in sessions) == 2


def test_where_there_is_none(client: AdminClient) -> None:
    answer = client.ask("POST", "backends/plain/rebalance")
    assert (answer.status, "no rebalance" in answer.message) == (409, True)
    assert client.ask("POST", "backends/nope/rebalance").status == 404
