"""A server's name that moves: connections, sessions, checks and what is shown follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.cli.show import _address
from lbproxy.observe.snapshot import server_snapshot
from lbproxy.testing import LB, MemoryReactor
from tests.proxy.http_kit import GET, OK

OLD, NEW = "10.0.0.1", "10.0.0.2"
WEB = "[frontend web]\nlisten = tcp:8080\nbackend = app\n[backend app]\nresolve_every = 1s\n"
TCP = (
    "[frontend web]\nlisten = tcp:8080\nmode = tcp\nbackend = app\n[backend app]\n"
    "resolve_every = 1s\n"
)


class Rig:
    """A backend with the server ``a`` at ``app.internal:80``."""

    def __init__(self, text: str, *hosts: str) -> None:
        self.reactor = MemoryReactor()
        self.point(*hosts)
        text += "servers = a app.internal:80\n"
        self.lb = LB.from_config(text, reactor=self.reactor)
        self.origins = {host: self.lb.tcp_origin(host, f"{host}:80") for host in (OLD, NEW)}
        self.lb.advance(0.1)

    def point(self, *hosts: str) -> None:
        self.reactor.resolver.table["app.internal"] = list(hosts)

    @property
    def server(self) -> Any:
        return self.lb.server("app", "a")

    def at(self, host: str) -> list[Any]:
        return self.origins[host].connections


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(text: str = WEB, *hosts: str) -> Rig:
        made.append(Rig(text, *(hosts or (OLD,))))
        return made[-1]

    yield make
    for one in made:
        one.lb.close()


def test_an_idle_connection_to_the_old_address_is_not_used_again(rig: Any) -> None:
    r = rig()
    client = r.lb.connect("web")
    client.send(GET)
    r.at(OLD)[0].send(OK)
    r.point(NEW)
    r.lb.advance(1.2)
    assert r.at(OLD)[0].finished
    client.send(GET)
    assert len(r.at(NEW)) == 1


def test_a_request_that_runs_finishes_and_its_connection_is_closed(rig: Any) -> None:
    r = rig()
    client = r.lb.connect("web")
    client.send(GET)
    r.point(NEW)
    r.lb.advance(1.2)
    r.at(OLD)[0].send(OK)
    assert client.received.endswith(b"hi")
    assert r.at(OLD)[0].finished
    assert r.server.connector.idle == 0


def test_connections_to_an_address_that_stays_are_kept(rig: Any) -> None:
    r = rig()
    clients = [r.lb.connect("web") for _ in range(2)]
    for client in clients:
        client.send(GET)
    r.at(OLD)[0].send(OK)
    r.point(NEW, OLD)
    r.lb.advance(1.2)
    r.at(OLD)[1].send(OK)
    assert r.server.connector.idle == 2
    assert not any(connection.finished for connection in r.at(OLD))


def test_a_bound_connection_to_the_old_address_closes(rig: Any) -> None:
    r = rig()
    client = r.lb.connect("web")
    client.send(GET.replace(b"\r\n\r\n", b"\r\nAuthorization: NTLM x\r\n\r\n"))
    r.at(OLD)[0].send(OK)
    r.point(NEW)
    r.lb.advance(1.2)
    assert r.at(OLD)[0].finished
    client.send(GET)
    assert len(r.at(NEW)) == 1


@pytest.mark.parametrize(("policy", "ends"), [("close", True), ("keep", False)])
def test_sessions_at_the_old_address_follow_on_down(rig: Any, policy: str, ends: bool) -> None:
    r = rig(TCP + f"on_down = {policy}\n")
    client = r.lb.connect("web")
    client.send(b"hello")
    r.lb.advance(0.1)
    r.point(NEW)
    r.lb.advance(1.2)
    assert client.closed is ends
    other = r.lb.connect("web")
    other.send(b"hello")
    r.lb.advance(0.1)
    assert len(r.at(NEW)) == 1
    r.lb.advance(3)
    assert not other.closed


CHECKED = WEB + "check = tcp every=1s rise=1 fall=2\n"


def test_traffic_goes_to_the_addresses_that_pass_their_checks(rig: Any) -> None:
    r = rig(CHECKED, OLD, NEW)
    r.lb.advance(2)
    client = r.lb.connect("web")
    client.send(GET)
    (busy,) = [one for one in r.at(OLD) if b"GET" in one.received]
    busy.send(OK)
    r.origins[OLD].stop()
    r.lb.advance(5)
    assert r.server.unusable == {f"{OLD}:80"}
    assert r.server.state.value == "up"
    assert OLD in r.server.health_note
    connects = r.server.counters.connect_errors
    for _ in range(3):
        other = r.lb.connect("web")
        other.send(GET)
        r.lb.advance(0.1)
    assert sum(b"GET" in one.received for one in r.at(NEW)) == 3
    assert r.server.counters.connect_errors == connects, "the dead address is not tried"
    r.origins[OLD].start()
    r.lb.advance(5)
    assert r.server.unusable == set()


def test_without_checks_all_addresses_are_used_again(rig: Any) -> None:
    r = rig(CHECKED, OLD, NEW)
    r.origins[OLD].stop()
    r.lb.advance(5)
    assert r.server.unusable == {f"{OLD}:80"}
    assert r.lb.service.reload(WEB + "servers = a app.internal:80\n").ok
    assert r.server.unusable == set()


def test_a_server_is_down_when_no_address_passes(rig: Any) -> None:
    r = rig(CHECKED, OLD, NEW)
    r.lb.advance(2)
    for origin in r.origins.values():
        origin.stop()
    r.lb.advance(6)
    assert r.server.state.value == "down"
    r.origins[NEW].start()
    r.lb.advance(6)
    assert (r.server.state.value, r.server.unusable) == ("up", {f"{OLD}:80"})


def test_checks_follow_the_name(rig: Any) -> None:
    r = rig(CHECKED)
    r.origins[NEW].stop()
    r.point(NEW)
    r.lb.advance(6)
    assert r.server.state.value == "down"


def test_the_api_shows_the_addresses_in_use(rig: Any) -> None:
    r = rig(CHECKED, OLD, NEW)
    r.origins[OLD].stop()
    r.lb.advance(6)
    shown = server_snapshot(r.server)
    assert shown["addresses"] == [f"{OLD}:80", f"{NEW}:80"]
    assert shown["unusable"] == [f"{OLD}:80"]
    r.point(NEW)
    r.lb.advance(1.2)
    shown = server_snapshot(r.server)
    assert (shown["addresses"], shown["unusable"]) == ([f"{NEW}:80"], [])


def test_the_list_of_servers_shows_addresses() -> None:
    one = {"address": "app:80", "addresses": ["10.0.0.1:80", "10.0.0.2:80"]}
    assert _address(one) == "app:80 (10.0.0.1, 10.0.0.2)"
    one["unusable"] = ["10.0.0.2:80"]
    assert _address(one) == "app:80 (10.0.0.1, 10.0.0.2 (fails))"
    assert _address({"address": "10.0.0.1:80", "addresses": ["10.0.0.1:80"]}) == "10.0.0.1:80"
