"""Clients of the cache that read slowly: ``memory`` bounds what they keep, and hits go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lbproxy.cache.purge import Purge
from lbproxy.proxy.features.caching.cache import Cache
from lbproxy.proxy.features.caching.chunks import StoredChunks
from lbproxy.proxy.unsent import unsent_bytes
from lbproxy.testing import LB, LoadBalancerFixture
from lbproxy.testing.client import PendingResponse
from lbproxy.testing.origin import Answer, Request
from tests.support.purging import purged_of

TEXT = """
[cache main]
memory = 4m
max_object = {largest}
{cache}
[frontend web]
listen = tcp:80
timeout_client = 1h
cache = main
backend = app
[backend app]
timeout_server = 30s
servers = a 10.0.0.1:80
"""
MINUTE = {"Cache-Control": "max-age=600"}
BODY = bytes(range(256)) * 3200  # 800 KB

Make = Callable[..., LoadBalancerFixture]


@pytest.fixture
def make() -> Iterator[Make]:
    """Start a load balancer with a cache of 4 MiB and an origin of bodies of 800 KB."""
    made: list[tuple[LoadBalancerFixture, Cache[Any]]] = []

    def start(cache: str = "", largest: str = "1m") -> LoadBalancerFixture:
        lb = LB.from_config(TEXT.format(cache=cache, largest=largest))
        lb.origin("a", "10.0.0.1:80", body)
        made.append((lb, cache_of(lb)))
        return lb

    yield start
    for lb, cache in made:
        lb.close()
        memory = cache.memory
        assert (memory.reserved, memory.detached, len(cache.holds)) == (0, 0, 0)
        assert not cache._running and not cache.users


def body(request: Request) -> Answer:
    """800 KB, without a length for ``/chunked``."""
    if request.target.startswith("/chunked"):
        piece = b"%x\r\n" % 8192 + bytes(8192) + b"\r\n"
        head = (
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        return Answer(raw=head + piece * 250 + b"0\r\n\r\n")
    return Answer(200, BODY, MINUTE)


def cache_of(lb: LoadBalancerFixture) -> Cache[Any]:
    """The cache of the configuration above."""
    found: Cache[Any] = lb.service.caches["main"]
    return found


def kept(cache: Cache[Any]) -> int:
    """Bytes that the cache keeps for any reason."""
    memory = cache.memory
    assert min(memory.bytes, memory.reserved, memory.detached) >= 0
    return memory.bytes + memory.reserved + memory.detached


def crawl(lb: LoadBalancerFixture, path: str, count: int) -> list[PendingResponse]:
    """``count`` requests for ``path`` and a number, by clients that stop reading."""
    found = []
    for number in range(count):
        client = lb.connect("web")
        client.pause()
        found.append(lb.begin("GET", f"http://h{path}{number}", via=client))
        lb.advance(0.1)
        assert kept(cache_of(lb)) <= cache_of(lb).memory.limit
    return found


@pytest.mark.parametrize("path", ["/page", "/chunked"])
@pytest.mark.parametrize("warm", [True, False])
def test_slow_readers_keep_no_more_than_the_memory(make: Make, path: str, warm: bool) -> None:
    lb = make(largest="1m" if path == "/page" else "2m")
    cache = cache_of(lb)
    slow = []
    for number in range(30):
        if warm:
            assert lb.get(f"http://h{path}{number}").status == 200
        slow += crawl(lb, f"{path}{number}?", 1) if not warm else crawl(lb, path, 1)
        assert kept(cache) <= cache.memory.limit
    for one in slow:
        one.client.resume()
    assert {len(one.wait().body) for one in slow} <= {len(BODY), 250 * 8192}
    assert (cache.memory.reserved, cache.memory.detached, len(cache.holds)) == (0, 0, 0)


def test_hits_go_on_and_misses_pass_while_slow_readers_hold_all_memory(make: Make) -> None:
    lb = make()
    slow = crawl(lb, "/page", 8)
    hit = lb.get("http://h/page0")
    assert hit.body == BODY and "hit" in hit.header("Cache-Status")
    assert lb.get("http://h/other").body == BODY
    again = lb.get("http://h/other")
    assert again.body == BODY and "hit" not in again.header("Cache-Status")
    for one in slow:
        one.client.resume()
        assert one.wait().body == BODY


def test_who_holds_memory_that_others_need_is_cut_after_timeout_server(make: Make) -> None:
    lb = make()
    slow = crawl(lb, "/page", 8)
    lb.advance(60)
    assert len(cache_of(lb).holds) == 8, "nobody needs the memory"
    assert lb.get("http://h/new0").body == BODY
    assert "hit" in lb.get("http://h/new0").header("Cache-Status")
    for one in slow:
        one.client.resume()
    lb.advance(1)
    assert [one.failed for one in slow] == [True] + [False] * 7, "the oldest, and no more"
    assert all(one.wait().body == BODY for one in slow[1:])


def test_a_purged_body_that_is_being_sent_counts_until_it_is_sent(make: Make) -> None:
    lb = make()
    cache = cache_of(lb)
    assert lb.get("http://h/page0").body == BODY
    (slow,) = crawl(lb, "/page", 1)
    purged_of(cache.memory, Purge("all"))
    assert (cache.memory.bytes, cache.memory.detached > len(BODY)) == (0, True)
    slow.client.resume()
    assert slow.wait().body == BODY
    assert cache.memory.detached == 0


def test_a_refreshed_body_counts_once(make: Make) -> None:
    lb = make()
    cache = cache_of(lb)
    assert lb.get("http://h/page0").body == BODY
    slow = crawl(lb, "/page", 1)
    entry = next(iter(cache.memory))
    entry = cache.memory.replace(entry, entry.stored)
    assert entry is not None and entry.in_use and cache.memory.detached == 0
    slow[0].client.abort()
    lb.advance(1)
    assert not entry.in_use and cache.memory.detached == 0


def test_readers_that_are_behind_share_the_stored_body(make: Make) -> None:
    lb = make()
    cache = cache_of(lb)
    pending = [lb.begin("GET", "http://h/page") for _ in range(10)]
    for one in pending:
        one.client.pause()
    lb.advance(1)
    assert cache.memory.reserved == 0 and cache.memory.bytes < 2 * len(BODY)
    for one in pending:
        one.client.resume()
        assert one.wait().body == BODY


def test_stored_chunks_are_those_that_came() -> None:
    chunks = [b"a", b"bc", b"", b"def"]
    stored = StoredChunks(b"abcdef", chunks)
    assert list(stored) == chunks and len(stored) == 4
    assert stored[1:3] == chunks[1:3] and stored[-1] == b"def"


def test_the_last_route_that_goes_ends_fetches_in_the_background(make: Make) -> None:
    lb = make()
    cache = cache_of(lb)
    lb.origins["a"].handler = Answer(200, BODY, MINUTE, after=20.0)
    lb.begin("GET", "http://h/page").client.abort()
    lb.advance(1)
    assert len(cache._running) == 1, "it goes on without its client"
    text = "[frontend web]\nlisten = tcp:80\nbackend = app\n[backend app]\nservers = a 10.0.0.1:80"
    assert lb.service.reload(text).ok
    lb.advance(1)
    assert not cache._running and not cache.users


def test_a_reader_that_stops_stops_the_server() -> None:
    """Of a response that is not stored, no more is kept than a window."""
    with LB.from_config(TEXT.format(cache="", largest="1m")) as lb:
        raw = lb.tcp_origin("a", "10.0.0.1:80")
        client = lb.connect("web")
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        (server,), body = raw.connections, b"x" * 3_000_000
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(body)))
        for _ in range(2):
            client.pause()
            server.send(body)
            lb.advance(0.1)
            assert unsent_bytes(server.transport) > 2_000_000
            client.resume()
            lb.advance(0.1)
        assert client.take().endswith(2 * body)
