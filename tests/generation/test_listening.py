"""Addresses that change while lbproxy runs, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from lbproxy.service import LoadBalancer
from tests.support.ports import free_ports
from tests.support.process import accepts
from tests.support.reactor import run


@pytest.fixture(params=["epoll", "twisted"])
def text(request: Any) -> Callable[..., str]:
    def make(*listen: str) -> str:
        lines = "".join(f"    {one}\n" for one in listen)
        return (
            f"[lbproxy]\ntransport = {request.param}\n[frontend w]\nlisten =\n{lines}"
            "routes = default -> reply 200\n"
        )

    return make


def loopback(port: int) -> str:
    return f"tcp:{port}:interface=127.0.0.1"


def test_from_one_interface_to_all_and_back(text: Callable[..., str]) -> None:
    (port,) = free_ports(1)

    async def scenario(reactor: Any) -> None:
        lb = LoadBalancer.from_config(text(loopback(port)), reactor=reactor)
        lb.startService()
        for listen in (f"tcp:{port}", loopback(port), loopback(port), f"tcp:{port}"):
            report = lb.reload(text(listen))
            assert report.ok, report.errors
            assert accepts(port)
        await lb.stopService()
        assert not accepts(port)

    run(scenario)


def test_an_address_goes_and_comes_back_at_once(text: Callable[..., str]) -> None:
    one, two = free_ports(2)

    async def scenario(reactor: Any) -> None:
        lb = LoadBalancer.from_config(text(loopback(one), loopback(two)), reactor=reactor)
        lb.startService()
        for listen in ([loopback(one)], [loopback(two)], [loopback(one), loopback(two)]):
            report = lb.reload(text(*listen))
            assert report.ok, report.errors
        await lb.stopService()

    run(scenario)


def test_what_was_in_the_way_serves_on_when_it_was_somebody_else(text: Callable[..., str]) -> None:
    (port,) = free_ports(1)

    async def scenario(reactor: Any) -> None:
        lb = LoadBalancer.from_config(text(loopback(port)), reactor=reactor)
        lb.startService()
        with socket.create_server(("127.0.0.2", port)):
            report = lb.reload(text(f"tcp:{port}"))
            assert not report.ok and "another program listens there" in report.errors[0]
            assert lb.listeners[0].bound is not None and accepts(port)
        await lb.stopService()

    run(scenario)
