"""Filters of TCP sessions: every phase, at once or later, refusing, failing, choosing another
backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply
from lbproxy.proxy.unsent import unsent_bytes
from tests.proxy import tcp_filters
from tests.proxy.bench import A, B, C, Make
from tests.proxy.tcp_filters import script, seen

STRICT = "filters = tests.proxy.tcp_filters:Strict"
FORGIVING = "filters = tests.proxy.tcp_filters:Forgiving"
WAITING = ("early", "request", "server_request", "response")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    script.clear()
    seen.clear()
    yield
    assert "finish" in seen, "every session ends with the last phase"


def test_phases_run_in_order(make: Make) -> None:
    bench = make(frontend=STRICT)
    bench.lb.tcp_origin("a", A, "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    assert seen == ["early", "request", "server_request", "response"]
    client.close()
    assert client.received == b"x"
    assert seen == ["early", "request", "server_request", "response", "finish"]


@pytest.mark.parametrize("phase", WAITING)
def test_the_session_waits_for_a_deferred(make: Make, phase: str) -> None:
    bench = make(frontend=STRICT)
    origin = bench.lb.tcp_origin("a", A, "echo")
    waiting: Deferred[None] = Deferred()
    script[phase] = lambda traffic: waiting
    client = bench.lb.connect("t")
    client.send(b"early")
    assert client.received == b""
    assert origin.accepted == (phase == "response")
    waiting.callback(None)
    bench.lb.advance(0.1)
    assert client.received == b"early"
    client.close()
    assert bench.closes == ["ok"]


@pytest.mark.parametrize("phase", WAITING)
def test_a_coroutine_will_do(make: Make, phase: str) -> None:
    bench = make(frontend=STRICT)
    bench.lb.tcp_origin("a", A, "echo")

    async def hook(traffic: Any) -> None:
        traffic.vars = {"here": phase}

    script[phase] = hook
    client = bench.lb.connect("t")
    client.send(b"x")
    assert client.received == b"x"
    client.close()
    assert bench.last.vars == {"here": phase}


@pytest.mark.parametrize("phase", WAITING)
@pytest.mark.parametrize("policy", [STRICT, FORGIVING])
def test_a_slow_filter_meets_its_deadline(make: Make, phase: str, policy: str) -> None:
    bench = make(frontend=policy + "\ntimeout_filter = 2s", may_fail=True)
    bench.lb.tcp_origin("a", A, "echo")
    script[phase] = lambda traffic: Deferred()
    client = bench.lb.connect("t")
    client.send(b"x")
    bench.lb.advance(1.9)
    assert (client.received, client.closed) == (b"", False)
    bench.lb.advance(0.3)
    if policy is FORGIVING:
        assert client.received == b"x"
        client.close()
        assert bench.closes == ["ok"]
    else:
        assert client.closed
        assert bench.closes == ["filter_timeout"]


def boom(traffic: Any) -> None:
    raise RuntimeError("boom")


@pytest.mark.parametrize("phase", WAITING)
def test_a_filter_that_raises_ends_the_session_unless_it_is_forgiven(
    make: Make, phase: str
) -> None:
    script[phase] = boom
    for policy, close in ((STRICT, "filter_failed"), (FORGIVING, "ok")):
        bench = make(frontend=policy, may_fail=True)
        bench.lb.tcp_origin("a", A, "echo")
        client = bench.lb.connect("t")
        client.send(b"x")
        assert client.received == (b"x" if policy is FORGIVING else b"")
        client.close()
        assert bench.closes == [close]
        assert bench.server("a").counters.failed == 0, "the server did nothing wrong"


@pytest.mark.parametrize("phase", WAITING)
def test_a_refusal_is_no_failure(make: Make, phase: str) -> None:
    def refuse(traffic: Any) -> None:
        raise ProxyError(Kind.DENIED, "not you")

    script[phase] = refuse
    bench = make(frontend=FORGIVING)
    bench.lb.tcp_origin("a", A, lambda data: None)
    client = bench.lb.connect("t")
    assert client.closed
    assert (bench.closes, bench.last.detail) == (["denied"], "not you")


def test_finish_may_raise(make: Make) -> None:
    script["finish"] = boom
    bench = make(frontend=STRICT, may_fail=True)
    bench.lb.tcp_origin("a", A, "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    client.close()
    assert client.received == b"x"
    assert bench.closes == ["ok"]


@pytest.mark.parametrize("phase", WAITING)
def test_there_are_no_replies_in_tcp(make: Make, phase: str) -> None:
    script[phase] = lambda traffic: Reply(200, body=b"hi")
    bench = make(frontend=STRICT)
    bench.lb.tcp_origin("a", A, lambda data: None)
    client = bench.lb.connect("t")
    assert client.closed and client.received == b""
    assert bench.closes == ["filter_failed"]


OTHER = f"[backend other]\nmode = tcp\nservers = c {C}\n[backend web]\nmode = http\nservers = w {C}"


def test_a_filter_chooses_another_backend(make: Make) -> None:
    def choose(traffic: Any) -> None:
        traffic.backend_name = "other"

    script["request"] = choose
    bench = make(frontend=STRICT, more=OTHER + "\n[frontend f]\nlisten = tcp:1\nbackend = web")
    bench.lb.tcp_origin("c", C, "echo")
    client = bench.lb.connect("t")
    client.send(b"x")
    assert client.received == b"x"
    client.close()
    assert (bench.last.backend_name, bench.last.server_name) == ("other", "c")


@pytest.mark.parametrize("name", ["nowhere", "web"])
def test_a_filter_cannot_choose_what_is_not_there(make: Make, name: str) -> None:
    def choose(traffic: Any) -> None:
        traffic.backend_name = name

    script["request"] = choose
    bench = make(frontend=STRICT, more=OTHER + "\n[frontend f]\nlisten = tcp:1\nbackend = web")
    client = bench.lb.connect("t")
    assert client.closed
    assert (bench.closes, bench.last.backend_name) == (["filter_failed"], "raw")


@pytest.mark.parametrize("phase", WAITING)
@pytest.mark.parametrize("who", ["client", "server", "stop"])
def test_somebody_leaves_while_a_filter_thinks(make: Make, phase: str, who: str) -> None:
    bench = make(frontend=STRICT, servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    cancelled: list[Any] = []
    script[phase] = lambda traffic: Deferred(cancelled.append)
    client = bench.lb.connect("t")
    if who == "client":
        client.abort()
        assert bench.closes == ["client_gone"]
    elif who == "server":
        for connection in origin.connections:
            connection.abort()
        if phase == "response":  # a paused reader learns of it later
            client.abort()
        client.close()
    else:
        bench.close()
    assert cancelled or who == "server"


def test_bytes_of_a_server_that_speaks_first_wait_for_the_filter(make: Make) -> None:
    bench = make(frontend=STRICT, servers=(f"a {A}",))
    origin = bench.lb.tcp_origin("a", A)
    waiting: Deferred[None] = Deferred()
    script["response"] = lambda traffic: waiting
    client = bench.lb.connect("t")
    origin.connections[0].send(b"220 welcome\r\n")
    bench.lb.advance(1)
    assert client.received == b""
    waiting.callback(None)
    bench.lb.advance(0.1)
    assert client.received == b"220 welcome\r\n"
    client.abort()


def test_every_attempt_has_its_server_request_phase(make: Make) -> None:
    tried: list[str] = []
    script["server_request"] = lambda traffic: tried.append(traffic.server_name)
    bench = make(frontend=STRICT)
    bench.lb.tcp_origin("b", B, "echo")
    client = bench.lb.connect("t")
    client.close()
    assert tried == ["a", "b"]
    assert bench.last.attempts == 2


def test_filters_of_the_backend_come_after_those_of_the_frontend(make: Make) -> None:
    bench = make(frontend=STRICT, backend=FORGIVING)
    bench.lb.tcp_origin("a", A, "echo")
    order: list[str] = []
    original = tcp_filters.Strict._do

    def noting(self: Any, phase: str, traffic: Any) -> Any:
        order.append(f"{self.name} {phase}")
        return original(self, phase, traffic)

    tcp_filters.Strict._do = noting  # type: ignore[method-assign]
    try:
        bench.lb.connect("t").close()
    finally:
        tcp_filters.Strict._do = original  # type: ignore[method-assign]
    assert order == [
        "strict early",
        *(
            f"{name} {phase}"
            for phase in (*WAITING[1:], "finish")
            for name in ("strict", "forgiving")
        ),
    ]


def test_a_server_that_is_first_waits_for_the_filters_of_responses(make: Make) -> None:
    """What it sends meanwhile is not kept by lbproxy."""
    bench = make(frontend=STRICT)
    origin = bench.lb.tcp_origin("a", A)
    waits: Deferred[None] = Deferred()
    script["response"] = lambda traffic: waits
    client = bench.lb.connect("t")
    server = origin.connections[0]
    server.send(b"x" * 3_000_000)
    assert client.received == b""
    assert unsent_bytes(server.transport) > 2_000_000
    waits.callback(None)
    bench.lb.advance(0.1)
    assert client.received == b"x" * 3_000_000
    server.close()
    client.close()
    bench.lb.advance(0.1)
    assert bench.closes == ["ok"]
