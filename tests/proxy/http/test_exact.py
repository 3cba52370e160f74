"""Steps of exchanges and connections, each of which a mutation of the sources has shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.filter import compile_phases
from lbproxy.proxy.http.tunnel import THROTTLE
from lbproxy.testing import LB
from tests.proxy.http.test_http_filters import Acting
from tests.proxy.http.test_http_tunnels import tunnel
from tests.proxy.http_kit import GET, OK, A, rigs

rig = pytest.fixture(rigs)

OTHER = "\n[backend other]\nmode = http\nservers = o 10.0.0.9:8000\n"


def test_a_connection_amid_its_next_head_is_not_idle(rig) -> None:
    """It has waited longest, but idle ones make room before it."""
    r = rig(web="maxconn = 3")
    first, server = r.talk(GET + b"GET / HT")
    server.send(OK)
    r.advance(1)
    r.lb.origins[A].answer = lambda data: OK
    idle = r.client()
    idle.send(GET)
    r.lb.origins[A].connections[-1].send(OK)
    r.advance(1)
    third = r.client()
    third.send(GET)
    r.client().send(GET)
    r.advance(0)
    assert (first.finished, idle.finished) == (False, True)


def test_the_record_has_the_reason_why_a_connection_was_killed(rig) -> None:
    r = rig()
    client, server = r.talk()
    (connection,) = r.frontend.clients
    connection.kill(ProxyError(Kind.BANNED, "ban x"))
    r.advance(0)
    assert client.reset and server.closed
    assert [(one.close, one.detail) for one in r.log] == [(Kind.BANNED, "ban x")]


@pytest.mark.parametrize("name", ["other", "nowhere"])
def test_a_filter_of_an_attempt_chooses_the_backend_of_the_next_one(rig, name: str) -> None:
    def act(traffic: Any) -> None:
        traffic.backend_name = name

    r = rig(filters=[Acting("server_request", act)], app="retries = 1", sections=OTHER)
    other = r.raw("10.0.0.9:8000")
    client, server = r.talk()
    server.close()
    r.advance(1)
    if name == "other":
        other.connections[0].send(OK)
        assert client.received.endswith(b"hi")
        assert (r.closes, r.log[0].server) == (["ok"], "o")
    else:
        assert client.received.startswith(b"HTTP/1.1 500 ")
        assert r.closes == ["filter_failed"]


def test_both_sides_of_a_tunnel_get_last_words(rig) -> None:
    r = rig()
    client, server, _ = tunnel(r)
    (session,) = r.state().sessions
    session.part(b"to the client", b"to the server")
    r.advance(0)
    assert (client.received, server.received) == (b"to the client", b"to the server")
    assert client.finished and server.finished
    assert r.closes == ["rebalanced"]


class Throttle:
    """Holds a tunnel when the script says so."""

    def __init__(self) -> None:
        self.hold: Callable[[bool], None] = lambda held: None

    def add(self, hold: Callable[[bool], None]) -> None:
        self.hold = hold

    def passed(self, count: int) -> None:
        pass


@pytest.mark.parametrize("full", [False, True])
def test_a_throttled_tunnel_reads_neither_side(rig, full: bool) -> None:
    throttle = Throttle()

    def act(traffic: Any) -> None:
        traffic.vars = {THROTTLE: throttle}

    r = rig(filters=[Acting("request", act)])
    client, server, _ = tunnel(r)
    sent = b""
    if full:
        server.pause()
        sent = bytes(3_000_000)
        client.send(sent)
    throttle.hold(True)
    client.send(b"up")
    server.send(b"down")
    r.advance(0.1)
    assert client.received == b""
    if full:
        server.resume()  # there is room again, but the throttle still holds
        r.advance(0.1)
    assert not server.received.endswith(b"up")
    throttle.hold(False)
    r.advance(0.1)
    assert client.received == b"down"
    assert server.received == sent + b"up"
    client.abort()
    r.advance(0.1)
    throttle.hold(True)  # when it is over, nothing happens
    assert r.closes == ["client_gone"]


def test_a_filter_cannot_choose_a_backend_where_there_is_none() -> None:
    pytest.importorskip("ada_url")
    text = "[frontend cors]\nmode = corsproxy\nlisten = tcp:8090\nopen = yes\n"
    with LB.from_config(text) as lb:
        frontend = lb.service.frontends["cors"]

        def act(traffic: Any) -> None:
            traffic.backend_name = "app"

        frontend.compile(compile_phases([Acting("request", act)]))
        records: list[Any] = []
        frontend.write_log = records.append
        client = lb.connect("cors")
        client.send(GET.replace(b"/ ", b"/?url=https://example.com/ "))
        lb.advance(0.1)
        assert client.received.startswith(b"HTTP/1.1 500 ")
        (record,) = records
        assert record.close is Kind.FILTER_FAILED and record.backend_name == ""
        assert "this frontend has none" in record.detail
