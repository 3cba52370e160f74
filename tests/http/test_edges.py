"""Limits that are met exactly, and values at the edge of what a rule allows."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from lbproxy.config.model import FrontendSpec
from lbproxy.errors import Kind
from lbproxy.http.forward import Forwarder
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.h1_parser import METHOD_MAX, Parser
from lbproxy.http.h1_write import encode_chunks, encode_request, encode_response
from lbproxy.http.hoplines import MEMO
from lbproxy.http.known import field_name
from lbproxy.http.message import END, Invalid, Limits, RequestHead, ResponseHead
from lbproxy.http.scan import lines_of

from .traffic import request

LIMITS = Limits(header_bytes=2000, header_count=3, url_bytes=40)


def first(parser: Parser, raw: bytes, pieces: int = 1) -> object:
    """The first event of ``raw``, fed in ``pieces``; None if there is none."""
    size = -(-len(raw) // pieces)
    for at in range(0, len(raw), size):
        events = parser.receive(raw[at : at + size])
        if events:
            return events[0]
    return None


def responses() -> ResponseParser:
    """A parser that expects the response to a GET."""
    parser = ResponseParser(LIMITS)
    parser.begin(b"GET")
    return parser


def forwarder(**keys: object) -> Forwarder:
    return Forwarder(FrontendSpec(name="web", **keys))  # type: ignore[arg-type]


def to_server(head: RequestHead) -> RequestHead:
    return forwarder().server_request(
        head, client_ip="10.0.0.9", client_port=1, scheme="http", local_port=80
    )


# -- limits of heads ----------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("more", [0, 1])
def test_the_longest_target(more: int, pieces: int) -> None:
    target = b"/" + b"x" * (LIMITS.url_bytes - 1 + more)
    raw = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nX-Long: " + b"y" * 300 + b"\r\n\r\n"
    event = first(RequestParser(LIMITS), raw, pieces)
    if more:
        assert isinstance(event, Invalid) and event.status == 414
    else:
        assert isinstance(event, RequestHead) and event.target == target


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_the_longest_start_line(pieces: int) -> None:
    start = b"M" * METHOD_MAX + b" /" + b"x" * (LIMITS.url_bytes - 1) + b" HTTP/1.1\r\n"
    event = first(
        RequestParser(LIMITS), start + b"Host: a\r\nX: " + b"y" * 99 + b"\r\n\r\n", pieces
    )
    assert isinstance(event, RequestHead), event


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("more", [0, 1])
def test_the_largest_number_of_fields(more: int, pieces: int) -> None:
    fields = b"".join(b"X-%d: 1\r\n" % number for number in range(LIMITS.header_count - 1 + more))
    event = first(
        RequestParser(LIMITS), b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", pieces
    )
    if more:
        assert isinstance(event, Invalid) and event.status == 431
        assert event.detail == "too many header fields"
    else:
        assert isinstance(event, RequestHead)


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\n"])
def test_a_line_feed_alone_is_named(start: bytes, pieces: int) -> None:
    event = first(RequestParser(LIMITS), start + b"X: y\r\n\r\n", pieces)
    assert isinstance(event, Invalid) and event.detail == "line does not end in CRLF"


def test_a_method_of_one_letter_does_not_hide_the_fault_behind_it() -> None:
    event = first(RequestParser(LIMITS), b"M /" + b"x" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(event, Invalid) and event.status == 414


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("kind", ["request", "response"])
def test_the_largest_head(kind: str, more: int) -> None:
    start, parser = b"GET / HTTP/1.1\r\nHost: a\r\nX: ", RequestParser(LIMITS)
    if kind == "response":
        start, parser = b"HTTP/1.1 200 OK\r\nX: ", responses()
    raw = start + b"y" * (LIMITS.header_bytes - len(start) - 4 + more) + b"\r\n\r\n"
    event = first(parser, raw)
    assert isinstance(event, Invalid if more else RequestHead | ResponseHead), event


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/2.0", 505),
        (b"HTTP/9.9", 505),
        (b"HTTP/1.x", 400),
        (b"HTTP/0.9", 400),
        (b"HTTX/2.0", 400),
        (b"HTTP/2:0", 400),
        (b"HTTP/2.00", 400),
        (b"HTTP/20", 400),
    ],
)
def test_versions(line: bytes, status: int) -> None:
    event = first(RequestParser(LIMITS), b"GET / " + line + b"\r\nHost: a\r\n\r\n")
    assert isinstance(event, Invalid) and event.status == status


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n", "control character in the head"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "malformed status line"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "malformed status line"),
        (b"HTTP/3.1 200 OK\r\n\r\n", "malformed status line"),
        (b"HTTP/1.1 200OK\r\n\r\n", "malformed status line"),
        (b"HTTP/1.1 100 OK\r\nX\r\n\r\n", "malformed field line"),
    ],
)
def test_the_detail_names_the_part_that_is_wrong(raw: bytes, detail: str) -> None:
    event = first(responses(), raw)
    assert isinstance(event, Invalid) and (event.kind, event.detail) == (Kind.BAD_RESPONSE, detail)


@pytest.mark.parametrize(("status", "length"), [(200, 0), (299, 0), (300, 5), (404, 5)])
def test_only_a_success_opens_the_tunnel_of_a_connect(status: int, length: int) -> None:
    parser = ResponseParser(LIMITS)
    parser.begin(b"CONNECT")
    event = first(parser, b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert isinstance(event, ResponseHead)
    assert (event.length, parser.stopped) == (length, length == 0)


# -- heads ------------------------------------------------------------------------------------


def test_the_name_of_a_host_loses_its_dot_and_nothing_else() -> None:
    for host, name in ((b"a.example.", b"a.example"), (b"a~", b"a~"), (b"a~:80", b"a~")):
        assert RequestHead(b"GET", b"/", [], host=host).hostname == name


@pytest.mark.parametrize("before", [0, 1])
def test_cookies_of_the_first_line_and_of_later_ones(before: int) -> None:
    raw = b"GET / HTTP/1.1\r\n" + b"Host: a\r\n" * before + b'Cookie: a="x y"; b=1; c="\r\n'
    raw += b"Host: a\r\n" * (1 - before) + b"\r\n"
    head = first(RequestParser(LIMITS), raw)
    assert isinstance(head, RequestHead)
    assert [head.cookie(name) for name in (b"a", b"b", b"c", b"d")] == [b"x y", b"1", b"", None]


@pytest.mark.interpreted
def test_cookies_are_parsed_once_for_all_routes() -> None:
    fields = b"Cookie: " + b"; ".join(b"c%d=v" % number for number in range(3000)) + b"\r\n"
    (head, _) = RequestParser(Limits()).receive(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    parsed = 0

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal parsed
        parsed += event == "call" and frame.f_code.co_name == "cookie_rows"

    sys.setprofile(counted)
    try:
        found = [head.cookie(b"c%d" % number) for number in range(0, 3000, 300)]
    finally:
        sys.setprofile(None)
    assert found == [b"v"] * 10 and parsed == 1


def test_a_cookie_that_a_filter_has_added_reaches_the_server_and_is_seen_there() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\n\r\n"
    head = first(RequestParser(LIMITS), raw)
    assert isinstance(head, RequestHead)
    head.add_header(b"Cookie", b"b=2")
    out = to_server(head)
    assert (out.cookie(b"a"), out.cookie(b"b")) == (b"1", b"2")
    assert out.header_values(b"Cookie") == [b"a=1", b"b=2"]


def test_the_place_of_a_value() -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n"
    head = first(RequestParser(LIMITS), raw)
    assert isinstance(head, RequestHead)
    place = head.place(field_name(b"User-Agent"))
    assert head.lines.raw[place & 0xFFFFFFFF : place >> 32] == b"me"
    assert head.place(field_name(b"Referer")) == -1


@pytest.mark.parametrize("edit", ["list", "line"])
def test_an_edited_head_has_no_places(edit: str) -> None:
    head = first(RequestParser(LIMITS), b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n")
    assert isinstance(head, RequestHead)
    if edit == "list":
        head.headers[1] = (b"User-Agent", b"you")
    else:
        head.add_header(b"X-A", b"1")
    assert head.place(field_name(b"User-Agent")) == -2


def test_a_list_that_replaces_the_fields_is_what_is_sent() -> None:
    head = first(RequestParser(LIMITS), b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n")
    assert isinstance(head, RequestHead)
    head.headers = [(b"X-B", b"2")]
    assert head.header(b"X-A") is None and head.header(b"X-B") == b"2"
    assert encode_request(to_server(head)).count(b"X-B: 2\r\n") == 1
    assert b"X-A" not in encode_request(to_server(head))


def test_the_target_that_was_checked_is_remembered_unless_it_is_rewritten() -> None:
    for target, checked in ((b"/a", b"/a"), (b"http://a/b", None), (b"http://a", None)):
        head = first(RequestParser(LIMITS), b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert isinstance(head, RequestHead)
        assert head.checked == checked


# -- forwarding ---------------------------------------------------------------------------------


def test_requests_are_sent_as_http_1_1() -> None:
    assert to_server(request(version=10)).version == 11


@pytest.mark.parametrize(
    ("status", "upgrade", "values"), [(101, b"x", [b"x"]), (101, None, []), (426, b"x", [])]
)
def test_only_a_101_has_the_protocol_that_was_switched_to(
    status: int, upgrade: bytes | None, values: list[bytes]
) -> None:
    out = forwarder().response(ResponseHead(status, [], upgrade=upgrade))
    assert out.header_values(b"Upgrade") == values


def test_lines_that_a_filter_adds_to_a_response_without_via() -> None:
    head = ResponseHead(200, [(b"X-A", b"1")])
    head.add_header(b"X-A", b"2")
    out = forwarder(via="").response(head)
    assert out.header_values(b"X-A") == [b"1", b"2"]
    assert out.every(field_name(b"X-A")) == [b"1", b"2"]


def test_lines_that_are_read_with_those_that_a_filter_has_added() -> None:
    head = ResponseHead(200, None, lines=lines_of([(b"X-A", b"1")]))
    head.add_header(b"X-A", b"2")
    out = forwarder(via="none").response(head)
    assert out.every(field_name(b"X-A")) == [b"1", b"2"]


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Proxy-Authorization",
        b"TE",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Content-Length",
        b"Content_Length",
    ],
)
def test_a_filter_adds_no_field_that_is_for_one_hop_only(name: bytes) -> None:
    head = first(RequestParser(LIMITS), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(head, RequestHead)
    head.add_header(name, b"1")
    assert to_server(head).header(name) is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"Via", [b"x, 1.1 lbproxy"]),
        (b"X-Forwarded-For", [b"x, 10.0.0.9"]),
        (b"X-Forwarded-Proto", [b"x"]),
        (b"X-Forwarded-Host", [b"x"]),
        (b"X-Forwarded-Port", [b"x"]),
        (b"Forwarded", [b"x"]),
        (b"Host", [b"a"]),
    ],
)
def test_a_field_that_a_filter_adds_is_joined_with_that_of_this_hop(
    name: bytes, values: list[bytes]
) -> None:
    head = first(RequestParser(LIMITS), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(head, RequestHead)
    head.add_header(name, b"x")
    assert to_server(head).header_values(name) == values


def test_what_is_remembered_of_clients_is_bounded() -> None:
    one = forwarder()
    most = MEMO
    for port in range(most + 1):
        one.server_request(request(), client_ip="10.0.0.9", scheme="http", local_port=port)
        known = len(one._lines._memo)
        assert known == len(one._to_servers) == (port + 1 if port < most else 1)


def test_lines_of_a_list_are_sent_from_the_first_on() -> None:
    head = ResponseHead(200, None, lines=lines_of([(b"X-A", b"1"), (b"X-B", b"2")]))
    raw, _ = encode_response(head, client_version=11, keep_alive=True)
    assert b"\r\nX-A: 1\r\nX-B: 2\r\n" in raw


def test_the_protocol_that_a_426_requires_is_named_in_connection() -> None:
    head = ResponseHead(426, [(b"Upgrade", b"websocket")])
    raw, _ = encode_response(head, client_version=11, keep_alive=True)
    assert b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" in raw
    raw, _ = encode_response(head, client_version=11, keep_alive=False)
    assert b"\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n" in raw


def test_chunks_of_a_batch() -> None:
    assert encode_chunks(b"", None) == b""
    assert encode_chunks(b"ab", None) == b"2\r\nab\r\n"
    assert encode_chunks(b"ab", END) == b"2\r\nab\r\n0\r\n\r\n"
    assert encode_chunks(b"", END) == b"0\r\n\r\n"
