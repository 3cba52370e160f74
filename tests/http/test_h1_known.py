"""Heads that other connections began with mean what they would mean to a parser that knows none."""

from __future__ import annotations

import pytest

from lbproxy.config.model import FrontendSpec
from lbproxy.http.forward import Forwarder
from lbproxy.http.h1 import KnownHeads, RequestParser
from lbproxy.http.h1_write import encode_request
from lbproxy.http.message import END, Event, FieldBlock, Limits, RequestHead
from tests.http.h1_support import facts
from tests.http.test_h1_repeat import BLOCKS, LIMITS, LINES, alone

HEAD = b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\nTE: trailers\r\nVia: 1.1 b\r\n\r\n"


def head_of(events: list[Event]) -> RequestHead:
    assert isinstance(events[0], RequestHead)
    return events[0]


def block_of(parser: RequestParser, raw: bytes) -> FieldBlock:
    block = head_of(parser.receive(raw)).block
    assert block is not None
    return block


@pytest.mark.parametrize("known", range(len(BLOCKS)))
def test_every_first_request_after_every_first_request(known: int) -> None:
    for line in LINES:
        for block in (BLOCKS[known], *BLOCKS):
            heads = KnownHeads()
            RequestParser(LIMITS, heads).receive(b"GET /first HTTP/1.1\r\n" + BLOCKS[known])
            parser = RequestParser(LIMITS, heads)
            raw = line + block
            assert [facts(event) for event in parser.receive(raw)] == alone(raw), raw
            fresh = RequestParser(LIMITS)
            fresh.receive(raw)
            follow = b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n"
            assert (parser.stopped, parser.idle) == (fresh.stopped, fresh.idle)
            assert list(map(facts, parser.receive(follow))) == list(
                map(facts, fresh.receive(follow))
            )


def test_what_is_known_is_shared_and_the_rest_is_the_connections_own() -> None:
    heads = KnownHeads()
    one, two = (block_of(RequestParser(LIMITS, heads), HEAD) for _ in range(2))
    assert one is not two and one.common is two.common and one.notes is not two.notes
    assert one.headers == two.headers


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: A\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    ],
)
def test_only_plain_short_and_good_heads_are_kept(raw: bytes) -> None:
    heads = KnownHeads()
    RequestParser(Limits(body_bytes=1000), heads).receive(raw)
    assert len(heads) == 0


def test_only_the_first_head_of_a_connection_is_kept() -> None:
    heads = KnownHeads()
    parser = RequestParser(LIMITS, heads)
    for number in range(3):
        parser.receive(b"GET / HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n" % number)
    assert len(heads) == 1


def test_the_oldest_goes_first() -> None:
    heads = KnownHeads()

    def first(number: int) -> FieldBlock:
        raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n" % number
        return block_of(RequestParser(LIMITS, heads), raw)

    blocks = [first(number) for number in range(257)]
    assert len(heads) == 256
    assert first(256).common is blocks[256].common
    assert first(1).common is blocks[1].common
    assert first(0).common is not blocks[0].common and len(heads) == 256


def test_new_limits_ask_nobody() -> None:
    heads = KnownHeads()
    RequestParser(LIMITS, heads).receive(HEAD)
    parser = RequestParser(LIMITS, heads)
    parser.limit(Limits(header_count=1))
    assert [type(event).__name__ for event in parser.receive(HEAD)] == ["Invalid"]


def test_after_a_known_close_nothing_is_read() -> None:
    heads = KnownHeads()
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for _ in range(2):
        events = RequestParser(LIMITS, heads).receive(raw + raw)
        assert len(events) == 2 and events[1] is END
        assert not head_of(events).keep_alive


def test_a_change_made_for_one_client_is_not_seen_by_the_next() -> None:
    heads = KnownHeads()
    head_of(RequestParser(LIMITS, heads).receive(HEAD)).set_header(b"X", b"changed")
    head = head_of(RequestParser(LIMITS, heads).receive(HEAD))
    assert head.header(b"x") == b"y"


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("raw", [HEAD, *(LINES[2] + block for block in BLOCKS[:8])])
@pytest.mark.parametrize("forwarded", [("x-forwarded",), ("rfc7239",), ()])
def test_each_client_is_forwarded_under_its_own_name(
    raw: bytes, forwarded: tuple[str, ...], close: bool
) -> None:
    heads = KnownHeads()
    forwarder = Forwarder(FrontendSpec(name="web", forwarded=forwarded))
    for number in (1, 2, 2, 3):
        facts_of_client = {
            "client_ip": f"192.0.2.{number}",
            "client_port": number,
            "scheme": "http",
            "local_port": 80,
            "host_header": b"inner" if number == 3 else b"",
        }
        head = head_of(RequestParser(LIMITS, heads).receive(raw))
        if head.block is None:
            return
        forwarder.client("192.0.2.9", head)
        headers = forwarder.request_headers(head, **facts_of_client)  # type: ignore[arg-type]
        block = forwarder.request_block(head, **facts_of_client)  # type: ignore[arg-type]
        assert block.headers == headers
        bare = RequestHead(head.method, head.target, headers, length=head.length)
        known = RequestHead(head.method, head.target, headers, length=head.length, block=block)
        for _ in range(2):
            assert encode_request(known, close=close) == encode_request(bare, close=close)
