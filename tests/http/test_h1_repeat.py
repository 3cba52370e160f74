"""A head means on a connection that had others before it what it means on one of its own."""

from __future__ import annotations

import random

import pytest

from lbproxy.config.model import FrontendSpec
from lbproxy.http.forward import Forwarder
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.h1_write import encode_request
from lbproxy.http.message import END, Limits, RequestHead
from tests.http.h1_support import facts, receive_all

LIMITS = Limits(header_bytes=2048, header_count=20, url_bytes=64, body_bytes=1000)

BLOCKS = [
    b"Host: a\r\n\r\n",
    b"Host: a\r\nX: y\r\n\r\n",
    b"Host: A.example:80\r\nCookie: a=b\r\n\r\n",
    b"Host: a\r\nConnection: keep-alive\r\n\r\n",
    b"Host: a\r\nConnection: close\r\n\r\n",
    b"Host: a\r\nConnection: X-Gone\r\nX-Gone: 1\r\n\r\n",
    b"Host: a\r\nContent-Length: 3\r\n\r\nabc",
    b"Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"Host: a\r\nContent-Length: 2000\r\n\r\n",
    b"Host: a\r\nHost: b\r\n\r\n",
    b"X: y\r\n\r\n",
    b"Host: a\r\nX:\ty \r\n\r\n",
    b"Host: a\r\nX: y\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"Host: a\r\nConnection:\r\n\r\n",
    b"Host: a\r\nConnection: " + b"x," * 40 + b"close\r\n\r\n",
    b"Host: a b\r\n\r\n",
    b"Host:\r\n\r\n",
]
LINES = [
    b"GET / HTTP/1.1\r\n",
    b"GET /a?b=c&d=%20 HTTP/1.1\r\n",
    b"POST /p HTTP/1.1\r\n",
    b"HEAD /h HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET /\tx HTTP/1.1\r\n",
    b"GET /#x HTTP/1.1\r\n",
    b"GET /\x80 HTTP/1.1\r\n",
    b"GET /\x00 HTTP/1.1\r\n",
    b"GET http://b/ HTTP/1.1\r\n",
    b"GET http://a/ HTTP/1.1\r\n",
    b"get / HTTP/1.1\r\n",
    b"GET /" + b"x" * 63 + b" HTTP/1.1\r\n",
    b"GET /" + b"x" * 64 + b" HTTP/1.1\r\n",
    b"BREW /pot HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nEvil: 1\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"GET / HTTP/1.1\n",
]


def alone(raw: bytes) -> list[object]:
    return [facts(event) for event in receive_all(RequestParser(LIMITS), raw)]


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_every_request_after_every_request(block: int) -> None:
    first = b"GET /first HTTP/1.1\r\n" + BLOCKS[block]
    for line in LINES:
        for after in (BLOCKS[block], *BLOCKS):
            raw = line + after
            parser = RequestParser(LIMITS)
            parser.receive(first)
            if parser.stopped or not parser.idle:
                return
            if any(type(e).__name__ == "Invalid" for e in RequestParser(LIMITS).receive(first)):
                return
            if parser._last:
                return  # what follows is dropped
            found = [facts(event) for event in receive_all(parser, raw)]
            assert found == alone(raw), (first, raw)


def test_long_conversations() -> None:
    chance = random.Random(7)
    for _ in range(300):
        parser = RequestParser(LIMITS)
        for _ in range(20):
            raw = chance.choice(LINES[:4]) + chance.choice(BLOCKS[:4] + BLOCKS[6:9])
            cut = chance.randrange(len(raw) + 1)
            events = parser.receive(raw[:cut]) + parser.receive(raw[cut:])
            whole = [facts(e) for e in events if not isinstance(e, bytes)]
            assert whole == [e for e in alone(raw) if not isinstance(e, bytes)]


def test_a_request_that_hides_one_before_the_known_fields() -> None:
    """All that is read ends as the head before did, but the first empty line comes earlier."""
    block = b"Host: a\r\nX: y\r\n\r\n"
    for between in (
        b"\r\n",
        b"Host: b\r\n\r\n",
        b"Host: b\r\n\r\nGET /2 HTTP/1.1\r\n",
        b"A: b\r\n",
    ):
        raw = b"GET /1 HTTP/1.1\r\n" + between + block
        parser = RequestParser(LIMITS)
        parser.receive(b"GET / HTTP/1.1\r\n" + block)
        assert [facts(event) for event in receive_all(parser, raw)] == alone(raw)


def test_known_heads_are_held_to_new_limits() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 300 + b"\r\n\r\n"
    parser = RequestParser(LIMITS)
    parser.receive(raw)
    parser.limit(Limits(header_bytes=200, header_count=20, url_bytes=64))
    assert [type(event).__name__ for event in parser.receive(raw)] == ["Invalid"]


@pytest.mark.parametrize(
    "limits",
    [Limits(body_bytes=2), Limits(header_count=1), Limits(url_bytes=1), Limits(header_bytes=50)],
)
def test_each_limit_holds_for_a_known_head_once_it_is_new(limits: Limits) -> None:
    raw = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    parser = RequestParser(Limits())
    parser.receive(raw)
    parser.limit(limits)
    assert [facts(event) for event in parser.receive(raw)] == [
        facts(event) for event in RequestParser(limits).receive(raw)
    ]


def test_filters_that_change_one_request_do_not_change_the_next() -> None:
    parser = RequestParser(LIMITS)
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
    for _ in range(3):
        head = parser.receive(raw)[0]
        assert isinstance(head, RequestHead)
        assert head.headers == [(b"Host", b"a"), (b"X", b"y")]
        head.headers.append((b"Z", b"z"))
        head.set_header(b"X", b"changed")


RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
]


def test_every_response_after_every_response() -> None:
    for first in RESPONSES:
        for again in RESPONSES:
            for method in (b"GET", b"HEAD"):
                parser = ResponseParser(LIMITS)
                for raw, verb in ((first, b"GET"), (again, b"GET"), (again, method)):
                    if verb == b"HEAD":
                        raw = raw.partition(b"hi")[0].partition(b"2\r\n")[0]  # noqa: PLW2901
                        if b"chunked" in raw:
                            continue
                    parser.begin(verb)
                    single = ResponseParser(LIMITS)
                    single.begin(verb)
                    found = [facts(event) for event in parser.receive(raw)]
                    assert found == [facts(event) for event in single.receive(raw)]


def test_after_a_close_nothing_is_read() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    parser = RequestParser(LIMITS)
    events = parser.receive(raw + raw)
    assert len(events) == 2 and events[1] is END and not parser.pending
    assert isinstance(events[0], RequestHead) and not events[0].keep_alive


HEAD = b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\nTE: trailers\r\nVia: 1.1 b\r\n\r\n"


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("raw", [HEAD, *(LINES[2] + block for block in BLOCKS[:8])])
@pytest.mark.parametrize("forwarded", [("x-forwarded",), ("rfc7239",), ()])
def test_each_client_is_forwarded_under_its_own_name(
    raw: bytes, forwarded: tuple[str, ...], close: bool
) -> None:
    """The lines of one client are not said of the next; and a head is written as its list says."""
    forwarder = Forwarder(FrontendSpec(name="web", forwarded=forwarded))
    for number in (1, 2, 2, 3):
        head = RequestParser(LIMITS).receive(raw)[0]
        assert isinstance(head, RequestHead)
        forwarder.client("192.0.2.9", head)
        to_server = forwarder.server_request(
            head,
            client_ip=f"192.0.2.{number}",
            client_port=number,
            scheme="http",
            local_port=80,
            host_header=b"inner" if number == 3 else b"",
        )
        listed = RequestHead(head.method, head.target, to_server.pairs(), length=head.length)
        written = encode_request(to_server, close=close)
        assert encode_request(listed, close=close) in (written, written.replace(b"X:\ty ", b"X: y"))
        assert (b"192.0.2.%d" % number in written) is bool(forwarded)


def test_a_target_from_a_filter_cannot_smuggle_a_line() -> None:
    parser = RequestParser(LIMITS)
    for _ in range(2):
        head = parser.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")[0]
        assert isinstance(head, RequestHead)
        encode_request(head)
        for target in (b"/ HTTP/1.1\r\nEvil: 1\r\n", b"", b"/a b", b"/\x00"):
            head.target = target
            with pytest.raises(ValueError, match="target"):
                encode_request(head)
