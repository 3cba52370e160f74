"""Exact positions, constants and results, each of which a mutation of the sources has shown."""

from __future__ import annotations

import pytest

from lbproxy.errors import Kind
from lbproxy.http.derivedhead import values_of
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.h1_body import _EXTENSIONS_MAX as EXTENSIONS_MAX
from lbproxy.http.h1_parser import METHOD_MAX, Parser
from lbproxy.http.h1_refused import refused_head
from lbproxy.http.h1_write import encode_request, encode_response
from lbproxy.http.known import FORWARDED, NUMBERS, VIA, field_name
from lbproxy.http.message import END, Event, Invalid, Limits, RequestHead, ResponseHead

from .test_edges import forwarder

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(*lines: str, host: str = "a") -> RequestHead:
    """A head as it is received."""
    raw = "\r\n".join(("GET / HTTP/1.1", f"Host: {host}", *lines, "", "")).encode()
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    return head


def last(parser: Parser, raw: bytes) -> Event:
    """The last event of ``raw``."""
    return parser.receive(raw)[-1]


# -- what is refused, and with which words


@pytest.mark.parametrize(
    ("coding", "kind"),
    [
        ("chunked, gzip", Kind.BAD_REQUEST),
        ("chunked, chunked", Kind.BAD_REQUEST),
        ("gzip, chunked", Kind.UNSUPPORTED),
    ],
)
def test_codings(coding: str, kind: Kind) -> None:
    raw = f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n".encode()
    refused = last(RequestParser(Limits()), raw)
    assert isinstance(refused, Invalid) and refused.kind is kind


@pytest.mark.parametrize(
    ("length", "kind"), [(METHOD_MAX, Kind.URL_TOO_LONG), (METHOD_MAX + 1, Kind.UNSUPPORTED)]
)
def test_a_long_start_line_is_blamed_on_its_method_or_its_target(length: int, kind: Kind) -> None:
    parser = RequestParser(Limits(url_bytes=100, header_bytes=20_000))
    refused = last(parser, b"A" * length + b" /" + b"x" * 10_000)
    assert isinstance(refused, Invalid) and refused.kind is kind


def test_empty_lines_are_counted_anew_before_each_request() -> None:
    parser = RequestParser(Limits())
    for _ in range(3):
        events = parser.receive(b"\r\n" * 4 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [type(event) for event in events] == [RequestHead, type(END)]
    assert isinstance(last(parser, b"\r\n" * 5), Invalid)


def test_the_head_of_a_refused_request() -> None:
    head = refused_head(b"GET /x HTTP/1.1\r\nHost: A.example\r\nbad line\r\n")
    assert (head.method, head.target, head.host) == (b"GET", b"/x", b"a.example")
    assert head.version == 11 and not head.keep_alive and head.length is None


# -- bounds that are met exactly


@pytest.mark.parametrize("more", [0, 1])
def test_trailers_of_the_longest_size(more: int) -> None:
    parser = RequestParser(Limits(trailer_bytes=20))
    end = last(parser, CHUNKED + b"0\r\nA: " + b"x" * (15 + more) + b"\r\n\r\n")
    if more:
        assert isinstance(end, Invalid)
    else:
        assert end.trailers == ((b"A", b"x" * 15),)  # type: ignore[union-attr]


@pytest.mark.parametrize("more", [0, 1])
def test_chunk_extensions_of_the_longest_size(more: int) -> None:
    parser = RequestParser(Limits())
    chunk = b"1;" + b"x" * 127 + b"\r\na\r\n"
    body = chunk * (EXTENSIONS_MAX // 128 - 1) + chunk.replace(b";", b";" + b"x" * more)
    end = last(parser, CHUNKED + body + b"0\r\n\r\n")
    assert isinstance(end, Invalid) == bool(more)


@pytest.mark.parametrize(
    ("fields", "reusable"),
    [("Content-Length: 0", True), ("Content-Length: 5", False), ("", True)],
)
def test_a_204_that_claims_a_body(fields: str, reusable: bool) -> None:
    parser = ResponseParser(Limits())
    parser.begin(b"GET")
    raw = f"HTTP/1.1 204 No\r\n{fields}\r\n".encode() + (b"\r\n" if fields else b"")
    head = parser.receive(raw)[0]
    assert isinstance(head, ResponseHead) and head.keep_alive is reusable


# -- what is written


@pytest.mark.parametrize(("status", "line"), [(200, False), (299, False), (300, True)])
def test_a_response_to_connect_has_framing_from_300_on(status: int, line: bool) -> None:
    head = ResponseHead(status, [], b"x", length=5)
    raw, _ = encode_response(head, method=b"CONNECT", keep_alive=False)
    assert (b"Content-Length: 5\r\n" in raw) is line
    assert (b"Connection: close\r\n" in raw) is line


@pytest.mark.parametrize("target", [b" /", b"\x01/", b"/ ", b""])
def test_a_target_with_a_byte_that_cannot_be_written(target: bytes) -> None:
    head = request()
    head.target = target
    with pytest.raises(ValueError, match="target"):
        encode_request(head)


def test_all_protocols_of_a_426() -> None:
    head = ResponseHead(426, [(b"Upgrade", b"a"), (b"Upgrade", b"b")], b"x", length=0)
    raw, _ = encode_response(head)
    assert b"Upgrade: a, b\r\n" in raw


@pytest.mark.parametrize("given", [True, False])
def test_te_is_named_in_connection(given: bool) -> None:
    head = request("TE: trailers") if given else request()
    if not given:
        head.add_header(b"TE", b"trailers")
    assert b"Connection: TE\r\n" in encode_request(head)


# -- heads


def test_pairs_have_a_corrected_host_once() -> None:
    head = request(host="EXAMPLE.com")
    assert head.host == b"example.com"
    assert [name for name, _ in head.pairs()].count(b"Host") == 1


def test_a_response_shows_its_lines() -> None:
    head = ResponseHead(200, [(b"A", b"1")], b"OK", length=3)
    assert repr(head) == "<response 200 b'OK' [(b'A', b'1')] 3>"


@pytest.mark.parametrize(
    ("name", "left"),
    [
        (b"a", b"b=2; c=3"),
        (b"b", b"a=1; c=3"),
        (b"c", b"a=1; b=2"),
        (b"d", b"a=1; b=2; c=3"),
    ],
)
def test_a_cookie_is_taken_out_in_place(name: bytes, left: bytes) -> None:
    head = request("Cookie: a=1; b=2; c=3")
    assert head.drop_cookie(name)
    assert head.header(b"Cookie") == left


@pytest.mark.parametrize("lines", [("Cookie: a=1; a=2",), ("Cookie: a=1", "Cookie: b=2")])
def test_cookies_that_are_not_taken_out(lines: tuple[str, ...]) -> None:
    head = request(*lines)
    assert not head.drop_cookie(b"a")
    assert head.headers == request(*lines).headers


def test_the_only_cookie_takes_its_line_along() -> None:
    head = request("Cookie: a=1")
    assert head.drop_cookie(b"a")
    assert head.header(b"Cookie") is None


def test_the_via_of_a_request_of_a_source() -> None:
    head = request("Via: 1.0 first")
    assert forwarder().onward_via(head) == b"1.0 first, 1.1 lbproxy"
    assert forwarder(via="none").onward_via(head) == b""


def test_lines_that_are_left_out_are_not_found() -> None:
    head = request("A: 1", "B: 2", "A: 3")
    first = head.next_line(field_name(b"A"), 0)
    assert head.next_line(field_name(b"A"), first + 1) == first + 2
    assert head.next_line(field_name(b"A"), first + 3) == -1
    head.remove_header(b"A")
    assert head.next_line(field_name(b"A"), 0) == -1


@pytest.mark.parametrize(("version", "wanted"), [(10, b"1.0 edge"), (11, b"1.1 edge")])
def test_the_via_of_a_response_that_has_none(version: int, wanted: bytes) -> None:
    out = forwarder(via="edge").response(ResponseHead(200, [], version=version))
    assert out.header(b"Via") == wanted


@pytest.mark.parametrize("more", [b"1\r\nx\r\n0\r\n\r\n", b"1\r\nx\r\n", b"1\r\n", b"0\r\n\r\n"])
def test_a_body_that_is_just_as_long_as_it_may_be(more: bytes) -> None:
    parser = RequestParser(Limits(body_bytes=5))
    parser.receive(CHUNKED)
    parser.receive(b"5\r\nhello\r\n")
    event = parser.receive(more)[-1]
    if more[:1] == b"0":
        assert event is END
    else:
        assert isinstance(event, Invalid) and event.kind is Kind.BODY_TOO_LARGE


def test_remembered_lines_are_those_of_the_same_scheme_and_host() -> None:
    rules = forwarder()
    for scheme, host in [("http", "a"), ("https", "a"), ("https", "b"), ("http", "b")]:
        for _ in range(2):
            out = rules.server_request(
                request(host=host),
                client_ip="10.0.0.9",
                client_port=1,
                scheme=scheme,
                local_port=80,
            )
            assert out.header(b"X-Forwarded-Proto") == scheme.encode()
            assert out.header(b"X-Forwarded-Host") == host.encode()


def test_only_fields_that_a_head_has_are_read() -> None:
    assert values_of(request("Via: 1.1 a"), (1 << VIA) | (1 << FORWARDED)) == {b"via": b"1.1 a"}


@pytest.mark.parametrize(("line", "value"), [("a= ; b=2", b""), ("a=1 ; b=2", b"1")])
def test_blanks_behind_a_cookie(line: str, value: bytes) -> None:
    assert request(f"Cookie: {line}").cookie(b"a") == value


@pytest.mark.parametrize(("fields", "status"), [(2, 400), (3, 431)])
def test_as_many_fields_as_there_may_be(fields: int, status: int) -> None:
    """The line after the last field is none."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"B: 1\r\n" * (fields - 2) + b"C d: 1\r\n\r\n"
    event = last(RequestParser(Limits(header_count=2)), raw)
    assert isinstance(event, Invalid) and event.status == status


@pytest.mark.parametrize("status", [b"20:", b"2/0", b"20", b"2 0"])
def test_a_status_is_three_digits(status: bytes) -> None:
    parser = ResponseParser(Limits())
    parser.begin(b"GET")
    event = last(parser, b"HTTP/1.1 " + status + b" OK\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(event, Invalid)


def at_a_server() -> RequestHead:
    """A head with lines of the client, of a filter and of this hop."""
    head = request("Accept: a", "X-Kind: red")
    head.add_header(b"X-Kind", b"blue")
    head.add_header(b"X-Real-IP", b"1")
    return forwarder().server_request(
        head, client_ip="10.0.0.9", client_port=1, scheme="http", local_port=80
    )


@pytest.mark.parametrize("name", [b"X-Kind", b"Via", b"X-Forwarded-For", b"Accept", b"X-Real-IP"])
def test_a_line_is_removed_wherever_it_comes_from(name: bytes) -> None:
    head = at_a_server()
    before = head.headers
    assert head.header(name) is not None
    head.remove(field_name(name))
    assert head.headers == [pair for pair in before if pair[0].lower() != name.lower()]
    head.add_header(name, b"new")
    head.remove(field_name(name))
    assert head.header(name) is None


@pytest.mark.parametrize("number", [VIA, NUMBERS[b"x-real-ip"]])
def test_known_names_are_dropped_wherever_they_come_from(number: int) -> None:
    head = request("Via: 1.0 a", "X-Real-IP: 1", "X-Kind: red")
    name = next(name for name, one in NUMBERS.items() if one == number)
    head.add_header(name, b"2")
    head.add_header(b"X-Kind", b"blue")
    head.drop(1 << number)
    assert head.header_values(name) == []
    assert head.header_values(b"X-Kind") == [b"red", b"blue"]


def test_known_names_are_dropped_from_the_lines_of_filters_at_a_server() -> None:
    head = at_a_server()
    head.drop(1 << NUMBERS[b"x-real-ip"])
    assert head.header(b"X-Real-IP") is None
    assert head.header_values(b"X-Kind") == [b"red", b"blue"]


@pytest.mark.parametrize(
    ("value", "tab"), [(b"a", False), (b"a \t", True), (b"a\t", True), (b"a  ", False)]
)
def test_a_tab_behind_a_value(value: bytes, tab: bool) -> None:
    lines = request(f"Via: {value.decode()}").lines
    assert lines.tab_behind(VIA) is tab
    assert lines.tab_behind(FORWARDED) is False


@pytest.mark.parametrize("more", [0, 1])
def test_the_longest_request_line_byte_by_byte(more: int) -> None:
    """Nothing is refused before it is too long."""
    parser = RequestParser(Limits(url_bytes=40))
    target = b"/" + b"x" * (39 + more)
    raw = b"M" * METHOD_MAX + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    found = [event for at in range(len(raw)) for event in parser.receive(raw[at : at + 1])]
    assert isinstance(found[0], Invalid if more else RequestHead)
