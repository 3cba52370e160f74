"""What waits is bounded by what it costs, not by its bytes alone."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from lbproxy.http.h1 import RequestParser
from lbproxy.http.h1_body import ChunkedBody
from lbproxy.http.message import Limits
from lbproxy.net.proxyproto import MAX_TLVS, ProxyHeaderParser
from tests.proxy.http_kit import GET, post, rigs

rig = pytest.fixture(rigs)

KIB = 1024
LIMITS = Limits()
START = b"GET / HTTP/1.1\r\nHost: a\r\n"


def costs(make: Any) -> int:
    """The bytes that live on with what ``make()`` returns."""
    make()  # whatever is made once and kept
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = make()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept is not None
    return after - before


def head(fields: bytes) -> Any:
    """The parsed head of a request with ``fields``, and its cookies looked for."""
    parser = RequestParser(LIMITS)
    events = parser.receive(START + fields + b"\r\n")
    events[0].cookie(b"none")
    return events


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        (b"".join(b"X-%d: 1\r\n" % number for number in range(98)), 8 * KIB),
        (b"a:\r\n" * 98, 8 * KIB),
        # 32 bytes a row of 2 bytes at least: what a head may have, eight-fold
        (b"Cookie: " + b"a=;" * 10_000 + b"\r\n", 400 * KIB),
    ],
)
def test_heads(fields: bytes, most: int) -> None:
    assert costs(lambda: head(fields)) < most


def test_a_head_that_does_not_end() -> None:
    def waiting() -> Any:
        parser = RequestParser(LIMITS)
        for _ in range(90):
            assert parser.receive(b"a:\r\n" if parser.mid_head else START) == []
        return parser

    assert costs(waiting) < 8 * KIB


def test_requests_behind_one_that_runs(rig) -> None:
    """60 KB of tiny requests stay bytes."""
    r = rig()
    r.raw()
    burst = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 2400
    clients = []

    def connect() -> Any:
        client = r.client()
        clients.append(client)
        client.transport.write(burst)
        r.advance(0)
        return client

    assert costs(connect) < 3 * len(burst)  # on its way, here, and in the origin of the test


def test_trailers() -> None:
    def waiting() -> Any:
        body, events = ChunkedBody(LIMITS, None), []
        body.feed(b"0\r\n" + b"a:\r\n" * 100 + b"\r\n", 0, events)
        assert body.done
        return events

    assert costs(waiting) < 24 * KIB


def test_an_unfinished_chunk() -> None:
    def waiting() -> Any:
        body, events = ChunkedBody(LIMITS, None), []
        body.feed(b"1;a=" + b"b" * 200, 0, events)
        return body, events

    assert costs(waiting) < 2 * KIB


def test_a_proxy_header() -> None:
    tlvs = b"\xe0\0\0" * MAX_TLVS
    raw = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + (12 + len(tlvs)).to_bytes(2, "big") + bytes(12) + tlvs

    def read() -> Any:
        reader = ProxyHeaderParser()
        found = reader.receive(raw)
        assert found is not None
        return reader, found

    assert costs(read) < 24 * KIB


def test_an_idle_connection(rig) -> None:
    r = rig()
    r.lb.origin("a", "10.0.0.1:8000", b"x")
    client = r.client()
    client.send(GET)
    client.send(post(b"abc"))
    (connection,) = r.frontend.clients
    assert connection._backlog == [] and not connection._parser.pending
    assert connection._exchange is None and connection._request is None
