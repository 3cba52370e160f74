"""Filters in every phase: answering, refusing, failing, waiting, changing."""

from __future__ import annotations

import asyncio
import json
from types import MethodType
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from lbproxy.errors import Kind, ProxyError
from lbproxy.http.message import Reply
from lbproxy.http.transform import Transform
from lbproxy.observe.jsonlog import http_line
from lbproxy.proxy.policy import Hooks
from lbproxy.testing import LB
from tests.proxy.http_kit import GET, OK, SERVERS, TWO_SERVERS, A, B, post, rigs

rig = pytest.fixture(rigs)
C = "10.0.0.3:8000"

PHASES = ("early", "request", "server_request", "response")


class Acting:
    """Does ``act(exchange)`` in one phase; counts the ends."""

    def __init__(self, phase: str, act: Any, *, fail_open: bool = False) -> None:
        self.fail_open = fail_open
        self.finished: list[Any] = []
        setattr(self, phase, MethodType(lambda self, exchange: act(exchange), self))

    def finish(self, exchange: Any) -> None:
        self.finished.append(exchange)


class Waiting(Acting):
    """Waits in one phase until the script fires ``waits``."""

    def __init__(self, phase: str, how: str) -> None:
        self.waits: Deferred[Any] = Deferred()
        super().__init__(phase, self.coroutine if how == "coroutine" else self.deferred)

    def deferred(self, exchange: Any) -> Any:
        return self.waits

    async def coroutine(self, exchange: Any) -> Any:
        return await self.waits


def run(rig, one, request=GET, answer=OK, **more):
    """The response to one request through one filter, when the server answers at once."""
    r = rig(filters=[one], **more)
    r.lb.tcp_origin("a", A, lambda data: answer)
    client = r.client()
    client.send(request)
    r.advance(0.1)
    return r, client


def status(client) -> bytes:
    return client.received[9:12]


def one_exchange(r) -> Any:
    """The exchange of the only client."""
    (client,) = r.frontend.clients
    return client._exchange


def ok(value: Any) -> Any:
    return lambda exchange: value


def raising(error: Exception) -> Any:
    def act(exchange: Any) -> None:
        raise error

    return act


async def _coroutine(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


STYLES = {
    "sync": ok,
    "fired": lambda value: lambda exchange: succeed(value),
    "coroutine": lambda value: lambda exchange: _coroutine(value),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("phase", PHASES)
def test_none_goes_on(rig, phase, style):
    one = Acting(phase, STYLES[style](None))
    r, client = run(rig, one)
    assert client.received.endswith(b"hi")
    assert len(one.finished) == 1
    assert r.state().connector.idle == 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_reply(rig, phase, style):
    r, client = run(rig, Acting(phase, STYLES[style](Reply(418, b"teapot"))))
    assert status(client) == b"418"
    assert client.received.endswith(b"teapot")
    assert r.closes == ["replied"]
    assert not client.finished
    client.take()
    client.send(GET)
    assert status(client) == b"418"


@pytest.mark.parametrize("phase", PHASES)
def test_refusing(rig, phase):
    one = Acting(phase, raising(ProxyError(Kind.DENIED, "no")))
    r, client = run(rig, one)
    assert status(client) == b"403"
    assert r.closes == ["denied"]
    assert r.log[0].detail == "no"
    assert len(one.finished) == 1
    r, client = run(rig, Acting(phase, lambda x: _coroutine(ProxyError(Kind.DENIED, "no"))))
    assert status(client) == b"403"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "act", [raising(ZeroDivisionError()), ok(42), lambda x: _coroutine(KeyError())]
)
def test_failing(rig, phase, act):
    r, client = run(rig, Acting(phase, act))
    assert status(client) == b"500"
    assert r.closes == ["filter_failed"]
    assert r.state().counters.failed == 0
    r, client = run(rig, Acting(phase, act, fail_open=True))
    assert status(client) == b"200"


@pytest.mark.parametrize("how", ["deferred", "coroutine"])
@pytest.mark.parametrize("phase", PHASES)
def test_waiting(rig, phase, how):
    one = Waiting(phase, how)
    r, client = run(rig, one)
    assert client.received == b""
    one.waits.callback(None)
    r.advance(0)
    assert client.received.endswith(b"hi")


@pytest.mark.parametrize("how", ["deferred", "coroutine"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fail_open", [False, True])
def test_waiting_too_long(rig, phase, how, fail_open):
    one = Waiting(phase, how)
    one.fail_open = fail_open
    r, client = run(rig, one, web="timeout_filter = 2s")
    r.advance(1.8)
    assert client.received == b""
    r.advance(0.2)
    assert status(client) == (b"200" if fail_open else b"500")
    assert r.closes == ["ok" if fail_open else "filter_timeout"]


@pytest.mark.parametrize("how", ["deferred", "coroutine"])
@pytest.mark.parametrize("phase", PHASES)
def test_filters_behind_one_that_waited_run(rig, phase, how):
    """A refusal behind an asynchronous filter still refuses."""
    waits = Waiting(phase, how)
    order: list[str] = []
    between = Acting(phase, lambda x: order.append("between"))
    refuses = Acting(phase, raising(ProxyError(Kind.DENIED, "behind")))
    r = rig(filters=[waits, between, refuses])
    r.lb.tcp_origin("a", A, lambda data: OK)
    client = r.client()
    client.send(GET)
    r.advance(0.1)
    assert order == []
    waits.waits.callback(None)
    r.advance(0)
    assert order == ["between"]
    assert status(client) == b"403"
    assert r.closes == ["denied"]


@pytest.mark.parametrize("phase", PHASES)
def test_filters_behind_one_that_timed_out_and_fails_open_run(rig, phase):
    waits = Waiting(phase, "deferred")
    waits.fail_open = True
    refuses = Acting(phase, raising(ProxyError(Kind.DENIED, "behind")))
    r = rig(filters=[waits, refuses], web="timeout_filter = 2s")
    r.lb.tcp_origin("a", A, lambda data: OK)
    client = r.client()
    client.send(GET)
    r.advance(2.1)
    assert status(client) == b"403"


@pytest.mark.parametrize("how", ["deferred", "coroutine"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_filter_that_timed_out_is_cancelled(rig, phase, how):
    """What the filter waits for is cancelled, so that it does not run on for nobody."""
    cancelled: list[Deferred[Any]] = []
    one = Waiting(phase, how)
    one.waits = Deferred(cancelled.append)
    r, client = run(rig, one, web="timeout_filter = 2s")
    r.advance(1.8)
    assert not cancelled
    r.advance(0.3)
    assert cancelled == [one.waits]
    assert status(client) == b"500"


@pytest.mark.parametrize("resumes", [False, True])
def test_a_slow_client_while_a_response_filter_waits(rig, resumes):
    """The server stays paused while the filter or the client is not ready, and goes on when both
    are.
    """
    one = Waiting("response", "deferred")
    r = rig(filters=[one])
    client, server = r.talk()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 1000)
    exchange = one_exchange(r)
    exchange.client_paused()
    if resumes:
        exchange.client_resumed()
    server.send(b"y" * 499_000)
    r.advance(0.1)
    assert server.transport._unsent()  # the filter still waits: nothing is read
    one.waits.callback(None)
    r.advance(0.1)
    assert bool(server.transport._unsent()) is not resumes
    if not resumes:
        exchange.client_resumed()
    server.send(b"z" * 400_000)
    r.advance(1)
    assert client.received.endswith(b"z") and len(client.received) > 900_000
    assert r.closes == ["ok"]


def test_a_filter_that_will_not_be_cancelled(rig):
    async def stubborn(exchange: Any) -> Any:
        while True:
            try:
                return await Deferred()
            except BaseException:
                exchange.vars = {"cancelled": True}
                if exchange.over:
                    raise

    r, client = run(rig, Acting("request", stubborn), web="timeout_filter = 2s")
    r.advance(2.1)
    assert status(client) == b"500"
    assert r.closes == ["filter_timeout"]


@pytest.mark.parametrize("phase", PHASES)
def test_the_client_leaves_while_a_filter_thinks(rig, phase):
    one = Waiting(phase, "coroutine")
    r, client = run(rig, one)
    client.abort()
    assert r.closes == ["client_gone"]
    assert one.waits.called
    assert len(one.finished) == 1


def test_the_server_goes_down_while_a_filter_thinks(rig):
    one = Waiting("server_request", "deferred")
    r, client = run(rig, one, app="on_down = close\nretries = 0")
    r.backend.group.set_health(r.state(), False)
    r.advance(0)
    assert status(client) == b"503"
    assert one.waits.called


def test_the_server_goes_while_the_response_waits(rig):
    one = Waiting("response", "deferred")
    r = rig(filters=[one])
    client, server = r.talk()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    server.abort()
    r.advance(60)
    assert status(client) in (b"502", b"500")


def test_a_complete_response_frees_its_server_while_it_waits(rig):
    one = Waiting("response", "deferred")
    r = rig(filters=[one])
    client, server = r.talk()
    server.send(OK)
    assert r.state().active == 0
    server.close()
    one.waits.callback(None)
    r.advance(0)
    assert client.received.endswith(b"hi")


def test_a_body_that_comes_while_a_filter_thinks_is_bounded(rig):
    one = Waiting("early", "deferred")
    r, client = run(rig, one, request=post(b"x" * 500_000), answer=None)
    assert client.transport._unsent()
    one.waits.callback(None)
    r.advance(0)
    assert r.lb.origins["a"].connections[0].received.endswith(b"x" * 500_000)


def test_changing_the_request(rig):
    def act(exchange: Any) -> None:
        exchange.request.set_header(b"X-Own", b"1")
        exchange.request.host = b"internal"
        exchange.request.target = b"/new"

    r, _ = run(rig, Acting("request", act), answer=None)
    received = r.lb.origins["a"].connections[0].received
    assert received.startswith(b"GET /new HTTP/1.1\r\nHost: internal\r\n")
    assert b"\r\nX-Own: 1\r\n" in received


def test_changing_every_attempt_and_the_response(rig):
    def request(exchange: Any) -> None:
        exchange.server_request.add_header(b"X-Try", b"%d" % exchange.attempts)

    def response(exchange: Any) -> None:
        exchange.response.set_header(b"X-Server", exchange.server_name.encode())
        exchange.response.status = 203

    r = rig(filters=[Acting("server_request", request), Acting("response", response)])
    client, server = r.talk()
    assert server.received.count(b"X-Try: 1") == 1
    server.close()
    r.advance(0.3)
    again = r.lb.origins[A].connections[1]
    assert again.received.count(b"X-Try") == again.received.count(b"X-Try: 2") == 1
    again.send(OK)
    assert status(client) == b"203"
    assert b"X-Server: a\r\n" in client.received


def test_choosing_a_backend(rig):
    def act(exchange: Any) -> None:
        exchange.backend_name = exchange.request.target[1:].decode()

    r, client = run(rig, Acting("request", act), request=GET.replace(b"/", b"/app", 1))
    assert status(client) == b"200"
    r, client = run(rig, Acting("request", act), request=GET.replace(b"/", b"/nowhere", 1))
    assert status(client) == b"500"
    assert r.closes == ["filter_failed"]


def test_a_chosen_backend_has_its_own_source(rig):
    """The backend of the route made the source: ``hedge`` of the chosen one did nothing."""
    other = f"[backend other]\nmode = http\nhedge = 100ms\nservers =\n    b {B}\n    c {C}\n"

    def act(exchange: Any) -> None:
        exchange.backend_name = "other"

    r = rig(filters=[Acting("request", act)], sections=other)
    origins = [r.raw(B), r.raw(C)]
    client = r.client()
    client.send(GET)
    r.advance(1)
    assert [len(origin.connections) for origin in origins] == [1, 1]
    origins[1].connections[0].send(OK)
    r.advance(0.1)
    assert status(client) == b"200"


@pytest.mark.parametrize("value", [b"a\r\nX-Evil: 1", b"a\n", "text", b"\x00", None])
@pytest.mark.parametrize("phase", ["request", "server_request", "response"])
def test_what_cannot_be_sent_is_not(rig, phase, value):
    def act(exchange: Any) -> None:
        head = {"request": exchange.request, "server_request": exchange.server_request}
        head.get(phase, exchange.response).add_header(b"X-Own", value)

    r, client = run(rig, Acting(phase, act))
    assert status(client) == b"500"
    assert client.received.count(b"HTTP/1.1 ") == 1
    assert b"Evil" not in client.received
    assert not any(b"Evil" in c.received for c in r.lb.origins["a"].connections)
    assert r.closes == ["filter_failed"]
    assert r.state().counters.failed == 0
    assert not client.finished


@pytest.mark.parametrize("phase", ["server_request", "response"])
@pytest.mark.parametrize("transformed", [False, True])
def test_a_head_that_is_removed(rig, phase, transformed):
    """An assertion failed, and the client waited for ever."""

    def act(exchange: Any) -> None:
        if transformed:
            getattr(exchange, f"transform_{phase.removeprefix('server_')}")(Transform())
        setattr(exchange, phase, None)

    r, client = run(rig, Acting(phase, act), request=post(b"abc"))
    assert status(client) == b"500"
    assert r.closes == ["filter_failed"]


@pytest.mark.parametrize("servers", [SERVERS, TWO_SERVERS])
def test_a_filter_that_ends_its_own_attempt(rig, servers):
    """The next attempt was connected twice; without another server an assertion failed."""

    def act(exchange: Any) -> None:
        if exchange.attempts == 1:
            exchange.backend.kill_sessions(exchange.server, Kind.SERVER_DOWN)

    r = rig(filters=[Acting("server_request", act)], servers=servers)
    origins = {name: r.raw(name) for name in (A, B)}
    client = r.client()
    client.send(GET)
    r.advance(1)
    made = [one for origin in origins.values() for one in origin.connections]
    assert len(made) == 1
    assert made[0].received.count(b"GET ") == 1
    made[0].send(OK)
    r.advance(0.1)
    assert status(client) == b"200"


@pytest.mark.parametrize("number", [204, 304])
@pytest.mark.parametrize("length", [2, 9])
def test_a_status_without_a_body(rig, number, length):
    """The body followed the head, where the client expected the next response."""

    def act(exchange: Any) -> None:
        exchange.response.status = number

    r = rig(filters=[Acting("response", act)])
    client, server = r.talk()
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nhi" % length)
    r.advance(0.1)
    assert client.received.startswith(b"HTTP/1.1 %d " % number)
    assert client.received.endswith(b"\r\n\r\n")
    assert (r.closes, r.state().counters.ok) == (["ok"], 1)
    assert not client.finished


def test_a_head_request_that_a_filter_makes_a_get(rig):
    def act(exchange: Any) -> None:
        exchange.server_request.method = b"GET"

    r = rig(filters=[Acting("server_request", act)])
    client, server = r.talk(GET.replace(b"GET", b"HEAD"))
    assert server.received.startswith(b"GET ")
    server.send(OK)
    r.advance(0.1)
    assert client.received.endswith(b"\r\n\r\n")
    assert r.closes == ["ok"]


@pytest.mark.parametrize("number", [100, 101, 199, None, "200"])
def test_a_final_head_is_no_interim_one(rig, number):
    def act(exchange: Any) -> None:
        exchange.response.status = number

    r, client = run(rig, Acting("response", act))
    assert status(client) == b"500"
    assert r.closes == ["filter_failed"]


@pytest.mark.parametrize(
    "reply",
    [
        lambda: Reply(200, b"x", [(b"X", b"a\r\nX-Evil: 1")]),
        lambda: Reply(101),
        lambda: Reply(1000),
        lambda: Reply(200, "text"),  # type: ignore[arg-type]
        lambda: Reply("200"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("phase", ["early", "response"])
def test_a_reply_that_cannot_be_sent(rig, phase, reply):
    r, client = run(rig, Acting(phase, lambda traffic: reply()))
    assert status(client) == b"500"
    assert b"Evil" not in client.received
    assert r.closes == ["filter_failed"]


@pytest.mark.parametrize("phase", ["early", "response"])
def test_the_log_says_which_head_cannot_be_sent(rig, phase):
    evil = (b"X", b"a\r\nX-Evil: 1")
    r, _ = run(rig, Acting(phase, lambda traffic: Reply(200, b"x", [evil])))
    assert r.log[0].detail.startswith("reply cannot be sent: ")
    r, _ = run(rig, Acting("response", lambda traffic: traffic.response.set_header(*evil)))
    assert r.log[0].detail.startswith("response cannot be sent: ")


def test_head_of_a_fixed_reply(rig):
    _, client = run(rig, Acting("early", ok(Reply(200, b"hello"))), GET.replace(b"GET", b"HEAD"))
    assert client.received.endswith(b"\r\n\r\n")
    assert client.received.count(b"Content-Length: 5\r\n") == 1


@pytest.mark.parametrize("code", [204, 304])
def test_a_bodyless_reply(rig, code):
    _r, client = run(rig, Acting("early", ok(Reply(code, b""))), GET + GET)
    assert client.received.count(b"HTTP/1.1 %d" % code) == 2
    assert b"Content-Length" not in client.received or code == 304


def test_a_reply_that_closes(rig):
    _, client = run(rig, Acting("early", ok(Reply(200, b"bye", close=True))))
    assert b"Connection: close" in client.received
    assert client.finished


def test_a_failing_finish_hurts_nobody(rig):
    one = Acting("early", ok(None))
    one.finish = raising(ValueError())
    _r, client = run(rig, one, request=GET + GET)
    assert client.received.count(b"200 OK") == 2


class Ready:
    """May be awaited, and is neither a coroutine nor a Deferred."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        return (yield from succeed(self.value).__await__())


@pytest.mark.parametrize("phase", PHASES)
def test_whatever_may_be_awaited_is(rig, phase: str) -> None:
    r, client = run(rig, Acting(phase, ok(Ready(Reply(418)))))
    assert status(client) == b"418"
    assert r.closes == ["replied"]


@pytest.mark.parametrize("phase", PHASES)
def test_what_another_loop_would_have_to_fire_fails(rig, phase: str) -> None:
    loop = asyncio.new_event_loop()
    one = Acting(phase, lambda exchange: loop.create_future())
    r, client = run(rig, one)
    loop.close()
    assert status(client) == b"500"
    assert r.closes == ["filter_failed"]


# -- heads that come again -----------------------------------------------------------------------


class Numbering:
    """A filter of one backend that changes each request, and may send it to another backend or
    answer it.
    """

    def __init__(self, backend: str = "", reply: Reply | None = None) -> None:
        self.backend, self.reply, self.count = backend, reply, 0

    def request(self, exchange: Any) -> Any:
        self.count += 1
        exchange.request.set_header(b"User-Agent", b"number %d" % self.count)
        if self.backend:
            exchange.backend_name = self.backend
        return self.reply


def numbered(one: Numbering) -> tuple[list[bytes], list[str]]:
    """What the server gets, and what the log says, of three equal requests on one connection."""
    lb = LB.from_config(
        "[frontend web]\nlisten = tcp:8080\nbackend = first\n"
        "[backend first]\nmode = http\nservers = x 10.0.0.9:80\n[backend app]\nmode = "
        f"http\nservers = a {A}\n"
    )
    frontend = lb.service.frontends["web"]
    policy = frontend.policies.match(None)
    assert policy is not None
    policy.hooks = Hooks(request=(one.request,))
    line, told = http_line(), []
    frontend.write_log = lambda record: told.append(json.loads(line(record))["user_agent"])
    got: list[bytes] = []
    lb.tcp_origin("a", A, lambda data: got.append(data) or OK)
    client = lb.connect("web")
    for _ in range(3):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n")
        lb.advance(0.1)
    client.abort()
    lb.close()
    return got, told


def test_a_change_is_not_lost_where_the_request_goes_to_a_backend_without_filters() -> None:
    got, told = numbered(Numbering("app"))
    for number, data in enumerate(got, 1):
        assert b"User-Agent: number %d\r\n" % number in data
    assert told == ["number 1", "number 2", "number 3"]


def test_a_change_is_in_the_log_where_the_filter_answers() -> None:
    _, told = numbered(Numbering(reply=Reply(200)))
    assert told == ["number 1", "number 2", "number 3"]
