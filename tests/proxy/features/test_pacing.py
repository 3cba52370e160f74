"""``min_body_rate`` and ``min_read_rate`` on the virtual clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.config.dump import dump
from lbproxy.config.errors import ConfigErrors
from lbproxy.errors import Kind
from lbproxy.proxy.features.pacing import feature as pacing
from lbproxy.registry import parse_config
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.origin import Answer

TEXT = """
[frontend web]
listen = tcp:80
access_log = mem.log json
timeout_body = 60s
timeout_client = 60s
{keys}
backend = app
[backend app]
servers = a 10.0.0.1:80
[frontend db]
mode = tcp
listen = tcp:81
access_log = mem.log json
{tcp}
backend = pg
[backend pg]
servers = b 10.0.0.1:90
"""
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
BIG = b"x" * 4_000_000

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[LoadBalancerFixture] = []

    def start(keys: str = "min_body_rate = 500/s\nmin_read_rate = 1k/s", tcp: str = "") -> Any:
        lb = LB.from_config(TEXT.format(keys=keys, tcp=tcp))
        lb.origin("a", "10.0.0.1:80", lambda request: Answer(200, BIG))
        made.append(lb)
        return lb

    yield start
    for lb in made:
        lb.close()


def last(lb: LoadBalancerFixture) -> Any:
    return json.loads(lb.log_lines()[-1])


def drip(lb: LoadBalancerFixture, client: Any, size: int, seconds: int) -> int:
    """Send ``size`` bytes a second; returns after how many seconds something came back."""
    for second in range(seconds):
        client.send(b"b" * size)
        lb.advance(1)
        if client.received:
            return second + 1
    return 0


def test_a_slow_body_gets_408(make: Make) -> None:
    lb = make()
    client = lb.connect("web")
    client.send(POST)
    assert 5 <= drip(lb, client, 400, 60) <= 7
    assert client.received.startswith(b"HTTP/1.1 408 ")
    record = last(lb)
    assert (record["close"], record["status"]) == ("client_slow", 408)
    assert "min_body_rate" in record["detail"]
    assert lb.service.frontend("web").counts["pacing"].slow_bodies == 1


def test_a_slow_body_is_a_glitch_and_slow_reading_is_not() -> None:
    """As a body that stops; a client on a slow network is no offender."""
    keys = "min_body_rate = 500/s\nmin_read_rate = 500/s\nbans = rude"
    ban = "[ban rude]\non = glitches\nafter = 1/1m\n"
    with LB.from_config(ban + TEXT.format(keys=keys, tcp="")) as lb:
        lb.origin("a", "10.0.0.1:80", lambda request: Answer(200, BIG))
        reader = lb.connect("web", client="192.0.2.1")
        reader.pause()
        reader.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        sender = lb.connect("web", client="192.0.2.2")
        sender.send(POST)
        lb.advance(8)
        closes = lb.service.frontend("web").counters.closes
        assert closes[Kind.CLIENT_SLOW] == 2
        book = lb.service.frontend("web").features["bans"].books["rude"]
        assert [(book.find(f"192.0.2.{last}") is not None) for last in (1, 2)] == [False, True]


def test_a_body_at_the_rate_goes_on(make: Make) -> None:
    lb = make()
    client = lb.connect("web")
    client.send(POST)
    assert drip(lb, client, 600, 40) == 0
    assert lb.service.frontend("web").counts["pacing"].slow_bodies == 0


def test_the_rate_is_a_mean(make: Make) -> None:
    """A burst every few seconds is as good as a stream."""
    lb = make()
    client = lb.connect("web")
    client.send(POST)
    for _ in range(12):
        client.send(b"b" * 3000)
        lb.advance(4)
    assert not client.received


def test_a_chunked_body_is_judged_by_its_data(make: Make) -> None:
    lb = make()
    client = lb.connect("web")
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(8):
        client.send(b"1\r\nx\r\n" * 200)
        lb.advance(1)
    assert client.received.startswith(b"HTTP/1.1 408 ")


def test_a_second_request_begins_anew(make: Make) -> None:
    lb = make("min_body_rate = 500/s")
    lb.origin("a2", "10.0.0.2:80")
    client = lb.connect("web")
    for _ in range(5):
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
        lb.advance(3)
        client.send(b"b" * 10)
        lb.advance(1)
        assert b" 200 " in client.take()[:20]


def test_time_in_a_queue_does_not_count() -> None:
    """lbproxy does not read then, so it is not the client that is slow."""
    full = ":80 maxconn=1\ntimeout_queue = 1m\n[f"
    text = TEXT.format(keys="min_body_rate = 500/s", tcp="").replace(":80\n[f", full)
    with LB.from_config(text) as lb:
        lb.origin("a", "10.0.0.1:80", b"ok")
        first = lb.connect("web")
        first.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 600000\r\n\r\n")
        second = lb.connect("web")
        second.send(POST + b"b" * 99_000)
        for _ in range(8):
            first.send(b"b" * 60_000)
            lb.advance(1)
        assert not second.received
        first.send(b"b" * 120_000)
        second.send(b"b" * 1000)
        assert b" 200 " in first.received and b" 200 " in second.received


def test_a_slow_reader_is_cut_off(make: Make) -> None:
    lb = make()
    client = lb.connect("web")
    client.pause()
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    lb.advance(4.5)
    assert not lb.log_lines()
    lb.advance(3)
    assert last(lb)["close"] == "client_slow"
    assert lb.service.frontend("web").counts["pacing"].slow_reads == 1


def test_a_tcp_client_that_does_not_read_is_cut_off(make: Make) -> None:
    lb = make(tcp="min_read_rate = 1k/s")
    origin = lb.tcp_origin("b", "10.0.0.1:90")
    client = lb.connect("db")
    client.send(b"hello")
    client.pause()
    origin.connections[0].transport.write(b"x" * 1_000_000)
    for _ in range(8):
        lb.advance(1)
    assert last(lb)["close"] == "client_slow"
    assert lb.service.frontend("db").counts["pacing"].slow_reads == 1


def test_an_idle_tcp_session_stays(make: Make) -> None:
    lb = make(tcp="min_read_rate = 1k/s")
    lb.tcp_origin("b", "10.0.0.1:90")
    client = lb.connect("db")
    client.send(b"hello")
    lb.advance(120)
    assert not client.closed


def test_many_clients_are_looked_at_in_slices(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "SLICE", 3)
    lb = make()
    clients = [lb.connect("web") for _ in range(10)]
    for client in clients:
        client.send(POST)
    lb.advance(8)
    assert all(client.received.startswith(b"HTTP/1.1 408 ") for client in clients)


def test_an_error_with_one_client_does_not_end_it_for_the_others(make: Make) -> None:
    class Odd:
        @property
        def body_bytes(self) -> int:
            raise RuntimeError("a transport that is gone")

    lb = make()
    clients: Any = lb.service.frontend("web").clients
    odd = Odd()
    clients.add(odd)
    client = lb.connect("web")
    client.send(POST)
    lb.advance(8)
    clients.discard(odd)
    assert client.received.startswith(b"HTTP/1.1 408 ")


def test_a_reload_changes_and_ends_it(make: Make) -> None:
    lb = make("min_body_rate = 500/s")
    client = lb.connect("web")
    client.send(POST)
    lb.advance(2)
    lb.service.reload(parse_config(TEXT.format(keys="min_body_rate = 1/s", tcp="")))
    assert drip(lb, client, 10, 12) == 0
    lb.service.reload(parse_config(TEXT.format(keys="", tcp="")))
    lb.advance(20)
    assert not client.received
    assert "pacing" not in lb.service.frontend("web").features


def test_keys() -> None:
    config = parse_config(TEXT.format(keys="min_body_rate = 500/s\nmin_read_rate = 1m/3s", tcp=""))
    spec: Any = config.frontends[0]
    assert (spec.min_body_rate, spec.min_read_rate) == (500.0, 1048576 / 3)
    assert "min_read_rate = 1m/3s" in dump(config) and parse_config(dump(config)) == config


@pytest.mark.parametrize(
    ("keys", "tcp", "words"),
    [
        ("min_body_rate = fast", "", "write 500/s, 4k/s or 1m/10s"),
        ("min_body_rate = 5/0s", "", "the time is 0"),
        ("min_body_rate = 500", "", "write 500/s"),
        ("", "min_body_rate = 500/s", "min_body_rate"),
    ],
)
def test_mistakes(keys: str, tcp: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(TEXT.format(keys=keys, tcp=tcp))
    assert words in str(caught.value)
