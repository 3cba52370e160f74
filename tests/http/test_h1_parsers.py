"""The parsers' states: headers kept, stop, resume, detach, idleness, the end, costs that
stay flat.
"""

from __future__ import annotations

import pytest

from lbproxy.errors import Kind
from lbproxy.http.h1 import RequestParser, ResponseParser
from lbproxy.http.message import END, End, Event, Invalid, Limits, RequestHead, ResponseHead
from tests.http.h1_support import receive_all, shorthand

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def words(events: list[Event]) -> list[str]:
    return [shorthand(event) for event in events]


def request(raw: bytes) -> RequestHead:
    head = RequestParser(Limits()).receive(raw)[0]
    assert isinstance(head, RequestHead)
    return head


def response(raw: bytes, method: bytes = b"GET") -> ResponseHead:
    parser = ResponseParser(Limits())
    parser.begin(method)
    head = parser.receive(raw)[0]
    assert isinstance(head, ResponseHead)
    return head


def test_request_headers_keep_case_and_order_and_lose_blanks() -> None:
    head = request(b"GET / HTTP/1.1\r\nhost: a\r\nX-B: \t1 \r\nx-b:2\r\nE:\r\nT: a \t b\r\n\r\n")
    assert head.headers == [
        (b"host", b"a"), (b"X-B", b"1"), (b"x-b", b"2"), (b"E", b""), (b"T", b"a \t b"),
    ]  # fmt: skip


def test_response_headers_and_reason() -> None:
    head = response(b"HTTP/1.1 200 Fine  thing \r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n")
    assert head.reason == b"Fine  thing "
    assert head.headers == [(b"Set-Cookie", b"a"), (b"set-cookie", b"b")]


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_content_length_line_stays_for_head_and_304(method: bytes) -> None:
    status = b"200" if method == b"HEAD" else b"304"
    head = response(b"HTTP/1.1 " + status + b" x\r\nContent-Length: 7\r\n\r\n", method)
    assert head.length == 0
    assert head.header(b"content-length") == b"7"


@pytest.mark.parametrize(
    ("start", "fields", "expected"),
    [
        (b"GET http://B.c/ HTTP/1.1", b"X: 1\r\nhOST: a\r\n", [(b"X", b"1"), (b"hOST", b"b.c")]),
        (b"GET / HTTP/1.1", b"Host: A:\r\nX: 1\r\n", [(b"Host", b"a"), (b"X", b"1")]),
        (b"GET http://b HTTP/1.0", b"X: 1\r\n", [(b"X", b"1"), (b"Host", b"b")]),
        (b"GET / HTTP/1.0", b"X: 1\r\n", [(b"X", b"1")]),
        (b"CONNECT B:1 HTTP/1.1", b"Host: a\r\n", [(b"Host", b"b:1")]),
    ],
)
def test_the_host_line_equals_the_host(
    start: bytes, fields: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    head = request(start + b"\r\n" + fields + b"\r\n")
    assert head.headers == expected
    assert head.host == dict(head.headers).get(b"Host", head.header(b"host") or b"")


def test_idle_and_mid_head_of_requests() -> None:
    parser = RequestParser(Limits())
    assert (parser.idle, parser.mid_head) == (True, False)
    parser.receive(b"\r\n")
    assert (parser.idle, parser.mid_head) == (True, False)
    parser.receive(b"G")
    assert (parser.idle, parser.mid_head) == (False, True)
    parser.receive(b"ET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
    assert (parser.idle, parser.mid_head) == (False, False)
    assert parser.receive(b"y") == [b"y", END]
    assert (parser.idle, parser.mid_head) == (True, False)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"", True),
        (b"\r\n", True),
        (GET, True),
        (b"\r", False),
        (b"GET", False),
        (GET[:-1], False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", False),
        (GET[:-2] + b"Connection: close\r\n\r\nGET", True),
        (UPGRADE + b"x", True),
    ],
)
def test_end_of_requests(raw: bytes, clean: bool) -> None:
    parser = RequestParser(Limits())
    parser.receive(raw)
    events = parser.eof()
    assert words(events) == ([] if clean else ["400 bad_request"])
    assert parser.eof() == []
    assert clean or parser.receive(GET) == []


def test_resume_goes_on_with_what_was_kept() -> None:
    parser = RequestParser(Limits())
    assert words(parser.receive(UPGRADE + GET + b"GET /2")) == [
        "GET /ws 11 a 0 upgrade=websocket",
        "end",
    ]
    assert parser.stopped
    assert not parser.idle
    assert parser.receive(b" HTTP/1.1\r\nHost: a\r\n\r\n") == []
    assert words(parser.resume()) == ["GET / 11 a 0", "end"]
    assert words(parser.proceed()) == ["GET /2 11 a 0", "end"]
    assert not parser.stopped
    assert parser.resume() == []


def test_resume_stops_at_the_next_upgrade() -> None:
    parser = RequestParser(Limits())
    parser.receive(UPGRADE + UPGRADE + b"rest")
    assert words(parser.resume()) == ["GET /ws 11 a 0 upgrade=websocket", "end"]
    assert parser.stopped
    assert parser.detach() == b"rest"


def test_resume_after_a_last_request_reads_nothing() -> None:
    parser = RequestParser(Limits())
    parser.receive(UPGRADE.replace(b"upgrade\r\n", b"upgrade, close\r\n", 1) + GET)
    assert parser.stopped
    assert parser.resume() == []
    assert parser.receive(GET) == []


def test_resume_in_the_middle_of_a_body_parses_on_behind_it() -> None:
    parser = RequestParser(Limits())
    parser.receive(UPGRADE[:-2] + b"Content-Length: 4\r\n\r\nab")
    assert parser.resume() == []
    assert words(parser.receive(b"cd" + GET)) == ["+cd", "end"]
    assert not parser.stopped
    assert words(parser.proceed()) == ["GET / 11 a 0", "end"]


def test_detach_gives_the_kept_bytes_and_ends_parsing() -> None:
    parser = RequestParser(Limits())
    parser.receive(UPGRADE + b"a\r\n")
    parser.receive(b"\r\nb")
    assert parser.detach() == b"a\r\n\r\nb"
    assert not parser.stopped
    assert parser.receive(GET) == []


def test_kept_bytes_are_bounded() -> None:
    parser = RequestParser(Limits())
    parser.receive(UPGRADE)
    assert parser.receive(b"x" * 200_000) == []
    assert words(parser.receive(b"x" * 200_000)) == ["400 bad_request"]
    assert parser.detach() == b""


def test_the_head_comes_before_the_refusal_of_its_length() -> None:
    parser = RequestParser(Limits(body_bytes=4))
    events = parser.receive(GET[:-2] + b"Content-Length: 5\r\n\r\n")
    assert words(events) == ["GET / 11 a 5", "413 body_too_large"]


def test_body_data_is_not_copied_and_comes_as_it_arrives() -> None:
    parser = RequestParser(Limits())
    parser.receive(GET[:-2] + b"Content-Length: 20\r\n\r\n")
    part = b"0123456789"
    first = parser.receive(part)
    assert first[0] is part
    assert parser.receive(part) == [part, END]


def test_many_header_lines_for_big_limits() -> None:
    raw = GET[:-2] + b"".join(b"X-%d: y\r\n" % i for i in range(500)) + b"\r\n"
    parser = RequestParser(Limits(header_count=501))
    assert len(parser.receive(raw)) == 2


def test_tiny_pieces_cost_in_proportion() -> None:
    """A megabyte's head in single bytes: with anything quadratic this takes minutes."""
    raw = GET[:-2] + b"X: " + b"y" * 300_000 + b"\r\n\r\n"
    parser = RequestParser(Limits(header_bytes=1 << 20))
    events = [event for byte in raw for event in parser.receive(bytes((byte,)))]
    assert words(events) == ["GET / 11 a 0", "end"]


def test_tiny_pieces_of_trailers_cost_in_proportion() -> None:
    raw = GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"
    parser = RequestParser(Limits(trailer_bytes=1 << 20))
    events = [event for byte in raw for event in parser.receive(bytes((byte,)))]
    assert len(events) == 2


TRAILERS = b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n%b: 2\r\n\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-Port",
        b"x-forwarded-ssl",
        b"X_Forwarded_For",
        b"X_REAL-IP",
        b"Content_Length",
        b"transfer_encoding",
        b"Proxy-Authentication-Info",
    ],
)
def test_trailers_bring_nothing_that_a_head_may_not(name: bytes) -> None:
    events = RequestParser(Limits()).receive(GET[:-2] + TRAILERS % name)
    assert events[-1] == End(((b"X-Sum", b"1"),))


def test_trailers_that_connection_nominates_are_dropped() -> None:
    fields = b"Connection: close, x-hop\r\n" + TRAILERS % b"X-Hop"
    assert RequestParser(Limits()).receive(GET[:-2] + fields)[-1] == End(((b"X-Sum", b"1"),))
    parser = ResponseParser(Limits())
    parser.begin(b"GET")
    events = parser.receive(b"HTTP/1.1 200 OK\r\n" + fields)
    assert events[-1] == End(((b"X-Sum", b"1"),))


def test_extensions_are_bounded_over_all_chunks() -> None:
    raw = (
        GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 90
    )
    assert words(RequestParser(Limits()).receive(raw))[-1] == "400 bad_request"


def test_responses_need_a_request() -> None:
    parser = ResponseParser(Limits())
    assert parser.receive(b"") == []
    assert parser.receive(OK) == [Invalid(Kind.BAD_RESPONSE, "bytes that answer no request", 502)]
    with pytest.raises(ValueError, match="cannot be used any more"):
        parser.begin(b"GET")


def test_one_response_after_another() -> None:
    parser = ResponseParser(Limits())
    for _ in range(3):
        parser.begin(b"GET")
        assert parser.idle
        assert words(parser.receive(OK[:9])) == []
        assert (parser.idle, parser.mid_head) == (False, True)
        with pytest.raises(ValueError, match="outstanding"):
            parser.begin(b"GET")
        assert words(parser.receive(OK[9:])) == ["200 11 2", "+ok", "end"]
        assert parser.idle
    assert parser.eof() == []


def test_head_then_get() -> None:
    parser = ResponseParser(Limits())
    parser.begin(b"HEAD")
    assert words(parser.receive(OK[:-2])) == ["200 11 0", "end"]
    parser.begin(b"GET")
    assert words(parser.receive(OK)) == ["200 11 2", "+ok", "end"]


def test_until_close_ends_with_the_connection_only_once() -> None:
    parser = ResponseParser(Limits())
    parser.begin(b"GET")
    parser.receive(b"HTTP/1.1 200 OK\r\n\r\nx")
    assert parser.eof() == [END]
    assert parser.eof() == []
    assert parser.receive(b"x") == []


def test_response_after_101_is_kept() -> None:
    parser = ResponseParser(Limits())
    parser.begin(b"GET")
    head = parser.receive(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\nab")[0]
    assert isinstance(head, ResponseHead)
    assert parser.receive(b"c") == []
    assert parser.stopped
    assert parser.detach() == b"abc"


def test_limit_of_request_bodies_is_not_one_of_responses() -> None:
    parser = ResponseParser(Limits(body_bytes=1))
    parser.begin(b"GET")
    assert words(parser.receive(OK)) == ["200 11 2", "+ok", "end"]


def test_tiny_chunks_of_one_input_are_one_event() -> None:
    raw = GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000
    parser = RequestParser(Limits())
    assert parser.receive(raw)[1:] == [b"x" * 5000]
    assert receive_all(parser, b"1\r\ny\r\n0\r\n\r\n" + GET)[:2] == [b"y", END]
    assert parser.idle


def test_chunks_before_a_refusal_are_given() -> None:
    parser = RequestParser(Limits())
    events = parser.receive(
        GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n?\r\n"
    )
    assert words(events)[1:] == ["+ab", "400 bad_request"]


def test_heads_share_nothing() -> None:
    """The fields given away with one head stay as they are when the next one comes."""
    parser = RequestParser(Limits())
    first = parser.receive(GET)[0]
    second = parser.receive(GET[:-2] + b"X: y\r\n\r\n")[0]
    assert isinstance(first, RequestHead)
    assert isinstance(second, RequestHead)
    assert first.headers == [(b"Host", b"a")]
    assert second.headers == [(b"Host", b"a"), (b"X", b"y")]


def test_only_one_request_of_an_input_is_read() -> None:
    """60 KB of tiny requests stay bytes, however often somebody looks."""
    parser = RequestParser(Limits())
    raw = GET * (60 * 1024 // len(GET))
    assert words(parser.receive(raw)) == ["GET / 11 a 0", "end"]
    for left in range(len(raw) // len(GET) - 1, 0, -1):
        assert parser.pending and not parser.idle
        assert left > 1500 or words(parser.receive(b"")) == ["GET / 11 a 0", "end"]
        if left > 1500:
            assert words(parser.proceed()) == ["GET / 11 a 0", "end"]
    assert not parser.pending and parser.idle


def test_bytes_that_come_while_requests_are_pending_follow_them() -> None:
    parser = RequestParser(Limits())
    parser.receive(GET + GET[:5])
    assert words(parser.receive(GET[5:] + b"POST")) == ["GET / 11 a 0", "end"]
    assert parser.proceed() == []
    assert parser.mid_head
    assert words(parser.receive(GET[3:])) == ["POST / 11 a 0", "end"]


@pytest.mark.parametrize(("last", "expected"), [(b"", []), (b"GE", ["400 bad_request"])])
def test_the_end_comes_after_the_pending_requests(last: bytes, expected: list[str]) -> None:
    parser = RequestParser(Limits())
    parser.receive(GET + GET + last)
    assert parser.eof() == []
    assert words(parser.proceed()) == ["GET / 11 a 0", "end"]
    assert words(parser.proceed()) == expected
    assert not parser.pending
