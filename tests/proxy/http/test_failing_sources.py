"""An exception in any method of a source ends its exchange, with the right status and one line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from lbproxy.http.message import END, ResponseHead
from lbproxy.proxy.http.guardedsource import GuardedSource, guarded
from lbproxy.proxy.http.source import Source
from lbproxy.proxy.unsent import unsent_bytes
from lbproxy.testing import LB, LoadBalancerFixture

TEXT = """
[frontend web]
listen = tcp:80
timeout_client = 5s
{cache}
backend = app
[backend app]
servers = a 10.0.0.1:80
[cache main]
"""
ERRORS = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError, MemoryError]
METHODS = ["begin", "send_body", "pause_response", "resume_response", "start_tunnel", "close"]
NUMBERS = count()
PIECE = bytes(200_000)
UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Stream:
    """A stream one of whose methods raises."""

    def __init__(self, source: Bad, sink: Any) -> None:
        self.source = source
        self.sink = sink
        self.calls: list[str] = []

    @property
    def queued(self) -> bool:
        self.called("queued")
        return False

    def called(self, method: str) -> None:
        self.calls.append(method)
        if method == self.source.method:
            raise self.source.error("on purpose")

    def send_body(self, data: bytes, end: Any) -> None:
        self.called("send_body")

    def pause_response(self) -> None:
        self.called("pause_response")

    def resume_response(self) -> None:
        self.called("resume_response")

    def start_tunnel(self) -> bytes:
        self.called("start_tunnel")
        return b""

    def close(self, *, reuse: bool) -> None:
        self.called("close")

    def give(self, *events: Any) -> None:
        self.sink.server_events(list(events))


class Bad(Source):
    """A source of such streams; the test gives their responses."""

    def __init__(self, method: str, error: type[BaseException]) -> None:
        self.method = method
        self.error = error
        self.streams: list[Stream] = []

    def begin(self, head: Any, data: bytes, end: Any, sink: Any) -> Any:
        stream = Stream(self, sink)
        self.streams.append(stream)
        stream.called("begin")
        return stream


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """The exceptions that were logged, by name of their class."""
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_failure") is not None:
            found.append(event["log_failure"].type.__name__)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(params=["plain", "cache"])
def made(request: Any) -> Iterator[Any]:
    """``made(method, error)`` starts a load balancer with that source; nothing may be left."""
    started: list[LoadBalancerFixture] = []

    def start(method: str, error: type[BaseException]) -> tuple[LoadBalancerFixture, Bad]:
        cache = "cache = main" if request.param == "cache" else ""
        lb = LB.from_config(TEXT.format(cache=cache))
        name = f"Bad{next(NUMBERS)}"  # lines are limited for each kind
        source: Bad = type(name, (Bad,), {})(method, error)
        lb.backend("app").source = guarded(source)
        started.append(lb)
        return lb, source

    yield start
    for lb in started:
        frontend = lb.service.frontend("web")
        lb.advance(90)
        assert frontend.limits.active == 0
        assert frontend.counters.requests == sum(frontend.counters.closes.values())
        lb.close()


def head(length: int | None = None) -> ResponseHead:
    return ResponseHead(200, [], b"OK", length=length)


def logged(failures: list[str], error: type[BaseException]) -> bool:
    """Whether the error, and no other one, was logged."""
    return set(failures) == {error.__name__} and len(failures) <= 2


@pytest.mark.parametrize("error", ERRORS)
def test_begin(made: Any, error: type[BaseException], failures: list[str]) -> None:
    lb, source = made("begin", error)
    assert lb.get("http://h/").status == 500
    assert logged(failures, error)
    source.method = ""
    pending = lb.begin("GET", "http://h/")
    source.streams[-1].give(head(2), b"ok", END)
    assert pending.wait().body == b"ok"


@pytest.mark.parametrize("error", ERRORS)
def test_send_body(made: Any, error: type[BaseException], failures: list[str]) -> None:
    lb, source = made("send_body", error)
    client = lb.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbody ")
    client.send(b"more")
    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert source.streams[0].calls.count("close") == 1
    assert logged(failures, error)
    source.streams[0].give(head(0), END)  # goes nowhere
    assert client.received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ["pause_response", "resume_response"])
def test_pauses(made: Any, method: str, error: type[BaseException], failures: list[str]) -> None:
    lb, source = made(method, error)
    client = lb.connect("web")
    client.pause()
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    (stream,) = source.streams
    stream.give(head(3 * len(PIECE)), PIECE)
    client.resume()
    lb.advance(1)
    assert stream.calls.count(method) == 1 and stream.calls[-1] == "close"
    assert client.finished and client.reset
    assert logged(failures, error)


def test_a_source_that_takes_no_more_stops_the_client(made: Any, failures: list[str]) -> None:
    lb, source = made("", ValueError)
    client = lb.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
    (stream,) = source.streams
    stream.sink.server_paused()
    client.send(bytes(3_000_000))
    assert unsent_bytes(client.transport) > 2_000_000
    stream.sink.server_resumed()
    lb.advance(0.1)
    assert unsent_bytes(client.transport) == 0
    stream.give(head(0), END)
    lb.advance(1)
    assert client.received.startswith(b"HTTP/1.1 200 ") and not failures


@pytest.mark.parametrize("error", ERRORS)
def test_start_tunnel(made: Any, error: type[BaseException], failures: list[str]) -> None:
    lb, source = made("start_tunnel", error)
    client = lb.connect("web")
    client.send(UPGRADE)
    (stream,) = source.streams
    switch = ResponseHead(101, [(b"Upgrade", b"websocket")], b"Switching Protocols", length=0)
    switch.upgrade = b"websocket"
    stream.give(switch)
    lb.advance(1)
    assert client.finished and stream.calls[-1] == "close"
    assert logged(failures, error)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("begun", [False, True])
def test_close(made: Any, begun: bool, error: type[BaseException], failures: list[str]) -> None:
    lb, source = made("close", error)
    client = lb.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    (stream,) = source.streams
    if begun:
        stream.give(head(9), b"five ")
    client.abort()
    assert stream.calls[-1] == "close"
    assert logged(failures, error)


@pytest.mark.parametrize("error", ERRORS)
def test_queued(made: Any, error: type[BaseException], failures: list[str]) -> None:
    lb, _ = made("queued", error)
    client = lb.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    client.half_close()
    client.abort()
    lb.advance(1)
    assert set(failures) <= {error.__name__}


SWITCH = ResponseHead(101, [], b"Switching Protocols", length=0)
WRONG = [
    [],
    [None],
    ["text"],
    [b"body"],
    [END],
    [object()],
    [head(), 7],
    [head(), head()],
    [SWITCH],
]


@pytest.mark.parametrize("events", WRONG)
def test_events_that_are_none(made: Any, events: list[Any], failures: list[str]) -> None:
    lb, source = made("", ValueError)
    client = lb.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    (stream,) = source.streams
    stream.give(*events)
    lb.advance(1)
    assert client.received.startswith(b"HTTP/1.1 500 ") or client.finished
    assert stream.calls[-1] == "close" and len(failures) == 1


def test_a_flood_of_failures_is_one_line_a_second(made: Any, failures: list[str]) -> None:
    lb, _ = made("begin", OverflowError)
    for _ in range(100):
        assert lb.get("http://h/").status == 500
    assert 1 <= len(failures) <= 3


def test_the_table_is_whole() -> None:
    wanted = {name for name in vars(Stream) if not name.startswith("_")}
    assert wanted - {"called", "give", "queued"} == set(METHODS) - {"begin"}
    assert isinstance(guarded(Bad("", ValueError)), GuardedSource)
